//! A map of what is recent: keys come in with a time, their values go out until they are past their time or crowded out.
//!
//! Entries stand in a ring in the order of time, so that a new one is written where the oldest was; a small index leads to
//! them. A key that was never seen then costs one look at the index, and memory is taken only as it is used.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::time::Timestamp;

/// The least entries, so that a tiny memory limit still remembers what is in flight.
const ENTRIES_MIN: usize = 256;
/// An entry in use moves to the end of the ring once this share (1/n) of its time has passed.
const MOVE_SHARE: u32 = 8;
/// Entries past their time that go with each new one.
const LEAVE_TOGETHER: usize = 2;

/// Bytes of the index for each entry, at the most: places of eight bytes, of which at least 3/8 are taken when all entries are.
const INDEX_BYTES: usize = 22;

/// A bounded map of recent keys.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    /// By hash, with linear probing: the high half of the hash and 1 + the place in `entries`; zero: free.
    index: Vec<u64>,
    entries: Vec<Entry<K, V>>,
    /// The place of the oldest.
    first: usize,
    /// Places in use from there on, those that were moved away included.
    used: usize,
    /// Entries held.
    len: usize,
    entries_max: usize,
    /// How long an entry stays at its place.
    memory: Duration,
    /// How old it may be and yet stay when its key is met again.
    slack: Duration,
    evicted: u64,
    /// Seeded: ids come from strangers, who could else choose some that fall on one place.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K, V> {
    /// When it came to this place.
    at: Timestamp,
    key: K,
    value: V,
}

impl<K: Copy + Eq + Hash, V: Copy + Default> Recent<K, V> {
    /// A map of at most `bytes` (but room for [`ENTRIES_MIN`]) that remembers a key for `memory` after it was last given to
    /// [`Self::entry`], and for an eighth more at the most.
    pub(crate) fn new(bytes: usize, memory: Duration) -> Self {
        let each = size_of::<Entry<K, V>>().saturating_add(INDEX_BYTES);
        let entries_max = bytes.checked_div(each).unwrap_or(0).clamp(ENTRIES_MIN, 1 << 30);
        let slack = memory.checked_div(MOVE_SHARE).unwrap_or_default();
        let places = entries_max.saturating_add(entries_max / 3).next_power_of_two();
        Self {
            index: vec![0; places],
            entries: Vec::with_capacity(entries_max),
            first: 0,
            used: 0,
            len: 0,
            entries_max,
            memory: memory.saturating_add(slack),
            slack,
            evicted: 0,
            hasher: RandomState::default(),
        }
    }

    /// The value of `key`, if it is remembered.
    pub(crate) fn get(&self, at: Timestamp, key: &K) -> Option<&V> {
        let (_, place) = self.find(self.hash(key), key)?;
        let entry = self.entries.get(place)?;
        (at.since(entry.at) < self.memory).then_some(&entry.value)
    }

    /// The value of `key`, which is new (`true`) or remembered (`false`). Where the oldest entry must go before its time,
    /// `evict` hears of its key. Always some value.
    pub(crate) fn entry(&mut self, at: Timestamp, key: K, evict: impl FnMut(&K)) -> Option<(&mut V, bool)> {
        let hash = self.hash(&key);
        let mut value = V::default();
        let mut new = true;
        if let Some((slot, place)) = self.find(hash, &key)
            && let Some(entry) = self.entries.get(place)
        {
            let unmoved = at.since(entry.at);
            if unmoved < self.slack {
                return Some((&mut self.entries.get_mut(place)?.value, false));
            }
            new = unmoved >= self.memory;
            if !new {
                value = entry.value;
            }
            self.free(slot);
        }
        let place = self.append(hash, Entry { at, key, value }, evict);
        Some((&mut self.entries.get_mut(place)?.value, new))
    }

    /// Forgets what is past its time at `now`.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while self.is_first_past(now) {
            self.pop();
        }
    }

    /// Entries that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Entries that were forgotten before their time.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Puts an entry behind the newest and returns its place.
    fn append(&mut self, hash: u64, entry: Entry<K, V>, mut evict: impl FnMut(&K)) -> usize {
        for _ in 0..LEAVE_TOGETHER {
            if self.is_first_past(entry.at) {
                self.pop();
            }
        }
        if self.used >= self.entries_max
            && let Some(key) = self.pop()
        {
            self.evicted = self.evicted.wrapping_add(1);
            evict(&key);
        }
        let end = self.first.wrapping_add(self.used);
        let place = if end < self.entries_max { end } else { end.wrapping_sub(self.entries_max) };
        match self.entries.get_mut(place) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        self.used = self.used.wrapping_add(1);
        self.len = self.len.wrapping_add(1);
        let mut slot = self.home(hash);
        while self.index.get(slot).is_some_and(|&taken| taken != 0) {
            slot = self.next(slot);
        }
        if let Some(free) = self.index.get_mut(slot) {
            *free = tagged(hash, place);
        }
        place
    }

    fn is_first_past(&self, now: Timestamp) -> bool {
        self.used > 0 && self.entries.get(self.first).is_some_and(|oldest| now.since(oldest.at) >= self.memory)
    }

    /// Takes away the oldest place. Its key, unless it has moved since.
    fn pop(&mut self) -> Option<K> {
        let place = self.first;
        let key = self.entries.get(place)?.key;
        let next = place.wrapping_add(1);
        self.first = if next < self.entries_max { next } else { 0 };
        self.used = self.used.saturating_sub(1);
        let slot = self.slot_of(tagged(self.hash(&key), place))?;
        self.free(slot);
        Some(key)
    }

    /// Where the index leads to `key`, and where to.
    fn find(&self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let mut slot = self.home(hash);
        loop {
            let taken = self.index.get(slot).copied().filter(|&taken| taken != 0)?;
            if taken >> 32 == hash >> 32 {
                let place = place_of(taken);
                if self.entries.get(place).is_some_and(|entry| entry.key == *key) {
                    return Some((slot, place));
                }
            }
            slot = self.next(slot);
        }
    }

    /// The slot that holds exactly this.
    fn slot_of(&self, wanted: u64) -> Option<usize> {
        let mut slot = self.home(wanted);
        loop {
            let taken = self.index.get(slot).copied().filter(|&taken| taken != 0)?;
            if taken == wanted {
                return Some(slot);
            }
            slot = self.next(slot);
        }
    }

    /// Frees a slot; those behind it that it kept from their home move up (Knuth, TAOCP 6.4, algorithm R).
    fn free(&mut self, slot: usize) {
        self.len = self.len.saturating_sub(1);
        let (mut hole, mut slot) = (slot, slot);
        loop {
            slot = self.next(slot);
            let taken = self.index.get(slot).copied().unwrap_or(0);
            if taken == 0 {
                break;
            }
            let mask = self.index.len().wrapping_sub(1);
            let from_home = slot.wrapping_sub(self.home(taken)) & mask;
            if from_home >= slot.wrapping_sub(hole) & mask {
                if let Some(free) = self.index.get_mut(hole) {
                    *free = taken;
                }
                hole = slot;
            }
        }
        if let Some(free) = self.index.get_mut(hole) {
            *free = 0;
        }
    }

    fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Where the search for a hash begins: its highest bits.
    fn home(&self, hash: u64) -> usize {
        let bits = self.index.len().trailing_zeros();
        usize::try_from(hash.wrapping_shr(64_u32.wrapping_sub(bits))).unwrap_or(0)
    }

    fn next(&self, slot: usize) -> usize {
        slot.wrapping_add(1) & self.index.len().wrapping_sub(1)
    }
}

fn tagged(hash: u64, place: usize) -> u64 {
    hash >> 32 << 32 | u64::try_from(place).unwrap_or(0).wrapping_add(1)
}

fn place_of(taken: u64) -> usize {
    usize::try_from(taken & u64::from(u32::MAX)).unwrap_or(0).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const MEMORY: Duration = Duration::from_mins(10);

    fn minutes(minutes: u64) -> Timestamp {
        Timestamp(minutes * 60_000_000_000)
    }

    #[test]
    fn a_key_is_new_once_and_keeps_its_value() {
        let mut recent: Recent<u32, u32> = Recent::new(0, MEMORY);
        let (value, new) = recent.entry(Timestamp(1), 7, |_| {}).unwrap();
        assert!(new);
        *value = 42;
        assert_eq!(recent.entry(Timestamp(2), 7, |_| {}), Some((&mut 42, false)));
        assert_eq!(recent.get(Timestamp(2), &7), Some(&42));
        assert_eq!(recent.get(Timestamp(2), &8), None);
    }

    #[test]
    fn a_key_in_use_stays_and_an_idle_one_leaves_after_its_time_without_being_an_eviction() {
        let mut recent: Recent<u32, u32> = Recent::new(0, MEMORY);
        *recent.entry(minutes(0), 1, |_| {}).unwrap().0 = 11;
        recent.entry(minutes(0), 2, |_| {});
        assert_eq!(recent.get(minutes(10), &2), Some(&0), "at least ten minutes");
        assert_eq!(recent.get(minutes(12), &2), None, "at most an eighth more");
        for minute in (0..100).step_by(9) {
            assert_eq!(recent.entry(minutes(minute), 1, |_| {}), Some((&mut 11, false)), "{minute}");
        }
        assert!(recent.entry(minutes(100), 2, |_| {}).unwrap().1);
        recent.expire(minutes(200));
        assert_eq!((recent.len(), recent.evicted()), (0, 0));
    }

    #[test]
    fn a_flood_crowds_out_the_oldest_and_each_is_told() {
        let mut recent: Recent<u64, u64> = Recent::new(64 * 1024, MEMORY);
        let mut told = Vec::new();
        for key in 0..100_000 {
            *recent.entry(Timestamp(key), key, |old| told.push(*old)).unwrap().0 = key;
        }
        let held = recent.len() as u64;
        assert!((1024..2000).contains(&held), "{held}");
        assert_eq!(told, (0..100_000 - held).collect::<Vec<_>>());
        assert_eq!(recent.evicted(), 100_000 - held);
        assert!((100_000 - held..100_000).all(|key| recent.get(Timestamp(100_000), &key) == Some(&key)));
    }

    #[test]
    fn it_takes_no_more_than_it_was_given() {
        for bytes in [0, 100_000, 1 << 20, 24 << 20, 33_000_001] {
            let recent: Recent<[u64; 3], [u64; 5]> = Recent::new(bytes, MEMORY);
            let taken = recent.index.len() * 8 + recent.entries.capacity() * size_of::<Entry<[u64; 3], [u64; 5]>>();
            assert!(taken <= bytes.max(ENTRIES_MIN * 100), "{taken} of {bytes}");
        }
    }

    proptest! {
        /// Against a plain map: few keys, so that they meet, leave and come back; the index is left as it should be.
        #[test]
        fn it_remembers_what_a_plain_map_remembers(steps in prop::collection::vec((0_u16..2000, 0_u64..4), 1..6000)) {
            let mut recent: Recent<u16, u64> = Recent::new(0, MEMORY);
            let mut plain: HashMap<u16, (Timestamp, u64)> = HashMap::new();
            let mut now = minutes(1);
            for (step, (key, seconds)) in steps.into_iter().enumerate() {
                now = now.after(Duration::from_secs(seconds));
                let mut evicted = Vec::new();
                let (value, new) = recent.entry(now, key, |old| evicted.push(*old)).unwrap();
                for old in evicted {
                    plain.remove(&old);
                }
                let before = plain.get(&key).copied();
                if new {
                    prop_assert!(before.is_none_or(|(last, _)| now.since(last) > MEMORY));
                    *value = step as u64;
                } else {
                    prop_assert_eq!(before.map(|(_, value)| value), Some(*value));
                }
                plain.insert(key, (now, *value));
            }
            let taken = recent.index.iter().filter(|&&taken| taken != 0).count();
            prop_assert_eq!(taken, recent.len());
            for (key, (last, value)) in plain {
                if now.since(last) <= MEMORY {
                    prop_assert_eq!(recent.get(now, &key), Some(&value));
                }
            }
        }
    }
}
