//! The header formats of trace contexts, those that are decoded and those that are only recognised, and sets of them.

use std::fmt;

use super::{Malformation, Spellings, TraceContext};

/// A header format that is decoded, in the order in which a message is asked for them: the first valid context is the one
/// that counts. The last two are also written by load balancers and gateways of clouds, with traces of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// W3C Trace Context (`traceparent`).
    W3c,
    /// B3 in one header (`b3`).
    B3,
    /// B3 in several headers (`x-b3-traceid` and others).
    B3Multi,
    /// Jaeger (`uber-trace-id`).
    Jaeger,
    /// Datadog (`x-datadog-trace-id` and others).
    Datadog,
    /// The binary context of OpenCensus (`grpc-trace-bin`).
    OpenCensus,
    /// AWS X-Ray (`x-amzn-trace-id`).
    XRay,
    /// Google Cloud Trace (`x-cloud-trace-context`).
    CloudTrace,
}

impl Format {
    /// Every format, in the order above.
    pub const ALL: [Self; 8] = [
        Self::W3c,
        Self::B3,
        Self::B3Multi,
        Self::Jaeger,
        Self::Datadog,
        Self::OpenCensus,
        Self::XRay,
        Self::CloudTrace,
    ];

    /// The header that holds the trace id.
    pub fn header(self) -> &'static str {
        match self {
            Self::W3c => "traceparent",
            Self::B3 => "b3",
            Self::B3Multi => "x-b3-traceid",
            Self::Jaeger => "uber-trace-id",
            Self::Datadog => "x-datadog-trace-id",
            Self::OpenCensus => "grpc-trace-bin",
            Self::XRay => "x-amzn-trace-id",
            Self::CloudTrace => "x-cloud-trace-context",
        }
    }

    /// What `OTEL_PROPAGATORS` and its like call it (OpenTelemetry, environment variables; the last two of Go and Python).
    pub fn propagator(self) -> &'static str {
        match self {
            Self::W3c => "tracecontext",
            Self::B3 => "b3",
            Self::B3Multi => "b3multi",
            Self::Jaeger => "jaeger",
            Self::Datadog => "datadog",
            Self::OpenCensus => "opencensus",
            Self::XRay => "xray",
            Self::CloudTrace => "gcp_trace_format",
        }
    }

    /// Where its rules stand.
    pub fn source(self) -> &'static str {
        match self {
            Self::W3c => "W3C Trace Context, section 3.2",
            Self::B3 | Self::B3Multi => "openzipkin/b3-propagation",
            Self::Jaeger => "Jaeger client libraries, propagation format",
            Self::Datadog => "Datadog trace context propagation",
            Self::OpenCensus => "OpenCensus BinaryEncoding.md",
            Self::XRay => "AWS X-Ray, tracing header",
            Self::CloudTrace => "Google Cloud Trace, trace context",
        }
    }

    /// Whether platforms write it beside what applications send, with traces of their own.
    pub fn is_of_platforms(self) -> bool {
        matches!(self, Self::XRay | Self::CloudTrace)
    }
}

/// A set of formats, for example of those in which one message carries the same context.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Formats(u8);

impl Formats {
    /// None.
    pub const NONE: Self = Self(0);

    /// The one.
    pub const fn of(format: Format) -> Self {
        Self(1 << format as u8)
    }

    /// The formats of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those without the ones that platforms write.
    #[must_use]
    pub fn of_applications(self) -> Self {
        self.iter().filter(|format| !format.is_of_platforms()).fold(Self::NONE, |set, format| set.and(Self::of(format)))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether both have one in common.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether each is one of `other`.
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Its formats, in the order of [`Format::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Format> + Clone {
        Format::ALL.into_iter().filter(move |&format| self.meets(Self::of(format)))
    }

    /// Every set, in the order of [`Self::index`].
    pub(crate) fn every() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// A number of its own.
    pub(crate) fn index(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Formats {
    /// Their headers: `b3 and uber-trace-id`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(formatter, self.iter().map(Format::header))
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What a message carries beside trace contexts that are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aside {
    /// `request-id` (.NET, hierarchical or flat).
    RequestId,
    /// `newrelic`.
    NewRelic,
    /// `elastic-apm-traceparent`.
    ElasticApm,
    /// `sw8` (Apache `SkyWalking`).
    SkyWalking,
    /// `ot-tracer-traceid` (the propagator `ottrace`).
    OtTrace,
    /// `x-dynatrace`.
    Dynatrace,
    /// A decision for whatever trace the receiver begins: `b3: 0`, or `x-b3-sampled` or `x-datadog-sampling-priority` alone.
    Decision,
    /// A trace without a parent, as load balancers send: the receiver's span is the first one.
    Parentless,
}

impl Aside {
    const ALL: [Self; 8] = [
        Self::RequestId,
        Self::NewRelic,
        Self::ElasticApm,
        Self::SkyWalking,
        Self::OtTrace,
        Self::Dynatrace,
        Self::Decision,
        Self::Parentless,
    ];

    /// What it is called in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestId => "request-id",
            Self::NewRelic => "newrelic",
            Self::ElasticApm => "elastic-apm-traceparent",
            Self::SkyWalking => "sw8",
            Self::OtTrace => "ottrace",
            Self::Dynatrace => "x-dynatrace",
            Self::Decision => "a sampling decision without a trace",
            Self::Parentless => "a trace id without a parent id",
        }
    }

    fn is_format(self) -> bool {
        !matches!(self, Self::Decision | Self::Parentless)
    }
}

/// A set of [`Aside`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asides(u8);

impl Asides {
    /// The one.
    pub const fn of(aside: Aside) -> Self {
        Self(1 << aside as u8)
    }

    /// What is in either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `aside` is one of them.
    pub fn has(self, aside: Aside) -> bool {
        self.0 & Self::of(aside).0 != 0
    }
}

impl fmt::Display for Asides {
    /// In a sentence: `newrelic and x-dynatrace, which are not decoded; a trace id without a parent id`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |formats: bool| {
            Aside::ALL
                .into_iter()
                .filter(move |&aside| self.has(aside) && aside.is_format() == formats)
                .map(Aside::as_str)
        };
        list(formatter, named(true))?;
        match named(true).count() {
            0 => {}
            1 => formatter.write_str(", which is not decoded")?,
            _ => formatter.write_str(", which are not decoded")?,
        }
        if named(true).next().is_some() && named(false).next().is_some() {
            formatter.write_str("; ")?;
        }
        list(formatter, named(false))
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(
    formatter: &mut fmt::Formatter<'_>,
    words: impl Iterator<Item = &'static str> + Clone,
) -> fmt::Result {
    let last = words.clone().count().saturating_sub(1);
    for (place, word) in words.enumerate() {
        match place {
            0 => {}
            _ if place == last => formatter.write_str(" and ")?,
            _ => formatter.write_str(", ")?,
        }
        formatter.write_str(word)?;
    }
    Ok(())
}

/// What a message carries besides the context that counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beside {
    /// Contexts of other formats that name another trace, or the same with the other decision.
    pub contexts: Vec<TraceContext>,
    /// Beside a valid context, the first format that a receiver must ignore.
    pub malformed: Option<(Format, Malformation)>,
    /// What else tells of a trace.
    pub asides: Asides,
    /// What is unusual about how ids are written, of contexts that are malformed too.
    pub spellings: Spellings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_read_well() {
        let formats = |list: &[Format]| list.iter().fold(Formats::NONE, |set, &one| set.and(Formats::of(one)));
        assert_eq!(formats(&[]).to_string(), "");
        assert_eq!(formats(&[Format::B3]).to_string(), "b3");
        assert_eq!(formats(&[Format::XRay, Format::W3c]).to_string(), "traceparent and x-amzn-trace-id");
        assert_eq!(formats(&Format::ALL[..3]).to_string(), "traceparent, b3 and x-b3-traceid");
        assert_eq!(formats(&Format::ALL).of_applications().iter().count(), 6);
        let asides = |list: &[Aside]| list.iter().fold(Asides::default(), |set, &one| set.and(Asides::of(one)));
        for (list, text) in [
            (&[Aside::NewRelic][..], "newrelic, which is not decoded"),
            (&[Aside::Dynatrace, Aside::NewRelic], "newrelic and x-dynatrace, which are not decoded"),
            (&[Aside::Parentless], "a trace id without a parent id"),
            (&[Aside::Parentless, Aside::SkyWalking], "sw8, which is not decoded; a trace id without a parent id"),
        ] {
            assert_eq!(asides(list).to_string(), text);
        }
    }
}
