//! The memory of requests in flight: request heads and response heads come in; who can have caused a hop goes out.
//!
//! A record that is fetched from a broker is answered by nothing, so it is in flight for the whole 30 s; those that arrive
//! within a tenth of a second are kept as one.
//!
//! "In flight" is from the head of a request to the head of its response, at most 30 s. A client that closes its connection
//! ends nothing: the service may work on. Requests past 30 s can cause nothing any more, nor can those of streams that are being
//! answered; both are kept for a while because the end may still tell of an error.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::agreement::Agreement;
use super::class::Manner;
use super::load::Load;
use super::routes::{Route, Routes};
use crate::arena::{Arena, List};
use crate::context::{Format, Formats, MessageContext, TraceContext, TraceFact, Weight};
use crate::fact::Fact;
use crate::ids::{ExchangeId, TenantId};
use crate::limits::{ARRIVED_MEMORY, CAUSE_MEMORY};
use crate::time::Timestamp;

/// How long records that are kept as one may lie apart.
const RECORDS_SPAN: Duration = Duration::from_millis(100);
/// Requests in flight of which each is looked at, at the most, to tell how a trace came.
const LOOKED_AT_MAX: u32 = 8;
/// The tenant of records that are kept as one and do not agree on theirs.
const MIXED: TenantId = TenantId(u32::MAX);

/// One request in flight, or some records.
#[derive(Debug)]
pub(super) struct Flight {
    origin: Origin,
    pub(super) tenant: TenantId,
    /// The way of the context that it brought.
    route: Route,
    pub(super) at: Timestamp,
    pub(super) brought: Brought,
    /// The context that it brought; or, where it brought none or left the decision open, the one that the workload was seen
    /// to send because of it.
    pub(super) trace: Option<TraceContext>,
    /// The weight that it brought; or, where the workload was seen to raise it to 1 or more, that.
    pub(super) weight: Fact<Weight>,
    /// Whether the head of its response came before its status: how long that took is not what its end tells.
    pub(super) streams: bool,
    /// Whether it can have caused nothing any more.
    late: bool,
}

/// What a request says that others may say, too.
pub(super) type Said = (TenantId, Route);

/// What a flight stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Request(ExchangeId),
    /// So many records.
    Records(u32),
}

/// What a request says of its context, for what it may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// A valid one, in these formats.
    Context(Formats),
    /// A valid one in one format, and in another one that the receiver must ignore: it depends on which the receiver reads.
    Either,
    /// None, or one that the receiver must ignore: starting a trace is what the specification asks for (W3C trace-context
    /// section 3.2.2: "if parsing fails, the vendor restarts the trace").
    Nothing,
    /// Its head was not fully seen.
    Unknown,
}

impl Brought {
    pub(super) fn is_context(self) -> bool {
        matches!(self, Self::Context(_) | Self::Either)
    }

    fn of(context: &MessageContext) -> Self {
        match context.trace {
            TraceFact::Valid(_) if context.beside.malformed.is_some() => Self::Either,
            TraceFact::Valid(trace) => Self::Context(trace.formats),
            TraceFact::Missing | TraceFact::Malformed(..) => Self::Nothing,
            TraceFact::NotObserved => Self::Unknown,
        }
    }
}

impl Flight {
    fn said(&self) -> Said {
        (self.tenant, self.route)
    }
}

/// The requests in flight at one workload, added up.
#[derive(Debug)]
pub(super) struct InFlight {
    list: List,
    /// The newest flight of records, if there is one.
    records: Option<u32>,
    /// Records with a context, which are counted below, too.
    linkable: u32,
    with_context: u32,
    either: u32,
    without: u32,
    unknown: u32,
    /// Of those with a context, how many carry it in each format, in the order of [`Format::ALL`].
    by_format: [u32; Format::ALL.len()],
    /// Those of them that carry it in no format but what platforms write.
    of_platforms: u32,
    tenants: Agreement,
    routes: Agreement,
    /// How many were in flight over time.
    pub(super) load: Load,
}

/// What the requests in flight say of their contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Causes {
    /// There are none.
    Nobody,
    /// Every one brought a context.
    AllWithContext,
    /// None brought one.
    NoneWithContext,
    /// Some did, some did not.
    Mixed,
    /// At least one head was not fully seen, and the others do not differ.
    Unknown,
}

impl InFlight {
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            list: List::EMPTY,
            records: None,
            linkable: 0,
            with_context: 0,
            either: 0,
            without: 0,
            unknown: 0,
            by_format: [0; Format::ALL.len()],
            of_platforms: 0,
            tenants: Agreement::default(),
            routes: Agreement::default(),
            load: Load::new(at),
        }
    }

    pub(super) fn count(&self) -> u32 {
        [self.either, self.without, self.unknown].into_iter().fold(self.with_context, u32::saturating_add)
    }

    /// The formats in which all of them brought a context; none where they differ.
    pub(super) fn formats(&self) -> Formats {
        let mut formats = Formats::NONE;
        for (format, &count) in Format::ALL.into_iter().zip(&self.by_format) {
            match count {
                0 => {}
                _ if count == self.count() => formats = formats.and(Formats::of(format)),
                _ => return Formats::NONE,
            }
        }
        formats
    }

    /// What they say as causes of a hop. Whoever handles a record may begin a trace of its own that links to the record's
    /// (OpenTelemetry semantic conventions for messaging, "Trace structure"): to a new trace, it is as if they brought none.
    /// What a load balancer or gateway writes of its own counts as none, too, for who was never seen to go on with such a trace
    /// (`reads_platforms`).
    pub(super) fn causes(&self, manner: Manner, reads_platforms: bool) -> Causes {
        if self.either > 0 {
            return Causes::Mixed;
        }
        let linked = if manner == Manner::NewTrace { self.linkable } else { 0 };
        let strange = if reads_platforms { 0 } else { self.of_platforms };
        // Some may be both, and count twice as without: that accuses nobody.
        let as_without = linked.saturating_add(strange);
        let (with, without) = (self.with_context.saturating_sub(as_without), self.without.saturating_add(as_without));
        match (with, without, self.unknown) {
            (0, 0, 0) => Causes::Nobody,
            (1.., 1.., _) => Causes::Mixed,
            (_, _, 1..) => Causes::Unknown,
            (1.., 0, 0) => Causes::AllWithContext,
            (0, 1.., 0) => Causes::NoneWithContext,
        }
    }

    /// The tenant of all of them, where they agree.
    pub(super) fn tenant(&self) -> Option<TenantId> {
        self.tenants.of(self.count()).map(TenantId).filter(|&tenant| tenant != MIXED)
    }

    /// The way of the contexts that they brought, where they agree; where they brought one trace in several ways, what these share.
    pub(super) fn route(&self, flights: &Flights, routes: &mut Routes) -> Route {
        if let Some(route) = self.routes.of(self.count()) {
            return Route::of_number(route);
        }
        let mut all =
            flights.arena.of(self.list).map(|flight| (flight.route, flight.trace.map(|trace| trace.trace_id)));
        let Some((mut shared, Some(trace))) = all.next().filter(|_| self.count() <= LOOKED_AT_MAX) else {
            return Route::UNSEEN;
        };
        for (route, other) in all {
            if !other.is_some_and(|other| other.is_same(trace)) {
                return Route::UNSEEN;
            }
            shared = routes.merged(shared, route);
        }
        shared
    }

    /// The only one.
    pub(super) fn only<'a>(&self, flights: &'a mut Flights) -> Option<&'a mut Flight> {
        if self.count() != 1 {
            return None;
        }
        flights.arena.get_mut(self.list.first()?)
    }

    /// Lets those go that can have caused nothing any more at `now`.
    pub(super) fn expire(&mut self, flights: &mut Flights, now: Timestamp) {
        while let Some(key) = self.list.first() {
            let Some(flight) = flights.arena.get_mut(key) else { return };
            let end = flight.at.after(CAUSE_MEMORY);
            if end > now {
                return;
            }
            let (brought, said) = (flight.brought, flight.said());
            if let Origin::Records(count) = flight.origin {
                self.leave(brought, said, count, end);
                if brought.is_context() {
                    self.linkable = self.linkable.saturating_sub(count);
                }
                self.records = self.records.filter(|&newest| newest != key);
                flights.arena.remove(&mut self.list, key);
            } else {
                flight.late = true;
                self.leave(brought, said, 1, end);
                flights.arena.transfer(&mut self.list, &mut flights.late, key);
            }
        }
    }

    fn counter(&mut self, brought: Brought) -> &mut u32 {
        match brought {
            Brought::Context(_) => &mut self.with_context,
            Brought::Either => &mut self.either,
            Brought::Nothing => &mut self.without,
            Brought::Unknown => &mut self.unknown,
        }
    }

    /// Changes the counts of those that brought a context in each of its formats.
    fn each_format(&mut self, brought: Brought, change: impl Fn(u32) -> u32) {
        let Brought::Context(formats) = brought else { return };
        if formats.of_applications().is_empty() {
            self.of_platforms = change(self.of_platforms);
        }
        for format in formats.iter() {
            if let Some(counter) = self.by_format.get_mut(format as usize) {
                *counter = change(*counter);
            }
        }
    }

    fn enter(&mut self, brought: Brought, (tenant, route): Said, count: u32, at: Timestamp) {
        let counter = self.counter(brought);
        *counter = counter.saturating_add(count);
        self.each_format(brought, |number| number.saturating_add(count));
        self.tenants.enter(tenant.0, count);
        self.routes.enter(route.number(), count);
        self.load.set(self.count(), at);
    }

    fn leave(&mut self, brought: Brought, (tenant, route): Said, count: u32, at: Timestamp) {
        let counter = self.counter(brought);
        *counter = counter.saturating_sub(count);
        self.each_format(brought, |number| number.saturating_sub(count));
        self.tenants.leave(tenant.0, count);
        self.routes.leave(route.number(), count);
        self.load.set(self.count(), at);
    }
}

/// The requests in flight at all workloads.
#[derive(Debug)]
pub(super) struct Flights {
    arena: Arena<Flight>,
    by_exchange: FxHashMap<ExchangeId, u32>,
    late: List,
    limit: usize,
    refused: u64,
}

impl Flights {
    /// Room for about `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        // The node, and a place of the index, of which at least 7/16 are filled.
        let each = size_of::<Flight>().saturating_add(16).saturating_add(24 * 16 / 7);
        Self {
            arena: Arena::new(),
            by_exchange: FxHashMap::default(),
            late: List::EMPTY,
            limit: bytes.checked_div(each).unwrap_or(1).max(1),
            refused: 0,
        }
    }

    /// A request reaches a workload. False where there is no room for it.
    pub(super) fn begin(
        &mut self,
        at: Timestamp,
        exchange: Option<ExchangeId>,
        context: &MessageContext,
        said: Said,
        here: &mut InFlight,
    ) -> bool {
        here.expire(self, at);
        if exchange.is_none() && self.joins(at, context, said, here) {
            return true;
        }
        if self.arena.len() >= self.limit && !self.drop_oldest_late() {
            self.refused = self.refused.saturating_add(1);
            return false;
        }
        let brought = Brought::of(context);
        let (trace, weight) = (context.trace.valid().copied(), context.weight);
        let origin = exchange.map_or(Origin::Records(1), Origin::Request);
        let (tenant, route) = said;
        let flight = Flight { origin, tenant, route, at, brought, trace, weight, streams: false, late: false };
        let Some(key) = self.arena.push(&mut here.list, flight) else { return false };
        here.enter(brought, said, 1, at);
        if let Some(exchange) = exchange {
            // An exchange is told once; should it be told twice, the first one is left to expire.
            self.by_exchange.insert(exchange, key);
        } else {
            here.records = Some(key);
            here.linkable = here.linkable.saturating_add(u32::from(brought.is_context()));
        }
        true
    }

    /// A record arrives: whether it could be added to those of a moment ago.
    fn joins(&mut self, at: Timestamp, context: &MessageContext, said: Said, here: &mut InFlight) -> bool {
        let brought = Brought::of(context);
        let Some(flight) = here.records.and_then(|key| self.arena.get_mut(key)) else { return false };
        let Origin::Records(others) = flight.origin else { return false };
        if flight.brought != brought || flight.at.after(RECORDS_SPAN) < at {
            return false;
        }
        let ((tenant, route), before) = (said, flight.said());
        let now = (
            if flight.tenant == tenant { tenant } else { MIXED },
            if flight.route == route { route } else { Route::UNSEEN },
        );
        // What is not the same in all of them is not known.
        if flight.trace.map(|context| context.trace_id) != context.trace.valid().map(|context| context.trace_id) {
            flight.trace = None;
            flight.weight = Fact::NotObserved;
        }
        (flight.tenant, flight.route) = now;
        flight.origin = Origin::Records(others.saturating_add(1));
        if now != before {
            here.leave(brought, before, others, at);
            here.enter(brought, now, others, at);
        }
        here.enter(brought, now, 1, at);
        here.linkable = here.linkable.saturating_add(u32::from(brought.is_context()));
        true
    }

    /// The head of the response: the request can cause nothing from now on. Returns what was known of it.
    pub(super) fn end(&mut self, at: Timestamp, exchange: ExchangeId, here: &mut InFlight) -> Option<Flight> {
        here.expire(self, at);
        let key = self.by_exchange.remove(&exchange)?;
        if self.arena.get(key)?.late {
            return self.arena.remove(&mut self.late, key);
        }
        let flight = self.arena.remove(&mut here.list, key)?;
        here.leave(flight.brought, flight.said(), 1, at);
        Some(flight)
    }

    /// The head of a response that goes on, and whose status its end will tell: the request can cause nothing from now on.
    pub(super) fn answered(&mut self, at: Timestamp, exchange: ExchangeId, here: &mut InFlight) {
        here.expire(self, at);
        let Some(&key) = self.by_exchange.get(&exchange) else { return };
        let Some(flight) = self.arena.get_mut(key) else { return };
        flight.streams = true;
        if flight.late {
            return;
        }
        flight.late = true;
        let (brought, said) = (flight.brought, flight.said());
        here.leave(brought, said, 1, at);
        self.arena.transfer(&mut here.list, &mut self.late, key);
    }

    /// Drops requests that are past any use.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while self
            .late
            .first()
            .and_then(|key| self.arena.get(key))
            .is_some_and(|flight| flight.at.after(ARRIVED_MEMORY) <= now)
        {
            if !self.drop_oldest_late() {
                return;
            }
        }
    }

    /// What is known of a request that is not answered.
    pub(super) fn of_exchange(&self, exchange: ExchangeId) -> Option<&Flight> {
        self.arena.get(*self.by_exchange.get(&exchange)?)
    }

    /// Requests held.
    pub(super) fn len(&self) -> usize {
        self.arena.len()
    }

    /// Requests for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn drop_oldest_late(&mut self) -> bool {
        let Some(key) = self.late.first() else { return false };
        let Some(flight) = self.arena.remove(&mut self.late, key) else { return false };
        if let Origin::Request(exchange) = flight.origin
            && self.by_exchange.get(&exchange) == Some(&key)
        {
            self.by_exchange.remove(&exchange);
        }
        true
    }
}
