//! A message of a connection comes in; what each stage makes of it is counted. The stages in order: context, the two ends,
//! propagation, sampling, ledger. The sender's sight comes before the receiver's.

mod browsers;
mod encrypted;
mod latency;
mod records;
mod responses;

use observer_core::audit::ledger::{DecidedHop, Ledger, ReceivedRequest, Side, Sight};
use observer_core::audit::report::Evidence;
use observer_core::connection::Opaque;
use observer_core::context::{Extractors, Formats, MessageContext, TraceContext, TraceFact, Weight, WeightClass};
use observer_core::fact::Fact;
use observer_core::ids::{ConnectionId, ExchangeId, ServiceId, SocketId, TenantId, WorkloadId};
use observer_core::message::{End, HeaderName, Interest, Message, MessageBody, Protocol, RequestHead};
use observer_core::names::Names;
use observer_core::propagation::{
    GoCall, Hidden, Hop, Inbound, NoHop, Outbound, Outcome, Owner, Propagation, Reading, Route, Routes, Unread,
    WeightOutcome, no_hop,
};
use observer_core::sampling::Point;
use observer_core::sampling::traces::{Sighting, Traces};
use observer_core::time::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::rc::Rc;

use super::link::Link;
use super::parties::{EndAt, Known, Parties, Party};
use super::{Progress, prefetch};
use crate::config::Config;
use crate::output::snapshot::TableUse;
use crate::pattern::Pattern;
use encrypted::Encrypted;
use latency::Latency;

/// Everything between decoding and the report.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) names: Names,
    pub(super) ledger: Ledger,
    pub(super) traces: Traces,
    pub(super) messages: u64,
    extractors: Extractors,
    interest: Rc<Interest>,
    ignore: Vec<Pattern>,
    latency: Latency,
    propagation: Propagation,
    workloads: BTreeSet<WorkloadId>,
    /// Workloads reached by connections that are not decoded, by the socket that serves one: hidden as long as it is open.
    pub(super) hidden_by: FxHashMap<SocketId, (WorkloadId, Hidden)>,
    /// The same where the socket is not known. Such a connection is told once, and how long it lives nobody tells: they stay
    /// hidden.
    pub(super) hidden: BTreeSet<(WorkloadId, Hidden)>,
    encrypted: Encrypted,
    /// Workloads that serve records to others: brokers, and what stands before one.
    brokers: FxHashSet<(WorkloadId, Protocol)>,
    /// Topics to which observed services send, with the way of their traces to there: what is the same for all of them.
    fed: FxHashMap<ServiceId, Route>,
    /// The name of the topic that was met last, and what it is called by.
    topic: (String, ServiceId),
    breaks: u64,
    ticked: Timestamp,
}

/// From here on Linux takes ports for clients (`ip_local_port_range`, by default).
const DYNAMIC_PORT: u16 = 32_768;

/// The parts of a request that both ends share.
struct Request<'a> {
    at: Timestamp,
    protocol: Protocol,
    /// `None`: a record, which nothing answers.
    exchange: Option<ExchangeId>,
    head: &'a RequestHead<'a>,
    context: &'a MessageContext,
    tenant: TenantId,
    /// Where it is read, if threads that read it can be told.
    unread: Option<Unread>,
    /// The sockets that it leaves through and reaches, where requests come there one at a time.
    sockets: [Option<SocketId>; 2],
    /// Not to be counted: ignored, telemetry or a probe.
    uncounted: bool,
}

/// How often the stages drop what is past its time.
const EXPIRY_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);
/// Workloads that are hidden together when events were lost, or hidden for the whole run: more than attribution keeps.
const WORKLOADS_MAX: usize = 65_536;

impl Stages {
    pub(super) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let extractors = config.extractors();
        Self {
            names: Names::new(limits.services, limits.tenants),
            ledger: Ledger::new(limits),
            traces: Traces::new(limits),
            messages: 0,
            interest: Rc::new(extractors.interest().clone()),
            extractors,
            ignore: config.ignore.clone(),
            latency: Latency::new(&config.requirements),
            propagation: Propagation::new(limits, config.false_alarm_rate),
            workloads: BTreeSet::new(),
            hidden_by: FxHashMap::default(),
            hidden: BTreeSet::new(),
            encrypted: Encrypted::default(),
            brokers: FxHashSet::default(),
            fed: FxHashMap::default(),
            topic: (String::new(), Names::OVERFLOW_SERVICE),
            breaks: 0,
            ticked: Timestamp::default(),
        }
    }

    /// The host has so many processors.
    pub(super) fn on_processors(&mut self, processors: u32) {
        self.propagation.on_processors(processors);
    }

    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.extractors = config.extractors();
        self.interest = Rc::new(self.extractors.interest().clone());
        self.ignore.clone_from(&config.ignore);
        self.latency = Latency::new(&config.requirements);
    }

    /// The headers that decoding must keep.
    pub(super) fn interest(&self) -> Rc<Interest> {
        Rc::clone(&self.interest)
    }

    /// Takes the next message of a connection.
    pub(super) fn message(
        &mut self,
        message: &Message<'_>,
        connection: ConnectionId,
        (link, known): (&mut Link, &mut Known),
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        self.messages += 1;
        let at = message.at;
        match &message.body {
            MessageBody::Request(head) => {
                link.client = Some(message.from);
                let context = self.extractors.extract(head);
                let host = header(head, HeaderName::HOST).and_then(|host| std::str::from_utf8(host).ok());
                let client = parties.party(known, (message.from, false), ends, host, &mut self.names);
                let server = parties.party(known, (message.from.other(), true), ends, host, &mut self.names);
                self.prefetch(&context, &[client, server]);
                let number = message.exchange.unwrap_or_default();
                let telemetry = Self::no_hop(head);
                let uncounted = telemetry.is_some() || self.is_ignored(head);
                if uncounted {
                    link.leave_out(number);
                }
                if telemetry == Some(NoHop::Telemetry)
                    && head.method != "GET"
                    && let Some(owner) = client.observed()
                {
                    // It exports spans or metrics.
                    self.ledger.takes_part(owner.service);
                }
                let asked = self.extractors.asked_by_preflight(head);
                if !asked.is_empty() && !uncounted {
                    link.preflight(number, asked);
                }
                let exchange = Some(ExchangeId { connection, number });
                let protocol = message.protocol;
                let tenant = self.tenant(head, server, parties);
                let unread = link.unread(message, connection);
                let sockets = [message.from, message.from.other()].map(|end| {
                    let is_alone = matches!(message.protocol, Protocol::Http10 | Protocol::Http11);
                    ends[super::place(end)].socket.filter(|_| is_alone)
                });
                let context = &context;
                let received = Request { at, protocol, exchange, head, context, tenant, unread, sockets, uncounted };
                let tenant =
                    if self.extractors.asks_for_namespaces() { self.tenant(head, client, parties) } else { tenant };
                let sent = Request { tenant, ..received };
                let ambiguous = parties.is_ambiguous(&ends[super::place(message.from)]);
                let route = self.sent(&sent, client, server.service(), ambiguous);
                if let Some(owner) = server.observed() {
                    self.received(&received, owner, client, route);
                }
            }
            MessageBody::Response(head) => {
                self.response(message, head, connection, (link, known), ends, parties);
            }
            MessageBody::Record(record) => self.record(message, record, (link, known), ends, parties),
            MessageBody::UnobservedRecords { way, topic, count } => {
                self.unobserved_records(message, (*way, topic, *count), (link, known), ends, parties);
            }
            MessageBody::Unobserved { count } => {
                let client_end = link.client.unwrap_or(message.from);
                let client = parties.party(known, (client_end, false), ends, None, &mut self.names);
                let server = parties.party(known, (client_end.other(), true), ends, None, &mut self.names);
                if let Some(owner) = server.observed() {
                    self.ledger.unobserved(owner.service, message.protocol, *count);
                    self.propagation.connection_gone(connection);
                    self.hide(owner.workload, Hidden::Loss, at);
                }
                if let Some(owner) = client.observed() {
                    self.ledger.unattributed(owner.service, server.service(), *count);
                }
            }
        }
    }

    /// Begins to load what is kept of the trace of a message: waiting for memory would cost more than all else that is done.
    fn prefetch(&self, context: &MessageContext, ends: &[Party]) {
        let Some(trace) = context.trace.valid() else { return };
        self.traces.prefetch(trace.trace_id, prefetch::line);
        for owner in ends.iter().filter_map(|end| end.observed()) {
            self.propagation.prefetch(owner.workload, trace.trace_id, prefetch::line);
        }
    }

    /// The tenant of a request as it is seen at the end of `party`.
    fn tenant(&mut self, head: &RequestHead<'_>, party: Party, parties: &Parties) -> TenantId {
        let asked = party.observed().filter(|_| self.extractors.asks_for_namespaces());
        let namespace = asked.and_then(|owner| parties.namespace(owner.workload));
        match self.extractors.tenant(head, namespace) {
            Fact::Present(tenant) => self.names.tenant(&tenant),
            Fact::Absent | Fact::NotObserved => Names::UNKNOWN_TENANT,
        }
    }

    /// The sender's sight of a request. Returns how its trace came to the sender, where that is known.
    fn sent(&mut self, request: &Request<'_>, client: Party, peer: ServiceId, ambiguous: bool) -> Route {
        let Some(owner) = client.observed().filter(|_| !request.uncounted) else { return Route::UNSEEN };
        let Request { at, context, tenant, head, unread, sockets: [socket, _], .. } = *request;
        let hop = if ambiguous {
            Hop {
                outcome: Outcome::Unattributed,
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
        } else {
            let (method, path) = (head.method, head.path);
            let exchange = unread.map(|unread| unread.exchange);
            self.propagation.request_out(&Outbound { at, owner, peer, exchange, socket, context, tenant, method, path })
        };
        if matches!(hop.outcome, Outcome::Lost | Outcome::Restarted | Outcome::Flipped) {
            self.breaks += 1;
        }
        let service = owner.service;
        let evidence = Evidence::Window;
        self.ledger.hop(&DecidedHop { at, service, peer, context, hop: &hop, evidence });
        // A request that names no tenant is its cause's.
        let tenant = if tenant == Names::UNKNOWN_TENANT { hop.tenant.unwrap_or(tenant) } else { tenant };
        if let Some(trace) = hop.sent {
            let sight = Sight { at, trace: Some((trace.trace_id, trace.parent_id)), peer };
            if let Some(weight) = hop.weight {
                self.ledger.weight(service, tenant, Side::Sender, weight, sight);
            }
            if let Some(sampled) = hop.promised {
                self.ledger.promised(service, tenant, Side::Sender, sampled, sight);
            }
            let point = match (hop.started, hop.outcome) {
                (true, _) => Some(Point::Started),
                (false, Outcome::Unattributed) => None,
                (false, _) => Some(Point::Forwarded),
            };
            if let Some(point) = point {
                let (trace_id, sampled) = (trace.trace_id, trace.sampled);
                let class = WeightClass::of(context.weight);
                self.traces.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer });
            }
        }
        hop.route
    }

    /// How the trace of a request came to who sends it, where the sender's sight does not tell; `known`: whether it is seen elsewhere.
    fn route_to(&mut self, client: Party, known: bool, request: &Request<'_>) -> Route {
        let Some(trace) = request.context.trace.valid() else { return Route::UNSEEN };
        match client {
            Party::Observed(owner) => self.propagation.begins(owner.service, false),
            Party::Far(owner) => self.propagation.route_at(owner, trace.trace_id, request.at),
            // Of a topic it is known who sends there, not which of them sent this.
            Party::Peer(topic) if known => {
                self.propagation.handed_on(self.fed.get(&topic).copied().unwrap_or_default(), topic)
            }
            Party::Peer(service) => self.propagation.from_outside(service),
        }
    }

    /// The receiver's sight of a request.
    fn received(&mut self, request: &Request<'_>, owner: Owner, client: Party, route: Route) {
        let Request { at, protocol, exchange, context, tenant, sockets: [_, socket], uncounted, .. } = *request;
        if self.workloads.len() < WORKLOADS_MAX {
            self.workloads.insert(owner.workload);
        }
        let sender = client.service();
        // Of a record it is its topic that is known; who sent it there is observed where its trace was seen before.
        let knows = |trace: &TraceContext| self.traces.knows(at, trace.trace_id);
        let sender_observed =
            client.observed().is_some() || (self.fed.contains_key(&sender) && context.trace.valid().is_some_and(knows));
        let route = if route == Route::UNSEEN { self.route_to(client, sender_observed, request) } else { route };
        // What is not counted may cause hops all the same.
        self.propagation.request_in(&Inbound { at, owner, exchange, socket, context, tenant, route });
        if let Some(unread) = request.unread {
            self.propagation.request_arrives(unread, owner.workload);
        }
        if uncounted {
            return;
        }
        let service = owner.service;
        let class = WeightClass::of(context.weight);
        // A weight that is no weight is told where it first arrives; what a service makes of a good one, where it leaves.
        let damaged = match context.weight {
            Fact::Present(Weight::Malformed) => Some(WeightOutcome::Malformed),
            Fact::Present(Weight::OutOfRange) => Some(WeightOutcome::OutOfRange),
            _ => None,
        };
        if let Some(outcome) = damaged.filter(|_| !sender_observed) {
            self.ledger.weight(service, tenant, Side::Receiver, outcome, Sight { at, trace: None, peer: sender });
        }
        if let TraceFact::Valid(trace) = context.trace
            && class == WeightClass::Keep
            && !sender_observed
        {
            let sight = Sight { at, trace: Some((trace.trace_id, trace.parent_id)), peer: sender };
            self.ledger.promised(service, tenant, Side::Receiver, trace.sampled, sight);
        }
        let request = ReceivedRequest { at, service, tenant, protocol, context, sender };
        self.ledger.received(&request);
        if let TraceFact::Valid(trace) = context.trace {
            let (trace_id, sampled) = (trace.trace_id, trace.sampled);
            let point = Point::Received;
            self.traces.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer: sender });
        }
    }

    /// A connection that is not decoded: what reaches its serving end is hidden. `local` is the end that the tap stands at;
    /// on an interface either may be of this host.
    pub(super) fn opaque(
        &mut self,
        at: Timestamp,
        kind: Opaque,
        ends: &[EndAt; 2],
        local: Option<End>,
        parties: &mut Parties,
    ) {
        let [source, destination] = ends;
        // A TLS record does not tell who serves. Of a socket its workload is asked; on an interface the end with the lower port
        // is taken for it (RFC 6335 section 6: clients use dynamic ports, which lie above those of services).
        let server = match (kind, local) {
            (Opaque::Tls, Some(local)) => local,
            (Opaque::Tls, None) if source.address.port < destination.address.port => End::First,
            _ => End::Second,
        };
        if local.is_some_and(|local| local != server) {
            return;
        }
        let (serving, asking) = (&ends[super::place(server)], &ends[super::place(server.other())]);
        let party = parties.party(&mut Known::default(), (server, true), ends, None, &mut self.names);
        let Some(owner) = party.observed() else { return };
        let is_served = match (kind, local) {
            (Opaque::FastCgi, _) | (Opaque::Tls, None) => true,
            (Opaque::Unknown, _) => parties.serves(owner.workload, serving.address),
            (Opaque::Tls, Some(_)) => {
                let is_dynamic = |end: &EndAt| end.address.port >= DYNAMIC_PORT;
                parties.serves(owner.workload, serving.address) || (!is_dynamic(serving) && is_dynamic(asking))
            }
        };
        if kind == Opaque::Tls && self.encrypted.may_be_read {
            let processes = parties.processes(owner.workload);
            self.waits_for_session(at, [serving, asking], (owner, is_served), processes);
            return;
        }
        if !is_served {
            return;
        }
        let hidden = match kind {
            Opaque::Tls => Hidden::Tls,
            Opaque::FastCgi => Hidden::FastCgi,
            Opaque::Unknown => Hidden::UnknownProtocol,
        };
        self.ledger.opaque(owner.service, kind);
        self.hide_behind(serving.socket, owner.workload, hidden, at);
    }

    /// What comes through a connection that is not decoded hides the workload that serves it.
    fn hide_behind(&mut self, socket: Option<SocketId>, workload: WorkloadId, hidden: Hidden, at: Timestamp) {
        match socket {
            // Where there is no room for one socket more, who serves it stays hidden.
            Some(socket) if self.hidden_by.len() < WORKLOADS_MAX => {
                self.hidden_by.insert(socket, (workload, hidden));
            }
            _ if self.hidden.len() < WORKLOADS_MAX => {
                self.hidden.insert((workload, hidden));
            }
            _ => {}
        }
        self.hide(workload, hidden, at);
    }

    /// A socket is closed: what came through it hides nobody any longer.
    pub(super) fn released(&mut self, socket: SocketId) {
        self.hidden_by.remove(&socket);
        self.encrypted.released(socket);
    }

    /// A goroutine is about to send a request.
    pub(super) fn goroutine_calls(&mut self, call: GoCall) {
        self.propagation.goroutine_calls(call);
    }

    /// A thread has read something.
    pub(super) fn reads(&mut self, reading: &Reading) {
        self.propagation.reads(reading);
    }

    /// Who serves a connection has closed it.
    pub(super) fn connection_gone(&mut self, connection: ConnectionId) {
        self.propagation.connection_gone(connection);
    }

    /// The workloads of which it is to be told what their threads read.
    pub(super) fn watched(&self) -> impl Iterator<Item = WorkloadId> {
        self.propagation.watched()
    }

    /// Requests that are not seen reach a workload: see [`Propagation::hide`].
    pub(super) fn hide(&mut self, workload: WorkloadId, reason: Hidden, at: Timestamp) {
        self.propagation.hide(workload, reason, at);
    }

    /// Something was lost, and nobody knows at whom.
    pub(super) fn hide_all(&mut self, reason: Hidden, at: Timestamp) {
        self.propagation.forget_threads();
        for &workload in &self.workloads {
            self.propagation.hide(workload, reason, at);
        }
    }

    /// Forgets workloads that are no longer known: ids are not used again, and new ones must find room.
    pub(super) fn forget(&mut self, known: impl Fn(WorkloadId) -> bool) {
        self.workloads.retain(|&workload| known(workload));
        self.hidden_by.retain(|_, &mut (workload, _)| known(workload));
        self.hidden.retain(|&(workload, _)| known(workload));
        self.brokers.retain(|&(workload, _)| known(workload));
        self.encrypted.forget(known);
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        if now.since(self.ticked) >= EXPIRY_INTERVAL {
            self.ticked = now;
            self.propagation.tick(now);
            self.not_read_in_time(now);
            for &(workload, reason) in self.hidden_by.values().chain(&self.hidden) {
                self.propagation.hide(workload, reason, now);
            }
        }
        self.correct();
    }

    /// Applies to the ledger what propagation has decided since about earlier hops.
    pub(super) fn correct(&mut self) {
        for correction in self.propagation.corrections() {
            self.ledger.correct(&correction);
        }
    }

    fn is_ignored(&self, head: &RequestHead<'_>) -> bool {
        !self.ignore.is_empty() && self.ignore.iter().any(|pattern| pattern.matches(head.path))
    }

    /// Whether a request is telemetry or a probe.
    fn no_hop(head: &RequestHead<'_>) -> Option<NoHop> {
        let (content_type, agent) = (header(head, HeaderName::CONTENT_TYPE), header(head, HeaderName::USER_AGENT));
        no_hop(head.method, head.path, content_type, agent)
    }

    pub(super) fn progress(&self) -> Progress {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Progress {
            messages: self.messages,
            services: count(self.names.services()),
            tenants: count(self.names.tenants()),
            breaks: self.breaks,
        }
    }

    /// The names of services that may be to blame for a break so far.
    pub(super) fn culprits(&self) -> BTreeSet<&str> {
        self.ledger.culprits().into_iter().map(|service| self.names.service_name(service)).collect()
    }

    /// The ways that traces took.
    pub(super) fn routes(&self) -> &Routes {
        self.propagation.routes()
    }

    /// How full the tables are.
    pub(super) fn tables(&self) -> Vec<TableUse> {
        let table = |(table, tracked, evicted): (&'static str, usize, u64)| TableUse {
            table,
            tracked: u64::try_from(tracked).unwrap_or(u64::MAX),
            evicted,
        };
        let propagation = self.propagation.counters();
        let names = [
            ("services", self.names.services(), self.names.services_overflowed()),
            ("tenants", self.names.tenants(), self.names.tenants_overflowed()),
        ];
        let propagation = [
            ("propagation_workloads", propagation.workloads, propagation.workloads_refused),
            ("flights", propagation.flights, propagation.flights_refused),
            ("arrived_traces", propagation.traces, propagation.traces_evicted),
            ("hop_classes", propagation.classes, propagation.classes_refused),
            ("routes", propagation.routes, propagation.routes_refused),
            ("reading_threads", propagation.threads, propagation.threads_refused),
            ("goroutines", propagation.goroutines, propagation.goroutines_refused),
        ];
        names
            .into_iter()
            .chain(propagation)
            .chain(self.traces.tables())
            .chain(self.ledger.tables())
            .map(table)
            .collect()
    }
}

fn header<'a>(head: &RequestHead<'a>, name: HeaderName) -> Option<&'a [u8]> {
    head.headers.iter().find(|header| header.name == name).map(|header| header.value)
}
