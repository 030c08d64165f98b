//! The ledger: what the pipeline learns of each request, hop, weight and error comes in; bounded counters with a few examples
//! go out. Plain adding up: what of it is wrong is decided by the findings. What a row counts is in `rows`.

mod culprits;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};

use super::report::Evidence;
use super::tally::Table;
use crate::connection::Opaque;
use crate::context::{
    Format, Formats, Malformation, MessageContext, Sampled, Spellings, TraceContext, TraceFact, WeightClass,
};
use crate::fact::Fact;
use crate::ids::{ServiceId, SpanId, TenantId, TraceId};
use crate::limits::Limits;
use crate::message::Protocol;
use crate::names::Names;
use crate::propagation::{Correction, Handed, Hop, Outcome, Route, WeightOutcome};
use crate::time::Timestamp;

pub(super) use rows::index;
pub use rows::{
    Arrival, Arrivals, Break, Broken, Companion, Decided, Disagreeing, Disagreement, Dropped, Fate, Fates, FormatSets,
    Gate, Gated, HopRow, Missing, Outcomes, Side, Slow, Spelled, Tally, Unread,
};

/// The share of the memory limit that each table of the ledger may take: one in this many.
const TABLE_SHARE: usize = 64;

/// Processes that are named of a service of which some TLS is not read.
const UNREAD_MAX: usize = 8;

/// What is kept of one message as an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When.
    pub at: Timestamp,
    /// The trace and the parent id that it carries, where it does.
    pub trace: Option<(TraceId, SpanId)>,
    /// The service at the other end.
    pub peer: ServiceId,
}

/// A request as the service received it.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedRequest<'a> {
    /// When.
    pub at: Timestamp,
    /// Who received it.
    pub service: ServiceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its protocol.
    pub protocol: Protocol,
    /// What it says.
    pub context: &'a MessageContext,
    /// Who sent it.
    pub sender: ServiceId,
}

/// A hop as the propagation stage decided it.
#[derive(Clone, Copy, Debug)]
pub struct DecidedHop<'a> {
    /// When.
    pub at: Timestamp,
    /// Who sent it.
    pub service: ServiceId,
    /// To whom.
    pub peer: ServiceId,
    /// What it says.
    pub context: &'a MessageContext,
    /// The decision.
    pub hop: &'a Hop,
    /// How its cause was decided.
    pub evidence: Evidence,
}

/// Everything that is counted of the messages of one run.
#[derive(Debug)]
pub struct Ledger {
    pub(super) requests: Table<(ServiceId, TenantId, Protocol), Arrivals>,
    pub(super) malformed: Table<(ServiceId, ServiceId, Format, Malformation), Tally>,
    pub(super) missing: Table<(ServiceId, ServiceId), Missing>,
    pub(super) disagreements: Table<(ServiceId, ServiceId, Disagreement), Disagreeing>,
    pub(super) decided: Table<(ServiceId, ServiceId, TenantId), Decided>,
    pub(super) spelled: Table<(ServiceId, ServiceId), Spelled>,
    pub(super) hops: Table<(ServiceId, ServiceId), HopRow>,
    pub(super) unread_formats: Table<(ServiceId, Formats), Unread>,
    pub(super) breaks: Table<(ServiceId, ServiceId, Break), Broken>,
    pub(super) dropped: Table<(ServiceId, ServiceId, Companion), Dropped>,
    /// How traces came to those who broke them.
    pub(super) routes: Table<(ServiceId, ServiceId, Break, Route), u64>,
    pub(super) weights: Table<(ServiceId, TenantId, Side, WeightOutcome), Tally>,
    /// Requests whose weight is 1 or more.
    pub(super) promised: Table<(ServiceId, TenantId, Side), Fates>,
    pub(super) errors: Table<(ServiceId, TenantId), Fates>,
    pub(super) slow: Table<(ServiceId, TenantId), Slow>,
    pub(super) gates: Table<(ServiceId, Gate), Gated>,
    pub(super) opaque: Table<(ServiceId, Opaque), u64>,
    /// Connections of TLS that a service opened and that were not read.
    pub(super) sealed: FxHashMap<ServiceId, u64>,
    /// Which libraries of which processes of a service are not read, and why.
    pub(super) unread: BTreeMap<ServiceId, BTreeSet<Box<str>>>,
    pub(super) participants: FxHashSet<ServiceId>,
}

impl Ledger {
    /// An empty ledger within `limits`.
    pub fn new(limits: &Limits) -> Self {
        let bytes = limits.memory_bytes.wrapping_div(TABLE_SHARE);
        Self {
            requests: Table::new(bytes),
            malformed: Table::new(bytes),
            missing: Table::new(bytes),
            disagreements: Table::new(bytes),
            decided: Table::new(bytes),
            spelled: Table::new(bytes),
            hops: Table::new(bytes),
            unread_formats: Table::new(bytes),
            breaks: Table::new(bytes),
            dropped: Table::new(bytes),
            routes: Table::new(bytes),
            weights: Table::new(bytes),
            promised: Table::new(bytes),
            errors: Table::new(bytes),
            slow: Table::new(bytes),
            gates: Table::new(bytes),
            opaque: Table::new(bytes),
            sealed: FxHashMap::default(),
            unread: BTreeMap::new(),
            participants: FxHashSet::default(),
        }
    }

    /// Counts a request at the service that received it.
    pub fn received(&mut self, request: &ReceivedRequest<'_>) {
        let ReceivedRequest { at, service, tenant, protocol, context, sender } = *request;
        let sight = Sight { at, trace: None, peer: sender };
        let (all, of_headers) = (context.spellings(), context.beside.spellings);
        if !all.is_empty() {
            let spelled = self.spelled.at((service, sender));
            if matches!(context.trace, TraceFact::Valid(_)) {
                spelled.valid = spelled.valid.and(all);
            }
            if matches!(context.trace, TraceFact::Malformed(..)) || context.beside.malformed.is_some() {
                spelled.malformed = spelled.malformed.and(of_headers);
            }
        }
        let arrival = match context.trace {
            TraceFact::Valid(trace) => {
                let decided = self.decided.at((service, sender, tenant));
                match trace.sampled {
                    Sampled::Sampled => decided.sampled = decided.sampled.saturating_add(1),
                    Sampled::NotSampled => {
                        decided.not_sampled.add(Sight { trace: Some((trace.trace_id, trace.parent_id)), ..sight });
                    }
                    Sampled::Deferred => {}
                }
                if let Some((format, reason)) = context.beside.malformed {
                    self.malformed.at((service, sender, format, reason)).add(sight);
                }
                for other in &context.beside.contexts {
                    self.disagree((service, sender), &trace, other, at);
                }
                Arrival::Valid
            }
            TraceFact::Missing => {
                let missing = self.missing.at((service, sender));
                missing.all.add(sight);
                missing.asides = missing.asides.and(context.beside.asides);
                Arrival::Missing
            }
            TraceFact::Malformed(format, reason) => {
                self.malformed.at((service, sender, format, reason)).add(sight);
                Arrival::Malformed
            }
            TraceFact::NotObserved => Arrival::Unobserved,
        };
        self.requests.at((service, tenant, protocol)).add(arrival, 1);
    }

    /// Counts a request of which two formats contradict each other. What platforms write beside them are traces of their own.
    fn disagree(
        &mut self,
        (service, sender): (ServiceId, ServiceId),
        one: &TraceContext,
        other: &TraceContext,
        at: Timestamp,
    ) {
        let (formats, others) = (one.formats.of_applications(), other.formats.of_applications());
        if formats.is_empty() || others.is_empty() {
            return;
        }
        let same = one.trace_id.is_same(other.trace_id);
        let disagreement = if same { Disagreement::Decision } else { Disagreement::Trace };
        let disagreeing = self.disagreements.at((service, sender, disagreement));
        disagreeing.tally.add(Sight { at, trace: Some((one.trace_id, one.parent_id)), peer: sender });
        disagreeing.formats = disagreeing.formats.and(formats).and(others);
    }

    /// How the ids of valid contexts are written that reach a service, where that is unusual.
    pub(super) fn spellings_to(&self, receiver: ServiceId) -> Spellings {
        let spelled = self.spelled.sorted().into_iter().filter(|((service, _), _)| *service == receiver);
        spelled.fold(Spellings::NONE, |sum, (_, spelled)| sum.and(spelled.valid))
    }

    /// Counts `count` requests that a service received and of which no head was seen.
    pub fn unobserved(&mut self, service: ServiceId, protocol: Protocol, count: u64) {
        self.requests.at((service, Names::UNKNOWN_TENANT, protocol)).add(Arrival::Unobserved, count);
    }

    /// Counts a hop at the service that sent it.
    pub fn hop(&mut self, decided: &DecidedHop<'_>) {
        let DecidedHop { at, service, peer, context, hop, evidence } = *decided;
        let formats = context.contexts().fold(Formats::NONE, |formats, context| formats.and(context.formats));
        let row = self.hops.at((service, peer));
        if let Some(counter) = row.outcomes.get_mut(index(hop.outcome)) {
            *counter = counter.saturating_add(1);
        }
        if hop.outcome == Outcome::Ambiguous && hop.sent.is_none() {
            row.doubtful = row.doubtful.saturating_add(1);
        }
        if !formats.is_empty() {
            self.participants.insert(service);
            row.with_context = row.with_context.saturating_add(1);
            row.sent = row.sent.and(formats);
        }
        let goes_on = matches!(hop.outcome, Outcome::Continued | Outcome::PassedThrough | Outcome::Flipped);
        if let Some(cause) = hop.cause.and_then(|cause| cause.trace)
            && (goes_on || hop.outcome == Outcome::Restarted)
        {
            row.by_flags.add(&cause, goes_on);
        }
        let strange = !hop.brought.is_empty() && !hop.brought.meets(formats);
        match hop.outcome {
            _ if goes_on => row.carried.add(hop.brought),
            Outcome::Restarted if strange => {
                row.strange.add(hop.brought);
                let unread = self.unread_formats.at((service, hop.brought));
                unread.restarts = unread.restarts.saturating_add(1);
                unread.sent = unread.sent.and(formats);
            }
            Outcome::Restarted if !hop.brought.is_empty() => row.familiar = row.familiar.saturating_add(1),
            _ => {}
        }
        let sent = hop.sent;
        let companions = [
            (Companion::Tracestate, hop.tracestate, &mut row.with_tracestate),
            (Companion::Baggage, hop.baggage, &mut row.with_baggage),
        ];
        for (companion, handed, of) in companions {
            let Some(handed) = handed else { continue };
            *of = of.saturating_add(1);
            if handed != Handed::On {
                let trace = sent.map(|context| (context.trace_id, context.parent_id));
                self.dropped.at((service, peer, companion)).add(handed, Sight { at, trace, peer });
            }
        }
        let kind = match hop.outcome {
            Outcome::Lost => Break::Lost,
            Outcome::Restarted => Break::Restarted,
            Outcome::Flipped if sent.is_some_and(|context| context.sampled == Sampled::Sampled) => Break::FlippedOn,
            Outcome::Flipped => Break::FlippedOff,
            _ => return,
        };
        // Of a lost context the one that arrived is the example, of the others the one that was sent.
        let shown = sent.or(hop.cause.and_then(|cause| cause.trace));
        let broken = self.breaks.at((service, peer, kind));
        let counter = match evidence {
            Evidence::Causal => &mut broken.causal,
            Evidence::Window => &mut broken.window,
        };
        *counter = counter.saturating_add(1);
        broken.examples.add(Sight { at, trace: shown.map(|context| (context.trace_id, context.parent_id)), peer });
        broken.asides = broken.asides.and(context.beside.asides);
        let without_weight = hop.cause.is_some_and(|cause| WeightClass::of(cause.weight) == WeightClass::Missing);
        broken.without_weight = broken.without_weight.saturating_add(u64::from(without_weight));
        self.reached((service, peer, kind), &[(hop.reached, 1)], u64::saturating_add);
    }

    /// Counts how traces came to a hop that breaks them, as far as that is known.
    fn reached(
        &mut self,
        (service, peer, kind): (ServiceId, ServiceId, Break),
        routes: &[(Route, u64)],
        change: impl Fn(u64, u64) -> u64,
    ) {
        for &(route, count) in routes.iter().filter(|(route, _)| *route != Route::UNSEEN) {
            let sum = self.routes.at((service, peer, kind, route));
            *sum = change(*sum, count);
        }
    }

    /// Counts hops of which no head was seen.
    pub fn unattributed(&mut self, service: ServiceId, peer: ServiceId, count: u64) {
        if let Some(counter) = self.hops.at((service, peer)).outcomes.get_mut(index(Outcome::Unattributed)) {
            *counter = counter.saturating_add(count);
        }
    }

    /// Moves hops that were told with one outcome to the one that holds.
    pub fn correct(&mut self, correction: &Correction) {
        let Correction { service, peer, from, to, evidence, count, bare, examples, routes } = correction;
        let row = self.hops.at((*service, *peer));
        if let Some(counter) = row.outcomes.get_mut(index(*from)) {
            *counter = counter.saturating_sub(*count);
        }
        if let Some(counter) = row.outcomes.get_mut(index(*to)) {
            *counter = counter.saturating_add(*count);
        }
        match (from, to) {
            (Outcome::Ambiguous, _) => row.doubtful = row.doubtful.saturating_sub(*bare),
            (_, Outcome::Ambiguous) => row.doubtful = row.doubtful.saturating_add(*bare),
            _ => {}
        }
        let kind = |outcome: Outcome| match outcome {
            Outcome::Lost => Some(Break::Lost),
            Outcome::Restarted => Some(Break::Restarted),
            _ => None,
        };
        if let Some(kind) = kind(*from) {
            let broken = self.breaks.at((*service, *peer, kind));
            broken.window = broken.window.saturating_sub(*count);
            self.reached((*service, *peer, kind), routes, u64::saturating_sub);
        }
        if let Some(kind) = kind(*to) {
            let broken = self.breaks.at((*service, *peer, kind));
            let counter = match evidence {
                Evidence::Causal => &mut broken.causal,
                Evidence::Window => &mut broken.window,
            };
            *counter = counter.saturating_add(*count);
            for example in examples {
                let shown = example.sent.or(example.cause);
                let trace = shown.map(|context| (context.trace_id, context.parent_id));
                broken.examples.add(Sight { at: example.at, trace, peer: *peer });
            }
            self.reached((*service, *peer, kind), routes, u64::saturating_add);
        }
    }

    /// Counts what became of a weight at a service.
    pub fn weight(&mut self, service: ServiceId, tenant: TenantId, side: Side, outcome: WeightOutcome, sight: Sight) {
        self.weights.at((service, tenant, side, outcome)).add(sight);
    }

    /// Counts a request whose weight is 1 or more, by the decision that goes with it.
    pub fn promised(&mut self, service: ServiceId, tenant: TenantId, side: Side, sampled: Sampled, sight: Sight) {
        self.promised.at((service, tenant, side)).add(Fate::of(Some(sampled), Fact::Absent), sight);
    }

    /// Counts an error response (5xx) of a service.
    pub fn error(&mut self, service: ServiceId, tenant: TenantId, fate: Fate, sight: Sight) {
        self.errors.at((service, tenant)).add(fate, sight);
    }

    /// Counts a response of a service that took longer than `threshold`, which is declared for it.
    pub fn slow(&mut self, service: ServiceId, tenant: TenantId, fate: Fate, threshold: Duration, sight: Sight) {
        let slow = self.slow.at((service, tenant));
        slow.threshold = threshold;
        slow.fates.add(fate, sight);
    }

    /// Counts a message between a service and a browser that has trace headers; `shut`: those that the service does not let through.
    pub fn gate<'a>(&mut self, service: ServiceId, gate: Gate, shut: impl IntoIterator<Item = &'a str>, sight: Sight) {
        let gated = self.gates.at((service, gate));
        gated.of = gated.of.saturating_add(1);
        let mut shut = shut.into_iter().peekable();
        if shut.peek().is_some() {
            gated.shut.add(sight);
        }
        for name in shut {
            if !gated.headers.contains(name) {
                gated.headers.insert(name.into());
            }
        }
    }

    /// Counts a connection of a service that is not decoded.
    pub fn opaque(&mut self, service: ServiceId, kind: Opaque) {
        let connections = self.opaque.at((service, kind));
        *connections = connections.saturating_add(1);
    }

    /// Counts a connection of TLS that a service opened and that was not read.
    pub fn sealed(&mut self, service: ServiceId) {
        let connections = self.sealed.entry(service).or_default();
        *connections = connections.saturating_add(1);
    }

    /// A connection that was counted as not read was read after all.
    pub fn unsealed(&mut self, service: ServiceId) {
        if let Some(connections) = self.sealed.get_mut(&service) {
            *connections = connections.saturating_sub(1);
        }
    }

    /// A connection of TLS to a service that was counted as not decoded was read after all.
    pub fn read_late(&mut self, service: ServiceId) {
        let connections = self.opaque.at((service, Opaque::Tls));
        *connections = connections.saturating_sub(1);
    }

    /// Says which libraries of which processes of a service are not read, and why: `java (pid 7): …`. What was said before is
    /// forgotten; as many are kept as a report shows.
    pub fn unread<'a>(&mut self, service: ServiceId, processes: impl IntoIterator<Item = &'a str>) {
        let mut kept: BTreeSet<Box<str>> = processes.into_iter().map(Box::from).collect();
        while kept.len() > UNREAD_MAX {
            kept.pop_last();
        }
        self.unread.insert(service, kept);
    }

    /// Notes that a service sends, starts or exports traces.
    pub fn takes_part(&mut self, service: ServiceId) {
        self.participants.insert(service);
    }

    /// Requests by service, tenant and protocol, sorted by ids.
    pub fn requests(&self) -> impl Iterator<Item = ((ServiceId, TenantId, Protocol), Arrivals)> {
        self.requests.sorted().into_iter().map(|(key, arrivals)| (key, *arrivals))
    }

    /// Hops by service and peer, sorted by ids.
    pub fn hops(&self) -> impl Iterator<Item = ((ServiceId, ServiceId), Outcomes)> {
        self.hops.sorted().into_iter().map(|(key, row)| (key, row.outcomes))
    }

    /// Malformed contexts by receiving service and reason.
    pub fn malformed(&self) -> BTreeMap<(ServiceId, Malformation), u64> {
        let mut sums: BTreeMap<_, u64> = BTreeMap::new();
        for ((service, _, _, reason), tally) in self.malformed.sorted() {
            let sum = sums.entry((service, reason)).or_default();
            *sum = sum.saturating_add(tally.count);
        }
        sums
    }

    /// What became of weights, by service, tenant, end and outcome, sorted by ids.
    pub fn weights(&self) -> impl Iterator<Item = ((ServiceId, TenantId, Side, WeightOutcome), u64)> {
        self.weights.sorted().into_iter().map(|(key, tally)| (key, tally.count))
    }

    /// Error responses by service and tenant, sorted by ids.
    pub fn errors(&self) -> impl Iterator<Item = ((ServiceId, TenantId), Fates)> {
        self.errors.sorted().into_iter().map(|(key, errors)| (key, *errors))
    }

    /// Responses that took longer than was declared, by service and tenant, sorted by ids.
    pub fn slow_responses(&self) -> impl Iterator<Item = ((ServiceId, TenantId), Fates)> {
        self.slow.sorted().into_iter().map(|(key, slow)| (key, slow.fates))
    }

    /// Whether a service is seen to take part in tracing.
    pub fn is_participant(&self, service: ServiceId) -> bool {
        self.participants.contains(&service)
    }

    /// The tables for `observer_tracked` and `observer_evicted_total`: name, rows, events counted under overflow.
    pub fn tables(&self) -> [(&'static str, usize, u64); 17] {
        [
            ("requests", self.requests.len(), self.requests.overflowed()),
            ("malformed", self.malformed.len(), self.malformed.overflowed()),
            ("missing", self.missing.len(), self.missing.overflowed()),
            ("disagreements", self.disagreements.len(), self.disagreements.overflowed()),
            ("decided", self.decided.len(), self.decided.overflowed()),
            ("spelled", self.spelled.len(), self.spelled.overflowed()),
            ("hops", self.hops.len(), self.hops.overflowed()),
            ("unread_formats", self.unread_formats.len(), self.unread_formats.overflowed()),
            ("breaks", self.breaks.len(), self.breaks.overflowed()),
            ("dropped", self.dropped.len(), self.dropped.overflowed()),
            ("broken_routes", self.routes.len(), self.routes.overflowed()),
            ("weights", self.weights.len(), self.weights.overflowed()),
            ("promised", self.promised.len(), self.promised.overflowed()),
            ("errors", self.errors.len(), self.errors.overflowed()),
            ("slow", self.slow.len(), self.slow.overflowed()),
            ("gates", self.gates.len(), self.gates.overflowed()),
            ("opaque", self.opaque.len(), self.opaque.overflowed()),
        ]
    }
}
