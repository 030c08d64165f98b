//! The memory of traces that arrived: contexts of inbound requests come in; whether, and how, a trace arrived at a workload
//! within the last ten minutes goes out.
//!
//! A trace that is dropped before its time leaves a mark in a filter, so that "never arrived" is never said of it: the filter
//! errs only towards "may have arrived", which accuses nobody.

use std::hash::{Hash, Hasher};

use super::filter::Filter;
use super::flights::Said;
use super::handed::Held;
use super::routes::{Route, Routes};
use crate::context::{Formats, MessageContext, Sampled, TraceContext, Weight, WeightClass};
use crate::fact::Fact;
use crate::ids::{SpanId, TenantId, TraceId, WorkloadId};
use crate::limits::ARRIVED_MEMORY;
use crate::names::Names;
use crate::recent::{Prefetch, Recent};
use crate::time::Timestamp;

/// A workload and the low half of a trace id, which all formats carry: 12 bytes. [`Arrival`] knows the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    id: [u32; 2],
    workload: WorkloadId,
}

impl Key {
    #[expect(clippy::cast_possible_truncation, reason = "the two words of the low half")]
    fn new(workload: WorkloadId, trace: TraceId) -> Self {
        let low = trace.low();
        Self { id: [low as u32, (low >> 32) as u32], workload }
    }

    fn low(&self) -> u64 {
        let [low, high] = self.id.map(u64::from);
        low | high << 32
    }

    fn mixed(&self) -> u64 {
        // Ids need not be random: the half and the workload are mixed (constants of splitmix64).
        let mut mixed = self.low() ^ u64::from(self.workload.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low());
        state.write_u32(self.workload.0);
    }
}

/// How a trace arrived at a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    at: Timestamp,
    trace_id: TraceId,
    /// The parent ids of the first message and of the newest one.
    parents: [SpanId; 2],
    /// The weight; `None` where messages disagree.
    weight: Option<Fact<Weight>>,
    tenant: TenantId,
    /// How it came here.
    route: Route,
    /// Whether it arrived sampled, not sampled, deferred.
    sampled: [bool; 3],
    random: bool,
    /// The formats of all messages that brought it.
    formats: Formats,
    /// Whether one message brought it.
    once: bool,
    /// What all messages that brought it had beside it.
    held: Held,
}

impl Arrival {
    /// Whether a hop that carries `sampled` turns the decision around: it arrived with the other flag and with no other.
    pub(super) fn flips(&self, sampled: Sampled) -> bool {
        matches!(
            (self.sampled, sampled),
            ([true, false, false], Sampled::NotSampled) | ([false, true, false], Sampled::Sampled)
        )
    }

    /// Whether it arrived with a weight of 1 or more, as far as is known, and with this flag.
    pub(super) fn promised(&self, sampled: Sampled) -> bool {
        let [yes, no, deferred] = self.sampled;
        let with_flag = match sampled {
            Sampled::Sampled => yes,
            Sampled::NotSampled => no,
            Sampled::Deferred => deferred,
        };
        with_flag
            && self
                .weight
                .is_none_or(|weight| matches!(WeightClass::of(weight), WeightClass::Keep | WeightClass::Unobserved))
    }

    /// Whether `parent` is one that the trace arrived with.
    pub(super) fn has_parent(&self, parent: SpanId) -> bool {
        self.parents.contains(&parent)
    }

    /// The tenant: the first that a message of the trace named.
    pub(super) fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The weight, where all messages of the trace agree.
    pub(super) fn weight(&self) -> Option<Fact<Weight>> {
        self.weight
    }

    /// How it came here; from where several services handed it on, what all ways share.
    pub(super) fn route(&self) -> Route {
        self.route
    }

    /// The formats in which it arrived.
    pub(super) fn formats(&self) -> Formats {
        self.formats
    }

    /// What all messages that brought it had beside it.
    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// The context, where one message brought the trace.
    pub(super) fn only_context(&self) -> Option<TraceContext> {
        let [first, _] = self.parents;
        let sampled = match self.sampled {
            [true, ..] => Sampled::Sampled,
            [_, true, _] => Sampled::NotSampled,
            _ => Sampled::Deferred,
        };
        let Self { trace_id, random, formats, .. } = *self;
        let context = TraceContext { trace_id, parent_id: first, sampled, random, formats };
        self.once.then_some(context)
    }

    fn new(at: Timestamp, context: &TraceContext, (tenant, route): Said, message: &MessageContext) -> Self {
        let mut arrival = Self {
            at,
            trace_id: context.trace_id,
            parents: [context.parent_id; 2],
            weight: Some(message.weight),
            tenant,
            route,
            sampled: [false; 3],
            random: context.random,
            formats: context.formats,
            once: true,
            held: Held::of(message, context, tenant),
        };
        arrival.mark(context.sampled);
        arrival
    }

    fn again(
        &mut self,
        at: Timestamp,
        context: &TraceContext,
        (tenant, route): Said,
        message: &MessageContext,
        routes: &mut Routes,
    ) {
        self.at = self.at.max(at);
        self.trace_id = self.trace_id.max(context.trace_id);
        self.formats = self.formats.and(context.formats);
        let [_, newest] = &mut self.parents;
        *newest = context.parent_id;
        self.weight = self.weight.filter(|before| *before == message.weight);
        self.held = self.held.and(Held::of(message, context, tenant), tenant == self.tenant);
        if self.tenant == Names::UNKNOWN_TENANT {
            self.tenant = tenant;
        }
        self.route = routes.merged(self.route, route);
        self.mark(context.sampled);
        self.once = false;
    }

    fn mark(&mut self, sampled: Sampled) {
        let [yes, no, deferred] = &mut self.sampled;
        match sampled {
            Sampled::Sampled => *yes = true,
            Sampled::NotSampled => *no = true,
            Sampled::Deferred => *deferred = true,
        }
    }
}

/// Whether a trace arrived.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    /// It did.
    Arrived(Arrival),
    /// It may have: the memory dropped something like it before its time.
    Perhaps,
    /// It did not.
    Never,
}

/// The traces that arrived at all workloads.
#[derive(Debug)]
pub(super) struct Arrived {
    recent: Recent<Key, Option<Arrival>>,
    evicted: Filter,
}

impl Arrived {
    /// A memory of about `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        // A quarter for the filter of what was dropped.
        Self {
            recent: Recent::new((bytes / 4).saturating_mul(3), ARRIVED_MEMORY),
            evicted: Filter::new(bytes / 4, ARRIVED_MEMORY),
        }
    }

    /// A request, which says `message`, brought `context`.
    pub(super) fn add(
        &mut self,
        workload: WorkloadId,
        at: Timestamp,
        context: &TraceContext,
        said: Said,
        message: &MessageContext,
        routes: &mut Routes,
    ) {
        let key = Key::new(workload, context.trace_id);
        let evicted = &mut self.evicted;
        let Some((arrival, _)) = self.recent.entry(at, key, |old| evicted.add(old.mixed(), at)) else { return };
        match arrival {
            Some(before) if before.at.after(ARRIVED_MEMORY) > at && before.trace_id.is_same(context.trace_id) => {
                before.again(at, context, said, message, routes);
            }
            // Of two traces with the same low half the newer one is remembered.
            _ => *arrival = Some(Arrival::new(at, context, said, message)),
        }
    }

    /// Names the memory that [`Self::add`] and [`Self::find`] will touch for `trace`.
    pub(super) fn prefetch(&self, workload: WorkloadId, trace: TraceId, prefetch: Prefetch) {
        let key = Key::new(workload, trace);
        self.recent.prefetch(&key, prefetch);
        for key in [Some(&key), self.recent.next_evicted()].into_iter().flatten() {
            self.evicted.prefetch(key.mixed(), prefetch);
        }
    }

    /// Whether `trace` arrived at `workload` in the ten minutes before `at`.
    pub(super) fn find(&self, workload: WorkloadId, trace: TraceId, at: Timestamp) -> Seen {
        let key = Key::new(workload, trace);
        match self.recent.get(at, &key) {
            Some(Some(arrival)) if arrival.at.after(ARRIVED_MEMORY) > at => {
                if arrival.trace_id.is_same(trace) {
                    Seen::Arrived(*arrival)
                } else {
                    Seen::Perhaps
                }
            }
            None if self.evicted.may_hold(key.mixed()) => Seen::Perhaps,
            _ => Seen::Never,
        }
    }

    /// Drops what is past its time.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.recent.expire(now);
        self.evicted.expire(now);
    }

    /// Traces held.
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }

    /// Traces dropped before their time.
    pub(super) fn evicted_total(&self) -> u64 {
        self.recent.evicted()
    }
}
