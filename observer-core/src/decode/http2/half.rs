//! One direction of a connection: where it stands and what is expected there.

use super::frame::{Frame, HEADER_BYTES, Kind};
use super::hpack;
use crate::decode::ahead::{Ahead, Distance, Held};
use crate::limits::HEAD_BYTES_MAX;
use crate::time::Timestamp;

/// What stands at [`Half::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing was seen yet.
    Anything,
    /// The rest of the client's preface, so many bytes of which were seen.
    Preface(usize),
    /// A frame, or the rest of its header.
    Frame(Trust),
    /// So many bytes of a frame's payload, then a frame.
    Payload { frame: Frame, left: u32 },
    /// Bytes are missing, so anything: see the rule in [`super`].
    Adrift {
        /// Where a frame begins if what looks like one before it was one.
        frame_at: Option<u32>,
    },
}

/// How sure it is that a frame begins where one is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// No byte is missing since the frame before it.
    Certain,
    /// The connection begins here if these are settings.
    Beginning,
    /// Something that looks like a frame ends here.
    Doubtful,
}

/// A header block that is not whole yet.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) at: Timestamp,
    /// The frame that began it.
    pub(super) frame: Frame,
    /// The block so far, and the payload of the frame that is passing.
    bytes: Vec<u8>,
    /// Where that payload begins.
    payload: usize,
    pub(super) flaw: Option<Flaw>,
}

/// Why a block cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Bytes are missing.
    Cut,
    /// It is longer than [`HEAD_BYTES_MAX`].
    TooLong,
    /// Its frames are none.
    Broken,
}

impl Block {
    pub(super) fn new(at: Timestamp, frame: Frame) -> Self {
        Self { at, frame, bytes: Vec::new(), payload: 0, flaw: None }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.flaw.is_some() {
            return;
        }
        let len = self.bytes.len().saturating_add(bytes.len());
        if len > HEAD_BYTES_MAX {
            return self.fail(Flaw::TooLong);
        }
        if len > self.bytes.capacity() {
            // A vector left to itself would take twice the bound.
            let capacity = self.bytes.capacity().saturating_mul(2).max(len).min(HEAD_BYTES_MAX);
            self.bytes.reserve_exact(capacity.saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn fail(&mut self, flaw: Flaw) {
        self.flaw.get_or_insert(flaw);
        self.bytes = Vec::new();
    }

    /// The payload that is passing is whole: leaves its part of the block.
    pub(super) fn end_payload(&mut self, frame: Frame) {
        if self.flaw.is_some() {
            return;
        }
        let Some((start, end)) = frame.fragment(self.bytes.get(self.payload..).unwrap_or_default()) else {
            return self.fail(Flaw::Broken);
        };
        self.bytes.truncate(self.payload.saturating_add(end));
        self.bytes.drain(self.payload..self.payload.saturating_add(start));
        self.payload = self.bytes.len();
    }

    /// The block, once its last frame has ended.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[derive(Debug)]
pub(super) struct Half {
    /// The sequence number of the next byte.
    pub(super) next: u32,
    pub(super) expected: Expected,
    /// The first bytes of a frame header, or of the payload of GOAWAY, that was cut.
    start: [u8; HEADER_BYTES],
    start_len: usize,
    /// When the first byte of the frame was seen.
    pub(super) frame_at: Timestamp,
    pub(super) hpack: hpack::Decoder,
    pub(super) block: Option<Box<Block>>,
    /// Pieces that came too early.
    pub(super) ahead: Option<Box<Ahead>>,
    /// Bytes that were missed since the last stream was opened: frames may be among them.
    pub(super) lost: u64,
}

impl Half {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            expected: Expected::Anything,
            start: [0; HEADER_BYTES],
            start_len: 0,
            frame_at: Timestamp(0),
            hpack: hpack::Decoder::new(),
            block: None,
            ahead: None,
            lost: 0,
        }
    }

    pub(super) fn advance(&mut self, count: u64) {
        // Sequence numbers wrap (RFC 9293 section 3.4).
        self.next = self.next.wrapping_add(u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0));
    }

    /// Takes bytes until `wanted` of them are there; returns how many were taken.
    pub(super) fn gather(&mut self, bytes: &[u8], wanted: usize) -> usize {
        let missing = wanted.saturating_sub(self.start_len);
        let taken = missing.min(bytes.len());
        let end = self.start_len.saturating_add(taken);
        if let (Some(free), Some(bytes)) = (self.start.get_mut(self.start_len..end), bytes.get(..taken)) {
            free.copy_from_slice(bytes);
            self.start_len = end;
        }
        taken
    }

    pub(super) fn is_gathering(&self) -> bool {
        self.start_len > 0
    }

    /// What was gathered, once it is `N` bytes.
    pub(super) fn gathered<const N: usize>(&mut self) -> Option<[u8; N]> {
        let gathered = self.start.get(..self.start_len)?.first_chunk().copied()?;
        self.start_len = 0;
        Some(gathered)
    }

    /// Drops what was gathered.
    pub(super) fn gather_anew(&mut self) {
        self.start_len = 0;
    }

    /// Whether the payload that is passing belongs to a block.
    pub(super) fn is_in_block(&self) -> bool {
        match self.expected {
            Expected::Payload { frame, .. } => {
                matches!(frame.kind, Kind::Headers | Kind::Promise)
                    || (frame.kind == Kind::Continuation && self.block.is_some())
            }
            _ => false,
        }
    }

    /// Whether so many bytes may be missing here without a loss: nobody needs them.
    pub(super) fn may_skip(&self, count: u64) -> bool {
        match self.expected {
            Expected::Payload { left, .. } => u64::from(left) >= count && !self.is_in_block(),
            Expected::Anything | Expected::Adrift { .. } => true,
            Expected::Preface(_) | Expected::Frame(_) => false,
        }
    }

    /// Whether nothing is missing between where the direction stands and `seq`: from `link` on there are only frames that
    /// nobody needs.
    pub(super) fn is_left_out(&self, link: u32, seq: u32) -> bool {
        let between = self.next.wrapping_sub(link) < seq.wrapping_sub(link);
        between && matches!(self.expected, Expected::Frame(_)) && !self.is_gathering()
    }

    /// When the held piece that has waited longest came.
    pub(super) fn waiting_since(&self) -> Option<Timestamp> {
        self.ahead.as_ref()?.oldest()
    }

    /// The nearest held piece, if it begins where the direction stands, or before; or anywhere, if `any`.
    pub(super) fn pop(&mut self, any: bool) -> Option<Held> {
        let first = self.ahead.as_ref()?.first().map(|held| (held.seq, held.link));
        let Some((seq, link)) = first else {
            self.ahead = None;
            return None;
        };
        let reached = match Distance::of(seq, self.next) {
            Distance::Behind(_) | Distance::Ahead(0) => true,
            Distance::Ahead(distance) => {
                self.may_skip(u64::from(distance)) || link.is_some_and(|link| self.is_left_out(link, seq))
            }
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
        let block = self.block.as_ref().map_or(0, |block| size_of::<Block>().saturating_add(block.bytes.capacity()));
        let ahead = self.ahead.as_ref().map_or(0, |ahead| ahead.buffered_bytes());
        block.saturating_add(ahead).saturating_add(self.hpack.buffered_bytes())
    }
}
