//! A Bloom filter with two generations: hashes come in, "never added" or "perhaps" goes out. Nothing is ever forgotten
//! before its time; a full filter only says "perhaps" too often.

use std::ptr;
use std::time::Duration;

use crate::recent::Prefetch;
use crate::time::Timestamp;

/// Bits that a hash sets, all in one 64-byte block, so that a look costs one cache line. With 16 bits an entry about one
/// look in 500 says "perhaps" without cause.
const PROBES: u32 = 6;
const BLOCK_WORDS: usize = 8;

type Block = [u64; BLOCK_WORDS];

/// Which hashes were added within a time.
#[derive(Debug)]
pub(super) struct Filter {
    /// Empty until the first hash is added: most runs never need it.
    young: Vec<Block>,
    old: Vec<Block>,
    young_since: Timestamp,
    blocks: usize,
    memory: Duration,
}

impl Filter {
    /// A filter of about `bytes` that remembers for at least `memory`.
    pub(super) fn new(bytes: usize, memory: Duration) -> Self {
        let blocks = bytes.checked_div(size_of::<[Block; 2]>()).unwrap_or(1).max(1);
        Self { young: Vec::new(), old: Vec::new(), young_since: Timestamp(0), blocks, memory }
    }

    /// Remembers `hash`.
    pub(super) fn add(&mut self, hash: u64, at: Timestamp) {
        self.expire(at);
        if self.young.is_empty() {
            self.young = vec![[0; BLOCK_WORDS]; self.blocks];
            self.young_since = at;
        }
        let place = self.place(hash);
        if let Some(block) = self.young.get_mut(place) {
            for (word, mask) in block.iter_mut().zip(pattern(hash)) {
                *word |= mask;
            }
        }
    }

    /// Names the memory that a look for `hash` will touch.
    pub(super) fn prefetch(&self, hash: u64, prefetch: Prefetch) {
        let place = self.place(hash);
        for block in [&self.young, &self.old].into_iter().filter_map(|blocks| blocks.get(place)) {
            prefetch(ptr::from_ref(block).cast());
        }
    }

    /// Whether `hash` may have been added; never false for one that was.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let place = self.place(hash);
        [&self.young, &self.old].into_iter().any(|blocks| {
            blocks
                .get(place)
                .is_some_and(|block| block.iter().zip(pattern(hash)).all(|(word, mask)| word & mask == mask))
        })
    }

    /// Drops what is past its time.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.young_since.after(self.memory) <= now && !(self.young.is_empty() && self.old.is_empty()) {
            self.old = std::mem::take(&mut self.young);
            self.young_since = now;
        }
    }

    fn place(&self, hash: u64) -> usize {
        // The high 32 bits scaled to the number of blocks (Lemire, "Fast random integer generation in an interval").
        let scaled = (hash >> 32).saturating_mul(u64::try_from(self.blocks).unwrap_or(u64::MAX)) >> 32;
        usize::try_from(scaled).unwrap_or(0)
    }
}

/// The bits of a hash within its block.
fn pattern(hash: u64) -> Block {
    let mut block = [0; BLOCK_WORDS];
    let mut bits = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for _ in 0..PROBES {
        let word = usize::try_from(bits >> 61).unwrap_or(0);
        if let Some(word) = block.get_mut(word) {
            *word |= 1_u64.wrapping_shl(u32::try_from((bits >> 55) & 63).unwrap_or(0));
        }
        bits = bits.wrapping_shl(9);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(seed: u64) -> impl Iterator<Item = u64> {
        (1..=10_000_u64).map(move |number| number.wrapping_add(seed << 32).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ number)
    }

    #[test]
    fn what_was_added_is_never_denied() {
        let mut filter = Filter::new(64 * 1024, Duration::from_secs(10));
        for hash in hashes(1) {
            filter.add(hash, Timestamp(0));
        }
        assert!(hashes(1).all(|hash| filter.may_hold(hash)));
        let wrong = hashes(2).filter(|&hash| filter.may_hold(hash)).count();
        assert!(wrong < 100, "{wrong} of 10000");
    }

    #[test]
    fn it_forgets_after_twice_its_memory() {
        let mut filter = Filter::new(1024, Duration::from_secs(10));
        filter.add(77, Timestamp(0));
        filter.expire(Timestamp(0).after(Duration::from_secs(10)));
        assert!(filter.may_hold(77));
        filter.expire(Timestamp(0).after(Duration::from_secs(20)));
        assert!(!filter.may_hold(77));
    }
}
