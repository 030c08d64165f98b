//! The rows of the ledger: what each counts, and which of its labels gives way where a table is full.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Sight;
use crate::audit::tally::{Examples, Labels};
use crate::connection::Opaque;
use crate::context::{Asides, Format, Formats, Malformation, Sampled, Spellings, TraceContext, Weight, WeightClass};
use crate::fact::Fact;
use crate::ids::{ServiceId, TenantId};
use crate::message::Protocol;
use crate::names::Names;
use crate::propagation::{Handed, Outcome, Route, WeightOutcome};

/// How the trace context of a request arrived: the value of the `context` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// A valid one.
    Valid,
    /// None.
    Missing,
    /// One that a receiver must ignore.
    Malformed,
    /// The head was not fully seen.
    Unobserved,
}

impl Arrival {
    /// The label value, for example `missing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unobserved => "unobserved",
        }
    }
}

/// Requests by how their context arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// With a valid context.
    pub valid: u64,
    /// Without one.
    pub missing: u64,
    /// With one that a receiver must ignore.
    pub malformed: u64,
    /// Of which the head was not fully seen.
    pub unobserved: u64,
}

impl Arrivals {
    pub(super) fn add(&mut self, arrival: Arrival, count: u64) {
        let counter = match arrival {
            Arrival::Valid => &mut self.valid,
            Arrival::Missing => &mut self.missing,
            Arrival::Malformed => &mut self.malformed,
            Arrival::Unobserved => &mut self.unobserved,
        };
        *counter = counter.saturating_add(count);
    }

    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            valid: self.valid.saturating_add(other.valid),
            missing: self.missing.saturating_add(other.missing),
            malformed: self.malformed.saturating_add(other.malformed),
            unobserved: self.unobserved.saturating_add(other.unobserved),
        }
    }

    /// Requests that came without a context that the receiver can use.
    pub fn without_context(&self) -> u64 {
        self.missing.saturating_add(self.malformed)
    }

    /// Requests of which the head was seen.
    pub fn observed(&self) -> u64 {
        self.valid.saturating_add(self.without_context())
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.observed().saturating_add(self.unobserved)
    }
}

/// A way in which a hop breaks the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Break {
    /// No context.
    Lost,
    /// A new trace.
    Restarted,
    /// Sampled, though the request that caused it was not.
    FlippedOn,
    /// Not sampled, though the request that caused it was.
    FlippedOff,
}

/// Hops by outcome, in the order of [`Outcome::ALL`].
pub type Outcomes = [u64; Outcome::ALL.len()];

/// Hops between two services.
#[derive(Clone, Copy, Debug, Default)]
pub struct HopRow {
    /// By outcome.
    pub outcomes: Outcomes,
    /// Ambiguous ones without a context: they may be lost.
    pub doubtful: u64,
    /// How many carried a context.
    pub with_context: u64,
    /// The formats of all these contexts.
    pub sent: Formats,
    /// The formats in which traces arrived that hops went on with.
    pub carried: FormatSets,
    /// The formats of requests that made the service start a trace in none of them.
    pub strange: FormatSets,
    /// Traces that it started in a format of the requests that made it do so.
    pub familiar: u64,
    /// What became of traces with the random flag of W3C Level 2, and of others.
    pub by_flags: ByFlags,
    /// How many went on with a trace that every request brought with a `tracestate`, and could be judged.
    pub with_tracestate: u64,
    /// The same of baggage.
    pub with_baggage: u64,
}

/// Hops of which one request alone can be the cause, by whether its flags were above 02: sampled, with the random flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByFlags {
    /// Went on with such a trace.
    pub above_continued: u64,
    /// Began a new one because of such a trace.
    pub above_restarted: u64,
    /// Went on with another trace.
    pub others_continued: u64,
    /// Began a new one because of another.
    pub others_restarted: u64,
}

/// Traces of each kind that must have been seen before their flags are named as what parts them.
const BY_FLAGS_MIN: u64 = 8;

impl ByFlags {
    pub(super) fn add(&mut self, cause: &TraceContext, goes_on: bool) {
        let counter = match (cause.random && cause.sampled == Sampled::Sampled, goes_on) {
            (true, true) => &mut self.above_continued,
            (true, false) => &mut self.above_restarted,
            (false, true) => &mut self.others_continued,
            (false, false) => &mut self.others_restarted,
        };
        *counter = counter.saturating_add(1);
    }

    /// Whether exactly the traces with flags above 02 restart.
    pub fn parts(&self) -> bool {
        (self.above_continued, self.others_restarted) == (0, 0)
            && self.above_restarted >= BY_FLAGS_MIN
            && self.others_continued >= BY_FLAGS_MIN
    }
}

impl HopRow {
    /// How many had this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(index(outcome)).copied().unwrap_or_default()
    }

    /// How many at most lost their context: those of which it is known, and those of which it cannot be known one by one.
    pub fn lost_at_most(&self) -> u64 {
        self.outcome(Outcome::Lost).saturating_add(self.doubtful.min(self.outcome(Outcome::Ambiguous)))
    }
}

/// Sets of formats that were met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatSets([u64; 4]);

impl FormatSets {
    pub(super) fn add(&mut self, formats: Formats) {
        if let Some(word) = self.0.get_mut(usize::from(formats.index() >> 6)) {
            *word |= 1_u64.wrapping_shl(u32::from(formats.index()));
        }
    }

    /// The sets, each once.
    pub fn iter(self) -> impl Iterator<Item = Formats> {
        Formats::every().filter(move |formats| {
            let word = self.0.get(usize::from(formats.index() >> 6)).copied().unwrap_or_default();
            word & 1_u64.wrapping_shl(u32::from(formats.index())) != 0
        })
    }
}

/// What shows that a service does not read some formats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unread {
    /// Hops on which it started a trace though all requests in flight brought one in these formats.
    pub restarts: u64,
    /// The formats in which it sent these traces.
    pub sent: Formats,
}

/// How formats of one message contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disagreement {
    /// They name different traces.
    Trace,
    /// They name one trace, sampled by one and not by another.
    Decision,
}

/// Requests of which the formats contradict each other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disagreeing {
    /// All.
    pub tally: Tally,
    /// The formats that do.
    pub formats: Formats,
}

/// How the ids of requests are written, where that is unusual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spelled {
    /// Of contexts that are valid.
    pub valid: Spellings,
    /// Of those that a receiver must ignore.
    pub malformed: Spellings,
}

/// Breaks of one kind between two services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broken {
    /// How often, by proof.
    pub causal: u64,
    /// How often, by the window of requests in flight.
    pub window: u64,
    /// The first few.
    pub examples: Examples,
    /// What such hops carry that is no context, or is not decoded.
    pub asides: Asides,
    /// How many were caused by a request without a weight, or with one that is none.
    pub without_weight: u64,
}

/// What travels beside a trace context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Companion {
    /// `tracestate`.
    Tracestate,
    /// `baggage`.
    Baggage,
}

/// Hops between two services that carry a trace without what it arrived with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dropped {
    /// All.
    pub tally: Tally,
    /// Those that are of another tenant, or of none, because of that.
    pub with_tenant: u64,
    /// Those of them that have baggage, without the member that names the tenant.
    pub tenant_alone: u64,
}

impl Dropped {
    /// Counts a hop; not one that hands on what arrived.
    pub(super) fn add(&mut self, handed: Handed, sight: Sight) {
        let (with_tenant, tenant_alone) = match handed {
            Handed::On => return,
            Handed::Dropped => (0, 0),
            Handed::DroppedWithTenant => (1, 0),
            Handed::TenantDropped => (1, 1),
        };
        self.tally.add(sight);
        self.with_tenant = self.with_tenant.saturating_add(with_tenant);
        self.tenant_alone = self.tenant_alone.saturating_add(tenant_alone);
    }
}

/// A count with its first few examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Examples,
    /// Whether they were met with more than one service at the other end.
    pub several_peers: bool,
}

impl Tally {
    pub(super) fn add(&mut self, sight: Sight) {
        self.count = self.count.saturating_add(1);
        self.several_peers |= self.examples.iter().next().is_some_and(|first| first.peer != sight.peer);
        self.examples.add(sight);
    }
}

/// Requests without a context, between two services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missing {
    /// All.
    pub all: Tally,
    /// What they carry that is no context, or is not decoded.
    pub asides: Asides,
}

/// Requests with a context, between two services, by what was decided of their traces.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decided {
    /// Sampled.
    pub sampled: u64,
    /// Not sampled.
    pub not_sampled: Tally,
}

/// Which end of a request tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The service sent it.
    Sender,
    /// The service received it, and who sent it is not observed.
    Receiver,
}

/// What becomes of the trace of a message whose trace should be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sampled, and its weight is not below 1.
    Sampled,
    /// It is not sampled.
    Unsampled,
    /// It is sampled here, and its weight is below 1: whoever samples by weights may drop it.
    BelowOne,
    /// The decision is deferred or not known.
    Undecided,
}

impl Fate {
    /// The fate of a trace with this decision (`None`: not known) and weight.
    pub fn of(sampled: Option<Sampled>, weight: Fact<Weight>) -> Self {
        match (sampled, WeightClass::of(weight)) {
            (Some(Sampled::NotSampled), _) => Self::Unsampled,
            (Some(Sampled::Sampled), WeightClass::Below) => Self::BelowOne,
            (Some(Sampled::Sampled), _) => Self::Sampled,
            (Some(Sampled::Deferred) | None, _) => Self::Undecided,
        }
    }
}

/// Messages whose traces should be kept, by what becomes of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fates {
    /// Those of sampled traces without such a weight.
    pub sampled: u64,
    /// Those of traces that are not sampled.
    pub unsampled: Tally,
    /// Those of sampled traces with a weight below 1.
    pub below_one: Tally,
    /// Those of traces whose decision is deferred or not known.
    pub undecided: u64,
}

impl Fates {
    pub(super) fn add(&mut self, fate: Fate, sight: Sight) {
        match fate {
            Fate::Sampled => self.sampled = self.sampled.saturating_add(1),
            Fate::Unsampled => self.unsampled.add(sight),
            Fate::BelowOne => self.below_one.add(sight),
            Fate::Undecided => self.undecided = self.undecided.saturating_add(1),
        }
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.sampled.saturating_add(self.lost()).saturating_add(self.undecided)
    }

    /// Those of traces that are lost, or may be.
    pub fn lost(&self) -> u64 {
        self.unsampled.count.saturating_add(self.below_one.count)
    }
}

/// What a browser keeps from scripts unless the service allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// A weight in a response: `Access-Control-Expose-Headers`.
    Expose,
    /// Trace headers of a request, which a preflight asks for: `Access-Control-Allow-Headers`.
    Allow,
}

/// Messages that passed a gate, or did not.
#[derive(Clone, Debug, Default)]
pub struct Gated {
    /// All.
    pub of: u64,
    /// Those of which some header did not.
    pub shut: Tally,
    /// Which headers: no more than there are names in the decoders' interest.
    pub headers: BTreeSet<Box<str>>,
}

/// Responses that took longer than was declared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slow {
    /// By what becomes of their traces.
    pub fates: Fates,
    /// How long a response of the service to the tenant may take, as declared last.
    pub threshold: Duration,
}

/// The place of an outcome in [`Outcome::ALL`].
pub(in crate::audit) fn index(outcome: Outcome) -> usize {
    Outcome::ALL.iter().position(|&known| known == outcome).unwrap_or_default()
}

impl Labels for (ServiceId, TenantId, Protocol) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT, self.2)
    }
}
impl Labels for (ServiceId, ServiceId, Format, Malformation) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2, self.3)
    }
}
impl Labels for (ServiceId, ServiceId, Disagreement) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2)
    }
}
impl Labels for (ServiceId, Formats) {
    fn overflow(self) -> Self {
        (Names::OVERFLOW_SERVICE, self.1)
    }
}
impl Labels for (ServiceId, ServiceId) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE)
    }
}
impl Labels for (ServiceId, ServiceId, TenantId) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, Names::OVERFLOW_TENANT)
    }
}
impl Labels for (ServiceId, ServiceId, Break) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2)
    }
}
impl Labels for (ServiceId, ServiceId, Companion) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2)
    }
}

impl Labels for (ServiceId, ServiceId, Break, Route) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2, Route::UNSEEN)
    }
}
impl Labels for (ServiceId, TenantId, Side, WeightOutcome) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT, self.2, self.3)
    }
}
impl Labels for (ServiceId, TenantId, Side) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT, self.2)
    }
}
impl Labels for (ServiceId, TenantId) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT)
    }
}
impl Labels for (ServiceId, Gate) {
    fn overflow(self) -> Self {
        (Names::OVERFLOW_SERVICE, self.1)
    }
}
impl Labels for (ServiceId, Opaque) {
    fn overflow(self) -> Self {
        (Names::OVERFLOW_SERVICE, self.1)
    }
}
