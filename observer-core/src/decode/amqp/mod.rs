//! AMQP 0-9-1 (<https://www.rabbitmq.com/amqp-0-9-1-protocol>): pieces of both directions come in, the messages that are published
//! and delivered go out, each with the headers that somebody wants. Bodies and everything else are passed over.
//!
//! # What is read
//!
//! basic.publish of clients, basic.deliver and basic.get-ok of brokers, and the header of the message behind each: the table of
//! its headers, of which text is told. A message is addressed to its exchange, or to its queue through the default exchange.
//!
//! Not told are answers to requests, which go through the default exchange to a queue that the broker named; what the broker
//! tells of itself; and basic.return.
//!
//! # What is missing
//!
//! - Where the header of a message is missing, or too long, the message is not observed; nor is one whose method is missing: it
//!   is not known where that one goes.
//! - Where the header of a frame is missing, nobody knows how many messages are: [`Anomalies::frames_missed`]. The direction is
//!   *adrift* until a piece begins with a frame that is there to its end ([`frame::begins`]).
//!
//! # How sure it is that this is AMQP
//!
//! A connection is recognised by its first bytes, or by a frame at the beginning of a piece that starts a connection or announces
//! a message ([`recognise`]). It is proven by [`PROOF_FRAMES`] frames that end where they must. Where bytes are missing before
//! that, or are none where a frame must be, the connection is recognised anew.
//!
//! # What is taken for given
//!
//! Behind a loss, and on a connection that is joined in the middle: no piece begins with a frame that is part of a body.

mod channels;
mod cursor;
mod frame;
mod frames;
mod method;
mod properties;

pub use self::channels::ANNOUNCED_MAX;
use self::channels::Channels;
use self::frame::PROTOCOL_HEADER;
pub use self::properties::HEADERS_MAX;
use super::http1::start_line::Role;
use super::pair::Pair;
use super::protocols::Recognition;

/// The longest frame with the header of a message that is read: RabbitMQ's frame_max, unless it is told otherwise.
pub const CONTENT_BYTES_MAX: u64 = 128 * 1024;
/// How many frames that end where they must prove a connection.
pub const PROOF_FRAMES: u64 = 4;

/// What could not be decoded, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Places where headers of frames are missing: nobody knows how many messages are.
    pub frames_missed: u64,
    /// Bytes that stand where a frame must begin or end and are none.
    pub not_amqp: u64,
    /// Messages of which the header contradicts itself.
    pub malformed: u64,
}

/// What the first bytes of a piece are: the header of a protocol, or a frame that tells by itself.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    if bytes.starts_with(PROTOCOL_HEADER) {
        return Recognition::Sure(Role::Requests);
    }
    match frame::tells(bytes) {
        Some(role) => Recognition::Sure(role),
        None if !bytes.is_empty() && PROTOCOL_HEADER.starts_with(bytes) => Recognition::Perhaps,
        None => Recognition::No,
    }
}

/// The decoder of one connection. It holds at most, for each direction, [`CONTENT_BYTES_MAX`] of a message's header, 128 KiB of
/// pieces that came too early and what was announced on [`ANNOUNCED_MAX`] channels.
pub(super) type Amqp = Pair<Channels>;
