//! Weights, and responses whose traces should have been kept.

use std::time::Duration;

use super::*;
use crate::audit::ledger::Gate;
use crate::context::Weight;

/// What a shop tells of weights and of responses.
impl Shop {
    fn weight(&mut self, (service, peer): (&str, &str), side: Side, outcome: WeightOutcome, count: u64) {
        let (service, tenant) = (self.service(service), self.names.tenant("acme"));
        for _ in 0..count {
            let sight = self.sight(peer);
            self.ledger.weight(service, tenant, side, outcome, sight);
        }
    }

    fn promised(&mut self, (service, peer): (&str, &str), tenant: &str, side: Side, sampled: Sampled, count: u64) {
        let (service, tenant) = (self.service(service), self.names.tenant(tenant));
        for _ in 0..count {
            let sight = self.sight(peer);
            self.ledger.promised(service, tenant, side, sampled, sight);
        }
    }

    fn errors(&mut self, service: &str, tenant: &str, fate: Fate, count: u64) {
        let (service, tenant) = (self.service(service), self.names.tenant(tenant));
        for _ in 0..count {
            let sight = self.sight("client");
            self.ledger.error(service, tenant, fate, sight);
        }
    }

    fn slow(&mut self, service: &str, tenant: &str, fate: Fate, count: u64) {
        let (service, tenant) = (self.service(service), self.names.tenant(tenant));
        for _ in 0..count {
            let sight = self.sight("client");
            self.ledger.slow(service, tenant, fate, Duration::from_millis(1500), sight);
        }
    }
}

#[test]
fn a_weight_that_is_none_is_told_of_who_writes_it() {
    let mut shop = Shop::new([]);
    shop.weight(("checkout", "inventory"), Side::Sender, WeightOutcome::Kept, 90);
    shop.weight(("checkout", "inventory"), Side::Sender, WeightOutcome::Malformed, 10);
    shop.weight(("checkout", "external:203.0.113.9"), Side::Receiver, WeightOutcome::OutOfRange, 3);
    let report = shop.report();
    assert_eq!((report.weights[0].kept, report.weights[0].malformed, report.weights[0].out_of_range), (90, 10, 3));
    check_findings(
        &report,
        &expect![[r"
        warning weight-invalid checkout acme external:203.0.113.9 3/3
          3 of 3 requests reach checkout from external:203.0.113.9 with a weight that is no number from 0 to 1,000,000
          send a finite decimal number from external:203.0.113.9
        warning weight-invalid checkout acme inventory 10/100
          checkout sends 10 of 100 requests to inventory with a weight that is no number from 0 to 1,000,000
          send a finite decimal number from checkout
    "]],
    );
}

#[test]
fn a_weight_of_one_beside_an_unsampled_flag_breaks_its_promise() {
    let mut shop = Shop::new([]);
    shop.promised(("checkout", "inventory"), "acme", Side::Sender, Sampled::Sampled, 20);
    shop.promised(("checkout", "inventory"), "acme", Side::Sender, Sampled::NotSampled, 4);
    shop.promised(("checkout", "ledger"), "beta", Side::Sender, Sampled::NotSampled, 1);
    shop.promised(("inventory", "external:203.0.113.9"), "acme", Side::Receiver, Sampled::NotSampled, 2);
    shop.promised(("ledger", "checkout"), "acme", Side::Sender, Sampled::Sampled, 7);
    check_findings(
        &shop.report(),
        &expect![[r"
            warning weight-unsampled checkout - - 5/25
              checkout sends 5 of 25 requests of weight 1 or more to others as not sampled: what such a weight promises to keep is lost
              set the sampled flag in checkout wherever it sets or raises a weight to 1 or more
            warning weight-unsampled inventory acme external:203.0.113.9 2/2
              2 of 2 requests of weight 1 or more reach inventory from external:203.0.113.9 as not sampled: what such a weight promises to keep is lost
              set the sampled flag in external:203.0.113.9 wherever it sets or raises a weight to 1 or more
        "]],
    );
}

#[test]
fn errors_are_lost_where_nobody_sampled_them_or_their_weight_was_not_raised() {
    let mut shop = Shop::new([]);
    shop.errors("checkout", "acme", Fate::Sampled, 5);
    shop.errors("checkout", "acme", Fate::Unsampled, 10);
    shop.errors("checkout", "acme", Fate::BelowOne, 5);
    shop.errors("checkout", "beta", Fate::BelowOne, 2);
    shop.errors("checkout", "beta", Fate::Undecided, 1);
    shop.errors("ledger", "acme", Fate::Unsampled, 1);
    shop.errors("search", "acme", Fate::Sampled, 9);
    let report = shop.report();
    let rows: Vec<_> = report.errors.iter().map(|row| (row.responses, row.unsampled, row.below_one)).collect();
    assert_eq!(rows, [(20, 10, 5), (3, 0, 2), (1, 1, 0), (9, 0, 0)]);
    check_findings(
        &report,
        &expect![[r"
            warning error-unsampled checkout acme - 15/20
              15 of 20 error responses (75 %) of checkout for tenant acme are lost: 10 belong to traces that are not sampled, 5 carry a weight below 1
              keep errors whatever the ratio: sample checkout fully and keep errors by tail sampling in the collector; raise the weight to 1 on errors in checkout, and in what it answers
            warning error-unsampled checkout beta - 2/3
              2 of 3 error responses (66.7 %) of checkout for tenant beta carry a weight below 1: whoever samples by weights may drop them
              raise the weight to 1 on errors in checkout, and in what it answers
            warning error-unsampled ledger acme - 1/1
              1 of 1 error response (100 %) of ledger for tenant acme belong to traces that are not sampled: there is nothing to look at
              keep errors whatever the ratio: sample ledger fully and keep errors by tail sampling in the collector
        "]],
    );
}

#[test]
fn slow_responses_are_judged_as_errors_are() {
    let mut shop = Shop::new([]);
    shop.slow("checkout", "acme", Fate::Unsampled, 3);
    shop.slow("checkout", "acme", Fate::Sampled, 1);
    shop.slow("ledger", "acme", Fate::Sampled, 1);
    let report = shop.report();
    let rows: Vec<_> = report.slow.iter().map(|row| (row.threshold_seconds.to_string(), row.responses)).collect();
    assert_eq!(rows, [("1.5".to_owned(), 4), ("1.5".to_owned(), 1)]);
    check_findings(
        &report,
        &expect![[r"
            warning slow-unsampled checkout acme - 3/4
              3 of 4 responses (75 %) of checkout for tenant acme that took longer than 1.5s belong to traces that are not sampled: there is nothing to look at
              keep slow requests whatever the ratio: sample checkout fully and keep slow requests by tail sampling in the collector
        "]],
    );
}

#[test]
fn trace_headers_that_browsers_keep_from_scripts_are_named_with_the_list_that_lacks_them() {
    let mut shop = Shop::new([]);
    let checkout = shop.service("checkout");
    let allow: [&[&str]; 4] = [&["traceparent", "x-trace-weight"], &["b3", "traceparent"], &[], &[]];
    for shut in allow {
        let sight = shop.sight("client");
        shop.ledger.gate(checkout, Gate::Allow, shut.iter().copied(), sight);
    }
    for shut in [Some("x-trace-weight"), None] {
        let sight = shop.sight("client");
        shop.ledger.gate(checkout, Gate::Expose, shut, sight);
    }
    let ledger = shop.service("ledger");
    let sight = shop.sight("client");
    shop.ledger.gate(ledger, Gate::Expose, None, sight);
    check_findings(
        &shop.report(),
        &expect![[r"
        warning weight-not-exposed checkout - - 1/2
          1 of 2 responses of checkout to browsers carry x-trace-weight, which Access-Control-Expose-Headers does not name: scripts cannot read it
          add x-trace-weight to Access-Control-Expose-Headers in checkout
        warning weight-not-exposed checkout - - 2/4
          2 of 4 preflights to checkout ask for b3, traceparent, x-trace-weight, which Access-Control-Allow-Headers omits: browsers do not send such requests
          add b3, traceparent, x-trace-weight to Access-Control-Allow-Headers in checkout
    "]],
    );
}

#[test]
fn the_fate_of_a_trace_follows_its_decision_and_its_weight() {
    let (half, one) = (Fact::Present(Weight::Valid(0.5)), Fact::Present(Weight::Valid(1.0)));
    for (sampled, weight, fate) in [
        (Some(Sampled::Sampled), Fact::Absent, Fate::Sampled),
        (Some(Sampled::Sampled), half, Fate::BelowOne),
        (Some(Sampled::Sampled), one, Fate::Sampled),
        (Some(Sampled::NotSampled), one, Fate::Unsampled),
        (Some(Sampled::NotSampled), half, Fate::Unsampled),
        (Some(Sampled::Deferred), half, Fate::Undecided),
        (None, Fact::NotObserved, Fate::Undecided),
        (None, Fact::Present(Weight::Malformed), Fate::Undecided),
    ] {
        assert_eq!(Fate::of(sampled, weight), fate, "{sampled:?} {weight:?}");
    }
}
