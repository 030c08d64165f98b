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

use super::class::Manner;
use super::load::Load;
use crate::arena::{Arena, List};
use crate::context::{TraceContext, TraceFact, Weight};
use crate::fact::Fact;
use crate::ids::{ExchangeId, TenantId};
use crate::limits::{ARRIVED_MEMORY, CAUSE_MEMORY};
use crate::time::Timestamp;

/// How long records that are kept as one may lie apart.
const RECORDS_SPAN: Duration = Duration::from_millis(100);
/// The tenant of records that are kept as one and do not agree on theirs.
const MIXED: TenantId = TenantId(u32::MAX);

/// One request in flight, or some records.
#[derive(Debug)]
pub(super) struct Flight {
    origin: Origin,
    pub(super) tenant: TenantId,
    at: Timestamp,
    pub(super) brought: Brought,
    /// The context that it brought; or, where it brought none or left the decision open, the one that the workload was seen
    /// to send because of it.
    pub(super) trace: Option<TraceContext>,
    pub(super) weight: Fact<Weight>,
    /// Whether it can have caused nothing any more.
    late: bool,
}

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
    /// A valid one.
    Context,
    /// None, or one that the receiver must ignore: starting a trace is what the specification asks for (W3C trace-context
    /// section 3.2.2: "if parsing fails, the vendor restarts the trace").
    Nothing,
    /// Its head was not fully seen.
    Unknown,
}

impl Brought {
    fn of(trace: &TraceFact) -> Self {
        match trace {
            TraceFact::Valid(_) => Self::Context,
            TraceFact::Missing | TraceFact::Malformed(_) => Self::Nothing,
            TraceFact::NotObserved => Self::Unknown,
        }
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
    without: u32,
    unknown: u32,
    /// Sum of the tenants' numbers and of their squares: n requests agree on their tenant exactly where n·Σx² = (Σx)²
    /// (Cauchy and Schwarz), so no table of tenants is needed.
    tenant_sum: u128,
    tenant_squares: u128,
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
            without: 0,
            unknown: 0,
            tenant_sum: 0,
            tenant_squares: 0,
            load: Load::new(at),
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.with_context.saturating_add(self.without).saturating_add(self.unknown)
    }

    /// What they say as causes of a hop. Whoever handles a record may begin a trace of its own that links to the record's
    /// (OpenTelemetry semantic conventions for messaging, "Trace structure"): to a new trace, it is as if they brought none.
    pub(super) fn causes(&self, manner: Manner) -> Causes {
        let linked = if manner == Manner::NewTrace { self.linkable } else { 0 };
        match (self.with_context.saturating_sub(linked), self.without.saturating_add(linked), self.unknown) {
            (0, 0, 0) => Causes::Nobody,
            (1.., 1.., _) => Causes::Mixed,
            (_, _, 1..) => Causes::Unknown,
            (1.., 0, 0) => Causes::AllWithContext,
            (0, 1.., 0) => Causes::NoneWithContext,
        }
    }

    /// The tenant of all of them, where they agree.
    pub(super) fn tenant(&self) -> Option<TenantId> {
        let count = u128::from(self.count());
        let agree = count.saturating_mul(self.tenant_squares) == self.tenant_sum.saturating_mul(self.tenant_sum);
        let tenant = self.tenant_sum.checked_div(count).filter(|_| agree)?;
        u32::try_from(tenant).ok().map(TenantId).filter(|&tenant| tenant != MIXED)
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
            let (brought, tenant) = (flight.brought, flight.tenant);
            if let Origin::Records(count) = flight.origin {
                self.leave(brought, tenant, count, end);
                if brought == Brought::Context {
                    self.linkable = self.linkable.saturating_sub(count);
                }
                self.records = self.records.filter(|&newest| newest != key);
                flights.arena.remove(&mut self.list, key);
            } else {
                flight.late = true;
                self.leave(brought, tenant, 1, end);
                flights.arena.transfer(&mut self.list, &mut flights.late, key);
            }
        }
    }

    fn counter(&mut self, brought: Brought) -> &mut u32 {
        match brought {
            Brought::Context => &mut self.with_context,
            Brought::Nothing => &mut self.without,
            Brought::Unknown => &mut self.unknown,
        }
    }

    fn enter(&mut self, brought: Brought, tenant: TenantId, count: u32, at: Timestamp) {
        let [sum, squares] = moments(tenant, count);
        let counter = self.counter(brought);
        *counter = counter.saturating_add(count);
        self.tenant_sum = self.tenant_sum.saturating_add(sum);
        self.tenant_squares = self.tenant_squares.saturating_add(squares);
        self.load.set(self.count(), at);
    }

    fn leave(&mut self, brought: Brought, tenant: TenantId, count: u32, at: Timestamp) {
        let [sum, squares] = moments(tenant, count);
        let counter = self.counter(brought);
        *counter = counter.saturating_sub(count);
        self.tenant_sum = self.tenant_sum.saturating_sub(sum);
        self.tenant_squares = self.tenant_squares.saturating_sub(squares);
        self.load.set(self.count(), at);
    }
}

/// What `count` requests of a tenant add to the sum of tenants and to that of their squares.
fn moments(tenant: TenantId, count: u32) -> [u128; 2] {
    let sum = u128::from(tenant.0).saturating_mul(u128::from(count));
    [sum, sum.saturating_mul(u128::from(tenant.0))]
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
        trace: &TraceFact,
        tenant: TenantId,
        weight: Fact<Weight>,
        here: &mut InFlight,
    ) -> bool {
        here.expire(self, at);
        if exchange.is_none() && self.joins(at, trace, tenant, here) {
            return true;
        }
        if self.arena.len() >= self.limit && !self.drop_oldest_late() {
            self.refused = self.refused.saturating_add(1);
            return false;
        }
        let brought = Brought::of(trace);
        let context = trace.valid().copied();
        let origin = exchange.map_or(Origin::Records(1), Origin::Request);
        let flight = Flight { origin, tenant, at, brought, trace: context, weight, late: false };
        let Some(key) = self.arena.push(&mut here.list, flight) else { return false };
        here.enter(brought, tenant, 1, at);
        if let Some(exchange) = exchange {
            // An exchange is told once; should it be told twice, the first one is left to expire.
            self.by_exchange.insert(exchange, key);
        } else {
            here.records = Some(key);
            here.linkable = here.linkable.saturating_add(u32::from(brought == Brought::Context));
        }
        true
    }

    /// A record arrives: whether it could be added to those of a moment ago.
    fn joins(&mut self, at: Timestamp, trace: &TraceFact, tenant: TenantId, here: &mut InFlight) -> bool {
        let brought = Brought::of(trace);
        let Some(flight) = here.records.and_then(|key| self.arena.get_mut(key)) else { return false };
        let Origin::Records(count) = &mut flight.origin else { return false };
        if flight.brought != brought || flight.at.after(RECORDS_SPAN) < at {
            return false;
        }
        let (before, now) = (flight.tenant, if flight.tenant == tenant { tenant } else { MIXED });
        // What is not the same in all of them is not known.
        if flight.trace.map(|context| context.trace_id) != trace.valid().map(|context| context.trace_id) {
            flight.trace = None;
            flight.weight = Fact::NotObserved;
        }
        flight.tenant = now;
        let others = *count;
        *count = count.saturating_add(1);
        if now != before {
            here.leave(brought, before, others, at);
            here.enter(brought, now, others, at);
        }
        here.enter(brought, now, 1, at);
        here.linkable = here.linkable.saturating_add(u32::from(brought == Brought::Context));
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
        here.leave(flight.brought, flight.tenant, 1, at);
        Some(flight)
    }

    /// The head of a response that goes on, and whose status its end will tell: the request can cause nothing from now on.
    pub(super) fn answered(&mut self, at: Timestamp, exchange: ExchangeId, here: &mut InFlight) {
        here.expire(self, at);
        let Some(&key) = self.by_exchange.get(&exchange) else { return };
        let Some(flight) = self.arena.get_mut(key).filter(|flight| !flight.late) else { return };
        flight.late = true;
        let (brought, tenant) = (flight.brought, flight.tenant);
        here.leave(brought, tenant, 1, at);
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
