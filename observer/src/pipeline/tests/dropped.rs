//! What is dropped beside a context, from the wire to the report.

use super::*;

/// A request reaches the cart with these headers beside its context, and makes it send one with those; what is told of it.
fn passes(config: &Config, arrives: &str, goes_on: &str) -> Vec<(Code, String, Option<String>, u64, u64)> {
    let mut interface = Interface::new(config);
    let ends = ("10.0.0.1:40000", "10.0.0.2:8080");
    interface.request_at(Tap::Wire, 0, ends, &format!("{TRACEPARENT}{arrives}"));
    let own = TRACEPARENT.replace("b7ad6b7169203331", "b7ad6b7169203332");
    interface.request_at(Tap::Wire, 0, ("10.0.0.2:50000", "10.0.0.3:9090"), &format!("{own}{goes_on}"));
    let report = interface.report();
    let hops = report.hops.iter().find(|hops| hops.service == "10.0.0.2").unwrap();
    assert_eq!((hops.continued, hops.lost), (1, 0));
    let named = |finding: &&Finding| matches!(finding.code, Code::TracestateDropped | Code::BaggageDropped);
    let told = |finding: &Finding| {
        assert_eq!(finding.service.as_deref(), Some("10.0.0.2"));
        (finding.code, finding.message.clone(), finding.peer.clone(), finding.count, finding.of)
    };
    report.findings.iter().filter(named).map(told).collect()
}

#[test]
fn a_tracestate_and_the_tenant_in_the_baggage_are_missed_behind_who_drops_them() {
    let (default, stock) = (Config::default(), Some("10.0.0.3".to_owned()));
    let arrives = "\r\ntracestate: vendor=1\r\nbaggage: tenant.id=acme,b=2";
    let told = passes(&default, arrives, "");
    assert_eq!(
        told,
        [
            (
                Code::TracestateDropped,
                "10.0.0.2 drops the tracestate on 1 of 1 request to 10.0.0.3, though it goes on with their traces: what vendors and \
                 samplers wrote there is gone"
                    .to_owned(),
                stock.clone(),
                1,
                1
            ),
            (
                Code::BaggageDropped,
                "10.0.0.2 drops the baggage on 1 of 1 request to 10.0.0.3, and with it the tenant, though it goes on with their traces"
                    .to_owned(),
                stock.clone(),
                1,
                1
            ),
        ]
    );
    let told = passes(&default, arrives, "\r\ntracestate: own=1,vendor=1\r\nbaggage: b=2");
    let message = "10.0.0.2 takes the tenant out of the baggage on 1 of 1 request to 10.0.0.3: they are of another tenant or of none";
    assert_eq!(told, [(Code::BaggageDropped, message.to_owned(), stock, 1, 1)]);
    // The tenant goes on all the same.
    assert_eq!(passes(&default, arrives, "\r\ntracestate: vendor=2\r\nbaggage: b=2\r\nx-tenant-id: acme"), []);
    assert_eq!(passes(&default, "\r\ntracestate: no list\r\nx-tenant-id: acme", ""), []);
}

#[test]
fn what_is_kept_from_those_outside_is_protected() {
    let external = vec![External::Host(Pattern::new("*.partner.example"))];
    let config = Config { external, ..Config::default() };
    let arrives = "\r\ntracestate: vendor=1\r\nbaggage: tenant.id=acme";
    assert_eq!(passes(&config, arrives, "\r\nhost: stock.example").len(), 2);
    assert_eq!(passes(&config, arrives, "\r\nhost: api.partner.example"), []);
}
