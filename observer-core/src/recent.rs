//! A map of what is recent: keys come in with a time, their values go out until they are past their time or crowded out.
//!
//! Entries stand in a ring in the order of time, so that a new one is written where the oldest was. An index of small sets, one
//! cache line each, leads to them: a key costs one look at one line, whether it is new or not. An entry that leaves the ring is
//! not taken out of the index; its slot is known to be stale by its number. Memory is taken only as it is used.

use std::hash::{BuildHasher, Hash};
use std::ptr;
use std::time::Duration;

use foldhash::quality::RandomState;

use crate::time::Timestamp;

/// The least entries, so that a tiny memory limit still remembers what is in flight.
const ENTRIES_MIN: usize = 256;
/// The most entries: leaves four bits of a slot to the tag.
const ENTRIES_MAX: usize = 1 << 26;
/// An entry in use moves to the end of the ring once this share (1/n) of its time has passed.
const MOVE_SHARE: u32 = 8;
/// Entries past their time that go with each new one.
const LEAVE_TOGETHER: usize = 2;

/// Slots of a set: 64 bytes, a cache line.
const WAYS: usize = 16;
/// Entries for each set, at the most. With all in use a set then overflows, and its oldest entry is crowded out early, for less
/// than one new key in 250 (the tail of Poisson's distribution: over 16 where the mean is 8).
const SET_LOAD: usize = 8;
/// Bytes of the index for each entry, at the most: at least half of `SET_LOAD` in each set.
const INDEX_BYTES: usize = WAYS * size_of::<u32>() * 2 / SET_LOAD;

/// Asks the processor to load the cache line at an address beside other work. Whoever calls brings it: it takes an instruction
/// that safe Rust does not have.
pub type Prefetch = fn(*const u8);

/// A bounded map of recent keys.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    /// Sets of slots, the newest first: the tag of the hash above the number of the entry. From `index_start` on.
    index: Vec<u32>,
    /// Where the first cache line begins.
    index_start: usize,
    /// Bits of the hash that choose the set.
    set_bits: u32,
    /// Bits of a slot that hold the number, two more than count the places: slots that are stale for so long that their
    /// number seems in use again are all but impossible, and an entry's key has the last word.
    number_mask: u32,
    entries: Vec<Entry<K, V>>,
    /// The place of the oldest.
    first: usize,
    /// Places in use from there on, those that are gone included.
    used: usize,
    /// The number of the next entry. Starts at 1, so that an empty slot is stale.
    next: u32,
    /// Entries held.
    len: usize,
    entries_max: usize,
    /// How long an entry stays at its place.
    memory: Duration,
    /// How old it may be and yet stay when its key is met again.
    slack: Duration,
    evicted: u64,
    /// Seeded: ids come from strangers, who could else choose some that fall into one set.
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K, V> {
    /// When it came to this place.
    at: Timestamp,
    key: K,
    value: V,
    /// Moved to a newer place, or crowded out of its set.
    gone: bool,
}

impl<K: Copy + Eq + Hash, V: Copy + Default> Recent<K, V> {
    /// A map of at most `bytes` (but room for [`ENTRIES_MIN`]) that remembers a key for `memory` after it was last given to
    /// [`Self::entry`], and for an eighth more at the most.
    pub(crate) fn new(bytes: usize, memory: Duration) -> Self {
        let each = size_of::<Entry<K, V>>().saturating_add(INDEX_BYTES);
        let entries_max = bytes.checked_div(each).unwrap_or(0).clamp(ENTRIES_MIN, ENTRIES_MAX);
        let slack = memory.checked_div(MOVE_SHARE).unwrap_or_default();
        let sets = entries_max.div_ceil(SET_LOAD).next_power_of_two();
        let index = vec![0; sets.saturating_add(1).saturating_mul(WAYS)];
        Self {
            index_start: index.as_ptr().align_offset(WAYS.wrapping_mul(size_of::<u32>())).min(WAYS),
            index,
            set_bits: sets.trailing_zeros(),
            number_mask: u32::try_from(entries_max.next_power_of_two()).unwrap_or(0).wrapping_mul(4).wrapping_sub(1),
            entries: Vec::with_capacity(entries_max),
            first: 0,
            used: 0,
            next: 1,
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

    /// Names the memory that [`Self::entry`] will touch for `key`. That of a key which nobody has seen is in no cache.
    pub(crate) fn prefetch(&self, key: &K, prefetch: Prefetch) {
        if let Some(set) = self.set(self.hash(key)) {
            prefetch(ptr::from_ref(set).cast());
        }
    }

    /// The key that is crowded out next.
    pub(crate) fn next_evicted(&self) -> Option<&K> {
        let full = self.used >= self.entries_max;
        self.entries.get(self.first).filter(|entry| full && !entry.gone).map(|entry| &entry.key)
    }

    /// The value of `key`, which is new (`true`) or remembered (`false`). Where an older entry must go before its time, `evict`
    /// hears of its key. Always some value.
    pub(crate) fn entry(&mut self, at: Timestamp, key: K, evict: impl FnMut(&K)) -> Option<(&mut V, bool)> {
        let hash = self.hash(&key);
        let mut value = V::default();
        let mut new = true;
        let mut way = WAYS.wrapping_sub(1);
        if let Some((found, place)) = self.find(hash, &key) {
            let unmoved = at.since(self.entries.get(place)?.at);
            if unmoved < self.slack {
                return Some((&mut self.entries.get_mut(place)?.value, false));
            }
            new = unmoved >= self.memory;
            way = found;
            let entry = self.leave(place)?;
            if !new {
                value = entry.value;
            }
        }
        let place = self.append(hash, way, Entry { at, key, value, gone: false }, evict);
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

    /// Puts an entry behind the newest and returns its place. `way`: the slot of its set that it takes over.
    fn append(&mut self, hash: u64, way: usize, entry: Entry<K, V>, mut evict: impl FnMut(&K)) -> usize {
        for _ in 0..LEAVE_TOGETHER {
            if self.is_first_past(entry.at) {
                self.pop();
            }
        }
        let oldest = if self.used >= self.entries_max { self.pop() } else { None };
        for key in [oldest, self.overflow(hash, way, entry.at)].into_iter().flatten() {
            self.evicted = self.evicted.wrapping_add(1);
            evict(&key);
        }
        let place = self.place(self.used);
        match self.entries.get_mut(place) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        let slot = self.tag(hash) | (self.next & self.number_mask);
        if let Some(set) = self.set_mut(hash) {
            set.copy_within(..way, 1);
            let [newest, ..] = set;
            *newest = slot;
        }
        self.used = self.used.wrapping_add(1);
        self.next = self.next.wrapping_add(1);
        self.len = self.len.wrapping_add(1);
        place
    }

    /// Takes away the entry that a slot leads to. Its key, where it was still remembered.
    fn overflow(&mut self, hash: u64, way: usize, now: Timestamp) -> Option<K> {
        let slot = *self.set(hash)?.get(way)?;
        let place = self.place_of(slot)?;
        let Entry { at, key, gone, .. } = *self.entries.get(place)?;
        // The number may be that of a later entry, in another set.
        if gone || self.home(self.hash(&key)) != self.home(hash) {
            return None;
        }
        self.leave(place);
        (now.since(at) < self.memory).then_some(key)
    }

    fn is_first_past(&self, now: Timestamp) -> bool {
        self.used > 0 && self.entries.get(self.first).is_some_and(|oldest| now.since(oldest.at) >= self.memory)
    }

    /// Takes away the oldest place. Its key, where it was still remembered.
    fn pop(&mut self) -> Option<K> {
        let left = self.leave(self.first).map(|entry| entry.key);
        self.first = self.place(1);
        self.used = self.used.saturating_sub(1);
        left
    }

    /// Forgets the entry at a place; `None` where it is gone already.
    fn leave(&mut self, place: usize) -> Option<Entry<K, V>> {
        let entry = self.entries.get_mut(place).filter(|entry| !entry.gone)?;
        entry.gone = true;
        self.len = self.len.saturating_sub(1);
        Some(*entry)
    }

    /// Where the index leads to `key`: the slot in its set, and the place.
    fn find(&self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let (set, tag) = (self.set(hash)?, self.tag(hash));
        let is_alike = |slot: u32| slot & !self.number_mask == tag;
        // All slots at once, for a key that is new.
        if !set.iter().fold(false, |any, &slot| any | is_alike(slot)) {
            return None;
        }
        set.iter().enumerate().filter(|&(_, &slot)| is_alike(slot)).find_map(|(way, &slot)| {
            let place = self.place_of(slot)?;
            let entry = self.entries.get(place)?;
            (!entry.gone && entry.key == *key).then_some((way, place))
        })
    }

    /// The place so many behind the oldest.
    fn place(&self, behind: usize) -> usize {
        let place = self.first.wrapping_add(behind);
        if place < self.entries_max { place } else { place.wrapping_sub(self.entries_max) }
    }

    /// The place that a slot leads to; `None` where it is stale.
    fn place_of(&self, slot: u32) -> Option<usize> {
        // From 1, the newest, to `used`, the oldest.
        let age = usize::try_from(self.next.wrapping_sub(slot) & self.number_mask).ok()?;
        let behind = self.used.checked_sub(age).filter(|_| age > 0)?;
        Some(self.place(behind))
    }

    fn hash(&self, key: &K) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The part of a hash that a slot holds.
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    fn tag(&self, hash: u64) -> u32 {
        hash as u32 & !self.number_mask
    }

    /// Where the set of a hash begins: by its highest bits.
    fn home(&self, hash: u64) -> usize {
        let set = hash.wrapping_shr(64_u32.wrapping_sub(self.set_bits));
        usize::try_from(set).unwrap_or(0).wrapping_mul(WAYS).wrapping_add(self.index_start)
    }

    fn set(&self, hash: u64) -> Option<&[u32; WAYS]> {
        self.index.get(self.home(hash)..)?.first_chunk()
    }

    fn set_mut(&mut self, hash: u64) -> Option<&mut [u32; WAYS]> {
        let home = self.home(hash);
        self.index.get_mut(home..)?.first_chunk_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
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
        assert_eq!(recent.evicted(), 100_000 - held);
        let early = told.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(early < told.len() / 100, "{early} before older ones");
        let remembered = (0..100_000).filter(|key| recent.get(Timestamp(100_000), key) == Some(key));
        told.extend(remembered);
        told.sort_unstable();
        assert_eq!(told, (0..100_000).collect::<Vec<_>>(), "each is told or remembered, once");
    }

    thread_local! {
        static PREFETCHED: Cell<*const u8> = const { Cell::new(ptr::null()) };
    }

    #[test]
    fn what_is_prefetched_is_where_the_entry_will_be_found() {
        let mut recent: Recent<u64, u64> = Recent::new(64 * 1024, MEMORY);
        for key in 0..1000 {
            recent.prefetch(&key, |address| PREFETCHED.set(address));
            recent.entry(Timestamp(key), key, |_| {});
            let line = recent.index.as_ptr_range().start.cast::<u8>();
            let slot = (PREFETCHED.get().addr() - line.addr()) / size_of::<u32>();
            assert_eq!(PREFETCHED.get().addr() % 64, 0, "a cache line");
            assert_eq!(
                recent.place_of(recent.index[slot]),
                Some(recent.place(recent.used - 1)),
                "the newest of its set"
            );
        }
    }

    #[test]
    fn the_next_key_to_be_crowded_out_is_known_once_all_places_are_taken() {
        let mut recent: Recent<u64, u64> = Recent::new(0, MEMORY);
        let mut right = 0;
        for key in 0..10_000 {
            let next = recent.next_evicted().copied();
            let mut evicted = Vec::new();
            recent.entry(Timestamp(key), key, |old| evicted.push(*old));
            if let Some(next) = next {
                assert_eq!(evicted.first(), Some(&next));
                right += 1;
            }
        }
        let early = recent.evicted() - right;
        assert!(right > 9_000 && early < 500, "{right}, {early}");
    }

    #[test]
    fn it_takes_no_more_than_it_was_given() {
        for bytes in [0, 100_000, 1 << 20, 24 << 20, 33_000_001] {
            let recent: Recent<[u64; 3], [u64; 5]> = Recent::new(bytes, MEMORY);
            let taken = recent.index.len() * 4 + recent.entries.capacity() * size_of::<Entry<[u64; 3], [u64; 5]>>();
            assert!(taken <= bytes.max(ENTRIES_MIN * 100), "{taken} of {bytes}");
        }
    }

    proptest! {
        /// Against a plain map: few keys, so that they meet, leave and come back.
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
            let remembered = (0..recent.used).filter(|&behind| !recent.entries[recent.place(behind)].gone).count();
            prop_assert_eq!(remembered, recent.len());
            for (key, (last, value)) in plain {
                if now.since(last) <= MEMORY {
                    prop_assert_eq!(recent.get(now, &key), Some(&value));
                }
            }
        }
    }
}
