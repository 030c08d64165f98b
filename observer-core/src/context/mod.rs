//! What a message says of its trace, read from the headers that decoding kept.

pub mod baggage;
mod binary;
mod tenant;
pub mod traceparent;
pub mod tracestate;
mod weight;

use std::fmt;

pub use self::tenant::TenantName;
use crate::fact::Fact;
use crate::ids::{SpanId, TraceId};
use crate::message::{HeaderName, Interest, RequestHead};

/// The sampled flag of a context. Absent is not "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sampled {
    /// The sender records the trace.
    Sampled,
    /// The sender does not.
    NotSampled,
    /// The sender leaves the decision to the receiver.
    Deferred,
}

impl Sampled {
    /// The value of the `sampled` label: `true`, `false`, `deferred`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sampled => "true",
            Self::NotSampled => "false",
            Self::Deferred => "deferred",
        }
    }
}

/// The header format that a context came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// W3C Trace Context (`traceparent`).
    W3c,
    /// The binary context of OpenCensus (`grpc-trace-bin`).
    OpenCensus,
}

/// A valid trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that sent the message.
    pub parent_id: SpanId,
    /// The decision it carries.
    pub sampled: Sampled,
    /// The random-trace-id bit (W3C Level 2, 0x02).
    pub random: bool,
    /// The header format.
    pub format: Format,
}

/// Why a trace context is malformed: the value of the `reason` label of `trace_propagation_malformed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformation {
    /// Not 55 characters (version 00), or too short.
    Length,
    /// A version that is not two hex digits, or `ff`.
    Version,
    /// A trace id that is not 32 lower-case hex digits, or all zero.
    TraceId,
    /// A parent id that is not 16 lower-case hex digits, or all zero.
    ParentId,
    /// Flags that are not two lower-case hex digits.
    Flags,
    /// A dash that is missing or elsewhere.
    Delimiter,
    /// More than one header, or a list.
    Duplicated,
}

impl fmt::Display for Malformation {
    /// What is wrong, for a person: `the trace id is not 32 lower-case hex digits, or all zero`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Length => "the header is too short or too long",
            Self::Version => "the version is not two lower-case hex digits, or ff",
            Self::TraceId => "the trace id is not 32 lower-case hex digits, or all zero",
            Self::ParentId => "the parent id is not 16 lower-case hex digits, or all zero",
            Self::Flags => "the flags are not two lower-case hex digits",
            Self::Delimiter => "a dash is missing or elsewhere",
            Self::Duplicated => "there is more than one header, or a list",
        })
    }
}

impl Malformation {
    /// The label value, for example `trace_id`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::TraceId => "trace_id",
            Self::ParentId => "parent_id",
            Self::Flags => "flags",
            Self::Delimiter => "delimiter",
            Self::Duplicated => "duplicated",
        }
    }
}

/// The trace context of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFact {
    /// One valid context.
    Valid(TraceContext),
    /// The whole head was seen and carries none.
    Missing,
    /// There is one, and a receiver must ignore it.
    Malformed(Malformation),
    /// The head was not fully seen.
    NotObserved,
}

impl TraceFact {
    /// The valid context, if there is one.
    pub fn valid(&self) -> Option<&TraceContext> {
        match self {
            Self::Valid(context) => Some(context),
            Self::Missing | Self::Malformed(_) | Self::NotObserved => None,
        }
    }
}

/// What a message says of its weight (`X-Trace-Weight`): application-defined, caller-controlled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weight {
    /// A finite number of zero or more, at most [`WEIGHT_MAX`].
    Valid(f64),
    /// Not a number.
    Malformed,
    /// A number below zero, over [`WEIGHT_MAX`], infinite or not-a-number.
    OutOfRange,
}

/// The largest weight that is taken for one.
pub const WEIGHT_MAX: f64 = 1_000_000.0;

/// Everything that the stages read from one request.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageContext {
    /// The trace context.
    pub trace: TraceFact,
    /// Whether there is a well-formed, non-empty `tracestate`.
    pub tracestate: Fact<()>,
    /// Whether there is a non-empty `baggage`.
    pub baggage: Fact<()>,
    /// The weight.
    pub weight: Fact<Weight>,
}

/// Where a tenant is read from (`tenant:` of the configuration), in order.
#[derive(Clone, Debug)]
pub enum TenantSource {
    /// A header, name in lower case.
    Header(String),
    /// A member of `baggage`.
    Baggage(String),
    /// A member of `tracestate`.
    Tracestate(String),
    /// The group `tenant` of a regular expression over the host.
    Host(regex::Regex),
    /// The group `tenant` of a regular expression over the path.
    Path(regex::Regex),
    /// The Kubernetes namespace of the service at whose end the message is seen: sender and receiver each have their own.
    Namespace,
}

/// Where a weight is read from (`weight:` of the configuration), in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightSource {
    /// A header, name in lower case.
    Header(String),
    /// A member of `baggage`.
    Baggage(String),
}

/// The configured extractors, compiled against an [`Interest`].
#[derive(Clone, Debug)]
pub struct Extractors {
    tenant: Vec<tenant::Source>,
    weight: Vec<weight::Source>,
    interest: Interest,
}

impl Extractors {
    /// Extractors in the order of the configuration.
    pub fn new(tenant: Vec<TenantSource>, weight: Vec<WeightSource>) -> Self {
        let headers = tenant
            .iter()
            .filter_map(|source| match source {
                TenantSource::Header(name) => Some(name.as_str()),
                _ => None,
            })
            .chain(weight.iter().filter_map(|source| match source {
                WeightSource::Header(name) => Some(name.as_str()),
                WeightSource::Baggage(_) => None,
            }));
        let interest = Interest::new(headers);
        Self {
            tenant: tenant.into_iter().filter_map(|source| tenant::Source::compile(source, &interest)).collect(),
            weight: weight.into_iter().filter_map(|source| weight::Source::compile(source, &interest)).collect(),
            interest,
        }
    }

    /// The header names that decoding must keep for these extractors.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Reads a request. What an incomplete head shows is taken; what it does not show is not observed.
    pub fn extract(&self, head: &RequestHead<'_>) -> MessageContext {
        MessageContext {
            trace: trace(head),
            tracestate: Fact::looked_for(tracestate::is_kept(head.headers).then_some(()), head.complete),
            baggage: Fact::looked_for(baggage::members(head.headers).next().map(|_| ()), head.complete),
            weight: weight::read(&self.weight, head),
        }
    }

    /// The tenant that the first yielding extractor names, decoded; the other two where none yields. `namespace` is that of
    /// the service at whose end the request was seen, where there is one.
    pub fn tenant<'a>(&self, head: &RequestHead<'a>, namespace: Option<&'a str>) -> Fact<TenantName<'a>> {
        tenant::read(&self.tenant, head, namespace)
    }

    /// Whether the two ends of a request may read different tenants from it.
    pub fn asks_for_namespaces(&self) -> bool {
        self.tenant.iter().any(|source| matches!(source, tenant::Source::Namespace))
    }
}

/// Reads the trace context; the first format that is there decides.
fn trace(head: &RequestHead<'_>) -> TraceFact {
    let one = |name| {
        let mut found = head.headers.iter().filter(move |header| header.name == name);
        // The decoder trims; other sources of headers may not.
        found.next().map(|first| if found.next().is_some() { None } else { Some(first.value.trim_ascii()) })
    };
    let read = |found: Option<&[u8]>, parse: fn(&[u8]) -> Result<TraceContext, Malformation>| {
        found.ok_or(Malformation::Duplicated).and_then(parse).map_or_else(TraceFact::Malformed, TraceFact::Valid)
    };
    match (one(HeaderName::TRACEPARENT), head.complete) {
        (Some(found), _) => read(found, traceparent::parse),
        // A `traceparent` may be among what was not seen.
        (None, false) => TraceFact::NotObserved,
        (None, true) => match one(HeaderName::GRPC_TRACE_BIN) {
            Some(found) => read(found, binary::parse),
            None => TraceFact::Missing,
        },
    }
}
