//! Traces: messages that carry a trace come in one by one; each trace is counted once per service, tenant and point.
//!
//! The memory of traces is bounded; a trace that comes back after it was forgotten is counted again, and forgotten ones are
//! counted. Ratios and verdicts are made elsewhere.

use std::hash::{Hash, Hasher};

use super::Point;
use super::generations::Generations;
use super::series::{Series, Trial};
use crate::context::Sampled;
use crate::ids::{ServiceId, TenantId, TraceId};
use crate::limits::{ARRIVED_MEMORY, Limits};
use crate::names::Names;
use crate::time::Timestamp;

/// The share of the memory limit that the traces of services may take: one in this many. With 128 MiB: 229,376 traces a
/// generation, at 38 bytes each.
const SEEN_SHARE: usize = 6;
/// The same for the origins of traces. With 128 MiB: 229,376 traces a generation, at 28 bytes each.
const ORIGIN_SHARE: usize = 8;

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

/// A trace id that takes 16 bytes at an alignment of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id([u32; 4]);

impl Id {
    #[allow(clippy::cast_possible_truncation, reason = "the four words of the id")]
    fn new(id: TraceId) -> Self {
        let TraceId(id) = id;
        Self([id as u32, (id >> 32) as u32, (id >> 64) as u32, (id >> 96) as u32])
    }

    fn halves(self) -> (u64, u64) {
        let Self([a, b, c, d]) = self;
        (u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32)
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (low, high) = self.halves();
        state.write_u64(low);
        state.write_u64(high);
    }
}

/// A trace at a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: Id,
    service: ServiceId,
}

/// What is remembered of a trace at a service: 12 bytes.
#[derive(Clone, Copy, Debug)]
struct Seen {
    tenant: TenantId,
    /// Who sent it here, where it is foreign.
    sender: ServiceId,
    /// Two bits a point, in the order of [`Point::ALL`]: 0 not counted, else 1 + the place in [`DECISIONS`].
    points: u8,
    foreign: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self { tenant: Names::UNKNOWN_TENANT, sender: ServiceId(0), points: 0, foreign: false }
    }
}

/// The decisions in the order of the two bits of [`Seen::points`].
const DECISIONS: [Sampled; 3] = [Sampled::Sampled, Sampled::NotSampled, Sampled::Deferred];

impl Seen {
    fn decision(self, point: Point) -> Option<Sampled> {
        let code = self.points >> shift(point) & 0b11;
        DECISIONS.get(usize::from(code).checked_sub(1)?).copied()
    }

    fn decide(&mut self, point: Point, sampled: Sampled) {
        let code = match sampled {
            Sampled::Sampled => 1,
            Sampled::NotSampled => 2,
            Sampled::Deferred => 3,
        };
        self.points |= code << shift(point);
    }
}

fn shift(point: Point) -> u32 {
    match point {
        Point::Received => 0,
        Point::Started => 2,
        Point::Forwarded => 4,
        Point::Exported => 6,
    }
}

/// The service at which a trace was seen first; where that is another service, somebody observed decided on it.
#[derive(Clone, Copy, Debug)]
struct Origin(ServiceId);

impl Default for Origin {
    fn default() -> Self {
        Self(ServiceId(0))
    }
}

/// The bounded memory of distinct traces, and the series that they add up to.
#[derive(Debug)]
pub struct Traces {
    seen: Generations<Key, Seen>,
    origins: Generations<Id, Origin>,
    series: Series,
}

impl Traces {
    /// An empty memory within `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            seen: Generations::new(limits.memory_bytes.wrapping_div(SEEN_SHARE), ARRIVED_MEMORY),
            origins: Generations::new(limits.memory_bytes.wrapping_div(ORIGIN_SHARE), ARRIVED_MEMORY),
            series: Series::new(limits.memory_bytes),
        }
    }

    /// Takes the next message. Returns whether its trace is counted with it: the first at this service and point.
    ///
    /// A trace has one tenant at a service, the first that any of its messages there names; where the first messages named
    /// none, all that was counted of it moves to the tenant that a later one names. Where both ends of a request are
    /// observed, the sender's sight comes before the receiver's.
    pub fn observe(&mut self, sighting: &Sighting) -> bool {
        let Sighting { at, service, tenant, point, trace_id, sampled, peer } = *sighting;
        let id = Id::new(trace_id);
        let (seen, _) = self.seen.entry(at, Key { id, service });

        if seen.tenant == Names::UNKNOWN_TENANT && tenant != Names::UNKNOWN_TENANT {
            for counted in Point::ALL {
                if let Some(decision) = seen.decision(counted) {
                    let foreign = seen.foreign && counted == Point::Received;
                    let trial = Trial { at, point: counted, sampled: decision, foreign, sender: seen.sender };
                    self.series.remove(service, Names::UNKNOWN_TENANT, &trial);
                    self.series.add(service, tenant, &trial);
                }
            }
            seen.tenant = tenant;
        }
        if seen.decision(point).is_some() {
            return false;
        }

        seen.decide(point, sampled);
        let mut foreign = false;
        if matches!(point, Point::Received | Point::Started) {
            let (origin, new) = self.origins.entry(at, id);
            if new {
                *origin = Origin(service);
            }
            // A service that started the trace and gets it back did decide on it.
            let started_here = seen.decision(Point::Started).is_some();
            foreign = point == Point::Received && origin.0 == service && !started_here;
            if foreign {
                seen.foreign = true;
                seen.sender = peer;
            }
        }
        let trial = Trial { at, point, sampled, foreign, sender: peer };
        self.series.add(service, seen.tenant, &trial);
        true
    }

    /// The counts.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The tables of this stage for `observer_tracked` and `observer_evicted_total`: name, entries, evicted or refused.
    pub fn tables(&self) -> [(&'static str, usize, u64); 3] {
        [
            ("traces", self.seen.len(), self.seen.evicted()),
            ("trace_origins", self.origins.len(), self.origins.evicted()),
            ("series", self.series.len(), self.series.refused()),
        ]
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
    fn an_entry_takes_at_most_48_bytes() {
        // At 7 of 8 buckets used, with the control byte.
        assert!((size_of::<(Key, Seen)>() + 1) * 8 / 7 <= 48);
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
        let [traces, origins, series] = run.0.tables();
        assert!(traces.1 < 10_000 && traces.2 > 40_000, "{traces:?}");
        assert!(origins.1 < 10_000 && origins.2 > 40_000, "{origins:?}");
        assert!(series.1 < 1_000 && series.2 > 50_000, "{series:?}");
        assert_eq!(run.share(SHOP, Names::OVERFLOW_TENANT, Point::Received).0, series.2);
    }
}
