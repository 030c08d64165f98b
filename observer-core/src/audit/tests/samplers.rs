//! Samplers by what they decide: traces with random ids come in, the sampler of each service and what is wrong with it go out.

use super::*;
use crate::audit::report::Threshold;
use crate::sampling::arithmetic::SdkSampler;
use crate::sampling::verdict::tests::Random;

/// A sampler of an SDK at a service.
struct Sampler {
    sdk: SdkSampler,
    ratio: f64,
    ids: Random,
}

impl Sampler {
    fn new(sdk: SdkSampler, ratio: f64) -> Self {
        Self { sdk, ratio, ids: Random(1) }
    }

    fn id(&mut self) -> TraceId {
        TraceId(u128::from(self.ids.next()) << 64 | u128::from(self.ids.next()))
    }

    fn decides(&self, id: TraceId) -> Sampled {
        if self.sdk.decides(id, self.ratio).unwrap() { Sampled::Sampled } else { Sampled::NotSampled }
    }
}

impl Shop {
    fn decided(&mut self, point: Point, trace_id: TraceId, sampled: Sampled) {
        let (at, _) = self.next();
        let (service, peer, tenant) = (self.service("checkout"), self.service("stock"), self.names.tenant("acme"));
        let class = WeightClass::Missing;
        self.traces.observe(&Sighting { at, service, tenant, point, trace_id, sampled, class, peer });
    }

    /// Traces that the checkout starts.
    fn starts(&mut self, sampler: &mut Sampler, traces: u64) {
        for _ in 0..traces {
            let id = sampler.id();
            self.decided(Point::Started, id, sampler.decides(id));
        }
    }

    /// Traces that it passes on; every fourth came sampled.
    fn passes_on(&mut self, sampler: &mut Sampler, follows: bool, traces: u64) {
        for number in 0..traces {
            let id = sampler.id();
            let came = if number % 4 == 0 { Sampled::Sampled } else { Sampled::NotSampled };
            let goes = if follows { came } else { sampler.decides(id) };
            self.decided(Point::Received, id, came);
            self.decided(Point::Forwarded, id, goes);
            let outcome = if came == goes { Outcome::Continued } else { Outcome::Flipped };
            self.hops(("checkout", "stock"), outcome, goes, 1);
        }
    }
}

fn started(report: &Report) -> &crate::audit::report::Ratio {
    report.ratios.iter().find(|row| row.point == Point::Started).unwrap()
}

#[test]
fn a_ratio_is_read_from_its_threshold_and_who_follows_parents_is_told_from_who_does_not() {
    for (follows, name) in [(true, "parentbased_traceidratio"), (false, "traceidratio")] {
        let mut shop = Shop::new([]);
        let mut sampler = Sampler::new(SdkSampler::Java, 0.1);
        shop.starts(&mut sampler, 2_000);
        shop.passes_on(&mut sampler, follows, 200);
        let report = shop.report();
        let Some(Threshold { lower, upper, family }) = &started(&report).threshold else { panic!("no threshold") };
        assert_eq!(family, "ABSLOW");
        assert!(*lower <= 0.1 && 0.1 <= *upper && upper - lower < 0.01, "{lower} to {upper}");
        let [row] = &report.samplers[..] else { panic!("{:?}", report.samplers) };
        assert_eq!((row.sampler.as_str(), row.ratio, row.agree, row.disagree), (name, Some(0.1), 2_000, 0));
    }
}

#[test]
fn a_wrong_ratio_is_found_in_tens_of_traces_and_named() {
    let mut shop = Shop::new([process("checkout", "traceidratio", "0.1")]);
    shop.starts(&mut Sampler::new(SdkSampler::Python, 0.05), 160);
    let report = shop.report();
    assert_eq!(started(&report).verdict, Verdict::Under);
    check_findings(
        &report,
        &expect![[r"
        warning ratio-under checkout acme - 8/160
          checkout samples 5 % [0.635, 16.2] of 160 traces that it starts for tenant acme, as by a ratio between 3.73 % and 6.59 % on trace ids (Go, Rust, Python or Ruby); 10 % declared at process 4711 (checkout): OTEL_TRACES_SAMPLER
          look for a sampler that the code of checkout sets, which wins over the environment; or correct process 4711 (checkout): OTEL_TRACES_SAMPLER
    "]],
    );
}

#[test]
fn a_right_ratio_matches_as_soon_as_no_other_is_possible() {
    let mut shop = Shop::new([process("checkout", "traceidratio", "0.1")]);
    shop.starts(&mut Sampler::new(SdkSampler::Python, 0.1), 1_000);
    assert_eq!(started(&shop.report()).verdict, Verdict::Match);
}

#[test]
fn another_sampler_than_the_environment_sets_is_named_with_what_it_does() {
    let mut shop = Shop::new([process("checkout", "parentbased_traceidratio", "0.1")]);
    let mut sampler = Sampler::new(SdkSampler::Go, 0.1);
    shop.starts(&mut sampler, 2_000);
    shop.passes_on(&mut sampler, false, 200);
    let report = shop.report();
    let found = report.findings.iter().find(|finding| finding.code == Code::SamplerMismatch).unwrap();
    expect!["checkout is declared parentbased_traceidratio 0.1 at process 4711 (checkout): OTEL_TRACES_SAMPLER and runs traceidratio: it overrules its callers on 58 requests, whose traces are cut there"].assert_eq(&found.message);

    let mut sound = Shop::new([process("checkout", "parentbased_traceidratio", "0.1")]);
    let mut sampler = Sampler::new(SdkSampler::Go, 0.1);
    sound.starts(&mut sampler, 2_000);
    sound.passes_on(&mut sampler, true, 200);
    assert!(sound.report().findings.is_empty());
}

#[test]
fn a_ratio_that_changes_is_told_with_when() {
    let mut shop = Shop::new([]);
    shop.starts(&mut Sampler::new(SdkSampler::Js, 0.1), 3_000);
    shop.starts(&mut Sampler { ids: Random(2), ..Sampler::new(SdkSampler::Js, 0.02) }, 3_000);
    check_findings(
        &shop.report(),
        &expect![[r"
        warning ratio-changed checkout acme - 37/1727
          checkout changed its ratio for tenant acme from 10 % to 2 % about 2026-01-01T00:00:03.007Z
          where nobody meant it: look at what was deployed or configured for checkout then
    "]],
    );
}

#[test]
fn ids_that_begin_with_the_time_are_told_where_the_sampler_reads_that() {
    let mut shop = Shop::new([]);
    let mut sampler = Sampler::new(SdkSampler::Cpp, 0.4);
    for _ in 0..1_000 {
        // As X-Ray writes them: 32 bits of seconds before 96 random ones; here of many years.
        let id = TraceId((0x6000_0000 << 96) + (sampler.id().0 >> 2));
        shop.decided(Point::Started, id, sampler.decides(id));
    }
    let report = shop.report();
    check_findings(
        &report,
        &expect![[r"
        warning ids-not-random checkout acme - 102/1000
          the ids of traces that checkout starts for tenant acme are not random where its sampler (C++ or Go before 1.12) reads them: a ratio of 40 % samples 10.2 % of 1,000 traces
          make whole ids of 128 random bits at checkout, or use a sampler that reads their last 7 bytes
    "]],
    );
}
