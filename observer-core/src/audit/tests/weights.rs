//! Ratios of traces that are sampled by their weights.

use super::*;
use crate::names::UNKNOWN;
use WeightClass::{Below, Keep, Missing, Unobserved};

const ROOT: (&str, &str) = ("checkout", "ledger");

fn shop() -> Shop {
    Shop::new([tenant_rules("rules.yaml", "default: 0.1")])
}

#[test]
fn a_rule_is_judged_over_the_traces_whose_weight_is_below_one() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, "acme", (Point::Started, Keep), 500, 500);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Below), 2_000, 200);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Unobserved), 10, 5);
    let report = shop.report();
    check_findings(&report, &expect![""]);
    let row = &report.ratios[0];
    assert_eq!((row.traces, row.sampled, row.verdict), (2_510, 705, Verdict::Match));
    let by_weight = serde_json::to_value(&row.by_weight).unwrap();
    assert_eq!(
        by_weight,
        serde_json::json!({
            "one_or_more": {"traces": 500, "sampled": 500},
            "below_one": {"traces": 2_000, "sampled": 200},
            "none": {"traces": 0, "sampled": 0},
            "unobserved": {"traces": 10, "sampled": 5},
        })
    );
    assert_eq!(report.rules[0].matched, 2_000);
}

#[test]
fn a_sampler_that_departs_below_one_is_accused_whatever_the_others_hide() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, "acme", (Point::Started, Keep), 100, 100);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Below), 1_000, 10);
    check_findings(
        &shop.report(),
        &expect![[r"
        critical ratio-under checkout acme - 10/1000
          checkout samples 1 % [0.149, 3.2] of 1,000 traces of weight below 1 that it starts for tenant acme; 10 % declared at rules.yaml:1
          make the sampler of checkout use 0.1 for tenant acme, or correct rules.yaml:1
    "]],
    );
}

#[test]
fn a_missing_weight_forces_sampling_and_is_named_as_the_cause() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, "acme", (Point::Started, Below), 2_000, 200);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Missing), 60, 60);
    // All of a service's, while others have weights.
    shop.weighed_traces(("search", "ledger"), "acme", (Point::Started, Missing), 200, 200);
    // And what comes from outside.
    shop.weighed_traces(("payment", "external:203.0.113.9"), "acme", (Point::Received, Missing), 70, 70);
    let report = shop.report();
    assert_eq!(
        verdicts(&report).into_iter().map(|row| row.3).collect::<Vec<_>>(),
        [Verdict::Match, Verdict::Insufficient, Verdict::Insufficient]
    );
    check_findings(
        &report,
        &expect![[r"
            warning weight-missing checkout acme - 60/60
              checkout samples 100 % [85.3, 100] of 60 traces (weight missing or malformed) that it starts for tenant acme: that forces sampling; 10 % declared at rules.yaml:1
              send a weight from 0 on with every request of tenant acme, at checkout or whoever calls it
            warning weight-missing payment acme external:203.0.113.9 70/70
              external:203.0.113.9 sampled 100 % [87.2, 100] of 70 traces (weight missing or malformed) of tenant acme that reach payment: that forces sampling; 10 % declared at rules.yaml:1
              send a weight from 0 on with every request of tenant acme, at external:203.0.113.9 or whoever calls it
            warning weight-missing search acme - 200/200
              search samples 100 % [95.1, 100] of 200 traces (weight missing or malformed) that it starts for tenant acme: that forces sampling; 10 % declared at rules.yaml:1
              send a weight from 0 on with every request of tenant acme, at search or whoever calls it
        "]],
    );
}

#[test]
fn traces_without_a_weight_are_judged_where_nobody_samples_by_weights() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, "acme", (Point::Started, Keep), 100, 100);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Missing), 2_000, 200);
    shop.weighed_traces(ROOT, "beta", (Point::Started, Missing), 100, 100);
    let report = shop.report();
    assert_eq!(verdicts(&report).into_iter().map(|row| row.3).collect::<Vec<_>>(), [Verdict::Match, Verdict::Over]);
}

#[test]
fn services_without_tenants_do_not_share_their_weights() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, UNKNOWN, (Point::Started, Below), 2_000, 200);
    shop.weighed_traces(("search", "ledger"), UNKNOWN, (Point::Started, Missing), 100, 100);
    let report = shop.report();
    assert_eq!(shop.names.tenant(UNKNOWN), Names::UNKNOWN_TENANT);
    let accused: Vec<_> = report.findings.iter().map(|finding| (finding.code, finding.service.as_deref())).collect();
    assert_eq!(accused, [(Code::RatioOver, Some("search"))]);
}

#[test]
fn an_alarm_on_traces_without_a_weight_does_not_hold_once_weights_below_one_are_seen() {
    let mut shop = shop();
    shop.weighed_traces(ROOT, "acme", (Point::Started, Missing), 100, 100);
    assert_eq!(shop.report().ratios[0].verdict, Verdict::Over);
    shop.weighed_traces(ROOT, "acme", (Point::Started, Below), 2_000, 200);
    let report = shop.report();
    assert_eq!(report.ratios[0].verdict, Verdict::Match);
    let codes: Vec<Code> = report.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::WeightMissing]);
}

#[test]
fn a_flip_that_a_missing_weight_forces_names_it_where_weights_are_used() {
    let mut shop = shop();
    shop.hops(("checkout", "inventory"), Outcome::Flipped, Sampled::Sampled, 3);
    check_findings(
        &shop.report(),
        &expect![[r"
        info decision-flipped checkout - inventory 3/3
          checkout turns not sampled into sampled on 3 of 3 requests to inventory: traces that begin in the middle
          set a parent-based sampler in checkout (OTEL_TRACES_SAMPLER=parentbased_traceidratio)
    "]],
    );
    shop.weighed_traces(ROOT, "acme", (Point::Started, Below), 1, 0);
    check_findings(
        &shop.report(),
        &expect![[r"
        info decision-flipped checkout - inventory 3/3
          checkout turns not sampled into sampled on 3 of 3 requests to inventory: traces that begin in the middle; their weight was missing or malformed, which forces sampling
          send the weight with every request to checkout, and set a parent-based sampler there
    "]],
    );
}
