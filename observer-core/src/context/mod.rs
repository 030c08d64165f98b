//! What a message says of its trace, read from the headers that decoding kept.

mod b3;
pub mod baggage;
mod binary;
mod carried;
mod cloud_trace;
mod cors;
mod datadog;
mod digits;
mod format;
mod jaeger;
mod spelling;
mod tenant;
pub mod traceparent;
pub mod tracestate;
mod weight;
mod xray;

use std::fmt;

pub use self::format::{Aside, Asides, Beside, Format, Formats};
pub use self::spelling::{Spelling, Spellings};
pub use self::tenant::TenantName;
use crate::fact::Fact;
use crate::ids::{SpanId, TraceId};
use crate::message::{Header, Interest, RequestHead};

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
    /// The header formats that carry it: all of the message that agree on the trace and the decision.
    pub formats: Formats,
}

/// Why a trace context is malformed: the value of the `reason` label of `trace_propagation_malformed_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Malformation {
    /// Too short or too long (`traceparent`: not 55 characters in version 00), or fields too few or too many.
    Length,
    /// A version that is none (`traceparent`: not two hex digits, or `ff`; X-Ray: not 1).
    Version,
    /// A trace id that is not as the format asks for it (`traceparent`: not 32 lower-case hex digits), missing, or zero.
    TraceId,
    /// A parent id that is not as the format asks for it (`traceparent`: not 16 lower-case hex digits), missing, or zero.
    ParentId,
    /// Flags, a decision, a priority or options that are none (`traceparent`: not two lower-case hex digits).
    Flags,
    /// A delimiter that is missing or elsewhere.
    Delimiter,
    /// More than one header of the same name, or a list.
    Duplicated,
}

impl fmt::Display for Malformation {
    /// What is wrong, for a person: `the trace id is none of this format, missing or zero`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Length => "the header is too short or too long, or has fields too few or too many",
            Self::Version => "the version is none",
            Self::TraceId => "the trace id is none of this format, missing or zero",
            Self::ParentId => "the parent id is none of this format, missing or zero",
            Self::Flags => "the flags are none of this format",
            Self::Delimiter => "a delimiter is missing or elsewhere",
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
    Malformed(Format, Malformation),
    /// The head was not fully seen.
    NotObserved,
}

impl TraceFact {
    /// The valid context, if there is one.
    pub fn valid(&self) -> Option<&TraceContext> {
        match self {
            Self::Valid(context) => Some(context),
            Self::Missing | Self::Malformed(..) | Self::NotObserved => None,
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
/// The weight from which on a trace must be kept, whatever the ratio.
const WEIGHT_KEEPS: f64 = 1.0;

/// What a weight asks of who decides on the trace: ratios are kept by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightClass {
    /// 1 or more: the trace must be kept.
    Keep,
    /// Below 1: the rule decides.
    Below,
    /// None, or one that is no weight: who samples by weights then keeps the trace.
    Missing,
    /// The head was not fully seen.
    Unobserved,
}

impl WeightClass {
    /// Every class, in the order of the enumeration.
    pub const ALL: [Self; 4] = [Self::Keep, Self::Below, Self::Missing, Self::Unobserved];

    /// The class of a weight.
    pub fn of(weight: Fact<Weight>) -> Self {
        match weight {
            Fact::Present(Weight::Valid(weight)) if weight >= WEIGHT_KEEPS => Self::Keep,
            Fact::Present(Weight::Valid(_)) => Self::Below,
            Fact::Present(Weight::Malformed | Weight::OutOfRange) | Fact::Absent => Self::Missing,
            Fact::NotObserved => Self::Unobserved,
        }
    }
}

/// What one format of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Context(TraceContext),
    Malformed(Malformation),
    /// Something that is right, and no context.
    Aside(Aside),
}

impl From<Result<TraceContext, Malformation>> for Reading {
    fn from(parsed: Result<TraceContext, Malformation>) -> Self {
        parsed.map_or_else(Self::Malformed, Self::Context)
    }
}

/// Everything that the stages read from one request.
#[derive(Clone, Debug, PartialEq)]
pub struct MessageContext {
    /// The trace context; of several formats the first valid one in the order of [`Format::ALL`].
    pub trace: TraceFact,
    /// What other formats say.
    pub beside: Beside,
    /// What there is of a `tracestate` that is not empty.
    pub tracestate: Fact<Result<tracestate::List, tracestate::Malformed>>,
    /// What there is of a `baggage` that is not empty.
    pub baggage: Fact<baggage::Baggage>,
    /// The weight.
    pub weight: Fact<Weight>,
}

impl MessageContext {
    /// A message that says this of its trace, and nothing else.
    pub fn of(trace: TraceFact) -> Self {
        let (tracestate, baggage, weight) = (Fact::Absent, Fact::Absent, Fact::Absent);
        Self { trace, beside: Beside::default(), tracestate, baggage, weight }
    }

    /// What is unusual about how its ids are written.
    pub fn spellings(&self) -> Spellings {
        let is_half = self.contexts().any(|context| context.trace_id.high() == 0);
        self.beside.spellings.and(if is_half { Spellings::of(Spelling::Half) } else { Spellings::NONE })
    }

    /// Every context that it carries, the one that counts first.
    pub fn contexts(&self) -> impl Iterator<Item = &TraceContext> {
        self.trace.valid().into_iter().chain(&self.beside.contexts)
    }
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
        let (trace, beside) = carried::read(head);
        MessageContext {
            trace,
            beside,
            // What is not seen may spoil the list, or add what it lacks.
            tracestate: Fact::looked_for(tracestate::read(head.headers).filter(|_| head.complete), head.complete),
            baggage: baggage::read(head.headers, head.complete, |member| tenant::is_named_by(&self.tenant, member)),
            weight: self.weight(head.headers, head.complete),
        }
    }

    /// The weight of a request or a response; `complete`: its whole head was seen.
    pub fn weight(&self, headers: &[Header<'_>], complete: bool) -> Fact<Weight> {
        weight::read(&self.weight, headers, complete)
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
