//! A map that forgets: keys come in with a time, their values go out until they are old or crowded out. Two generations take
//! turns, so that forgetting costs one clear for a whole generation and memory never grows past what was given.

use std::hash::Hash;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::time::Timestamp;

/// The least buckets of one generation, so that a tiny memory limit still remembers what is in flight.
const BUCKETS_MIN: usize = 1024;

/// A bounded map of two generations. What is looked up moves to the young one; when the young one is full or `age` old, the
/// old one is forgotten and they change places. A value is thus kept for one to two times `age`, if there is room.
#[derive(Debug)]
pub(super) struct Generations<K, V> {
    young: FxHashMap<K, V>,
    old: FxHashMap<K, V>,
    young_since: Option<Timestamp>,
    entries_max: usize,
    age: Duration,
    evicted: u64,
}

impl<K: Hash + Eq + Copy, V: Copy + Default> Generations<K, V> {
    /// A map of two generations that together take at most `bytes` (but room for [`BUCKETS_MIN`] each).
    pub(super) fn new(bytes: usize, age: Duration) -> Self {
        // One control byte a bucket, and 7 of 8 buckets used at most (hashbrown, `bucket_mask_to_capacity`).
        let bucket_bytes = size_of::<(K, V)>().saturating_add(1);
        let affordable = bytes.checked_div(bucket_bytes.saturating_mul(2)).unwrap_or(0).max(BUCKETS_MIN);
        let buckets = 1_usize << affordable.ilog2();
        let entries_max = buckets.saturating_sub(buckets >> 3);
        let generation = || FxHashMap::with_capacity_and_hasher(entries_max, rustc_hash::FxBuildHasher);
        Self { young: generation(), old: generation(), young_since: None, entries_max, age, evicted: 0 }
    }

    /// The value of `key`, which is new (`true`) or remembered (`false`).
    pub(super) fn entry(&mut self, at: Timestamp, key: K) -> (&mut V, bool) {
        let since = *self.young_since.get_or_insert(at);
        let full = self.young.len() >= self.entries_max && !self.young.contains_key(&key);
        if full || at.since(since) >= self.age {
            self.rotate(at);
        }
        let mut new = false;
        let old = &mut self.old;
        let value = self.young.entry(key).or_insert_with(|| {
            old.remove(&key).unwrap_or_else(|| {
                new = true;
                V::default()
            })
        });
        (value, new)
    }

    fn rotate(&mut self, at: Timestamp) {
        self.evicted = self.evicted.saturating_add(u64::try_from(self.old.len()).unwrap_or(u64::MAX));
        self.old.clear();
        std::mem::swap(&mut self.young, &mut self.old);
        self.young_since = Some(at);
    }

    /// Entries that are remembered.
    pub(super) fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Entries that were forgotten so far.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_mins(10);

    #[test]
    fn a_key_is_new_once_and_keeps_its_value() {
        let mut map: Generations<u32, u32> = Generations::new(0, AGE);
        let (value, new) = map.entry(Timestamp(1), 7);
        assert!(new);
        *value = 42;
        assert_eq!(map.entry(Timestamp(2), 7), (&mut 42, false));
    }

    #[test]
    fn a_key_in_use_outlives_many_generations_and_an_idle_one_does_not() {
        let mut map: Generations<u32, u32> = Generations::new(0, AGE);
        map.entry(Timestamp(0), 1);
        map.entry(Timestamp(0), 2);
        for step in 1..10_u64 {
            let at = Timestamp(0).after(AGE * u32::try_from(step).unwrap());
            assert!(!map.entry(at, 1).1, "step {step}");
        }
        assert!(map.entry(Timestamp(0).after(AGE * 10), 2).1);
        assert_eq!(map.evicted(), 1);
    }

    #[test]
    fn it_never_holds_more_than_its_two_generations_and_counts_what_it_forgets() {
        let mut map: Generations<u64, u64> = Generations::new(64 * 1024, AGE);
        let buckets = map.young.capacity();
        for key in 0..100_000 {
            map.entry(Timestamp(key), key);
        }
        assert!(map.len() <= 2 * map.entries_max);
        assert_eq!(map.young.capacity(), buckets, "no generation is ever grown");
        assert_eq!(map.len() as u64 + map.evicted(), 100_000);
    }
}
