//! Decoding: pieces of a connection come in, messages and anomalies go out.
//!
//! Decoding is total: lost, repeated, reordered or cut bytes and streams joined in the middle are normal input; what cannot
//! be decoded is counted in [`Anomalies`], never a panic, never an error that stops the line.

mod ahead;
pub mod amqp;
mod gathering;
pub mod http1;
pub mod http2;
pub mod kafka;
pub mod nats;
mod opening;
mod pair;
mod parts;
mod protocols;
pub mod redis;
mod stream;

pub use self::ahead::REORDER_WAIT_MAX;
use self::opening::Opening;
use self::protocols::Decoder;
use crate::message::{End, Interest, Message, Protocol};
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
    /// Sequence number behind the last byte of the other direction that the sender had received; `None` where it said none.
    pub ack: Option<u32>,
    /// How many bytes were on the wire from `seq` on.
    pub wire_len: u32,
    /// The first bytes of these, as many as were captured; possibly none, never more than `wire_len`.
    pub bytes: &'a [u8],
    /// Of HTTP/2: every byte from this sequence number to `seq` belongs to frames that a decoder does not need, and that were left
    /// out. `None` where that is not known.
    pub link: Option<u32>,
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
    /// Heads of which bytes are missing, and places where frame headers are: lost on the way to the decoder or never captured.
    pub heads_cut: u64,
    /// Heads over [`crate::limits::HEAD_BYTES_MAX`].
    pub heads_too_long: u64,
    /// Bytes that stand where a head or a frame must begin and are none, and header blocks that cannot be decoded.
    pub not_http: u64,
    /// Responses without a request that was seen, and requests whose response was not: reset streams too.
    pub unpaired: u64,
    /// How often the reorder buffer was full: what it waited for was then taken for lost.
    pub reorder_overflow: u64,
    /// What looks like a head where it is not certain that one begins: not told. Of HTTP/2 what looked like a frame and was
    /// none.
    pub doubtful_heads: u64,
    /// Of Kafka.
    pub kafka: kafka::Anomalies,
    /// Of Redis.
    pub redis: redis::Anomalies,
    /// Of AMQP.
    pub amqp: amqp::Anomalies,
    /// Of NATS.
    pub nats: nats::Anomalies,
}

impl Anomalies {
    /// How many heads, batches and messages were there and could not be read: of places where several are missing one each.
    pub fn undecodable(&self) -> u64 {
        let Self { heads_cut, heads_too_long, not_http, kafka, amqp, nats, redis, .. } = self;
        let counts = [
            [*heads_cut, *heads_too_long, *not_http, 0, 0],
            [kafka.batches_hidden, kafka.headers_cut, kafka.not_kafka, kafka.malformed, kafka.unknown_versions],
            [amqp.frames_missed, amqp.not_amqp, amqp.malformed, 0, 0],
            [nats.lines_missed, nats.not_nats, nats.malformed, 0, 0],
            [redis.requests_cut, redis.replies_cut, redis.not_redis, 0, 0],
        ];
        counts.as_flattened().iter().fold(0, |sum, &count| sum.saturating_add(count))
    }
}

/// How much is read of records that pass through a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBounds {
    /// The longest batch of Kafka, header included, and the longest value of Redis, in bytes, that is copied and read; the records
    /// of longer ones are not observed.
    pub batch_bytes: usize,
    /// How much of a compressed batch is read once it is decompressed, in bytes; records beyond are not observed. A bound on time
    /// as well: some bytes can stand for very many.
    pub records_bytes: usize,
}

impl Default for RecordBounds {
    /// 64 KiB, and 1 MiB: no more than a batch is filled with unless clients are told otherwise (batch.size of librdkafka,
    /// max.request.size of Java's client).
    fn default() -> Self {
        Self { batch_bytes: 64 * 1024, records_bytes: 1024 * 1024 }
    }
}

/// What the decoders of all connections share.
#[derive(Debug, Default)]
pub struct Shared {
    /// What could not be decoded.
    pub anomalies: Anomalies,
    /// How much of records is read.
    pub bounds: RecordBounds,
    topics: kafka::TopicNames,
}

impl Shared {
    /// Nothing found yet; so much is read of records.
    pub fn new(bounds: RecordBounds) -> Self {
        Self { bounds, ..Self::default() }
    }
}

/// Where a decoder puts what it finds.
struct Output<'o> {
    interest: &'o Interest,
    shared: &'o mut Shared,
    tell: &'o mut dyn FnMut(Message<'_>),
}

/// The decoder of one connection: recognises the protocol by content and tells the messages of both directions.
#[derive(Debug)]
pub struct Conversation {
    fidelity: Fidelity,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Opening(Opening),
    Decoding(Decoder),
}

impl Conversation {
    /// A decoder for a connection of which a tap shows as much as `fidelity` says.
    pub fn new(fidelity: Fidelity) -> Self {
        Self { fidelity, stage: Stage::Opening(Opening::default()) }
    }

    /// Takes the next piece and tells every message that is complete with it.
    pub fn piece(
        &mut self,
        piece: &Piece<'_>,
        interest: &Interest,
        shared: &mut Shared,
        tell: &mut dyn FnMut(Message<'_>),
    ) {
        let mut out = Output { interest, shared, tell };
        match &mut self.stage {
            Stage::Decoding(decoder) => decoder.piece(piece, &mut out),
            Stage::Opening(opening) => {
                if let Some(decoder) = opening.piece(piece, self.fidelity, &mut out) {
                    self.stage = Stage::Decoding(decoder);
                }
            }
        }
        self.reconsider();
    }

    /// A protocol that was recognised wrongly is recognised anew.
    fn reconsider(&mut self) {
        if let Stage::Decoding(decoder) = &self.stage
            && decoder.is_refuted()
        {
            self.stage = Stage::Opening(Opening::default());
        }
    }

    /// Where the first byte of `from` is that will be needed, if some before it are not: pieces that end before it may be left
    /// out.
    pub fn unneeded(&self, from: End) -> Option<u32> {
        match &self.stage {
            Stage::Opening(_) => None,
            Stage::Decoding(decoder) => decoder.unneeded(from),
        }
    }

    /// Nothing came for a while: tells what has waited too long for missing bytes ([`REORDER_WAIT_MAX`]) or for trailers
    /// ([`http2::HOLD_MAX`]). Calling it is needed only where a connection falls silent; each piece does the same.
    pub fn overdue(
        &mut self,
        now: Timestamp,
        interest: &Interest,
        shared: &mut Shared,
        tell: &mut dyn FnMut(Message<'_>),
    ) {
        if let Stage::Decoding(decoder) = &mut self.stage {
            decoder.overdue(now, &mut Output { interest, shared, tell });
            self.reconsider();
        }
    }

    /// The end `from` closed its direction (FIN) or the connection was reset: tells what can only be told at the end. A piece
    /// that comes late is still taken.
    pub fn closed(
        &mut self,
        from: End,
        at: Timestamp,
        interest: &Interest,
        shared: &mut Shared,
        tell: &mut dyn FnMut(Message<'_>),
    ) {
        match &mut self.stage {
            Stage::Opening(opening) => opening.forget(from),
            Stage::Decoding(decoder) => decoder.closed(from, at, &mut Output { interest, shared, tell }),
        }
    }

    /// Whether the client was seen to ask a broker for records.
    pub fn fetches(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) => false,
            Stage::Decoding(decoder) => decoder.fetches(),
        }
    }

    /// The end that asks a broker, once it is proven that the other one is a broker; `None`: the first record tells.
    pub fn client_of_broker(&self) -> Option<End> {
        match &self.stage {
            Stage::Opening(_) => None,
            Stage::Decoding(decoder) => decoder.client_of_broker(),
        }
    }

    /// Whether it was seen from its first message on: what a client of a broker sends first, and once. False where nothing tells.
    pub fn is_whole(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) => false,
            Stage::Decoding(decoder) => decoder.is_whole(),
        }
    }

    /// The protocol, once it is known.
    pub fn protocol(&self) -> Option<Protocol> {
        match &self.stage {
            Stage::Opening(_) => None,
            Stage::Decoding(decoder) => Some(decoder.protocol()),
        }
    }

    /// Whether the connection has left every protocol that is decoded (an upgrade, a tunnel): no message will be told again.
    pub fn is_quiet(&self) -> bool {
        match &self.stage {
            Stage::Opening(_) => false,
            Stage::Decoding(decoder) => decoder.is_quiet(),
        }
    }

    /// Bytes held in buffers for this connection, besides the value itself.
    pub fn buffered_bytes(&self) -> usize {
        match &self.stage {
            Stage::Opening(opening) => opening.buffered_bytes(),
            Stage::Decoding(decoder) => decoder.buffered_bytes(),
        }
    }
}
