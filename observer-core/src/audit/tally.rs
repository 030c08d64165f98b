//! Bounded tables of counters: labels come in, a counter goes out; labels past the bound share the overflow row.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::ledger::Sight;

/// Examples kept of each kind.
const EXAMPLES_MAX: usize = 3;
/// The least rows of a table, so that a tiny memory limit still tells a few services apart.
const ROWS_MIN: usize = 64;

/// The labels of a row, of which one may be replaced by overflow.
pub(super) trait Labels: Copy + Ord + Hash {
    /// The same labels with the one that an outsider can multiply replaced by overflow.
    fn overflow(self) -> Self;
}

/// A table of at most as many rows as fit its bytes, besides the overflow rows (which have one label less to vary in).
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: FxHashMap<K, V>,
    rows_max: usize,
    overflowed: u64,
}

impl<K: Labels, V: Default> Table<K, V> {
    pub(super) fn new(bytes: usize) -> Self {
        // A map that doubles may be half empty.
        let row_bytes = size_of::<(K, V)>().saturating_mul(2);
        let rows_max = bytes.checked_div(row_bytes).unwrap_or(0).max(ROWS_MIN);
        Self { rows: FxHashMap::default(), rows_max, overflowed: 0 }
    }

    pub(super) fn at(&mut self, key: K) -> &mut V {
        let mut key = key;
        if self.rows.len() >= self.rows_max && !self.rows.contains_key(&key) {
            self.overflowed = self.overflowed.saturating_add(1);
            key = key.overflow();
        }
        self.rows.entry(key).or_default()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn sorted(&self) -> Vec<(K, &V)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, value)| (*key, value)).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.rows.keys()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

/// The first few messages of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Examples([Option<Sight>; EXAMPLES_MAX]);

impl Examples {
    pub(super) fn add(&mut self, sight: Sight) {
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(sight);
        }
    }

    /// The examples in the order in which they were seen.
    pub fn iter(&self) -> impl Iterator<Item = &Sight> {
        self.0.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ServiceId;
    use crate::names::Names;

    #[test]
    fn rows_past_the_bound_share_the_overflow_row_and_nothing_is_dropped() {
        let mut table: Table<(ServiceId, ServiceId), u64> = Table::new(0);
        for peer in 1..=100_000 {
            *table.at((ServiceId(1), ServiceId(peer))) += 1;
        }
        assert_eq!(table.len(), ROWS_MIN + 1);
        assert_eq!(table.get(&(ServiceId(1), Names::OVERFLOW_SERVICE)), Some(&table.overflowed()));
        assert_eq!(table.sorted().iter().map(|(_, count)| **count).sum::<u64>(), 100_000);
    }
}
