//! NATS (<https://docs.nats.io/reference/reference-protocols/nats-protocol>): pieces of both directions come in, the messages that
//! are published and delivered go out, each with the headers that somebody wants. Payloads and everything else are passed over.
//!
//! # What is read
//!
//! `PUB` and `HPUB` of clients, `MSG` and `HMSG` of servers. A message is addressed to its subject.
//!
//! Not told are answers to requests, where the client did not choose the prefix of its inboxes; what belongs to the server itself
//! (subjects that begin with `$`: JetStream's requests and acknowledgements, key-value and object stores); and what servers say of
//! how things are. Routes and leaf nodes begin like clients; once they say what no client says they are
//! recognised anew.
//!
//! # What is missing
//!
//! - Where headers are missing, or too long, the message is not observed.
//! - Where a line is missing, nobody knows how many messages are: [`Anomalies::lines_missed`]. The direction is *adrift* until a
//!   piece begins with a line, and nothing but such lines and what they announce is in it ([`line::begins`]).
//!
//! # How sure it is that this is NATS
//!
//! A connection is recognised by what either end says first, or by a line at the beginning of a piece that announces a message
//! ([`recognise`]). It is proven by [`PROOF_LINES`] lines and messages that end where they must. Where bytes are missing before
//! that, or are none where a line must be, the connection is recognised anew.
//!
//! # What is taken for given
//!
//! Behind a loss, and on a connection that is joined in the middle: no piece begins with a line that is part of a payload.

mod headers;
mod line;
mod lines;

pub use self::headers::HEADERS_MAX;
use self::lines::Lines;
use super::pair::Pair;
use super::protocols::Recognition;

/// The longest headers that are read. nats-server takes no message of more than 1 MiB unless it is told otherwise.
pub const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// How many lines and messages that end where they must prove a connection.
pub const PROOF_LINES: u64 = 4;

/// What could not be decoded, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Places where lines are missing: nobody knows how many messages are.
    pub lines_missed: u64,
    /// Bytes that stand where a line must stand, or a message end, and do not.
    pub not_nats: u64,
    /// Messages of which the headers are none.
    pub malformed: u64,
}

/// What the first bytes of a piece are: what an end says first, or a line that announces a message.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    match line::tells(bytes) {
        Some(role) => Recognition::Sure(role),
        None if line::may_tell(bytes) => Recognition::Perhaps,
        None => Recognition::No,
    }
}

/// The decoder of one connection. It holds at most, for each direction, [`HEADERS_BYTES_MAX`] of headers, a line, and 128 KiB of
/// pieces that came too early.
pub(super) type Nats = Pair<Lines>;
