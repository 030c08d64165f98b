//! The ledger: what the pipeline learns of each request, hop, weight and error comes in; bounded counters with a few examples
//! go out. Plain adding up: what of it is wrong is decided by the findings. What a row counts is in `rows`.

mod rows;

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use super::report::Evidence;
use super::tally::Table;
use crate::connection::Opaque;
use crate::context::{Malformation, Sampled, TraceFact};
use crate::ids::{ServiceId, SpanId, TenantId, TraceId};
use crate::limits::Limits;
use crate::message::Protocol;
use crate::names::Names;
use crate::propagation::{Correction, Hop, Outcome, WeightOutcome};
use crate::time::Timestamp;

pub(super) use rows::index;
pub use rows::{Arrival, Arrivals, Break, Broken, ErrorResponses, Missing, Outcomes, Tally};

/// The share of the memory limit that each table of the ledger may take: one in this many.
const TABLE_SHARE: usize = 64;

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
pub struct ReceivedRequest {
    /// When.
    pub at: Timestamp,
    /// Who received it.
    pub service: ServiceId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its protocol.
    pub protocol: Protocol,
    /// What it says of its trace.
    pub trace: TraceFact,
    /// Who sent it.
    pub sender: ServiceId,
    /// Whether that is an observed service of which the cause of this request is known to have had a context.
    pub sender_had_context: bool,
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
    /// What it says of its trace.
    pub sent: TraceFact,
    /// The decision.
    pub hop: &'a Hop,
    /// How its cause was decided.
    pub evidence: Evidence,
}

/// Everything that is counted of the messages of one run.
#[derive(Debug)]
pub struct Ledger {
    pub(super) requests: Table<(ServiceId, TenantId, Protocol), Arrivals>,
    pub(super) malformed: Table<(ServiceId, ServiceId, Malformation), Tally>,
    pub(super) missing: Table<(ServiceId, ServiceId), Missing>,
    pub(super) hops: Table<(ServiceId, ServiceId), Outcomes>,
    pub(super) breaks: Table<(ServiceId, ServiceId, Break), Broken>,
    pub(super) weights: Table<(ServiceId, TenantId, WeightOutcome), Tally>,
    pub(super) errors: Table<(ServiceId, TenantId), ErrorResponses>,
    pub(super) opaque: Table<(ServiceId, Opaque), u64>,
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
            hops: Table::new(bytes),
            breaks: Table::new(bytes),
            weights: Table::new(bytes),
            errors: Table::new(bytes),
            opaque: Table::new(bytes),
            participants: FxHashSet::default(),
        }
    }

    /// Counts a request at the service that received it.
    pub fn received(&mut self, request: &ReceivedRequest) {
        let ReceivedRequest { at, service, tenant, protocol, trace, sender, sender_had_context } = *request;
        let sight = Sight { at, trace: None, peer: sender };
        let arrival = match trace {
            TraceFact::Valid(_) => Arrival::Valid,
            TraceFact::Missing => {
                let missing = self.missing.at((service, sender));
                missing.all.add(sight);
                missing.sender_had_context = missing.sender_had_context.saturating_add(u64::from(sender_had_context));
                Arrival::Missing
            }
            TraceFact::Malformed(reason) => {
                self.malformed.at((service, sender, reason)).add(sight);
                Arrival::Malformed
            }
            TraceFact::NotObserved => Arrival::Unobserved,
        };
        self.requests.at((service, tenant, protocol)).add(arrival, 1);
    }

    /// Counts `count` requests that a service received and of which no head was seen.
    pub fn unobserved(&mut self, service: ServiceId, protocol: Protocol, count: u64) {
        self.requests.at((service, Names::UNKNOWN_TENANT, protocol)).add(Arrival::Unobserved, count);
    }

    /// Counts a hop at the service that sent it.
    pub fn hop(&mut self, decided: &DecidedHop<'_>) {
        let DecidedHop { at, service, peer, sent, hop, evidence } = *decided;
        let sent = match sent {
            TraceFact::Valid(context) => {
                self.takes_part(service);
                Some(context)
            }
            TraceFact::Missing | TraceFact::Malformed(_) | TraceFact::NotObserved => None,
        };
        let outcomes = self.hops.at((service, peer));
        if let Some(counter) = outcomes.get_mut(index(hop.outcome)) {
            *counter = counter.saturating_add(1);
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
    }

    /// Counts hops of which no head was seen.
    pub fn unattributed(&mut self, service: ServiceId, peer: ServiceId, count: u64) {
        if let Some(counter) = self.hops.at((service, peer)).get_mut(index(Outcome::Unattributed)) {
            *counter = counter.saturating_add(count);
        }
    }

    /// Moves hops that were told with one outcome to the one that holds.
    pub fn correct(&mut self, correction: &Correction) {
        let Correction { service, peer, from, to, count, examples } = correction;
        let outcomes = self.hops.at((*service, *peer));
        if let Some(counter) = outcomes.get_mut(index(*from)) {
            *counter = counter.saturating_sub(*count);
        }
        if let Some(counter) = outcomes.get_mut(index(*to)) {
            *counter = counter.saturating_add(*count);
        }
        let kind = |outcome: Outcome| match outcome {
            Outcome::Lost => Some(Break::Lost),
            Outcome::Restarted => Some(Break::Restarted),
            _ => None,
        };
        if let Some(kind) = kind(*from) {
            let broken = self.breaks.at((*service, *peer, kind));
            broken.window = broken.window.saturating_sub(*count);
        }
        if let Some(kind) = kind(*to) {
            let broken = self.breaks.at((*service, *peer, kind));
            broken.window = broken.window.saturating_add(*count);
            for example in examples {
                let shown = example.sent.or(example.cause);
                let trace = shown.map(|context| (context.trace_id, context.parent_id));
                broken.examples.add(Sight { at: example.at, trace, peer: *peer });
            }
        }
    }

    /// Counts what became of a weight at a service.
    pub fn weight(&mut self, service: ServiceId, tenant: TenantId, outcome: WeightOutcome, sight: Sight) {
        self.weights.at((service, tenant, outcome)).add(sight);
    }

    /// Counts an error response (5xx) of a service; `sampled` as its request said, `None` where that is not known.
    pub fn error(&mut self, service: ServiceId, tenant: TenantId, sampled: Option<Sampled>, sight: Sight) {
        let errors = self.errors.at((service, tenant));
        match sampled {
            Some(Sampled::Sampled) => errors.sampled = errors.sampled.saturating_add(1),
            Some(Sampled::NotSampled) => errors.unsampled.add(sight),
            Some(Sampled::Deferred) | None => errors.undecided = errors.undecided.saturating_add(1),
        }
    }

    /// Counts a connection of a service that is not decoded.
    pub fn opaque(&mut self, service: ServiceId, kind: Opaque) {
        let connections = self.opaque.at((service, kind));
        *connections = connections.saturating_add(1);
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
        self.hops.sorted().into_iter().map(|(key, outcomes)| (key, *outcomes))
    }

    /// Malformed contexts by receiving service and reason.
    pub fn malformed(&self) -> BTreeMap<(ServiceId, Malformation), u64> {
        let mut sums: BTreeMap<_, u64> = BTreeMap::new();
        for ((service, _, reason), tally) in self.malformed.sorted() {
            let sum = sums.entry((service, reason)).or_default();
            *sum = sum.saturating_add(tally.count);
        }
        sums
    }

    /// What became of weights, by service, tenant and outcome, sorted by ids.
    pub fn weights(&self) -> impl Iterator<Item = ((ServiceId, TenantId, WeightOutcome), u64)> {
        self.weights.sorted().into_iter().map(|(key, tally)| (key, tally.count))
    }

    /// Error responses by service and tenant, sorted by ids.
    pub fn errors(&self) -> impl Iterator<Item = ((ServiceId, TenantId), ErrorResponses)> {
        self.errors.sorted().into_iter().map(|(key, errors)| (key, *errors))
    }

    /// Whether a service is seen to take part in tracing.
    pub fn is_participant(&self, service: ServiceId) -> bool {
        self.participants.contains(&service)
    }

    /// The tables for `observer_tracked` and `observer_evicted_total`: name, rows, events counted under overflow.
    pub fn tables(&self) -> [(&'static str, usize, u64); 8] {
        [
            ("requests", self.requests.len(), self.requests.overflowed()),
            ("malformed", self.malformed.len(), self.malformed.overflowed()),
            ("missing", self.missing.len(), self.missing.overflowed()),
            ("hops", self.hops.len(), self.hops.overflowed()),
            ("breaks", self.breaks.len(), self.breaks.overflowed()),
            ("weights", self.weights.len(), self.weights.overflowed()),
            ("errors", self.errors.len(), self.errors.overflowed()),
            ("opaque", self.opaque.len(), self.opaque.overflowed()),
        ]
    }
}
