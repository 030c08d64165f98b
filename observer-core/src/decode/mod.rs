//! Decoding: pieces of a connection come in, messages and anomalies go out.
//!
//! Decoding is total: lost, repeated, reordered or cut bytes and streams joined in the middle are normal input; what cannot
//! be decoded is counted in [`Anomalies`], never a panic, never an error that stops the line.

use crate::message::{End, Interest, Message};
use crate::time::Timestamp;

/// Bytes of one direction of a TCP connection, as a tap saw them.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// When the tap saw them.
    pub at: Timestamp,
    /// The end that sent them.
    pub from: End,
    /// TCP sequence number of the first byte.
    pub seq: u32,
    /// How many bytes were on the wire from `seq` on.
    pub wire_len: u32,
    /// The first bytes of these, as many as were captured; possibly none, never more than `wire_len`.
    pub bytes: &'a [u8],
}

/// What a tap shows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Every byte (a capture file): a hole is a loss.
    Whole,
    /// Heads; the kernel leaves out pieces that neither start like a head nor continue one, so a hole may be a body.
    Heads,
}

/// What could not be decoded, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Heads of which bytes are missing: lost on the way to the decoder or never captured.
    pub heads_cut: u64,
    /// Heads over [`crate::limits::HEAD_BYTES_MAX`].
    pub heads_too_long: u64,
    /// Bytes that stand where a head must begin and are none.
    pub not_http: u64,
    /// Responses without a request that was seen, and requests whose response was not.
    pub unpaired: u64,
    /// Pieces that were dropped because the reorder buffer was full.
    pub reorder_overflow: u64,
}

/// The decoder of one connection: recognises the protocol by content and tells the messages of both directions.
#[derive(Debug)]
pub struct Conversation {
    fidelity: Fidelity,
}

impl Conversation {
    /// A decoder for a connection of which a tap shows as much as `fidelity` says.
    pub fn new(fidelity: Fidelity) -> Self {
        Self { fidelity }
    }

    /// Takes the next piece and tells every message that is complete with it.
    pub fn piece(
        &mut self,
        _piece: &Piece<'_>,
        _interest: &Interest,
        _anomalies: &mut Anomalies,
        _tell: &mut dyn FnMut(Message<'_>),
    ) {
        let _ = self.fidelity;
    }

    /// The end `from` closed its direction (FIN) or the connection was reset: tells what can only be told at the end.
    pub fn closed(
        &mut self,
        _from: End,
        _at: Timestamp,
        _anomalies: &mut Anomalies,
        _tell: &mut dyn FnMut(Message<'_>),
    ) {
    }

    /// Bytes held in buffers for this connection.
    pub fn buffered_bytes(&self) -> usize {
        0
    }
}
