//! The line of this stage: heads of requests and responses come in, in the order of the wire; each hop gets its outcome.

use rustc_hash::FxHashMap;

use super::arrived::{Arrival, Arrived, Seen};
use super::class::{ClassName, Classes, Court, Manner, Stray};
use super::correction::{Correction, Corrections, Example};
use super::flights::{Brought, Causes, Flight, Flights, InFlight};
use super::goroutines::{Conclusion, GoCall, Goroutines, Maker};
use super::routes::{Route, Routes};
use super::threads::{Doubt, Reading, Threads, Unread, Verdict};
use super::view::{Hidden, View};
use super::watch::Watches;
use super::{Answer, Cause, Hop, Inbound, Outbound, Outcome, Owner, ResponseSeen, weight};
use crate::context::{Aside, Formats, Sampled, TraceContext, TraceFact, Weight};
use crate::fact::Fact;
use crate::ids::{ConnectionId, ExchangeId, ServiceId, TraceId, WorkloadId};
use crate::limits::{ARRIVED_MEMORY, CAUSE_MEMORY, Limits};
use crate::recent::Prefetch;
use crate::time::Timestamp;

/// The share of the memory (1/n) for traces that arrived: at the default 16 MiB, some 120,000 traces kept in full and the
/// marks of 16 million dropped ones.
const ARRIVED_SHARE: usize = 8;
/// The share of the memory (1/n) for requests in flight: at the default some 130,000.
const FLIGHTS_SHARE: usize = 6;
/// The share of the memory (1/n) for classes of hops: at the default 8 MiB, some 8,000.
const CLASSES_SHARE: usize = 16;
/// What a class takes: two ledgers of some 370 bytes, of one of them examples of 80 bytes each and routes, its place in the map.
const CLASS_BYTES: usize = 1024;
/// Workloads with a state: services have replicas, and workers come and go; eight each of the default 500 services.
const WORKLOADS_MAX: usize = 4096;

/// One workload.
#[derive(Debug)]
struct Workload {
    in_flight: InFlight,
    view: View,
    classes: Classes,
    /// Whether it went on with a trace that came in no format but what platforms write.
    reads_platforms: bool,
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
    /// Ways of traces kept.
    pub routes: usize,
    /// How often there was no room for one.
    pub routes_refused: u64,
    /// Threads kept that read, while that is told.
    pub threads: usize,
    /// What threads read, or were to read, for which there was no room.
    pub threads_refused: u64,
    /// Connections whose requests goroutines read, and what goroutines call, while that is told.
    pub goroutines: usize,
    /// How many of them found no room.
    pub goroutines_refused: u64,
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
    routes: Routes,
    court: Court,
    threads: Threads,
    goroutines: Goroutines,
    watches: Watches,
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
            threads: Threads::new(court.goal),
            goroutines: Goroutines::new(court.goal),
            watches: Watches::default(),
            workloads: FxHashMap::default(),
            flights: Flights::new(limits.memory_bytes / FLIGHTS_SHARE),
            arrived: Arrived::new(limits.memory_bytes / ARRIVED_SHARE),
            routes: Routes::new(limits.memory_bytes),
            court,
            since: None,
            refused_until: Timestamp(0),
            workloads_refused: 0,
        }
    }

    /// The host has so many processors: programs may have as many loops.
    pub fn on_processors(&mut self, processors: u32) {
        self.threads.on_processors(processors);
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
        let mut said = (request.tenant, Route::UNSEEN);
        for trace in context.contexts() {
            if said.1 == Route::UNSEEN {
                said.1 = self.routes.step(request.route, request.owner.service);
            }
            self.arrived.add(request.owner.workload, at, trace, said, context, &mut self.routes);
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
            if let Some(socket) = request.socket
                && self.watches.watches(request.owner.workload)
            {
                self.goroutines.arrives(at, socket, exchange, request.owner.workload);
            }
        }
        if context.trace == TraceFact::NotObserved {
            workload.view.hide(Hidden::HeadCut, at);
        }
        let here = &mut workload.in_flight;
        if !self.flights.begin(at, request.exchange, context, said, here) {
            workload.view.hide(Hidden::TableFull, at);
        }
    }

    /// The head of a response leaves a workload: from now on its request can have caused no hop, whether the body streams on
    /// or the connection is upgraded. Tells of errors and of what is slow.
    pub fn response_out(&mut self, answer: &Answer) -> Option<ResponseSeen> {
        let at = answer.at;
        let since = *self.since.get_or_insert(at);
        let mut ended = None;
        if self.watches.is_on()
            && let Some(number) = answer.number
        {
            self.goroutines.answers(at, ExchangeId { connection: answer.connection, number });
            self.threads.answers(ExchangeId { connection: answer.connection, number });
        }
        if let Some(workload) = self.workloads.get_mut(&answer.workload) {
            workload.view.caught_up(answer.connection);
            workload.last_at = at;
            if let Some(number) = answer.number {
                let exchange = ExchangeId { connection: answer.connection, number };
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
        let is_error = (500..600).contains(&answer.status);
        let took = ended.as_ref().filter(|flight| !flight.streams).map(|flight| at.since(flight.at));
        let is_slow = took.zip(answer.slow_from).is_some_and(|(took, limit)| took > limit);
        (is_error || is_slow).then(|| {
            let seen = ended.as_ref().map_or(UNSEEN, seen_of);
            ResponseSeen { is_error, took, ..seen }
        })
    }

    /// A workload sends a request that is neither telemetry nor a probe ([`super::no_hop`]).
    pub fn request_out(&mut self, request: &Outbound<'_>) -> Hop {
        let (mut hop, class) = self.decide(request);
        if request.exchange.is_some() || request.socket.is_some() {
            self.doubts(request, &hop, class);
        }
        if hop.route == Route::UNSEEN && request.context.trace.valid().is_some() {
            hop.route = self.begins(request.owner.service, hop.started);
        }
        hop
    }

    /// The way of a trace that begins at `service`: it started it, or how the trace came there was not seen.
    pub fn begins(&mut self, service: ServiceId, started: bool) -> Route {
        self.routes.step(if started { Route::STARTED } else { Route::UNSEEN }, service)
    }

    /// The way of a trace that a workload sends at `at`, which is seen where it arrives.
    pub fn route_at(&mut self, sender: Owner, trace: TraceId, at: Timestamp) -> Route {
        let started = match self.arrived.find(sender.workload, trace, at) {
            Seen::Arrived(arrival) => return arrival.route(),
            Seen::Perhaps => false,
            Seen::Never => {
                let hides = |workload: &Workload| workload.view.hides_traces(at).is_some();
                self.refused_until <= at && !self.workloads.get(&sender.workload).is_some_and(hides)
            }
        };
        self.begins(sender.service, started)
    }

    /// The way of a trace that comes from somebody who is not observed.
    pub fn from_outside(&mut self, peer: ServiceId) -> Route {
        self.routes.step(Route::OUTSIDE, peer)
    }

    /// The way of a trace that came by `route` and was handed to `service`.
    pub fn handed_on(&mut self, route: Route, service: ServiceId) -> Route {
        self.routes.step(route, service)
    }

    /// What both ways to one place share at the end.
    pub fn shared(&mut self, one: Route, other: Route) -> Route {
        self.routes.merged(one, other)
    }

    /// The ways that traces took.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Looks who made a hop, and remembers it until its answer is read.
    fn doubts(&mut self, request: &Outbound<'_>, hop: &Hop, class: Option<(u64, bool)>) {
        let (at, Owner { workload, service }) = (request.at, request.owner);
        let doubt = class.filter(|_| hop.outcome == Outcome::Ambiguous);
        if doubt.is_some() {
            self.watches.doubts(workload, at);
        }
        if !self.watches.watches(workload) {
            return;
        }
        let doubt = doubt.map(|(class, is_counted)| Doubt {
            workload,
            class,
            manner: Manner::of(hop.sent),
            peers: (service, request.peer),
            is_counted,
            early: self.since.is_some_and(|since| is_early(since, at)),
            example: Example { at, sent: hop.sent, cause: hop.cause.and_then(|cause| cause.trace) },
            reached: hop.reached,
        });
        let maker = request.socket.and_then(|socket| self.goroutines.sends(at, socket, workload));
        let conclusion = match (&maker, &doubt) {
            (Some(maker), Some(doubt)) => self.goroutines.concludes(maker, workload, doubt.class),
            (Some(maker), None) => {
                self.compares(maker, workload, hop);
                Conclusion::Open
            }
            (None, _) => Conclusion::Open,
        };
        match (conclusion, doubt, request.exchange) {
            (Conclusion::Caused(cause), Some(doubt), _) => self.proves(&Verdict { doubt, cause: Some(cause) }),
            (Conclusion::Outlived, Some(doubt), _) => self.proves(&Verdict { doubt, cause: None }),
            (_, doubt, Some(exchange)) => self.threads.sends(at, exchange, doubt),
            _ => {}
        }
    }

    /// Compares the trace that a hop goes on with to that of the request which its goroutine was made for.
    fn compares(&mut self, maker: &Maker, workload: WorkloadId, hop: &Hop) {
        let goes_on = matches!(hop.outcome, Outcome::Continued | Outcome::PassedThrough | Outcome::Flipped);
        let Some(sent) = hop.sent.filter(|_| goes_on && maker.may_be_shared()) else { return };
        let Some(flight) = maker.request.and_then(|request| self.flights.of_exchange(request)) else { return };
        let brought = flight.trace.filter(|_| flight.brought.is_context());
        if flight.brought != Brought::Unknown && !brought.is_some_and(|trace| trace.trace_id.is_same(sent.trace_id)) {
            self.goroutines.is_shared(workload);
        }
    }

    /// A goroutine is about to send a request.
    pub fn goroutine_calls(&mut self, call: GoCall) {
        if self.watches.is_on() {
            self.goroutines.calls(call);
        }
    }

    /// The workloads of which it is to be told what their threads read: some of their hops stay in doubt.
    pub fn watched(&self) -> impl Iterator<Item = WorkloadId> {
        self.watches.watched()
    }

    /// The head of a request is on its way to the thread that will read it.
    pub fn request_arrives(&mut self, head: Unread, workload: WorkloadId) {
        if self.watches.watches(workload) {
            self.threads.arrives(head, Some(workload));
        }
    }

    /// The head of an answer is on its way to the thread that waits for it.
    pub fn answer_arrives(&mut self, head: Unread) {
        if self.threads.awaits(head.exchange) {
            self.threads.arrives(head, None);
        }
    }

    /// A thread has read something. Where that proves what caused a hop, it is told as a correction.
    pub fn reads(&mut self, reading: &Reading) {
        if !self.watches.is_on() {
            return;
        }
        if let Some(verdict) = self.threads.reads(reading) {
            self.proves(&verdict);
        }
    }

    /// It is known who made a hop that was in doubt.
    fn proves(&mut self, Verdict { doubt, cause }: &Verdict) {
        let Some(workload) = self.workloads.get_mut(&doubt.workload) else { return };
        let flight = cause.and_then(|exchange| self.flights.of_exchange(exchange));
        let outcome = match flight.map(|flight| flight.brought) {
            // A cause of which not all is known decides nothing, and speaks for nothing.
            Some(Brought::Either | Brought::Unknown) => return,
            Some(Brought::Context(formats)) if formats.of_applications().is_empty() && !workload.reads_platforms => {
                return;
            }
            Some(Brought::Context(_)) => Some(doubt.manner.accusation()),
            Some(Brought::Nothing) => Some(Outcome::Rooted),
            None => None,
        };
        let trace = flight.and_then(|flight| flight.trace);
        if workload.classes.proven(doubt, outcome, trace, &mut self.court) {
            self.watches.decided(doubt.workload);
        }
    }

    /// A connection is gone: nobody reads or answers there any more.
    pub fn connection_gone(&mut self, connection: ConnectionId) {
        if self.watches.is_on() {
            self.threads.closes(connection);
            self.goroutines.closes(connection);
        }
    }

    /// Something was not seen: what threads and goroutines were about is not known any more.
    pub fn forget_threads(&mut self) {
        self.threads.forget();
        self.goroutines.forget();
    }

    fn decide(&mut self, request: &Outbound<'_>) -> (Hop, Option<(u64, bool)>) {
        let since = *self.since.get_or_insert(request.at);
        let id = request.owner.workload;
        let trace = match request.context.trace {
            TraceFact::Valid(trace) => Some(trace),
            // What a receiver must ignore is no context.
            TraceFact::Missing | TraceFact::Malformed(..) => None,
            TraceFact::NotObserved => return (unattributed(Hidden::HeadCut), None),
        };
        let Some(workload) = self.workloads.get_mut(&id) else {
            if self.refused_until > request.at {
                return (unattributed(Hidden::TableFull), None);
            }
            // Nothing ever reached it.
            let promised = weight::promised(request.context.weight, trace.as_ref());
            let weight = trace.and_then(|_| weight::judge_first(None, request.context.weight));
            let hop = Hop { started: trace.is_some(), sent: trace, weight, promised, ..hop(Outcome::Background) };
            return (hop, None);
        };
        workload.in_flight.expire(&mut self.flights, request.at);
        // A message may carry other traces in other formats: one that arrived is enough.
        let mut perhaps = false;
        for trace in request.context.contexts() {
            match self.arrived.find(id, trace.trace_id, request.at) {
                Seen::Arrived(arrival) => {
                    let hop = workload.carried(request, trace, &arrival, &mut self.flights, &mut self.court);
                    return (hop, None);
                }
                Seen::Perhaps => perhaps = true,
                Seen::Never => {}
            }
        }
        let early = is_early(since, request.at);
        workload.stray(request, trace, perhaps, early, (&mut self.flights, &mut self.routes), &mut self.court)
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

    /// What hid requests at the workload for this reason turned out to be seen: see [`Self::hide`].
    pub fn reveal(&mut self, workload: WorkloadId, reason: Hidden) {
        if let Some(workload) = self.workloads.get_mut(&workload) {
            workload.view.reveal(reason);
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
        self.threads.expire(now);
        let workloads = &self.workloads;
        self.goroutines.expire(now, |workload| workloads.contains_key(&workload));
        let told = (&mut self.threads, &mut self.goroutines);
        self.watches.tick(now, told, |workload| workloads.contains_key(&workload));
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
            routes: self.routes.len(),
            routes_refused: self.routes.refused(),
            threads: self.threads.len(),
            threads_refused: self.threads.refused(),
            goroutines: self.goroutines.len(),
            goroutines_refused: self.goroutines.refused(),
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
            flight.settle(trace, request.context.weight);
        }
        self.reads_platforms |= arrival.formats().of_applications().is_empty();
        let context = request.context;
        // A weight that asks for the trace to be kept turns "not sampled" around on purpose.
        let by_weight = trace.sampled == Sampled::Sampled && weight::must_keep(context.weight);
        let mut hidden = None;
        let mut sent = context.contexts().filter(|sent| sent.trace_id.is_same(trace.trace_id));
        let outcome = if sent.all(|sent| arrival.flips(sent.sampled)) && !by_weight {
            // What is not seen may have brought the trace with the other flag, too.
            hidden = self.view.hides_traces(request.at);
            if hidden.is_some() { Outcome::Unattributed } else { Outcome::Flipped }
        } else if arrival.has_parent(trace.parent_id) {
            Outcome::PassedThrough
        } else {
            Outcome::Continued
        };
        // What is not seen may have brought the trace without them, too.
        let held = Some(arrival.held()).filter(|held| held.is_any() && self.view.hides_traces(request.at).is_none());
        let arrived_weight = arrival.weight();
        let cause = arrival.only_context().zip(arrived_weight);
        Hop {
            cause: cause.map(|(trace, weight)| Cause { trace: Some(trace), tenant: arrival.tenant(), weight }),
            tenant: Some(arrival.tenant()),
            sent: Some(*trace),
            brought: arrival.formats(),
            weight: arrived_weight.and_then(|arrived| weight::judge(arrived, context.weight)),
            promised: weight::promised(context.weight, Some(trace))
                .filter(|&sampled| hidden.is_none() && !arrival.promised(sampled)),
            tracestate: held.and_then(|held| held.tracestate(context, trace)),
            baggage: held.and_then(|held| held.baggage(context, request.tenant, arrival.tenant())),
            hidden,
            route: arrival.route(),
            reached: arrival.route(),
            ..hop(outcome)
        }
    }

    /// A hop that carries no trace, or one that was not seen to arrive here; with its class, and whether that counts it among those to be
    /// accused.
    fn stray(
        &mut self,
        request: &Outbound<'_>,
        trace: Option<TraceContext>,
        perhaps: bool,
        early: bool,
        (flights, routes): (&mut Flights, &mut Routes),
        court: &mut Court,
    ) -> (Hop, Option<(u64, bool)>) {
        let at = request.at;
        let hidden = if trace.is_some() { self.view.hides_traces(at) } else { self.view.hides_requests(at) };
        if let Some(reason) = hidden {
            return (unattributed(reason), None);
        }
        let tenant = self.in_flight.tenant();
        let promised = weight::promised(request.context.weight, trace.as_ref());
        // B3 lets a sender deny, or accept, whatever trace the receiver begins: it may mean the one that arrived.
        let may_mean_it = trace.is_none() && request.context.beside.asides.has(Aside::Decision);
        if perhaps || may_mean_it {
            let promised = promised.filter(|_| !perhaps);
            return (Hop { tenant, sent: trace, promised, ..hop(Outcome::Ambiguous) }, None);
        }
        let manner = Manner::of(trace);
        let outcome = match self.in_flight.causes(manner, self.reads_platforms) {
            Causes::Nobody => Outcome::Background,
            Causes::AllWithContext => manner.accusation(),
            Causes::NoneWithContext => Outcome::Rooted,
            Causes::Mixed => Outcome::Ambiguous,
            Causes::Unknown => return (unattributed(Hidden::HeadCut), None),
        };
        let (in_flight, brought) = (self.in_flight.count(), self.in_flight.formats());
        let is_accused = outcome == manner.accusation();
        let reached = if is_accused { self.in_flight.route(flights, routes) } else { Route::UNSEEN };
        let only = self.in_flight.only(flights);
        let cause = only.as_deref().map(|flight| Cause {
            trace: flight.trace.filter(|_| flight.brought.is_context()),
            tenant: flight.tenant,
            weight: flight.weight,
        });
        let example = Example { at, sent: trace, cause: cause.and_then(|cause| cause.trace) };
        let stray = Stray { manner, outcome, in_flight, early, example, reached };
        let ruling = self.classes.stray(class_name(request), &stray, &mut self.in_flight.load, court);
        if let (Some(flight), Some(trace)) = (only, trace)
            && !ruling.seen_idle
        {
            flight.starts(trace);
        }
        let weight = trace.and_then(|_| weight::judge_first(cause.map(|cause| cause.weight), request.context.weight));
        let (started, reached) = (trace.is_some(), ruling.reached);
        let hop =
            Hop { cause, tenant, sent: trace, brought, started, weight, promised, reached, ..hop(ruling.outcome) };
        (hop, ruling.class)
    }
}

impl Flight {
    /// The workload sends on the trace that this request brought: an open decision is made, a weight may be raised.
    fn settle(&mut self, sent: &TraceContext, weight: Fact<Weight>) {
        let Some(brought) = self.trace.as_mut().filter(|brought| brought.trace_id.is_same(sent.trace_id)) else {
            return;
        };
        let raised = weight::must_keep(weight);
        if brought.sampled == Sampled::Deferred || (raised && sent.sampled == Sampled::Sampled) {
            brought.sampled = sent.sampled;
        }
        if raised {
            self.weight = weight;
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

/// A response whose request was not seen.
const UNSEEN: ResponseSeen =
    ResponseSeen { is_error: false, took: None, tenant: None, trace: None, unsampled: None, weight: Fact::NotObserved };

fn seen_of(flight: &Flight) -> ResponseSeen {
    let unsampled = flight.trace.and_then(|trace| match trace.sampled {
        Sampled::Sampled => Some(false),
        Sampled::NotSampled => Some(true),
        Sampled::Deferred => None,
    });
    let (tenant, trace, weight) = (Some(flight.tenant), flight.trace, flight.weight);
    ResponseSeen { tenant, trace, unsampled, weight, ..UNSEEN }
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
        reads_platforms: false,
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
    Hop {
        outcome,
        sent: None,
        brought: Formats::NONE,
        cause: None,
        tenant: None,
        started: false,
        weight: None,
        promised: None,
        tracestate: None,
        baggage: None,
        hidden: None,
        route: Route::UNSEEN,
        reached: Route::UNSEEN,
    }
}

fn unattributed(reason: Hidden) -> Hop {
    Hop { hidden: Some(reason), ..hop(Outcome::Unattributed) }
}
