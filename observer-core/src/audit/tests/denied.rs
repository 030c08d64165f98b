//! What the report makes of senders that never have a trace sampled.

use expect_test::expect;

use super::*;

/// A load balancer sends requests to checkout, which begins traces of its own too: 100 of 200 of them sampled.
fn shop(sampled: Sampled, requests: u64, sources: impl IntoIterator<Item = Declarations>) -> Shop {
    let mut shop = Shop::new(sources);
    let trace = TraceFact::Valid(context(TraceId(7), sampled));
    shop.requests(("external:balancer", "checkout"), "acme", trace, requests);
    shop.traces(("checkout", "inventory"), "acme", Point::Started, 200, 100);
    shop
}

fn is_denied(mut shop: Shop) -> bool {
    shop.report().findings.iter().any(|finding| finding.code == Code::DecisionInconsistent)
}

#[test]
fn who_never_has_a_trace_sampled_is_named_with_the_remedy() {
    check_findings(
        &shop(Sampled::NotSampled, 400, []).report(),
        &expect![[r"
        info decision-inconsistent checkout acme external:balancer 400/400
          none of 400 requests that external:balancer sends to checkout with a context is sampled (flags 00), though 50 % of the traces that others begin are: where samplers follow their parent, nothing that comes from external:balancer is kept
          switch on sampling where external:balancer begins traces; where it is a load balancer or function platform that decides nothing, switch off the traceparent that it writes, or let checkout decide anew on what comes from there
    "]],
    );
}

#[test]
fn nothing_is_said_of_few_requests_nor_of_who_samples_some() {
    assert!(!is_denied(shop(Sampled::NotSampled, 120, [])), "a sender may sample less than others");
    assert!(!is_denied(shop(Sampled::Deferred, 400, [])), "nothing was decided");
    let mut some = shop(Sampled::NotSampled, 400, []);
    let trace = TraceFact::Valid(context(TraceId(8), Sampled::Sampled));
    some.requests(("external:balancer", "checkout"), "acme", trace, 1);
    assert!(!is_denied(some));
}

#[test]
fn nothing_is_said_where_no_trace_of_the_tenant_is_meant_to_be_sampled() {
    let rules = tenant_rules("rules.yaml", "default: 0.5\ntenants: {acme: {sampler_override: 0}}\n");
    assert!(!is_denied(shop(Sampled::NotSampled, 400, [rules])));
    let mut rest = shop(Sampled::NotSampled, 0, []);
    let trace = TraceFact::Valid(context(TraceId(7), Sampled::NotSampled));
    rest.requests(("external:balancer", "checkout"), "other", trace, 400);
    assert!(!is_denied(rest), "only another tenant's traces are sampled");
}

#[test]
fn who_goes_on_with_what_arrives_is_not_named() {
    let mut shop = shop(Sampled::NotSampled, 400, []);
    let trace = TraceFact::Valid(context(TraceId(7), Sampled::NotSampled));
    shop.requests(("checkout", "inventory"), "acme", trace, 400);
    let named = shop.report().findings.into_iter().filter(|finding| finding.code == Code::DecisionInconsistent);
    assert_eq!(named.filter_map(|finding| finding.peer).collect::<Vec<_>>(), ["external:balancer"]);
}
