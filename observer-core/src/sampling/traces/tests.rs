//! Messages of traces, and what is counted of them.

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
        self.weighed(WeightClass::Missing, (service, tenant, point), trace, sampled)
    }

    fn weighed(
        &mut self,
        class: WeightClass,
        (service, tenant, point): (ServiceId, TenantId, Point),
        trace: u128,
        sampled: Sampled,
    ) -> bool {
        self.1 += 1;
        let at = Timestamp(self.1);
        let trace_id = TraceId(trace);
        self.0.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer: GATEWAY })
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
    assert_eq!(run.0.series().only_sender(SHOP, ACME, WeightClass::Missing), Some(GATEWAY));
}

#[test]
fn an_id_of_64_bits_is_the_low_half_of_a_whole_one_and_whole_ones_stay_apart() {
    const WHOLE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    const CUT: u128 = WHOLE & u64::MAX as u128;
    for [first, second, third] in [[WHOLE, CUT, WHOLE], [CUT, WHOLE, CUT], [CUT, CUT, WHOLE]] {
        let mut run = Run::new();
        assert!(run.see(SHOP, ACME, Point::Started, first, Sampled::Sampled));
        assert!(run.see(LEDGER, ACME, Point::Received, second, Sampled::Sampled));
        for again in [first, second, third] {
            assert!(!run.see(SHOP, ACME, Point::Started, again, Sampled::Sampled), "{again:x}");
            assert!(!run.see(LEDGER, ACME, Point::Received, again, Sampled::Sampled), "{again:x}");
        }
        assert_eq!(run.counts(LEDGER, ACME, Point::Received).foreign.traces, 0);
        assert!(run.0.knows(Timestamp(run.1), TraceId(third)) && !run.0.knows(Timestamp(run.1), TraceId(third ^ 1)));
    }
    // Ids of which only the high half differs, as no generator makes many, are traces of their own all the same.
    let mut run = Run::new();
    for high in 1..=1000_u128 {
        assert!(run.see(SHOP, ACME, Point::Started, high << 64 | 7, Sampled::Sampled), "{high}");
    }
    for high in 1..=1000_u128 {
        assert!(!run.see(SHOP, ACME, Point::Started, high << 64 | 7, Sampled::Sampled), "{high}");
    }
    assert_eq!(run.share(SHOP, ACME, Point::Started), (1000, 1000));
}

#[test]
fn a_trace_counts_in_the_class_that_its_weight_has_first_at_each_service() {
    use WeightClass::{Below, Keep, Missing, Unobserved};
    let mut run = Run::new();
    let services = [SHOP, LEDGER, GATEWAY];
    for (trace, class) in [(1, Keep), (2, Below), (3, Missing), (4, Unobserved), (5, Below)] {
        for service in services {
            run.weighed(class, (service, UNKNOWN, Point::Received), trace, Sampled::Sampled);
        }
    }
    for service in services {
        // Named later, and with a weight that was raised: it stays in its class.
        run.weighed(Keep, (service, ACME, Point::Forwarded), 2, Sampled::Sampled);
    }
    let mut found: Vec<_> = run
        .0
        .series()
        .iter()
        .map(|(service, tenant, class, point, counts)| {
            (service, tenant, class, point, counts.all.traces, counts.foreign.traces)
        })
        .collect();
    found.sort();
    let mut expected = Vec::new();
    for service in services {
        let foreign = u64::from(service == SHOP);
        for class in WeightClass::ALL {
            expected.push((service, UNKNOWN, class, Point::Received, 1, foreign));
        }
        expected.push((service, ACME, Below, Point::Received, 1, foreign));
        expected.push((service, ACME, Below, Point::Forwarded, 1, 0));
    }
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(run.share(SHOP, UNKNOWN, Point::Received), (4, 4));
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
    let [traces, series, _] = run.0.tables();
    assert!(traces.1 < 10_000 && traces.2 > 40_000, "{traces:?}");
    assert!(series.1 < 1_000 && series.2 > 50_000, "{series:?}");
    assert_eq!(run.share(SHOP, Names::OVERFLOW_TENANT, Point::Received).0, series.2);
}
