//! The dynamic table (RFC 7541 section 2.3.2) as far as it is known: entries come in, those that a peer refers to go out.
//!
//! Only the newest entries are known: what was inserted before the observer came, or in blocks that were lost, is not. An
//! entry's index is its distance from the newest one, whatever lies behind it, so a known entry is right and an index behind
//! the known ones is unknown, never wrong. Evicting too late does no harm either: a peer never refers to what is gone.
//!
//! Of an entry its name is kept as far as it is wanted, and its value only then.

use std::collections::VecDeque;

use super::fields::Name;

/// What an entry counts besides its name and value (RFC 7541 section 4.1).
const ENTRY_OVERHEAD: u64 = 32;
/// The size with which a connection begins (RFC 9113 section 6.5.2).
const SIZE_INITIAL: u32 = 4096;
/// Entries kept; older ones are taken for unknown. A table of the usual 4,096 bytes holds 128, one of 64 KiB some 800.
pub(super) const ENTRIES_MAX: usize = 1024;
/// Bytes of wanted values kept; older ones are taken for unknown.
pub(super) const VALUE_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    name: Name,
    name_len: u32,
    /// Name, value and overhead; a name that is not known counts one byte.
    size: u64,
    /// How many bytes of `values` are its value, where that is kept.
    value_len: Option<u32>,
    /// Where the value stands in all values that were ever kept.
    start: u64,
}

#[derive(Debug)]
pub(super) struct Table {
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The values of the entries, oldest first, behind some that are dropped.
    values: Vec<u8>,
    /// Where `values` begins in all values that were ever kept.
    values_start: u64,
    size: u64,
    size_max: u64,
}

/// An entry that a peer refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'t> {
    pub(super) name: Name,
    pub(super) name_len: u32,
    pub(super) value: Option<&'t [u8]>,
}

impl Table {
    /// The table of a connection that begins.
    pub(super) fn new() -> Self {
        let size_max = u64::from(SIZE_INITIAL);
        Self { entries: VecDeque::new(), values: Vec::new(), values_start: 0, size: 0, size_max }
    }

    /// Blocks were missed: nothing is known of the table, nor of its size.
    pub(super) fn forget(&mut self) {
        *self = Self { size_max: u64::MAX, ..Self::new() };
    }

    /// Other headers are wanted from now on: of the entries only those names are known that are always wanted.
    pub(super) fn forget_names(&mut self) {
        for entry in &mut self.entries {
            if !entry.name.is_standing() {
                entry.name = Name::Unknown;
                entry.value_len = None;
            }
        }
    }

    /// The entry at `depth`, 0 for the newest.
    pub(super) fn get(&self, depth: usize) -> Option<Known<'_>> {
        let entry = self.entries.get(self.entries.len().checked_sub(depth.checked_add(1)?)?)?;
        let value = entry.value_len.and_then(|len| {
            let start = usize::try_from(entry.start.checked_sub(self.values_start)?).ok()?;
            self.values.get(start..start.checked_add(usize::try_from(len).ok()?)?)
        });
        Some(Known { name: entry.name, name_len: entry.name_len, value })
    }

    /// Inserts an entry of which the value is `value_len` bytes long and, where it is wanted, `value`.
    pub(super) fn insert(&mut self, name: Name, name_len: u32, value_len: usize, value: Option<&[u8]>) {
        let size = u64::from(name_len).saturating_add(value_len as u64).saturating_add(ENTRY_OVERHEAD);
        self.evict(self.size_max.saturating_sub(size));
        if size > self.size_max {
            // It empties the table, and is none of its entries (RFC 7541 section 4.4).
            return self.clear();
        }
        let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
        let room = VALUE_BYTES_MAX.saturating_sub(value.map_or(0, <[u8]>::len));
        while self.entries.len() >= ENTRIES_MAX || self.kept_bytes() > room {
            if !self.drop_oldest() {
                break;
            }
        }
        let start = self.values_start.saturating_add(self.values.len() as u64);
        if let Some(value) = value {
            self.make_room(value.len());
            self.values.extend_from_slice(value);
        }
        let value_len = value.and_then(|value| u32::try_from(value.len()).ok());
        self.entries.push_back(Entry { name, name_len, size, value_len, start });
        self.size = self.size.saturating_add(size);
    }

    /// The peer changes the largest size.
    pub(super) fn resize(&mut self, size_max: u32) {
        self.size_max = u64::from(size_max);
        self.evict(self.size_max);
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.values.capacity().saturating_add(self.entries.capacity().saturating_mul(size_of::<Entry>()))
    }

    fn evict(&mut self, size_max: u64) {
        while self.size > size_max {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.entries.pop_front() else { return false };
        self.size = self.size.saturating_sub(oldest.size);
        if self.entries.is_empty() {
            self.clear();
        }
        true
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.values_start = self.values_start.saturating_add(self.values.len() as u64);
        self.values.clear();
        self.size = 0;
    }

    /// How many bytes of values belong to entries.
    fn kept_bytes(&self) -> usize {
        self.values.len().saturating_sub(self.dropped_bytes())
    }

    /// How many bytes at the beginning of `values` belong to entries that are gone.
    fn dropped_bytes(&self) -> usize {
        let kept_from = self.entries.front().map_or(u64::MAX, |oldest| oldest.start);
        usize::try_from(kept_from.saturating_sub(self.values_start)).unwrap_or(usize::MAX).min(self.values.len())
    }

    /// Makes room for a value: moves the kept ones to the front once that frees half of the space.
    fn make_room(&mut self, len: usize) {
        let needed = self.values.len().saturating_add(len);
        if needed <= self.values.capacity() {
            return;
        }
        let dropped = self.dropped_bytes();
        if dropped >= self.values.len() / 2 {
            self.values.drain(..dropped);
            self.values_start = self.values_start.saturating_add(dropped as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::HeaderName;

    const WANTED: Name = Name::Wanted(HeaderName::TRACEPARENT);

    #[test]
    fn entries_are_found_by_their_distance_from_the_newest() {
        let mut table = Table::new();
        table.insert(WANTED, 11, 3, Some(b"one"));
        table.insert(Name::Other, 6, 3, None);
        table.insert(WANTED, 11, 5, Some(b"three"));
        let values: Vec<_> = (0..4).map(|depth| table.get(depth).map(|known| known.value)).collect();
        assert_eq!(values, [Some(Some(&b"three"[..])), Some(None), Some(Some(b"one")), None]);
    }

    #[test]
    fn the_oldest_entries_make_room() {
        let mut table = Table::new();
        table.resize(150);
        for value in [b"aa", b"bb", b"cc", b"dd"] {
            table.insert(WANTED, 11, 2, Some(value));
        }
        assert_eq!((table.entries.len(), table.size), (3, 135));
        assert_eq!(table.get(2).unwrap().value, Some(&b"bb"[..]));
        table.resize(89);
        assert_eq!(table.entries.len(), 1);
        table.insert(WANTED, 11, 60, Some(&[b'x'; 60]));
        assert!(table.get(0).is_none(), "an entry that is larger than the table empties it");
    }

    #[test]
    fn what_is_kept_is_bounded_and_right() {
        let mut table = Table::new();
        table.forget();
        for number in 0..5000_u32 {
            let value = number.to_string().repeat(5);
            table.insert(WANTED, 11, value.len(), Some(value.as_bytes()));
            assert_eq!(table.get(0).unwrap().value, Some(value.as_bytes()));
            for depth in [1, 10, 700] {
                if let Some(known) = table.get(depth) {
                    let expected = (number - u32::try_from(depth).unwrap()).to_string().repeat(5);
                    assert_eq!(known.value, Some(expected.as_bytes()));
                }
            }
            assert!(table.buffered_bytes() < 96 * 1024, "{}", table.buffered_bytes());
        }
        table.insert(WANTED, 11, VALUE_BYTES_MAX + 1, Some(&vec![b'x'; VALUE_BYTES_MAX + 1]));
        assert!(table.get(0).unwrap().value.is_none());
    }
}
