//! One direction of a connection: where it stands and what is expected there.

use super::Role;
use super::api::Api;
use super::batches::Batches;
use super::frame::REQUEST_HEADER_BYTES;
use super::gather::Gather;
use super::walk::Walk;
use crate::time::Timestamp;

/// What stands at [`Half::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
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
    pub(super) role: Role,
    /// The sequence number of the next byte.
    pub(super) next: u32,
    pub(super) expected: Expected,
    /// The first bytes of a header that was cut.
    pub(super) header: Gather<REQUEST_HEADER_BYTES>,
    /// When the first byte of the message was seen.
    pub(super) at: Timestamp,
    /// The message, if anybody needs to know what is in it.
    pub(super) reading: Option<Box<Reading>>,
}

impl Half {
    pub(super) fn new(role: Role) -> Self {
        // Of requests it was recognised by the first piece.
        let expected = match role {
            Role::Requests => Expected::Header(Trust::Certain),
            Role::Responses => Expected::Adrift { request_at: None },
        };
        Self { role, next: 0, expected, header: Gather::default(), at: Timestamp(0), reading: None }
    }

    pub(super) fn advance(&mut self, count: u64) {
        // Sequence numbers wrap (RFC 9293 section 3.4).
        self.next = self.next.wrapping_add(u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0));
    }

    /// It is not known any more where messages begin.
    pub(super) fn drift(&mut self) {
        self.header.clear();
        self.reading = None;
        self.expected = Expected::Adrift { request_at: None };
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.reading.as_ref().map_or(0, |reading| reading.buffered_bytes())
    }
}

impl Reading {
    /// How many of the next bytes are known to be needed by nobody.
    pub(super) fn spare(&self) -> u64 {
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
