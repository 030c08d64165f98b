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
    /// `b3`: B3 in one header.
    pub const B3: Self = Self(8);
    /// `x-b3-traceid`: B3 in several headers: the trace id.
    pub const B3_TRACE_ID: Self = Self(9);
    /// `x-b3-spanid`: the parent id.
    pub const B3_SPAN_ID: Self = Self(10);
    /// `x-b3-sampled`: the decision.
    pub const B3_SAMPLED: Self = Self(11);
    /// `x-b3-flags`: debug.
    pub const B3_FLAGS: Self = Self(12);
    /// `uber-trace-id`: Jaeger.
    pub const JAEGER: Self = Self(13);
    /// `x-datadog-trace-id`: Datadog: the low half of the trace id.
    pub const DATADOG_TRACE_ID: Self = Self(14);
    /// `x-datadog-parent-id`: the parent id.
    pub const DATADOG_PARENT_ID: Self = Self(15);
    /// `x-datadog-sampling-priority`: the decision.
    pub const DATADOG_PRIORITY: Self = Self(16);
    /// `x-datadog-tags`: the high half of the trace id.
    pub const DATADOG_TAGS: Self = Self(17);
    /// `x-amzn-trace-id`: AWS X-Ray.
    pub const XRAY: Self = Self(18);
    /// `x-cloud-trace-context`: Google Cloud Trace.
    pub const CLOUD_TRACE: Self = Self(19);
    /// `request-id`: .NET before W3C; named, not decoded, like those that follow.
    pub const REQUEST_ID: Self = Self(20);
    /// `newrelic`: New Relic.
    pub const NEW_RELIC: Self = Self(21);
    /// `elastic-apm-traceparent`: Elastic APM.
    pub const ELASTIC_APM: Self = Self(22);
    /// `sw8`: Apache SkyWalking.
    pub const SKY_WALKING: Self = Self(23);
    /// `ot-tracer-traceid`: OpenTracing's basic tracer, `ottrace`.
    pub const OT_TRACE: Self = Self(24);
    /// `x-dynatrace`: Dynatrace.
    pub const DYNATRACE: Self = Self(25);
    /// `access-control-allow-origin`: tells responses that scripts of other origins may read.
    pub const ALLOW_ORIGIN: Self = Self(26);
    /// `access-control-expose-headers`: what else of them.
    pub const EXPOSE_HEADERS: Self = Self(27);
    /// `access-control-request-headers`: what a script is about to send.
    pub const REQUEST_HEADERS: Self = Self(28);
    /// `access-control-allow-headers`: what of that it may.
    pub const ALLOW_HEADERS: Self = Self(29);

    /// Whether it carries, or names, a trace.
    pub fn is_of_trace(self) -> bool {
        matches!(self, Self::TRACEPARENT | Self::TRACESTATE | Self::BAGGAGE)
            || (Self::GRPC_TRACE_BIN..=Self::DYNATRACE).contains(&self)
    }

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
    /// By the low five bits of the first byte of a name, which both cases of a letter share, those of all second bytes.
    seconds: [u32; 32],
    edition: u64,
}

/// The names that are always wanted, in the order of the constants of [`HeaderName`].
const ALWAYS: [&str; 30] = [
    "traceparent",
    "tracestate",
    "baggage",
    "host",
    "content-type",
    "upgrade",
    "user-agent",
    "grpc-trace-bin",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "request-id",
    "newrelic",
    "elastic-apm-traceparent",
    "sw8",
    "ot-tracer-traceid",
    "x-dynatrace",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-request-headers",
    "access-control-allow-headers",
];

impl Interest {
    /// The standing names and `configured` ones (any case; tenant and weight headers).
    pub fn new<'n>(configured: impl IntoIterator<Item = &'n str>) -> Self {
        let mut interest = Self { names: Vec::new(), by_length: Vec::new(), seconds: [0; 32], edition: 0 };
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
        if let [first, rest @ ..] = name.as_bytes()
            && let Some(seconds) = self.seconds.get_mut(five_bits(*first))
        {
            // Behind a name of one letter anything may stand.
            *seconds |= rest.first().map_or(u32::MAX, |&second| 1_u32.wrapping_shl(u32::from(second)));
        }
        if self.by_length.len() <= name.len() {
            self.by_length.resize(name.len().saturating_add(1), Vec::new());
        }
        if let Some(same_length) = self.by_length.get_mut(name.len()) {
            same_length.push(index);
        }
    }

    /// Whether what begins with these bytes may be, or begin with, a wanted name: the cheap question before [`Self::find`].
    pub fn may_begin(&self, bytes: &[u8]) -> bool {
        let seconds = |first: u8| self.seconds.get(five_bits(first)).copied().unwrap_or_default();
        match *bytes {
            [first, second, ..] => seconds(first) & 1_u32.wrapping_shl(u32::from(second)) != 0,
            [first] => seconds(first) == u32::MAX,
            [] => false,
        }
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

fn five_bits(byte: u8) -> usize {
    usize::from(byte & 31)
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
        for (name, constant) in [
            ("b3", HeaderName::B3),
            ("x-b3-traceid", HeaderName::B3_TRACE_ID),
            ("x-b3-spanid", HeaderName::B3_SPAN_ID),
            ("x-b3-sampled", HeaderName::B3_SAMPLED),
            ("x-b3-flags", HeaderName::B3_FLAGS),
            ("uber-trace-id", HeaderName::JAEGER),
            ("x-datadog-trace-id", HeaderName::DATADOG_TRACE_ID),
            ("x-datadog-parent-id", HeaderName::DATADOG_PARENT_ID),
            ("x-datadog-sampling-priority", HeaderName::DATADOG_PRIORITY),
            ("x-datadog-tags", HeaderName::DATADOG_TAGS),
            ("x-amzn-trace-id", HeaderName::XRAY),
            ("x-cloud-trace-context", HeaderName::CLOUD_TRACE),
            ("request-id", HeaderName::REQUEST_ID),
            ("newrelic", HeaderName::NEW_RELIC),
            ("elastic-apm-traceparent", HeaderName::ELASTIC_APM),
            ("sw8", HeaderName::SKY_WALKING),
            ("ot-tracer-traceid", HeaderName::OT_TRACE),
            ("x-dynatrace", HeaderName::DYNATRACE),
            ("access-control-allow-origin", HeaderName::ALLOW_ORIGIN),
            ("access-control-expose-headers", HeaderName::EXPOSE_HEADERS),
            ("access-control-request-headers", HeaderName::REQUEST_HEADERS),
            ("access-control-allow-headers", HeaderName::ALLOW_HEADERS),
        ] {
            assert_eq!(interest.find(name.to_uppercase().as_bytes()), Some(constant), "{name}");
            assert!(
                constant.is_standing()
                    && interest.may_begin(name.as_bytes())
                    && interest.may_begin(name.to_uppercase().as_bytes())
            );
        }
        assert!(!HeaderName(30).is_standing());
        assert!(HeaderName::BAGGAGE.is_of_trace() && HeaderName::DYNATRACE.is_of_trace());
        assert!(!HeaderName::HOST.is_of_trace() && !HeaderName::ALLOW_ORIGIN.is_of_trace());
        assert!(!interest.may_begin(b"server") && !interest.may_begin(b"etag") && !interest.may_begin(b""));
        assert!(
            !interest.may_begin(b"x")
                && Interest::new(["X"]).may_begin(b"x")
                && Interest::new(["X"]).may_begin(b"x: 1")
        );
        assert_eq!(interest.find(b"authorization"), None);
        assert_eq!(interest.find(b"cookie"), None);
    }
}
