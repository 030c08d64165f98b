//! Series: how many distinct traces each service and tenant had at each point, by the class of their weights, and how many of them
//! were sampled.
//!
//! Bounded: those past the limit are counted under the service's overflow tenant, and that is counted.

use rustc_hash::FxHashMap;

use super::Point;
use super::evidence::Evidence;
use crate::context::{Sampled, WeightClass};
use crate::ids::{ServiceId, TenantId, TraceId};
use crate::names::Names;
use crate::time::Timestamp;

/// The senders of foreign traces that a series tells apart.
const SENDERS_MAX: usize = 4;
/// The share of the memory limit that series may take, and that the evidence for their samplers may: one in this many each.
const MEMORY_SHARE: usize = 16;
/// What the evidence for one sampler takes at most, in bytes.
const EVIDENCE_BYTES: usize = 8192;

/// Distinct traces with a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// All that carry a decision.
    pub traces: u64,
    /// Those sampled.
    pub sampled: u64,
}

/// Distinct traces of one service and tenant at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that carry a decision.
    pub all: Share,
    /// Those that leave it to the receiver; not among `all`.
    pub deferred: u64,
    /// At `received`: the part of `all` that entered the observed services here, so that none of them decided.
    pub foreign: Share,
    /// When the first was seen.
    pub first: Timestamp,
    /// When the last was first seen.
    pub last: Timestamp,
}

impl Counts {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let sum = |a: Share, b: Share| Share {
            traces: a.traces.saturating_add(b.traces),
            sampled: a.sampled.saturating_add(b.sampled),
        };
        let first = match (self.is_empty(), other.is_empty()) {
            (false, false) => self.first.min(other.first),
            (true, _) => other.first,
            (_, true) => self.first,
        };
        Self {
            all: sum(self.all, other.all),
            deferred: self.deferred.saturating_add(other.deferred),
            foreign: sum(self.foreign, other.foreign),
            first,
            last: self.last.max(other.last),
        }
    }

    fn is_empty(&self) -> bool {
        self.all.traces == 0 && self.deferred == 0
    }
}

/// One trace at one point, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) at: Timestamp,
    pub(super) trace: TraceId,
    pub(super) point: Point,
    pub(super) sampled: Sampled,
    pub(super) class: WeightClass,
    pub(super) foreign: bool,
    pub(super) sender: ServiceId,
}

/// Who sent foreign traces: the first few senders by name, the others in one sum.
#[derive(Clone, Copy, Debug, Default)]
struct Senders {
    named: [Option<(ServiceId, u64)>; SENDERS_MAX],
    others: u64,
}

impl Senders {
    fn add(&mut self, sender: ServiceId) {
        for slot in &mut self.named {
            match slot {
                Some((known, traces)) if *known == sender => {
                    *traces = traces.saturating_add(1);
                    return;
                }
                Some(_) => {}
                None => {
                    *slot = Some((sender, 1));
                    return;
                }
            }
        }
        self.others = self.others.saturating_add(1);
    }

    fn remove(&mut self, sender: ServiceId) {
        match self.named.iter_mut().flatten().find(|(known, _)| *known == sender) {
            Some((_, traces)) => *traces = traces.saturating_sub(1),
            None => self.others = self.others.saturating_sub(1),
        }
    }

    /// The one sender, where there is only one.
    fn only(&self) -> Option<ServiceId> {
        let mut senders = self.named.iter().flatten().filter(|(_, traces)| *traces > 0);
        match (senders.next(), senders.next(), self.others) {
            (Some((sender, _)), None, 0) => Some(*sender),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    points: [Counts; Point::ALL.len()],
    senders: Senders,
}

/// The counts of every service, tenant, class of weights and point.
#[derive(Debug)]
pub struct Series {
    rows: FxHashMap<(ServiceId, TenantId, WeightClass), Row>,
    rows_max: usize,
    refused: u64,
    evidence: FxHashMap<(ServiceId, TenantId, WeightClass), Evidence>,
    evidence_max: usize,
    evidence_refused: u64,
}

impl Series {
    pub(super) fn new(memory_bytes: usize) -> Self {
        // A map that doubles may be half empty.
        let row_bytes = size_of::<((ServiceId, TenantId, WeightClass), Row)>().saturating_mul(2);
        let rows_max = memory_bytes.wrapping_div(MEMORY_SHARE).checked_div(row_bytes).unwrap_or(0).max(64);
        let evidence_max = memory_bytes.wrapping_div(MEMORY_SHARE).wrapping_div(EVIDENCE_BYTES).max(16);
        Self {
            rows: FxHashMap::default(),
            rows_max,
            refused: 0,
            evidence: FxHashMap::default(),
            evidence_max,
            evidence_refused: 0,
        }
    }

    /// What is known of the sampler of a service for a tenant, from the decisions on traces in a class of weights that it starts.
    pub fn evidence(&self, service: ServiceId, tenant: TenantId, class: WeightClass) -> Option<&Evidence> {
        self.evidence.get(&(service, tenant, class))
    }

    /// How many samplers there is evidence for, and how many decisions were not looked at for want of room.
    pub fn evidence_use(&self) -> (usize, u64) {
        (self.evidence.len(), self.evidence_refused)
    }

    /// The traces that a service starts show its sampler, and those that it passes on whether their decision comes first.
    fn decided(&mut self, key: (ServiceId, TenantId, WeightClass), trial: &Trial, sampled: bool) {
        match trial.point {
            Point::Started => {
                if self.evidence.len() >= self.evidence_max && !self.evidence.contains_key(&key) {
                    self.evidence_refused = self.evidence_refused.saturating_add(1);
                    return;
                }
                self.evidence.entry(key).or_default().add(trial.at, trial.trace, sampled);
            }
            Point::Forwarded => {
                if let Some(evidence) = self.evidence.get_mut(&key) {
                    evidence.passed_on(trial.trace, sampled);
                }
            }
            Point::Received | Point::Exported => {}
        }
    }

    fn row(&mut self, service: ServiceId, tenant: TenantId, class: WeightClass) -> &mut Row {
        let mut key = (service, tenant, class);
        if self.rows.len() >= self.rows_max && !self.rows.contains_key(&key) {
            self.refused = self.refused.saturating_add(1);
            key.1 = Names::OVERFLOW_TENANT;
        }
        self.rows.entry(key).or_default()
    }

    pub(super) fn add(&mut self, service: ServiceId, tenant: TenantId, trial: &Trial) {
        let row = self.row(service, tenant, trial.class);
        let Some(counts) = row.points.get_mut(trial.point.index()) else { return };
        if counts.is_empty() {
            counts.first = trial.at;
        }
        counts.last = counts.last.max(trial.at);
        let sampled = match trial.sampled {
            Sampled::Deferred => {
                counts.deferred = counts.deferred.saturating_add(1);
                return;
            }
            Sampled::Sampled => 1,
            Sampled::NotSampled => 0,
        };
        counts.all.traces = counts.all.traces.saturating_add(1);
        counts.all.sampled = counts.all.sampled.saturating_add(sampled);
        if trial.foreign {
            counts.foreign.traces = counts.foreign.traces.saturating_add(1);
            counts.foreign.sampled = counts.foreign.sampled.saturating_add(sampled);
            row.senders.add(trial.sender);
        }
        self.decided((service, tenant, trial.class), trial, sampled == 1);
    }

    pub(super) fn remove(&mut self, service: ServiceId, tenant: TenantId, trial: &Trial) {
        let Some(row) = self.rows.get_mut(&(service, tenant, trial.class)) else { return };
        let Some(counts) = row.points.get_mut(trial.point.index()) else { return };
        let sampled = match trial.sampled {
            Sampled::Deferred => {
                counts.deferred = counts.deferred.saturating_sub(1);
                return;
            }
            Sampled::Sampled => 1,
            Sampled::NotSampled => 0,
        };
        counts.all.traces = counts.all.traces.saturating_sub(1);
        counts.all.sampled = counts.all.sampled.saturating_sub(sampled);
        if trial.foreign {
            counts.foreign.traces = counts.foreign.traces.saturating_sub(1);
            counts.foreign.sampled = counts.foreign.sampled.saturating_sub(sampled);
            row.senders.remove(trial.sender);
        }
        if trial.point == Point::Started
            && let Some(evidence) = self.evidence.get_mut(&(service, tenant, trial.class))
        {
            evidence.remove(trial.trace, sampled == 1);
        }
    }

    /// The counts of a service and tenant at a point, over all classes of weights; zero where none were seen.
    pub fn counts(&self, service: ServiceId, tenant: TenantId, point: Point) -> Counts {
        WeightClass::ALL.into_iter().fold(Counts::default(), |sum, class| {
            let row = self.rows.get(&(service, tenant, class));
            sum.and(row.and_then(|row| row.points.get(point.index())).copied().unwrap_or_default())
        })
    }

    /// Every series that holds a trace, in no order; each class of weights is one of its own.
    pub fn iter(&self) -> impl Iterator<Item = (ServiceId, TenantId, WeightClass, Point, &Counts)> {
        self.rows.iter().flat_map(|(&(service, tenant, class), row)| {
            Point::ALL
                .into_iter()
                .zip(&row.points)
                .filter(|(_, counts)| !counts.is_empty())
                .map(move |(point, counts)| (service, tenant, class, point, counts))
        })
    }

    /// Who sent the foreign traces of a service and tenant in a class of weights, where it was one sender only.
    pub fn only_sender(&self, service: ServiceId, tenant: TenantId, class: WeightClass) -> Option<ServiceId> {
        self.rows.get(&(service, tenant, class)).and_then(|row| row.senders.only())
    }

    /// Triples of service, tenant and class of weights that are kept.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no trace was counted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Traces that were counted under the overflow tenant for want of room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
