//! From where on a consumer wants the records of its partitions. A broker sends whole batches, and a consumer drops the records
//! before the offset that it asked for: they are not told.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

/// Partitions of one connection whose offsets are kept; of more all are forgotten, and their batches told whole. 32 bytes each.
const PARTITIONS_MAX: usize = 1024;

/// Which partition of which topic: a hash of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    pub(super) fn new(name: &str, topic_id: Option<u128>, partition: i32) -> Self {
        let mut hasher = FxHasher::default();
        (name, topic_id, partition).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The offsets that one connection asked for last. Within a fetch session (KIP-227) a request names only what has changed.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    wanted: FxHashMap<Key, i64>,
}

impl Offsets {
    /// The consumer wants records from this offset on; returns how many partitions were forgotten for it.
    pub(super) fn ask(&mut self, key: Key, offset: i64) -> u64 {
        let full = self.wanted.len() >= PARTITIONS_MAX && !self.wanted.contains_key(&key);
        let forgotten = if full { self.wanted.len() as u64 } else { 0 };
        if full {
            self.forget();
        }
        self.wanted.insert(key, offset);
        forgotten
    }

    /// The first offset that is wanted; the smallest where that is not known.
    pub(super) fn of(&self, key: Key) -> i64 {
        self.wanted.get(&key).copied().unwrap_or(i64::MIN)
    }

    pub(super) fn forget(&mut self) {
        self.wanted = FxHashMap::default();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.wanted.capacity().saturating_mul(size_of::<(Key, i64)>().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_last_request() {
        let mut offsets = Offsets::default();
        let (first, second) = (Key::new("a", None, 0), Key::new("a", None, 1));
        offsets.ask(first, 5);
        offsets.ask(second, 6);
        offsets.ask(first, 7);
        assert_eq!((offsets.of(first), offsets.of(second)), (7, 6));
        assert_eq!(offsets.of(Key::new("", Some(1), 0)), i64::MIN);
    }

    #[test]
    fn the_memory_of_offsets_is_bounded() {
        let mut offsets = Offsets::default();
        for partition in 0..10_000 {
            offsets.ask(Key::new("a", None, partition), 1);
            assert!(offsets.buffered_bytes() <= 64 * 1024, "{}", offsets.buffered_bytes());
        }
    }
}
