//! One direction of a connection: where it stands and what is expected there.

use super::api::Api;
use super::batches::Batches;
use super::frame::REQUEST_HEADER_BYTES;
use super::gather::Gather;
use super::walk::Walk;
use crate::decode::ahead::{Ahead, Distance, Held};
use crate::time::Timestamp;

/// How far a stretch that nobody needs is followed at once.
const UNNEEDED_MAX: u64 = 1 << 30;

/// What stands at [`Half::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing was seen yet.
    Anything,
    /// A message, or the rest of its header.
    Header(Trust),
    /// So many bytes of a message, then another one.
    Body { left: u64 },
    /// Bytes are missing, so anything: see the rule in [`super`].
    Adrift {
        /// Of requests: where one begins if what looked like one before it was one, and the length of that one's client id and
        /// its number.
        request_at: Option<(u32, i16, i32)>,
    },
}

/// How sure it is that a message begins where one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// No byte is missing since the message before it, or it was proven.
    Certain,
    /// Of responses: a piece begins here.
    Doubtful,
    /// Something that looks like a request ends here, with a client id of so many bytes and this number.
    Follows { client_len: i16, correlation: i32 },
}

/// A message that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) api: Api,
    pub(super) walk: Walk,
    pub(super) batches: Option<Batches>,
}

#[derive(Debug)]
pub(super) struct Half {
    /// The sequence number of the next byte.
    pub(super) next: u32,
    pub(super) expected: Expected,
    /// The first bytes of a header that was cut.
    pub(super) header: Gather<REQUEST_HEADER_BYTES>,
    /// When the first byte of the message was seen.
    pub(super) at: Timestamp,
    /// The message, if anybody needs to know what is in it.
    pub(super) reading: Option<Box<Reading>>,
    pub(super) ahead: Option<Box<Ahead>>,
}

impl Half {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            expected: Expected::Anything,
            header: Gather::default(),
            at: Timestamp(0),
            reading: None,
            ahead: None,
        }
    }

    pub(super) fn advance(&mut self, count: u64) {
        // Sequence numbers wrap (RFC 9293 section 3.4).
        self.next = self.next.wrapping_add(u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0));
    }

    /// Whether so many bytes may be missing here without a loss: nobody needs them.
    pub(super) fn may_skip(&self, count: u64) -> bool {
        matches!(self.expected, Expected::Anything | Expected::Adrift { .. }) || self.spare() >= count
    }

    /// How many of the next bytes are known to be needed by nobody.
    fn spare(&self) -> u64 {
        match (self.expected, &self.reading) {
            (Expected::Body { left }, None) => left,
            (Expected::Body { left }, Some(reading)) => left.min(reading.spare()),
            _ => 0,
        }
    }

    /// Where the first byte is that somebody may need, if some before it are known to be needed by nobody.
    pub(super) fn unneeded(&self) -> Option<u32> {
        // What is farther could not be told from what lies behind.
        let spare = u32::try_from(self.spare().min(UNNEEDED_MAX)).ok().filter(|&spare| spare > 0)?;
        Some(self.next.wrapping_add(spare))
    }

    /// It is not known any more where messages begin.
    pub(super) fn drift(&mut self) {
        self.header.clear();
        self.reading = None;
        self.expected = Expected::Adrift { request_at: None };
    }

    /// Drops everything that is held.
    pub(super) fn forget(&mut self) {
        self.ahead = None;
        self.drift();
    }

    /// When the held piece that has waited longest came.
    pub(super) fn waiting_since(&self) -> Option<Timestamp> {
        self.ahead.as_ref()?.oldest()
    }

    /// The nearest held piece, if it begins where the direction stands, or before; or anywhere, if `any`.
    pub(super) fn pop(&mut self, any: bool) -> Option<Held> {
        let first = self.ahead.as_ref()?.first().map(|held| held.seq);
        let Some(seq) = first else {
            self.ahead = None;
            return None;
        };
        let reached = match Distance::of(seq, self.next) {
            Distance::Behind(_) => true,
            Distance::Ahead(distance) => distance == 0 || self.may_skip(u64::from(distance)),
        };
        if !reached && !any {
            return None;
        }
        let held = self.ahead.as_mut()?.pop();
        if self.ahead.as_ref().is_some_and(|ahead| ahead.first().is_none()) {
            self.ahead = None;
        }
        held
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let reading = self.reading.as_ref().map_or(0, |reading| reading.buffered_bytes());
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.buffered_bytes());
        reading.saturating_add(ahead)
    }
}

impl Reading {
    fn spare(&self) -> u64 {
        match &self.batches {
            Some(batches) => batches.spare(),
            None => self.walk.spare(),
        }
    }

    fn buffered_bytes(&self) -> usize {
        let batches = self.batches.as_ref().map_or(0, Batches::buffered_bytes);
        size_of::<Self>().saturating_add(self.walk.buffered_bytes()).saturating_add(batches)
    }
}
