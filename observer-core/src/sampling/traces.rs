//! Traces: messages that carry a trace come in one by one; each trace is counted once per service, tenant and point.
//!
//! The memory of traces is bounded; a trace that comes back after it was forgotten is counted again, and forgotten ones are
//! counted. Ratios and verdicts are made elsewhere.

use std::hash::{Hash, Hasher};

use super::Point;
use super::series::{Series, Trial};
use crate::context::Sampled;
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
    /// The service at the other end.
    pub peer: ServiceId,
}

/// A trace, and which of its entries: 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    id: [u32; 4],
    page: u32,
}

impl Key {
    #[allow(clippy::cast_possible_truncation, reason = "the four words of the id")]
    fn new(TraceId(id): TraceId, page: u32) -> Self {
        Self { id: [id as u32, (id >> 32) as u32, (id >> 64) as u32, (id >> 96) as u32], page }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { id: [a, b, c, d], page } = *self;
        state.write_u64(u64::from(a) | u64::from(b) << 32);
        // The page only tells apart what would else be the same place.
        state.write_u64((u64::from(c) | u64::from(d) << 32) ^ u64::from(page));
    }
}

/// What is remembered of a trace at up to [`SLOTS`] services: 32 bytes.
#[derive(Clone, Copy, Debug)]
struct Known {
    services: [(ServiceId, TenantId); SLOTS],
    /// Who sent the trace to the service at which it entered.
    sender: ServiceId,
    /// Of each service two bits a point, in the order of [`Point::ALL`]: 0 not counted, else 1 + the place in [`DECISIONS`].
    /// All zero: the slot is free.
    points: [u8; SLOTS],
    /// 1 + the slot of the service at which the trace entered the observed services from outside.
    entered: u8,
}

impl Default for Known {
    fn default() -> Self {
        let free = (ServiceId(0), Names::UNKNOWN_TENANT);
        Self { services: [free; SLOTS], sender: ServiceId(0), points: [0; SLOTS], entered: 0 }
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

    /// Takes the next message. Returns whether its trace is counted with it: the first at this service and point.
    ///
    /// A trace has one tenant at a service, the first that any of its messages there names; where the first messages named
    /// none, all that was counted of it moves to the tenant that a later one names. Where both ends of a request are
    /// observed, the sender's sight comes before the receiver's.
    pub fn observe(&mut self, sighting: &Sighting) -> bool {
        for page in 0..PAGES_MAX {
            let Some((known, _)) = self.known.entry(sighting.at, Key::new(sighting.trace_id, page), |_| {}) else {
                break;
            };
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
    pub fn tables(&self) -> [(&'static str, usize, u64); 2] {
        [
            ("traces", self.known.len(), self.known.evicted().saturating_add(self.refused)),
            ("series", self.series.len(), self.series.refused()),
        ]
    }
}

impl Known {
    /// The slot of a service: its own, or the first free one.
    fn slot(&self, service: ServiceId) -> Option<usize> {
        self.services.iter().zip(self.points).position(|((known, _), points)| points == 0 || *known == service)
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
        let Sighting { at, service, tenant, point, sampled, peer, .. } = *sighting;
        // A trace that is known to more services than one entry holds was given to one of those.
        let before = !first_page || self.decided_before(slot);
        let entered = u8::try_from(slot).unwrap_or(u8::MAX).saturating_add(1);
        let (Some(place), Some(points)) = (self.services.get_mut(slot), self.points.get_mut(slot)) else {
            return false;
        };
        if *points == 0 {
            *place = (service, tenant);
        } else if place.1 == Names::UNKNOWN_TENANT && tenant != Names::UNKNOWN_TENANT {
            for counted in Point::ALL {
                if let Some(decision) = decision(*points, counted) {
                    let foreign = self.entered == entered && counted == Point::Received;
                    let trial = Trial { at, point: counted, sampled: decision, foreign, sender: self.sender };
                    series.remove(service, Names::UNKNOWN_TENANT, &trial);
                    series.add(service, tenant, &trial);
                }
            }
            place.1 = tenant;
        }
        if decision(*points, point).is_some() {
            return false;
        }
        *points |= code(point, sampled);
        let foreign = point == Point::Received && !before;
        if foreign {
            self.entered = entered;
            self.sender = peer;
        }
        series.add(service, place.1, &Trial { at, point, sampled, foreign, sender: peer });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::series::{Counts, Share};

    const UNKNOWN: TenantId = Names::UNKNOWN_TENANT;
    const ACME: TenantId = TenantId(2);
    const OTHER: TenantId = TenantId(3);
    const SHOP: ServiceId = ServiceId(1);
    const LEDGER: ServiceId = ServiceId(2);
    const GATEWAY: ServiceId = ServiceId(9);

    struct Run(Traces, u64);

    impl Run {
        fn new() -> Self {
            Self(Traces::new(&Limits { memory_bytes: 1 << 20, ..Limits::default() }), 0)
        }

        fn see(&mut self, service: ServiceId, tenant: TenantId, point: Point, trace: u128, sampled: Sampled) -> bool {
            self.1 += 1;
            let at = Timestamp(self.1);
            let trace_id = TraceId(trace);
            self.0.observe(&Sighting { at, service, tenant, point, trace_id, sampled, peer: GATEWAY })
        }

        fn counts(&self, service: ServiceId, tenant: TenantId, point: Point) -> Counts {
            self.0.series().counts(service, tenant, point)
        }

        fn share(&self, service: ServiceId, tenant: TenantId, point: Point) -> (u64, u64) {
            let Share { traces, sampled } = self.counts(service, tenant, point).all;
            (traces, sampled)
        }
    }

    #[test]
    fn an_entry_for_three_services_is_one_cache_line_with_its_time() {
        assert!(size_of::<(Key, Known)>() + size_of::<Timestamp>() <= 64);
    }

    #[test]
    fn a_trace_through_many_services_counts_once_at_each() {
        let mut run = Run::new();
        for _ in 0..2 {
            for service in 1..=40 {
                run.see(ServiceId(service), ACME, Point::Received, 1, Sampled::Sampled);
            }
        }
        for service in 1..=40 {
            assert_eq!(run.share(ServiceId(service), ACME, Point::Received), (1, 1), "{service}");
            let foreign = run.counts(ServiceId(service), ACME, Point::Received).foreign.traces;
            assert_eq!(foreign, u64::from(service == 1));
        }
    }

    #[test]
    fn a_trace_counts_once_per_service_and_point_by_its_first_message_there() {
        let mut run = Run::new();
        assert!(run.see(SHOP, ACME, Point::Received, 1, Sampled::Sampled));
        assert!(!run.see(SHOP, ACME, Point::Received, 1, Sampled::NotSampled));
        assert!(run.see(SHOP, ACME, Point::Forwarded, 1, Sampled::NotSampled));
        assert!(run.see(LEDGER, ACME, Point::Received, 1, Sampled::NotSampled));
        assert_eq!(run.share(SHOP, ACME, Point::Received), (1, 1));
        assert_eq!(run.share(SHOP, ACME, Point::Forwarded), (1, 0));
        assert_eq!(run.share(LEDGER, ACME, Point::Received), (1, 0));
    }

    #[test]
    fn deferred_traces_are_counted_apart() {
        let mut run = Run::new();
        run.see(SHOP, ACME, Point::Received, 1, Sampled::Deferred);
        run.see(SHOP, ACME, Point::Received, 2, Sampled::Sampled);
        assert_eq!(run.share(SHOP, ACME, Point::Received), (1, 1));
        assert_eq!(run.counts(SHOP, ACME, Point::Received).deferred, 1);
    }

    #[test]
    fn an_unknown_tenant_is_corrected_at_every_point_when_a_later_message_names_it() {
        let mut run = Run::new();
        run.see(SHOP, UNKNOWN, Point::Received, 1, Sampled::Sampled);
        run.see(SHOP, UNKNOWN, Point::Received, 2, Sampled::Deferred);
        run.see(SHOP, UNKNOWN, Point::Received, 3, Sampled::NotSampled);
        run.see(SHOP, ACME, Point::Forwarded, 1, Sampled::Sampled);
        run.see(SHOP, ACME, Point::Received, 2, Sampled::Sampled);
        assert_eq!(run.share(SHOP, ACME, Point::Received), (1, 1));
        assert_eq!(run.counts(SHOP, ACME, Point::Received).deferred, 1);
        assert_eq!(run.counts(SHOP, ACME, Point::Received).foreign, Share { traces: 1, sampled: 1 });
        assert_eq!(run.share(SHOP, ACME, Point::Forwarded), (1, 1));
        assert_eq!(run.share(SHOP, UNKNOWN, Point::Received), (1, 0));
        assert_eq!(run.counts(SHOP, UNKNOWN, Point::Received).foreign, Share { traces: 1, sampled: 0 });
        assert_eq!(run.0.series().only_sender(SHOP, ACME), Some(GATEWAY));
    }

    #[test]
    fn a_named_tenant_stays_whatever_later_messages_name() {
        let mut run = Run::new();
        run.see(SHOP, ACME, Point::Received, 1, Sampled::Sampled);
        run.see(SHOP, OTHER, Point::Forwarded, 1, Sampled::Sampled);
        assert_eq!(run.share(SHOP, ACME, Point::Forwarded), (1, 1));
        assert_eq!(run.share(SHOP, OTHER, Point::Forwarded), (0, 0));
    }

    #[test]
    fn a_received_trace_is_foreign_only_where_it_enters_the_observed_services() {
        let mut run = Run::new();
        run.see(SHOP, ACME, Point::Started, 1, Sampled::Sampled);
        run.see(LEDGER, ACME, Point::Received, 1, Sampled::Sampled);
        run.see(SHOP, ACME, Point::Received, 2, Sampled::Sampled);
        run.see(SHOP, ACME, Point::Forwarded, 2, Sampled::Sampled);
        run.see(LEDGER, ACME, Point::Received, 2, Sampled::Sampled);
        run.see(SHOP, ACME, Point::Received, 1, Sampled::Sampled);
        assert_eq!(run.counts(SHOP, ACME, Point::Received).foreign.traces, 1, "trace 2 entered here; 1 only came back");
        assert_eq!(run.counts(LEDGER, ACME, Point::Received).foreign.traces, 0);
        assert_eq!(run.share(LEDGER, ACME, Point::Received), (2, 2));
    }

    #[test]
    fn a_flood_of_traces_and_tenants_stays_within_memory_and_is_counted() {
        let mut run = Run::new();
        for trace in 1..60_000_u32 {
            run.see(SHOP, TenantId(trace + 2), Point::Received, u128::from(trace) << 64 | 7, Sampled::Sampled);
        }
        let [traces, series] = run.0.tables();
        assert!(traces.1 < 10_000 && traces.2 > 40_000, "{traces:?}");
        assert!(series.1 < 1_000 && series.2 > 50_000, "{series:?}");
        assert_eq!(run.share(SHOP, Names::OVERFLOW_TENANT, Point::Received).0, series.2);
    }
}
