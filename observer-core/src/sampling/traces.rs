//! Traces: messages that carry a trace come in one by one; each trace is counted once per service, tenant and point.
//!
//! The memory of traces is bounded; a trace that comes back after it was forgotten is counted again, and forgotten ones are
//! counted. Ratios and verdicts are made elsewhere.

use std::hash::{Hash, Hasher};

use super::Point;
use super::series::{Series, Trial};
use crate::context::{Sampled, WeightClass};
use crate::ids::{ServiceId, TenantId, TraceId};
use crate::limits::{ARRIVED_MEMORY, Limits};
use crate::names::Names;
use crate::recent::{Prefetch, Recent};
use crate::time::Timestamp;

/// The share of the memory limit that the memory of traces may take: one in this many. With 128 MiB: 209,000 traces of up to
/// three services, at 64 bytes each and the index.
const MEMORY_SHARE: usize = 8;
/// Services of a trace that are kept side by side: what belongs to a trace is then found with one look at memory.
const SLOTS: usize = 3;
/// Entries that one trace may take; at services past `SLOTS * PAGES_MAX` it is not counted.
const PAGES_MAX: u32 = 16;

/// A message that carries a trace, at the service that receives or sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When.
    pub at: Timestamp,
    /// At which service.
    pub service: ServiceId,
    /// The tenant that the message names; [`Names::UNKNOWN_TENANT`] where it names none.
    pub tenant: TenantId,
    /// Where the trace counts.
    pub point: Point,
    /// The trace.
    pub trace_id: TraceId,
    /// The decision that the message carries.
    pub sampled: Sampled,
    /// The class of its weight.
    pub class: WeightClass,
    /// The service at the other end.
    pub peer: ServiceId,
}

/// The low half of a trace id, which all formats carry, and which of the entries under it: 12 bytes. [`Known`] has the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    low: [u32; 2],
    page: u32,
}

impl Key {
    fn new(trace: TraceId, page: u32) -> Self {
        Self { low: words(trace.low()), page }
    }

    /// A page of a trace that shares its low half with another one, which has the first pages.
    fn apart(trace: TraceId, page: u32) -> Self {
        let [one, other] = words(trace.high());
        // The highest bit is none of theirs.
        Self { low: words(trace.low()), page: (one ^ other.rotate_left(16)).wrapping_add(page) | 1 << 31 }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(half(self.low));
        // The page only tells apart what would else be the same place.
        state.write_u32(self.page);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two words of the half")]
fn words(half: u64) -> [u32; 2] {
    [half as u32, (half >> 32) as u32]
}

fn half(words: [u32; 2]) -> u64 {
    let [low, high] = words.map(u64::from);
    low | high << 32
}

/// What is remembered of a trace at up to [`SLOTS`] services: 40 bytes.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The high half of the id; zero where no message had more than the low one.
    high: [u32; 2],
    services: [(ServiceId, TenantId); SLOTS],
    /// Who sent the trace to the service at which it entered.
    sender: ServiceId,
    /// Of each service two bits a point, in the order of [`Point::ALL`]: 0 not counted, else 1 + the place in [`DECISIONS`].
    /// All zero: the slot is free.
    points: [u8; SLOTS],
    /// In the lowest two bits 1 + the slot of the service at which the trace entered the observed services from outside; above
    /// them, of each slot, two bits with the place of the weight's class in [`WeightClass::ALL`].
    entered_and_classes: u8,
}

impl Default for Known {
    fn default() -> Self {
        let free = (ServiceId(0), Names::UNKNOWN_TENANT);
        let (services, points) = ([free; SLOTS], [0; SLOTS]);
        Self { high: [0; 2], services, sender: ServiceId(0), points, entered_and_classes: 0 }
    }
}

/// The decisions in the order of the two bits of [`Known::points`].
const DECISIONS: [Sampled; 3] = [Sampled::Sampled, Sampled::NotSampled, Sampled::Deferred];

/// The two bits of a decision, at the place of its point.
fn code(point: Point, sampled: Sampled) -> u8 {
    let code: u8 = match sampled {
        Sampled::Sampled => 1,
        Sampled::NotSampled => 2,
        Sampled::Deferred => 3,
    };
    code << shift(point)
}

fn decision(points: u8, point: Point) -> Option<Sampled> {
    let code = points >> shift(point) & 0b11;
    DECISIONS.get(usize::from(code).checked_sub(1)?).copied()
}

fn shift(point: Point) -> u32 {
    match point {
        Point::Received => 0,
        Point::Started => 2,
        Point::Forwarded => 4,
        Point::Exported => 6,
    }
}

/// Where the two bits of a slot begin in [`Known::entered_and_classes`].
fn class_shift(slot: usize) -> u32 {
    match slot {
        0 => 2,
        1 => 4,
        _ => 6,
    }
}

/// The bits of the points that show that a service was given the trace or started it.
const HAD_IT: u8 = 0b1111;

/// The bounded memory of distinct traces, and the series that they add up to.
#[derive(Debug)]
pub struct Traces {
    known: Recent<Key, Known>,
    series: Series,
    refused: u64,
}

impl Traces {
    /// An empty memory within `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            known: Recent::new(limits.memory_bytes.wrapping_div(MEMORY_SHARE), ARRIVED_MEMORY),
            series: Series::new(limits.memory_bytes),
            refused: 0,
        }
    }

    /// A message with `trace` is about to be told: names the memory that will be touched.
    pub fn prefetch(&self, trace: TraceId, prefetch: Prefetch) {
        self.known.prefetch(&Key::new(trace, 0), prefetch);
    }

    /// Whether a message with `trace` was seen at any service, and is remembered.
    pub fn knows(&self, at: Timestamp, trace: TraceId) -> bool {
        let of = |key: Key| self.known.get(at, &key).filter(|known| known.is_of(trace));
        of(Key::new(trace, 0)).or_else(|| of(Key::apart(trace, 0))).is_some()
    }

    /// Takes the next message. Returns whether its trace is counted with it: the first at this service and point.
    ///
    /// A trace has the class of its first message's weight at a service, and one tenant there, the first that any of its messages
    /// there names; where the first messages named none, all that was counted of it moves to the tenant that a later one names. An
    /// id of 64 bits is the low half of a whole one ([`TraceId::is_same`]). Where both ends of a request are observed, the
    /// sender's sight comes before the receiver's.
    pub fn observe(&mut self, sighting: &Sighting) -> bool {
        let trace = sighting.trace_id;
        let mut key: fn(TraceId, u32) -> Key = Key::new;
        for page in 0..PAGES_MAX {
            let Some((mut known, _)) = self.known.entry(sighting.at, key(trace, page), |_| {}) else { break };
            if page == 0 && !known.is_of(trace) {
                key = Key::apart;
                let Some((apart, _)) = self.known.entry(sighting.at, key(trace, page), |_| {}) else { break };
                known = apart;
            }
            if page == 0 && trace.high() != 0 {
                known.high = words(trace.high());
            }
            if let Some(slot) = known.slot(sighting.service) {
                return known.count(slot, page == 0, sighting, &mut self.series);
            }
        }
        self.refused = self.refused.saturating_add(1);
        false
    }

    /// The counts.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The tables of this stage for `observer_tracked` and `observer_evicted_total`: name, entries, evicted or refused.
    pub fn tables(&self) -> [(&'static str, usize, u64); 3] {
        let (samplers, refused) = self.series.evidence_use();
        [
            ("traces", self.known.len(), self.known.evicted().saturating_add(self.refused)),
            ("series", self.series.len(), self.series.refused()),
            ("samplers", samplers, refused),
        ]
    }
}

impl Known {
    /// Whether nothing is remembered yet, or the trace may be the one that is.
    fn is_of(&self, trace: TraceId) -> bool {
        let high = half(self.high);
        [high, trace.high()].contains(&0) || high == trace.high()
    }

    /// The slot of a service: its own, or the first free one.
    fn slot(&self, service: ServiceId) -> Option<usize> {
        self.services.iter().zip(self.points).position(|((known, _), points)| points == 0 || *known == service)
    }

    /// Whether the trace entered the observed services at the service in `slot`.
    fn entered_at(&self, slot: usize) -> bool {
        usize::from(self.entered_and_classes & 0b11) == slot.saturating_add(1)
    }

    fn enter_at(&mut self, slot: usize) {
        let entered = u8::try_from(slot.saturating_add(1)).unwrap_or(0) & 0b11;
        self.entered_and_classes = self.entered_and_classes & !0b11 | entered;
    }

    /// The class of the trace's weight at the service in `slot`.
    fn class(&self, slot: usize) -> WeightClass {
        let place = self.entered_and_classes >> class_shift(slot) & 0b11;
        WeightClass::ALL.get(usize::from(place)).copied().unwrap_or(WeightClass::Unobserved)
    }

    /// Of a slot that was free: the bits are still zero.
    fn set_class(&mut self, slot: usize, class: WeightClass) {
        self.entered_and_classes |= (class as u8) << class_shift(slot);
    }

    /// Whether a service other than the one in `slot` was given the trace or started it before, or this one started it.
    fn decided_before(&self, slot: usize) -> bool {
        let started = 0b11 << shift(Point::Started);
        self.points.iter().enumerate().any(|(other, points)| {
            let decides = if other == slot { started } else { HAD_IT };
            points & decides != 0
        })
    }

    fn count(&mut self, slot: usize, first_page: bool, sighting: &Sighting, series: &mut Series) -> bool {
        let Sighting { at, service, tenant, point, trace_id: trace, sampled, peer, .. } = *sighting;
        // A trace that is known to more services than one entry holds was given to one of those.
        let before = !first_page || self.decided_before(slot);
        let Some(&points) = self.points.get(slot) else { return false };
        if points == 0 {
            self.set_class(slot, sighting.class);
        }
        let (class, entered_here, sender) = (self.class(slot), self.entered_at(slot), self.sender);
        let Some(place) = self.services.get_mut(slot) else { return false };
        if points == 0 {
            *place = (service, tenant);
        } else if place.1 == Names::UNKNOWN_TENANT && tenant != Names::UNKNOWN_TENANT {
            for counted in Point::ALL {
                if let Some(decision) = decision(points, counted) {
                    let foreign = entered_here && counted == Point::Received;
                    let trial = Trial { at, trace, point: counted, sampled: decision, class, foreign, sender };
                    series.remove(service, Names::UNKNOWN_TENANT, &trial);
                    series.add(service, tenant, &trial);
                }
            }
            place.1 = tenant;
        }
        let tenant = place.1;
        if decision(points, point).is_some() {
            return false;
        }
        if let Some(points) = self.points.get_mut(slot) {
            *points |= code(point, sampled);
        }
        let foreign = point == Point::Received && !before;
        if foreign {
            self.enter_at(slot);
            self.sender = peer;
        }
        series.add(service, tenant, &Trial { at, trace, point, sampled, class, foreign, sender: peer });
        true
    }
}

#[cfg(test)]
mod tests;
