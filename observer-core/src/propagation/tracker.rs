//! The line of this stage: heads of requests and responses come in, in the order of the wire; each hop gets its outcome.

use rustc_hash::FxHashMap;

use super::arrived::{Arrival, Arrived, Seen};
use super::class::{ClassName, Classes, Court, Manner, Stray};
use super::correction::{Correction, Corrections, Example};
use super::flights::{Brought, Causes, Flight, Flights, InFlight};
use super::view::{Hidden, View};
use super::{Answer, Cause, ErrorSeen, Hop, Inbound, Outbound, Outcome, weight};
use crate::context::{Sampled, TraceContext, TraceFact};
use crate::fact::Fact;
use crate::ids::{ConnectionId, TraceId, WorkloadId};
use crate::limits::{ARRIVED_MEMORY, CAUSE_MEMORY, Limits};
use crate::recent::Prefetch;
use crate::time::Timestamp;

/// The share of the memory (1/n) for traces that arrived: at the default 16 MiB, some 120,000 traces kept in full and the
/// marks of 16 million dropped ones.
const ARRIVED_SHARE: usize = 8;
/// The share of the memory (1/n) for requests in flight: at the default some 130,000.
const FLIGHTS_SHARE: usize = 6;
/// The share of the memory (1/n) for classes of hops: at the default 8 MiB, some 16,000.
const CLASSES_SHARE: usize = 16;
/// What a class may take: two ledgers of some 100 bytes, examples of 100 bytes each, its place in the map.
const CLASS_BYTES: usize = 512;
/// Workloads with a state: services have replicas, and workers come and go; eight each of the default 500 services.
const WORKLOADS_MAX: usize = 4096;

/// One workload.
#[derive(Debug)]
struct Workload {
    in_flight: InFlight,
    view: View,
    classes: Classes,
    last_at: Timestamp,
}

/// What the tables of this stage hold, refused and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PropagationCounters {
    /// Workloads that were reached by requests.
    pub workloads: usize,
    /// Requests to workloads for which there was no room.
    pub workloads_refused: u64,
    /// Requests kept.
    pub flights: usize,
    /// Requests for which there was no room.
    pub flights_refused: u64,
    /// Traces kept that arrived.
    pub traces: usize,
    /// Traces dropped before their ten minutes.
    pub traces_evicted: u64,
    /// Classes of hops kept.
    pub classes: usize,
    /// Hops whose class could not be kept; they are never accused.
    pub classes_refused: u64,
}

/// Follows traces through workloads.
///
/// One message may be a hop of one workload and a request that reaches another, or the same: [`Propagation::request_out`]
/// comes first, or a workload that calls itself would seem to hand on what it started.
#[derive(Debug)]
pub struct Propagation {
    workloads: FxHashMap<WorkloadId, Workload>,
    flights: Flights,
    arrived: Arrived,
    court: Court,
    /// The first moment that was seen.
    since: Option<Timestamp>,
    /// Until when a workload without a state may have been refused one.
    refused_until: Timestamp,
    workloads_refused: u64,
}

impl Propagation {
    /// A tracker whose tables fit into their share of `limits`, and that accuses an innocent class of hops with a chance of
    /// at most `false_alarm_rate`.
    pub fn new(limits: &Limits, false_alarm_rate: f64) -> Self {
        let court = Court {
            goal: -libm::log(false_alarm_rate.clamp(f64::MIN_POSITIVE, 1.0)),
            room: (limits.memory_bytes / CLASSES_SHARE / CLASS_BYTES).max(1),
            refused: 0,
            corrections: Corrections::default(),
        };
        Self {
            workloads: FxHashMap::default(),
            flights: Flights::new(limits.memory_bytes / FLIGHTS_SHARE),
            arrived: Arrived::new(limits.memory_bytes / ARRIVED_SHARE),
            court,
            since: None,
            refused_until: Timestamp(0),
            workloads_refused: 0,
        }
    }

    /// A message with `trace` is about to be told at `workload`: names the memory that will be touched.
    pub fn prefetch(&self, workload: WorkloadId, trace: TraceId, prefetch: Prefetch) {
        // At a workload that nothing ever reached nobody looks.
        if self.workloads.contains_key(&workload) {
            self.arrived.prefetch(workload, trace, prefetch);
        }
    }

    /// A request reaches a workload.
    pub fn request_in(&mut self, request: &Inbound<'_>) {
        let at = request.at;
        let context = request.context;
        let trace = &context.trace;
        if let TraceFact::Valid(trace) = trace {
            self.arrived.add(request.owner.workload, at, trace, request.tenant, context.weight);
        }
        let Some(workload) = entry(&mut self.workloads, request.owner.workload, at) else {
            self.workloads_refused = self.workloads_refused.saturating_add(1);
            self.refused_until = at.after(CAUSE_MEMORY);
            return;
        };
        self.since.get_or_insert(at);
        workload.last_at = at;
        if let Some(exchange) = request.exchange {
            workload.view.caught_up(exchange.connection);
        }
        if *trace == TraceFact::NotObserved {
            workload.view.hide(Hidden::HeadCut, at);
        }
        let here = &mut workload.in_flight;
        if !self.flights.begin(at, request.exchange, trace, request.tenant, context.weight, here) {
            workload.view.hide(Hidden::TableFull, at);
        }
    }

    /// The head of a response leaves a workload: from now on its request can have caused no hop, whether the body streams on
    /// or the connection is upgraded. Tells an error.
    pub fn response_out(&mut self, answer: &Answer) -> Option<ErrorSeen> {
        let at = answer.at;
        let since = *self.since.get_or_insert(at);
        let mut ended = None;
        if let Some(workload) = self.workloads.get_mut(&answer.workload) {
            workload.view.caught_up(answer.connection);
            workload.last_at = at;
            if let Some(number) = answer.number {
                let exchange = crate::ids::ExchangeId { connection: answer.connection, number };
                if answer.status == 0 {
                    self.flights.answered(at, exchange, &mut workload.in_flight);
                } else {
                    ended = self.flights.end(at, exchange, &mut workload.in_flight);
                }
            } else if is_early(since, at) {
                // Its request is older than the observer and was in flight until now.
                workload.classes.withdraw_early(&mut self.court);
            }
        }
        (500..600).contains(&answer.status).then(|| ended.as_ref().map_or(UNSEEN, error_of))
    }

    /// A workload sends a request that is neither telemetry nor a probe ([`super::no_hop`]).
    pub fn request_out(&mut self, request: &Outbound<'_>) -> Hop {
        let since = *self.since.get_or_insert(request.at);
        let id = request.owner.workload;
        let trace = match request.context.trace {
            TraceFact::Valid(trace) => Some(trace),
            // What a receiver must ignore is no context.
            TraceFact::Missing | TraceFact::Malformed(_) => None,
            TraceFact::NotObserved => return unattributed(Hidden::HeadCut),
        };
        let Some(workload) = self.workloads.get_mut(&id) else {
            if self.refused_until > request.at {
                return unattributed(Hidden::TableFull);
            }
            // Nothing ever reached it.
            return Hop { started: trace.is_some(), ..hop(Outcome::Background) };
        };
        workload.in_flight.expire(&mut self.flights, request.at);
        let seen = trace.map(|trace| (trace, self.arrived.find(id, trace.trace_id, request.at)));
        if let Some((trace, Seen::Arrived(arrival))) = seen {
            return workload.carried(request, &trace, &arrival, &mut self.flights, &mut self.court);
        }
        let perhaps = matches!(seen, Some((_, Seen::Perhaps)));
        let early = is_early(since, request.at);
        workload.stray(request, trace, perhaps, early, &mut self.flights, &mut self.court)
    }

    /// A request that is not seen may have reached the workload at `at`: what it sends in the next 30 s is unattributed where
    /// nothing else proves its cause. For what hides requests all the time, to be told again before these are over.
    pub fn hide(&mut self, workload: WorkloadId, reason: Hidden, at: Timestamp) {
        self.since.get_or_insert(at);
        match entry(&mut self.workloads, workload, at) {
            Some(workload) => {
                workload.last_at = at;
                workload.view.hide(reason, at);
            }
            None => self.refused_until = self.refused_until.max(at.after(CAUSE_MEMORY)),
        }
    }

    /// The serving end of a connection was first seen in the middle of a stream, so a request older than the observer may be
    /// in flight on it: until the next head on the connection, at most 30 s, what the workload sends is unattributed. A
    /// connection whose first piece begins with the head of a request is not late.
    pub fn joined_late(&mut self, workload: WorkloadId, connection: ConnectionId, at: Timestamp) {
        self.since.get_or_insert(at);
        match entry(&mut self.workloads, workload, at) {
            Some(workload) => workload.view.joined_late(connection, at),
            None => self.refused_until = self.refused_until.max(at.after(CAUSE_MEMORY)),
        }
    }

    /// Drops what is past its time; to be called about once a second.
    pub fn tick(&mut self, now: Timestamp) {
        self.flights.expire(now);
        self.arrived.expire(now);
        let (flights, court) = (&mut self.flights, &mut self.court);
        self.workloads.retain(|_, workload| {
            workload.in_flight.expire(flights, now);
            let used = workload.in_flight.count() > 0 || workload.last_at.after(ARRIVED_MEMORY) > now;
            if !used {
                court.room = court.room.saturating_add(workload.classes.len());
            }
            used
        });
    }

    /// What was told and no longer holds, in the order in which it is to be applied.
    pub fn corrections(&mut self) -> Vec<Correction> {
        self.court.corrections.take()
    }

    /// What the tables hold, refused and dropped.
    pub fn counters(&self) -> PropagationCounters {
        PropagationCounters {
            workloads: self.workloads.len(),
            workloads_refused: self.workloads_refused,
            flights: self.flights.len(),
            flights_refused: self.flights.refused(),
            traces: self.arrived.len(),
            traces_evicted: self.arrived.evicted_total(),
            classes: self.workloads.values().map(|workload| workload.classes.len()).sum(),
            classes_refused: self.court.refused,
        }
    }
}

impl Workload {
    /// A hop that carries a trace which arrived here.
    fn carried(
        &mut self,
        request: &Outbound<'_>,
        trace: &TraceContext,
        arrival: &Arrival,
        flights: &mut Flights,
        court: &mut Court,
    ) -> Hop {
        self.classes.continued(class_name(request), court);
        if let Some(flight) = self.in_flight.only(flights) {
            flight.settle(trace);
        }
        let context = request.context;
        // A weight that asks for the trace to be kept turns "not sampled" around on purpose.
        let by_weight = trace.sampled == Sampled::Sampled
            && weight::must_keep(context.weight)
            && arrival.weight().is_some_and(|arrived| !weight::must_keep(arrived));
        let mut hidden = None;
        let outcome = if arrival.flips(trace.sampled) && !by_weight {
            // What is not seen may have brought the trace with the other flag, too.
            hidden = self.view.hides_traces(request.at);
            if hidden.is_some() { Outcome::Unattributed } else { Outcome::Flipped }
        } else if arrival.has_parent(trace.parent_id) {
            Outcome::PassedThrough
        } else {
            Outcome::Continued
        };
        let arrived_weight = arrival.weight();
        let cause = arrival.only_context(trace.trace_id).zip(arrived_weight);
        Hop {
            cause: cause.map(|(trace, weight)| Cause { trace: Some(trace), tenant: arrival.tenant(), weight }),
            tenant: Some(arrival.tenant()),
            weight: arrived_weight.and_then(|arrived| weight::judge(arrived, context.weight)),
            hidden,
            ..hop(outcome)
        }
    }

    /// A hop that carries no trace, or one that was not seen to arrive here.
    fn stray(
        &mut self,
        request: &Outbound<'_>,
        trace: Option<TraceContext>,
        perhaps: bool,
        early: bool,
        flights: &mut Flights,
        court: &mut Court,
    ) -> Hop {
        let at = request.at;
        let hidden = if trace.is_some() { self.view.hides_traces(at) } else { self.view.hides_requests(at) };
        if let Some(reason) = hidden {
            return unattributed(reason);
        }
        let tenant = self.in_flight.tenant();
        if perhaps {
            return Hop { tenant, ..hop(Outcome::Ambiguous) };
        }
        let manner = if trace.is_some() { Manner::NewTrace } else { Manner::Bare };
        let outcome = match self.in_flight.causes(manner) {
            Causes::Nobody => Outcome::Background,
            Causes::AllWithContext => manner.accusation(),
            Causes::NoneWithContext => Outcome::Rooted,
            Causes::Mixed => Outcome::Ambiguous,
            Causes::Unknown => return unattributed(Hidden::HeadCut),
        };
        let in_flight = self.in_flight.count();
        let only = self.in_flight.only(flights);
        let cause = only.as_deref().map(|flight| Cause {
            trace: flight.trace.filter(|_| flight.brought == Brought::Context),
            tenant: flight.tenant,
            weight: flight.weight,
        });
        let example = Example { at, sent: trace, cause: cause.and_then(|cause| cause.trace) };
        let stray = Stray { manner, outcome, in_flight, early, example };
        let ruling = self.classes.stray(class_name(request), &stray, &mut self.in_flight.load, court);
        if let (Some(flight), Some(trace)) = (only, trace)
            && !ruling.seen_idle
        {
            flight.starts(trace);
        }
        Hop { cause, tenant, started: trace.is_some(), ..hop(ruling.outcome) }
    }
}

impl Flight {
    /// The workload sends on the trace that this request brought: an open decision is made.
    fn settle(&mut self, sent: &TraceContext) {
        if let Some(brought) = &mut self.trace
            && brought.sampled == Sampled::Deferred
            && brought.trace_id == sent.trace_id
        {
            brought.sampled = sent.sampled;
        }
    }

    /// The workload sends a new trace, and only this request can have caused it.
    fn starts(&mut self, trace: TraceContext) {
        match &mut self.trace {
            _ if self.brought != Brought::Nothing => {}
            None => self.trace = Some(trace),
            // Several traces that were decided differently: which one the request belongs to is open.
            Some(known) if known.sampled != trace.sampled => known.sampled = Sampled::Deferred,
            Some(_) => {}
        }
    }
}

/// An error response whose request was not seen.
const UNSEEN: ErrorSeen = ErrorSeen { tenant: None, trace: None, unsampled: None, weight: Fact::NotObserved };

fn error_of(flight: &Flight) -> ErrorSeen {
    let unsampled = flight.trace.and_then(|trace| match trace.sampled {
        Sampled::Sampled => Some(false),
        Sampled::NotSampled => Some(true),
        Sampled::Deferred => None,
    });
    ErrorSeen { tenant: Some(flight.tenant), trace: flight.trace, unsampled, weight: flight.weight }
}

/// The state of a workload; a new one where there is room.
fn entry(workloads: &mut FxHashMap<WorkloadId, Workload>, id: WorkloadId, at: Timestamp) -> Option<&mut Workload> {
    if workloads.len() >= WORKLOADS_MAX && !workloads.contains_key(&id) {
        return None;
    }
    Some(workloads.entry(id).or_insert_with(|| Workload {
        in_flight: InFlight::new(at),
        view: View::default(),
        classes: Classes::default(),
        last_at: at,
    }))
}

/// Whether requests older than the observer may be in flight without any trace of them.
fn is_early(since: Timestamp, at: Timestamp) -> bool {
    since.after(CAUSE_MEMORY) > at
}

fn class_name<'a>(request: &Outbound<'a>) -> ClassName<'a> {
    ClassName { service: request.owner.service, peer: request.peer, method: request.method, path: request.path }
}

fn hop(outcome: Outcome) -> Hop {
    Hop { outcome, cause: None, tenant: None, started: false, weight: None, hidden: None }
}

fn unattributed(reason: Hidden) -> Hop {
    Hop { hidden: Some(reason), ..hop(Outcome::Unattributed) }
}
