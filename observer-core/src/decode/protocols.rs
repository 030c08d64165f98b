//! The table of protocols: how each is recognised by content, and its decoder.
//!
//! A protocol is one module, one entry of [`RECOGNISERS`] and one variant of [`Decoder`].

use super::amqp::{self, Amqp};
use super::http1::Http1;
use super::http1::start_line::{Looks, Role, looks_anywhere};
use super::http2::{self, Http2};
use super::kafka::{self, Kafka};
use super::nats::{self, Nats};
use super::redis::{self, Redis};
use super::{Fidelity, Output, Piece, Shared};
use crate::message::{End, Message, MessageBody, Protocol, Record};
use crate::time::Timestamp;

/// What the first bytes of a piece are to a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognition {
    /// Bytes of this protocol.
    Sure(Role),
    /// More bytes will tell.
    Perhaps,
    /// Bytes of another.
    No,
}

/// One protocol: recognises its bytes, and opens its decoder for the end that is the client.
pub(super) struct Recogniser {
    pub(super) recognise: fn(&[u8]) -> Recognition,
    pub(super) open: fn(Fidelity, End, &Shared) -> Decoder,
}

/// Every protocol; the first that is sure of a connection decodes it.
pub(super) const RECOGNISERS: [Recogniser; 6] = [
    Recogniser { recognise: http1, open: |fidelity, client, _| Decoder::Http1(Http1::new(fidelity, client)) },
    Recogniser { recognise: redis, open: |_, client, _| Decoder::Redis(Box::new(Redis::new(client))) },
    Recogniser {
        recognise: kafka,
        open: |_, client, shared| Decoder::Kafka(Box::new(Kafka::new(shared.bounds, client))),
    },
    Recogniser {
        recognise: http2::recognise,
        open: |fidelity, client, _| Decoder::Http2(Box::new(Http2::new(fidelity, client))),
    },
    Recogniser { recognise: amqp::recognise, open: |_, client, _| Decoder::Amqp(Box::new(Amqp::new(client))) },
    Recogniser { recognise: nats::recognise, open: |_, client, _| Decoder::Nats(Box::new(Nats::new(client))) },
];

/// The decoder of a connection of which the protocol is known.
#[derive(Debug)]
pub(super) enum Decoder {
    Http1(Http1),
    Http2(Box<Http2>),
    Kafka(Box<Kafka>),
    Redis(Box<Redis>),
    Amqp(Box<Amqp>),
    Nats(Box<Nats>),
}

impl Decoder {
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => {
                http1.piece(piece, out);
                if let Some(upgrade) = http1.take_upgrade() {
                    *self = Self::Http2(Box::new(Http2::upgraded(http1.fidelity(), upgrade)));
                    self.piece(piece, out);
                }
            }
            Self::Http2(http2) => http2.piece(piece, out),
            Self::Kafka(kafka) => of_kafka(out, |out| kafka.piece(piece, out)),
            Self::Redis(redis) => redis.piece(piece, out),
            Self::Amqp(amqp) => amqp.piece(piece, out),
            Self::Nats(nats) => nats.piece(piece, out),
        }
    }

    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => http1.overdue(now, out),
            Self::Http2(http2) => http2.overdue(now, out),
            Self::Kafka(kafka) => of_kafka(out, |out| kafka.overdue(now, out)),
            Self::Redis(redis) => redis.overdue(now, out),
            Self::Amqp(amqp) => amqp.overdue(now, out),
            Self::Nats(nats) => nats.overdue(now, out),
        }
    }

    pub(super) fn closed(&mut self, from: End, at: Timestamp, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => http1.closed(from, at, out),
            Self::Http2(http2) => http2.closed(from, out),
            Self::Kafka(kafka) => of_kafka(out, |out| kafka.closed(from, out)),
            Self::Redis(redis) => redis.closed(from, out),
            Self::Amqp(amqp) => amqp.closed(from, out),
            Self::Nats(nats) => nats.closed(from, out),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(http1) => http1.protocol(),
            Self::Http2(http2) => http2.protocol(),
            Self::Kafka(_) => Protocol::Kafka,
            Self::Redis(_) => Protocol::Redis,
            Self::Amqp(_) => Protocol::Amqp,
            Self::Nats(_) => Protocol::Nats,
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_quiet(),
            Self::Http2(_) | Self::Kafka(_) | Self::Amqp(_) | Self::Nats(_) => false,
            Self::Redis(redis) => redis.is_quiet(),
        }
    }

    /// Whether the client was seen to ask for records.
    pub(super) fn fetches(&self) -> bool {
        match self {
            Self::Kafka(kafka) => kafka.fetches(),
            // They come unasked, or with the first of them it is known anyway.
            _ => false,
        }
    }

    /// The end that asks a broker, once it is proven before any record.
    pub(super) fn client_of_broker(&self) -> Option<End> {
        match self {
            Self::Kafka(kafka) => kafka.is_proven().then(|| kafka.client()),
            _ => None,
        }
    }

    /// Whether it was seen from its first message on, as far as that tells.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Kafka(kafka) => kafka.is_whole(),
            _ => false,
        }
    }

    /// Whether what came is not of this protocol after all: it is to be recognised anew.
    pub(super) fn is_refuted(&self) -> bool {
        match self {
            Self::Http1(_) | Self::Http2(_) => false,
            Self::Kafka(kafka) => kafka.is_refuted(),
            Self::Redis(redis) => redis.is_refuted(),
            Self::Amqp(amqp) => amqp.is_refuted(),
            Self::Nats(nats) => nats.is_refuted(),
        }
    }

    /// Where the first byte of `from` is that will be needed, if some before it are not.
    pub(super) fn unneeded(&self, from: End) -> Option<u32> {
        match self {
            Self::Http1(_) | Self::Http2(_) => None,
            Self::Kafka(kafka) => kafka.unneeded(from),
            Self::Redis(redis) => redis.unneeded(from),
            Self::Amqp(amqp) => amqp.unneeded(from),
            Self::Nats(nats) => nats.unneeded(from),
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Http1(http1) => http1.buffered_bytes(),
            Self::Http2(http2) => http2.buffered_bytes(),
            Self::Kafka(kafka) => kafka.buffered_bytes(),
            Self::Redis(redis) => redis.buffered_bytes(),
            Self::Amqp(amqp) => amqp.buffered_bytes(),
            Self::Nats(nats) => nats.buffered_bytes(),
        }
    }
}

fn http1(bytes: &[u8]) -> Recognition {
    match (looks_anywhere(Role::Requests, bytes), looks_anywhere(Role::Responses, bytes)) {
        (Looks::Yes, _) => Recognition::Sure(Role::Requests),
        (_, Looks::Yes) => Recognition::Sure(Role::Responses),
        (Looks::Perhaps, _) | (_, Looks::Perhaps) => Recognition::Perhaps,
        (Looks::No, Looks::No) => Recognition::No,
    }
}

fn kafka(bytes: &[u8]) -> Recognition {
    match kafka::recognise(bytes) {
        kafka::Recognition::Request => Recognition::Sure(Role::Requests),
        kafka::Recognition::Perhaps => Recognition::Perhaps,
        kafka::Recognition::No => Recognition::No,
    }
}

fn redis(bytes: &[u8]) -> Recognition {
    match redis::recognise(bytes) {
        redis::Recognition::Request => Recognition::Sure(Role::Requests),
        redis::Recognition::Message => Recognition::Sure(Role::Responses),
        redis::Recognition::Perhaps => Recognition::Perhaps,
        redis::Recognition::No => Recognition::No,
    }
}

/// Lets Kafka's decoder tell what it finds as messages of any protocol.
fn of_kafka(out: &mut Output<'_>, decode: impl FnOnce(&mut kafka::Output<'_>)) {
    let Output { interest, shared: Shared { anomalies, topics, .. }, tell } = out;
    let mut tell = |message: kafka::Message<'_>| {
        let kafka::Message { at, from, way, topic, body, .. } = message;
        let id;
        let topic = match topic {
            kafka::Topic::Name(name) => name,
            kafka::Topic::Id(number) => {
                id = format!("{number:032x}");
                &id
            }
        };
        let body = match body {
            kafka::Body::Record { headers } => MessageBody::Record(Record { way, topic, headers, complete: true }),
            kafka::Body::Unobserved { count } => MessageBody::UnobservedRecords { way, topic, count },
        };
        tell(Message { at, from, exchange: None, protocol: Protocol::Kafka, body });
    };
    decode(&mut kafka::Output { interest, topics, anomalies: &mut anomalies.kafka, tell: &mut tell });
}
