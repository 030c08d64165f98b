//! One direction of a connection: where it stands and what is expected there.

use super::chunks::Chunks;
use super::draft::Draft;
use super::start_line::Role;
use crate::decode::ahead::{Ahead, Distance, Held};
use crate::time::Timestamp;

/// What stands at [`Half::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing was decoded yet: any piece that starts like a head is one.
    Anything,
    /// A head, or the rest of the one in the draft.
    Head,
    /// So many bytes of a body, then a head.
    Sized {
        /// More than zero.
        left: u64,
    },
    /// A chunked body.
    Chunked(Chunks),
    /// Of requests: the rest of a chunked body of which chunk sizes are missing.
    Chunks,
    /// A body that ends with the connection.
    UntilClose,
    /// No byte is missing, but what came is no HTTP.
    Garbage,
    /// Bytes are missing, so anything: see the rule in [`super`].
    Adrift,
}

/// How sure it is that a head begins where one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It looks like one, and nothing was decoded before it.
    First,
    /// No byte is missing since the message before it.
    Certain,
    /// Bytes are missing before it; what the other end had received shows that one begins here.
    Resumed,
}

#[derive(Debug)]
pub(super) struct Half {
    /// The sequence number of the next byte.
    pub(super) next: u32,
    pub(super) expected: Expected,
    /// How sure it is that a head begins where one is expected.
    pub(super) standing: Standing,
    pub(super) draft: Option<Box<Draft>>,
    pub(super) ahead: Option<Box<Ahead>>,
}

impl Half {
    pub(super) fn new() -> Self {
        Self { next: 0, expected: Expected::Anything, standing: Standing::First, draft: None, ahead: None }
    }

    pub(super) fn distance(&self, seq: u32) -> Distance {
        Distance::of(seq, self.next)
    }

    /// Where a body of which `left` bytes are to come ends.
    pub(super) fn end_of(&self, left: u64) -> u32 {
        // Sequence numbers wrap (RFC 9293 section 3.4): the remainder is what counts.
        self.next.wrapping_add(u32::try_from(left & u64::from(u32::MAX)).unwrap_or(0))
    }

    pub(super) fn expect_head(&mut self, standing: Standing) {
        self.expected = Expected::Head;
        self.standing = standing;
    }

    /// What follows is not known.
    pub(super) fn drift(&mut self) {
        self.expected = Expected::Adrift;
    }

    /// What follows is the rest of a chunked body, and perhaps more.
    pub(super) fn drift_in_chunks(&mut self, role: Role) {
        self.expected = if role == Role::Requests { Expected::Chunks } else { Expected::Adrift };
    }

    pub(super) fn expect_sized(&mut self, left: u64) {
        if left == 0 {
            self.expect_head(Standing::Certain);
        } else {
            self.expected = Expected::Sized { left };
        }
    }

    /// Drops everything that is held.
    pub(super) fn forget(&mut self) {
        self.draft = None;
        self.ahead = None;
    }

    pub(super) fn advance(&mut self, count: u64) {
        self.next = self.end_of(count);
    }

    /// Whether a head is unfinished or pieces wait for missing bytes.
    pub(super) fn is_waiting(&self) -> bool {
        self.draft.is_some() || self.ahead.is_some()
    }

    /// When the held piece that has waited longest came.
    pub(super) fn waiting_since(&self) -> Option<Timestamp> {
        self.ahead.as_ref()?.oldest()
    }

    /// The nearest held piece, if it begins where the direction stands, or before.
    pub(super) fn pop_reached(&mut self) -> Option<Held> {
        if self.expected == Expected::Chunks {
            return None;
        }
        let ahead = self.ahead.as_mut()?;
        let first = ahead.first().map(|held| held.seq);
        let Some(seq) = first else {
            self.ahead = None;
            return None;
        };
        if matches!(self.distance(seq), Distance::Ahead(1..)) && self.waits_for_bytes() {
            return None;
        }
        self.pop()
    }

    /// The nearest held piece, if it is such a one.
    pub(super) fn pop_if(&mut self, is_such: impl Fn(&Held) -> bool) -> Option<Held> {
        if self.ahead.as_ref()?.first().is_some_and(is_such) { self.pop() } else { None }
    }

    /// The nearest held piece.
    pub(super) fn pop(&mut self) -> Option<Held> {
        let held = self.ahead.as_mut()?.pop();
        if self.ahead.as_ref().is_some_and(|ahead| ahead.first().is_none()) {
            self.ahead = None;
        }
        held
    }

    /// Whether the next byte must be seen before anything behind it can be read.
    fn waits_for_bytes(&self) -> bool {
        matches!(self.expected, Expected::Head | Expected::Chunked(_))
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let draft = self.draft.as_ref().map_or(0, |draft| draft.buffered_bytes());
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.buffered_bytes());
        draft.saturating_add(ahead)
    }
}
