//! The memory of traces that arrived: contexts of inbound requests come in; whether, and how, a trace arrived at a workload
//! within the last ten minutes goes out.
//!
//! A trace that is dropped before its time leaves a mark in a filter, so that "never arrived" is never said of it: the filter
//! errs only towards "may have arrived", which accuses nobody.

use std::hash::{Hash, Hasher};

use super::filter::Filter;
use crate::context::{Format, Sampled, TraceContext, Weight};
use crate::fact::Fact;
use crate::ids::{SpanId, TenantId, TraceId, WorkloadId};
use crate::limits::ARRIVED_MEMORY;
use crate::names::Names;
use crate::recent::{Prefetch, Recent};
use crate::time::Timestamp;

/// A workload and a trace: 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    id: [u32; 4],
    workload: WorkloadId,
}

impl Key {
    #[expect(clippy::cast_possible_truncation, reason = "the four words of the id")]
    fn new(workload: WorkloadId, TraceId(id): TraceId) -> Self {
        Self { id: [id as u32, (id >> 32) as u32, (id >> 64) as u32, (id >> 96) as u32], workload }
    }

    /// The two halves of the id, the low one first.
    fn halves(&self) -> [u64; 2] {
        let [a, b, c, d] = self.id.map(u64::from);
        [a | b << 32, c | d << 32]
    }

    fn mixed(&self) -> u64 {
        // Ids need not be random: both halves and the workload are mixed (constants of splitmix64).
        let [low, high] = self.halves();
        let mut mixed = high ^ low.rotate_left(32) ^ u64::from(self.workload.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [low, high] = self.halves();
        state.write_u64(low);
        state.write_u64(high ^ u64::from(self.workload.0));
    }
}

/// How a trace arrived at a workload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    at: Timestamp,
    /// The parent ids of the first message and of the newest one.
    parents: [SpanId; 2],
    /// The weight; `None` where messages disagree.
    weight: Option<Fact<Weight>>,
    tenant: TenantId,
    /// Whether it arrived sampled, not sampled, deferred.
    sampled: [bool; 3],
    random: bool,
    format: Format,
    /// Whether one message brought it.
    once: bool,
}

impl Arrival {
    /// Whether a hop that carries `sampled` turns the decision around: it arrived with the other flag and with no other.
    pub(super) fn flips(&self, sampled: Sampled) -> bool {
        matches!(
            (self.sampled, sampled),
            ([true, false, false], Sampled::NotSampled) | ([false, true, false], Sampled::Sampled)
        )
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

    /// The context, where one message brought the trace.
    pub(super) fn only_context(&self, trace_id: TraceId) -> Option<TraceContext> {
        let [first, _] = self.parents;
        let sampled = match self.sampled {
            [true, ..] => Sampled::Sampled,
            [_, true, _] => Sampled::NotSampled,
            _ => Sampled::Deferred,
        };
        let context = TraceContext { trace_id, parent_id: first, sampled, random: self.random, format: self.format };
        self.once.then_some(context)
    }

    fn new(at: Timestamp, context: &TraceContext, tenant: TenantId, weight: Fact<Weight>) -> Self {
        let mut arrival = Self {
            at,
            parents: [context.parent_id; 2],
            weight: Some(weight),
            tenant,
            sampled: [false; 3],
            random: context.random,
            format: context.format,
            once: true,
        };
        arrival.mark(context.sampled);
        arrival
    }

    fn again(&mut self, at: Timestamp, context: &TraceContext, tenant: TenantId, weight: Fact<Weight>) {
        self.at = self.at.max(at);
        let [_, newest] = &mut self.parents;
        *newest = context.parent_id;
        self.weight = self.weight.filter(|before| *before == weight);
        if self.tenant == Names::UNKNOWN_TENANT {
            self.tenant = tenant;
        }
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

    /// A request brought `context`.
    pub(super) fn add(
        &mut self,
        workload: WorkloadId,
        at: Timestamp,
        context: &TraceContext,
        tenant: TenantId,
        weight: Fact<Weight>,
    ) {
        let key = Key::new(workload, context.trace_id);
        let evicted = &mut self.evicted;
        let Some((arrival, _)) = self.recent.entry(at, key, |old| evicted.add(old.mixed(), at)) else { return };
        match arrival {
            Some(before) if before.at.after(ARRIVED_MEMORY) > at => before.again(at, context, tenant, weight),
            _ => *arrival = Some(Arrival::new(at, context, tenant, weight)),
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
            Some(Some(arrival)) if arrival.at.after(ARRIVED_MEMORY) > at => Seen::Arrived(*arrival),
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
