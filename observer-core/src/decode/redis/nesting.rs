//! Where in a reply a token stands: tokens come in, depth and place of each element go out.

use super::resp::Aggregate;

/// The deepest nesting that is followed; replies of commands have five levels.
const DEPTH_MAX: usize = 32;

/// Where an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// In how many others it stands.
    pub(super) depth: usize,
    /// Its number in the innermost of these, from 0.
    pub(super) index: u64,
}

#[derive(Debug)]
struct Level {
    kind: Aggregate,
    left: u64,
    index: u64,
}

/// The aggregates that are open.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    levels: Vec<Level>,
    /// How many of them are attributes.
    attributes: usize,
}

impl Nesting {
    /// Where the next element stands.
    pub(super) fn spot(&self) -> Spot {
        let index = self.levels.last().map_or(0, |level| level.index);
        Spot { depth: self.levels.len(), index }
    }

    /// Whether nothing is open.
    pub(super) fn is_top(&self) -> bool {
        self.levels.is_empty()
    }

    /// Whether what stands here tells something of what follows.
    pub(super) fn is_attribute(&self) -> bool {
        self.attributes > 0
    }

    /// An aggregate begins; false where it is too deep. One of nothing is complete with that: [`Self::complete`] is to be called.
    pub(super) fn open(&mut self, kind: Aggregate, len: u64) -> bool {
        if self.levels.len() >= DEPTH_MAX {
            return false;
        }
        self.attributes = self.attributes.saturating_add(usize::from(kind == Aggregate::Attribute));
        self.levels.push(Level { kind, left: len, index: 0 });
        true
    }

    /// The innermost aggregate, if all of it was seen, ends: where it stood, and whether it was an element.
    pub(super) fn close(&mut self) -> Option<(Spot, bool)> {
        let level = self.levels.pop_if(|level| level.left == 0)?;
        let is_element = level.kind != Aggregate::Attribute;
        self.attributes = self.attributes.saturating_sub(usize::from(!is_element));
        Some((self.spot(), is_element))
    }

    /// An element ended.
    pub(super) fn complete(&mut self) {
        if let Some(level) = self.levels.last_mut() {
            level.left = level.left.saturating_sub(1);
            level.index = level.index.saturating_add(1);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.levels.capacity().saturating_mul(size_of::<Level>())
    }
}
