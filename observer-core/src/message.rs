//! What decoding yields: heads of requests and responses, and what went wrong on the way.
//!
//! A [`Head`] borrows from the decoder's buffers and lives for one call: whatever a stage wants to keep it copies, and the
//! decoder has already left out every header that no stage asked for ([`Interest`]).

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use crate::time::Timestamp;

/// An application protocol, recognised by content, never by port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// gRPC over HTTP/2: the content type says so.
    Grpc,
    /// Kafka (<https://kafka.apache.org/protocol>).
    Kafka,
    /// AMQP 0-9-1 (RabbitMQ).
    Amqp,
    /// NATS (<https://docs.nats.io/reference/reference-protocols/nats-protocol>).
    Nats,
    /// RESP (Redis, Valkey).
    Redis,
}

impl Protocol {
    /// The value of the `protocol` label: `http/1.0`, `http/1.1`, `http/2`, `grpc`, `kafka`, `amqp`, `nats`, `redis`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http11 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Grpc => "grpc",
            Self::Kafka => "kafka",
            Self::Amqp => "amqp",
            Self::Nats => "nats",
            Self::Redis => "redis",
        }
    }
}

impl Protocol {
    /// Whether records pass by it, through a broker.
    pub fn is_of_broker(self) -> bool {
        match self {
            Self::Http10 | Self::Http11 | Self::Http2 | Self::Grpc => false,
            Self::Kafka | Self::Amqp | Self::Nats | Self::Redis => true,
        }
    }
}

/// One of the two ends of a connection, in the order in which the connection table numbered them. Which of them is the
/// client is known once a head was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The end that was seen to send first.
    First,
    /// The other one.
    Second,
}

impl End {
    /// The other end.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What a decoder yields of one connection, in the order of the wire.
#[derive(Debug)]
pub struct Message<'a> {
    /// When the first byte of the head was seen.
    pub at: Timestamp,
    /// The end that sent it.
    pub from: End,
    /// The number of the exchange on this connection: of a request its own, of a response that of its request. `None` where
    /// the request of a response was not seen (a stream joined in the middle), or where a loss leaves open which one it is.
    pub exchange: Option<u64>,
    /// The protocol of the connection.
    pub protocol: Protocol,
    /// What was said.
    pub body: MessageBody<'a>,
}

/// What a decoder can tell of a message.
#[derive(Debug)]
pub enum MessageBody<'a> {
    /// The head of a request, whole or in part.
    Request(RequestHead<'a>),
    /// The head of a response that ends the exchange's wait. Interim responses (1xx but 101) are not told. A gRPC stream that
    /// fails long after its head is told once more, with the status of its failure.
    Response(ResponseHead<'a>),
    /// `count` requests passed of which no head was seen (lost, or hidden in a gap): they count as not observed.
    Unobserved {
        /// How many at least.
        count: u64,
    },
    /// A record on its way through a broker.
    Record(Record<'a>),
    /// `count` records passed of which the headers were not read.
    UnobservedRecords {
        /// Which way they go.
        way: Way,
        /// As in [`Record::topic`].
        topic: &'a str,
        /// How many; zero where it is not certain that what passed were any.
        count: u64,
    },
}

/// Which way records go between a client and a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From a producer to the broker: a hop of the producer.
    Produced,
    /// From the broker to a consumer: work that arrives there.
    Fetched,
}

/// A record of Kafka, a message of AMQP or NATS, a job or an entry of a stream of Redis.
#[derive(Debug)]
pub struct Record<'a> {
    /// Which way it goes.
    pub way: Way,
    /// What it is addressed to: a topic, an exchange or queue, a subject, a key. Where only the id of a topic is known, that in
    /// 32 hex digits. Empty where it was not seen.
    pub topic: &'a str,
    /// The headers of [`Interest`], in the order of the wire, repeated ones repeatedly.
    pub headers: &'a [Header<'a>],
    /// Whether all headers were seen. Where it is false, a header that is not among `headers` is not observed.
    pub complete: bool,
}

/// The head of a request.
#[derive(Debug)]
pub struct RequestHead<'a> {
    /// The method, for example `GET`. Empty where it was not seen.
    pub method: &'a str,
    /// The request target as sent, without its query: `/cart/7` (queries may hold secrets and are never kept); of gRPC service
    /// and method. Empty where it was not seen.
    pub path: &'a str,
    /// The headers of [`Interest`], in the order of the wire, repeated ones repeatedly.
    pub headers: &'a [Header<'a>],
    /// Whether the whole head was seen. Where it is false, a header that is not among `headers` is not observed.
    pub complete: bool,
}

/// The head of a response.
#[derive(Debug)]
pub struct ResponseHead<'a> {
    /// The status code, 100 to 999; of gRPC the one that stands for its own status (google/rpc/code.proto). `None` where it was
    /// not seen.
    pub status: Option<u16>,
    /// The headers of [`Interest`], in the order of the wire.
    pub headers: &'a [Header<'a>],
    /// Whether the whole head was seen.
    pub complete: bool,
    /// Whether the connection, of HTTP/2 the stream, leaves the protocol after this head (101, or 2xx to CONNECT).
    pub upgraded: bool,
}

/// One header that some stage asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name in lower case, as it stands in [`Interest`].
    pub name: HeaderName,
    /// The value without the optional white space around it (RFC 9110 section 5.5). Not always UTF-8.
    pub value: &'a [u8],
}

/// The index of a header name in [`Interest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(pub u16);

impl HeaderName {
    /// W3C `traceparent`.
    pub const TRACEPARENT: Self = Self(0);
    /// W3C `tracestate`.
    pub const TRACESTATE: Self = Self(1);
    /// W3C `baggage`.
    pub const BAGGAGE: Self = Self(2);
    /// `host` (HTTP/1) or `:authority`.
    pub const HOST: Self = Self(3);
    /// `content-type`: tells telemetry on its way out.
    pub const CONTENT_TYPE: Self = Self(4);
    /// `upgrade`: tells streams that leave the protocol.
    pub const UPGRADE: Self = Self(5);
    /// `user-agent`: tells probes and exporters.
    pub const USER_AGENT: Self = Self(6);
    /// `grpc-trace-bin`: the binary trace context of OpenCensus.
    pub const GRPC_TRACE_BIN: Self = Self(7);

    /// Whether it is wanted whatever the configuration asks for.
    pub fn is_standing(self) -> bool {
        usize::from(self.0) < ALWAYS.len()
    }
}

/// The header names that stages want; everything else of a head is neither kept nor shown to any stage.
#[derive(Clone, Debug)]
pub struct Interest {
    names: Vec<Box<str>>,
    by_length: Vec<Vec<u16>>,
    /// The low five bits of the first bytes of all names, which both cases of a letter share.
    initials: u32,
    edition: u64,
}

/// The names that are always wanted, in the order of the constants of [`HeaderName`].
const ALWAYS: [&str; 8] =
    ["traceparent", "tracestate", "baggage", "host", "content-type", "upgrade", "user-agent", "grpc-trace-bin"];

impl Interest {
    /// The standing names and `configured` ones (any case; tenant and weight headers).
    pub fn new<'n>(configured: impl IntoIterator<Item = &'n str>) -> Self {
        let mut interest = Self { names: Vec::new(), by_length: Vec::new(), initials: 0, edition: 0 };
        for name in ALWAYS.into_iter().chain(configured) {
            interest.add(&name.to_ascii_lowercase());
        }
        let mut hasher = FxHasher::default();
        interest.names.hash(&mut hasher);
        interest.edition = hasher.finish();
        interest
    }

    /// Tells one list of names from another: what a decoder keeps by [`HeaderName`] holds for one edition.
    pub fn edition(&self) -> u64 {
        self.edition
    }

    fn add(&mut self, name: &str) {
        if self.find(name.as_bytes()).is_some() {
            return;
        }
        let Ok(index) = u16::try_from(self.names.len()) else { return };
        self.names.push(name.into());
        self.initials |= name.bytes().next().map_or(0, initial);
        if self.by_length.len() <= name.len() {
            self.by_length.resize(name.len().saturating_add(1), Vec::new());
        }
        if let Some(same_length) = self.by_length.get_mut(name.len()) {
            same_length.push(index);
        }
    }

    /// Whether any wanted name may begin with this byte: the cheap question before [`Self::find`].
    pub fn may_begin(&self, first: u8) -> bool {
        self.initials & initial(first) != 0
    }

    /// The wanted name that `name` is, in any case; `None` for names that nobody asked for.
    pub fn find(&self, name: &[u8]) -> Option<HeaderName> {
        self.by_length.get(name.len())?.iter().copied().find_map(|index| {
            let wanted = self.names.get(usize::from(index))?;
            wanted.as_bytes().eq_ignore_ascii_case(name).then_some(HeaderName(index))
        })
    }

    /// The name in lower case.
    pub fn name(&self, name: HeaderName) -> &str {
        self.names.get(usize::from(name.0)).map_or("", |name| name)
    }
}

fn initial(byte: u8) -> u32 {
    1_u32.wrapping_shl(u32::from(byte & 31))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_the_standing_names() {
        let interest = Interest::new(["X-Tenant-Id"]);
        assert_eq!(interest.find(b"TraceParent"), Some(HeaderName::TRACEPARENT));
        assert_eq!(interest.find(b"user-agent"), Some(HeaderName::USER_AGENT));
        assert_eq!(
            interest.find(b"x-tenant-id").map(|name| interest.name(name).to_owned()),
            Some("x-tenant-id".into())
        );
        assert_eq!(interest.find(b"grpc-trace-bin"), Some(HeaderName::GRPC_TRACE_BIN));
        assert!(HeaderName::GRPC_TRACE_BIN.is_standing() && !HeaderName(8).is_standing());
        assert_eq!(interest.find(b"authorization"), None);
        assert_eq!(interest.find(b"cookie"), None);
    }
}
