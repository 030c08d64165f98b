//! The context of requests, from the outside: the cases of the W3C conformance tests, what propagators are fed with, and
//! the order of the extractors.

mod formats;

use std::fmt::Write;

use expect_test::{Expect, expect};
use observer_core::context::{Extractors, MessageContext, TenantSource, TraceFact, Weight, WeightSource, tracestate};
use observer_core::fact::Fact;
use observer_core::message::{Header, RequestHead};
use proptest::prelude::*;
use regex::Regex;
use serde_json::Value;

fn extractors() -> Extractors {
    Extractors::new(
        vec![
            TenantSource::Header("x-tenant-id".into()),
            TenantSource::Baggage("tenant.id".into()),
            TenantSource::Tracestate("tenant".into()),
            TenantSource::Namespace,
            TenantSource::Path(Regex::new("^/tenants/(?<tenant>[^/]+)").unwrap()),
            TenantSource::Host(Regex::new(r"^(?<tenant>\w+)\.shop\.example").unwrap()),
        ],
        vec![WeightSource::Header("X-Trace-Weight".to_lowercase()), WeightSource::Baggage("trace.weight".into())],
    )
}

/// The wanted ones of some headers, as decoding keeps them.
fn wanted<'a>(extractors: &Extractors, headers: &'a [(String, Vec<u8>)]) -> Vec<Header<'a>> {
    let wanted = |(name, value): &'a (String, Vec<u8>)| {
        Some(Header { name: extractors.interest().find(name.as_bytes())?, value: value.trim_ascii() })
    };
    headers.iter().filter_map(wanted).collect()
}

fn headers_of(case: &Value) -> Vec<(String, Vec<u8>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let header = |header: &Value| (text(&header[0]), text(&header[1]).into_bytes());
    case["headers"].as_array().unwrap().iter().map(header).collect()
}

fn read(path: &str, headers: &[(String, Vec<u8>)], complete: bool) -> MessageContext {
    let extractors = extractors();
    let headers = wanted(&extractors, headers);
    extractors.extract(&RequestHead { method: "GET", path, headers: &headers, complete })
}

fn tenant(path: &str, headers: &[(String, Vec<u8>)], complete: bool, namespace: Option<&str>) -> Fact<String> {
    let extractors = extractors();
    let headers = wanted(&extractors, headers);
    let tenant = extractors.tenant(&RequestHead { method: "GET", path, headers: &headers, complete }, namespace);
    tenant.map(|tenant| tenant.to_string())
}

#[test]
fn a_binary_context_counts_where_no_other_can_be_there() {
    let binary = ("grpc-trace-bin".to_owned(), b"AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE".to_vec());
    let w3c = ("traceparent".to_owned(), b"00-00000000000000000000000000000001-00f067aa0ba902b7-00".to_vec());
    let trace_id = |headers: &[_], complete| match read("/", headers, complete).trace {
        TraceFact::Valid(context) => context.trace_id.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(trace_id(std::slice::from_ref(&binary), true), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(trace_id(std::slice::from_ref(&binary), false), "NotObserved");
    assert_eq!(trace_id(&[binary.clone(), w3c], true), "00000000000000000000000000000001");
    assert_eq!(trace_id(&[binary.clone(), binary], true), "Malformed(OpenCensus, Duplicated)");
}

#[test]
fn tenants_of_binary_metadata_are_decoded() {
    let extractors = Extractors::new(vec![TenantSource::Header("x-tenant-bin".into())], Vec::new());
    let tenant = |value: &[u8]| {
        let headers = [("x-tenant-bin".to_owned(), value.to_vec())];
        let headers = wanted(&extractors, &headers);
        let head = RequestHead { method: "POST", path: "/s/M", headers: &headers, complete: true };
        extractors.tenant(&head, None).present().map(|name| name.to_string())
    };
    assert_eq!(tenant(b"YWNtZQ").as_deref(), Some("acme"));
    assert_eq!(tenant(b"YWNtZQ==").as_deref(), Some("acme"));
    assert_eq!(tenant(b"\0acme").as_deref(), Some("acme"));
    assert_eq!(tenant(b"not base64"), None);
}

#[test]
fn a_path_that_was_not_seen_leaves_the_tenant_open() {
    let extractors = extractors();
    let tenant = |path, complete| extractors.tenant(&RequestHead { method: "GET", path, headers: &[], complete }, None);
    let path_only = Extractors::new(vec![TenantSource::Path(Regex::new("^/t/(?<tenant>[^/]+)").unwrap())], Vec::new());
    let of_path = |path, complete| path_only.tenant(&RequestHead { method: "", path, headers: &[], complete }, None);
    assert_eq!(of_path("", false), Fact::NotObserved);
    assert_eq!(of_path("/other", false), Fact::Absent);
    assert_eq!(tenant("", true), Fact::Absent);
}

#[test]
fn every_case_of_the_w3c_conformance_tests_has_its_verdict() {
    let cases: Value = serde_json::from_str(include_str!("../vectors/w3c_harness_cases.json")).unwrap();
    let extractors = extractors();
    let mut decided = 0;
    for case in cases["cases"].as_array().unwrap() {
        let (verdict, headers) = (&case["verdict"], headers_of(case));
        let trace = read("/", &headers, true).trace;
        let sent = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("traceparent")).map(|(_, value)| value);
        match verdict["trace_id"].as_str() {
            Some("continue") => {
                let TraceFact::Valid(context) = trace else { panic!("{case}: {trace:?}") };
                let sent = String::from_utf8_lossy(sent.unwrap()).to_string();
                assert_eq!(&sent.trim()[3..35], context.trace_id.to_string(), "{case}");
                if !verdict["flag_bit_set"].is_null() {
                    assert!(context.random, "{case}");
                }
            }
            Some("restart") => assert!(!matches!(trace, TraceFact::Valid(_)), "{case}: {trace:?}"),
            _ => {}
        }
        let wanted = wanted(&extractors, &headers);
        let kept: Result<Vec<_>, _> = tracestate::members(&wanted).collect();
        let kept = kept.unwrap_or_default();
        for (key, value) in verdict["tracestate_keep"].as_object().into_iter().flatten() {
            let found = kept.iter().any(|member| member.key == key && Some(member.value) == value.as_str());
            assert!(found, "{key} of {case}: {kept:?}");
        }
        for key in verdict["tracestate_absent"].as_array().into_iter().flatten() {
            assert!(kept.iter().all(|member| Some(member.key) != key.as_str()), "{key} of {case}: {kept:?}");
        }
        decided += usize::from(verdict.as_object().is_some_and(|verdict| !verdict.is_empty()));
    }
    assert_eq!(decided, 75, "cases with a verdict");
}

/// One line a case: the trace, and whether there is a tracestate (t) and a baggage (b) that must go on.
fn classify(cases: &Value) -> String {
    let mut lines = String::new();
    for case in cases.as_array().unwrap() {
        let context = read("/", &headers_of(case), true);
        let trace = match context.trace {
            TraceFact::Valid(context) => {
                format!("{}{}", context.sampled.as_str(), if context.random { " random" } else { "" })
            }
            TraceFact::Missing => "missing".into(),
            TraceFact::Malformed(_, reason) => format!("malformed {}", reason.as_str()),
            TraceFact::NotObserved => "not observed".into(),
        };
        let state = if matches!(context.tracestate, Fact::Present(Ok(_))) { " t" } else { "" };
        let baggage = if matches!(context.baggage, Fact::Present(baggage) if baggage.whole) { " b" } else { "" };
        writeln!(lines, "{}: {trace}{state}{baggage}", case["id"].as_str().unwrap()).unwrap();
    }
    lines
}

#[test]
fn what_propagators_are_fed_with_is_classified() {
    let cases: Value = serde_json::from_str(include_str!("../vectors/propagator_inputs.json")).unwrap();
    expect![[r"
        w3c.sampled: true
        w3c.notsampled: false
        w3c.flags02: false random
        w3c.flags03: true random
        w3c.flags04: false
        w3c.flagsff: true random
        w3c.flagsfe: false random
        w3c.flags09: true
        w3c.verff: malformed version
        w3c.vercc: true
        w3c.ver01: true
        w3c.vercc.extra: true
        w3c.vercc.baddelim: malformed delimiter
        w3c.vercc.flags07: true random
        w3c.ver00.extra: malformed length
        w3c.ver00.trailingdot: malformed length
        w3c.ver00.trailingdash: malformed length
        w3c.upper.trace: malformed trace_id
        w3c.upper.span: malformed parent_id
        w3c.upper.flags: malformed flags
        w3c.upper.version: malformed version
        w3c.trace.zero: malformed trace_id
        w3c.span.zero: malformed parent_id
        w3c.trace.short: malformed length
        w3c.trace.long: malformed delimiter
        w3c.span.short: malformed length
        w3c.span.long: malformed delimiter
        w3c.flags.short: malformed length
        w3c.flags.long: malformed length
        w3c.flags.nonhex: malformed flags
        w3c.trace.nonhex: malformed trace_id
        w3c.lead.space: true
        w3c.trail.space: true
        w3c.trail.tab: true
        w3c.empty: malformed length
        w3c.underscore: malformed delimiter
        w3c.short: malformed length
        w3c.quoted: malformed version
        w3c.comma.join: malformed duplicated
        w3c.64bit.trace: true
        w3c.unicode.digit: malformed delimiter
        w3c.dup: malformed duplicated
        w3c.case.name: true
        w3c.none: missing
        ts.simple: true t
        ts.two.headers: true t
        ts.ows: true t
        ts.empty: true
        ts.empty.member: true t
        ts.dup: true t
        ts.upper: true
        ts.badchar: true
        ts.space.key: true
        ts.emptyvalue: true
        ts.eq.in.value: true
        ts.tenant: true t
        ts.tenant.digit: true t
        ts.at.end: true t
        ts.at.start: true
        ts.at.twice: true t
        ts.digit.key: true t
        ts.32: true t
        ts.33: true
        ts.key256: true t
        ts.key257: true
        ts.val256: true t
        ts.val257: true
        ts.inner.space: true t
        ts.ctl: true
        ts.long1000: true t
        ts.ot.th: true t
        ts.ot.thrv: true t
        ts.dd: true t
        ts.no.traceparent: missing t
        ts.bad.traceparent: malformed length t
        bag.simple: missing b
        bag.ows: missing b
        bag.props: missing b
        bag.pct: missing b
        bag.badpct: missing b
        bag.novalue: missing b
        bag.noeq: missing b
        bag.dup: missing b
        bag.two: missing b
        bag.utf8: missing b
        bag.rawutf8: missing b
        bag.eq.in.value: missing b
        bag.emptykey: missing b
        bag.badkey: missing b
        bag.big: missing b
        bag.toobig: missing
        bag.200: missing
    "]]
    .assert_eq(&classify(&cases));
}

fn check(path: &str, head: &str, expected: &Expect) {
    let complete = !head.ends_with("...");
    let headers: Vec<_> = head
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect();
    let (context, tenant) = (read(path, &headers, complete), tenant(path, &headers, complete, None));
    expected.assert_eq(&format!("tenant {tenant:?}, weight {:?}", context.weight));
}

#[test]
fn the_first_source_that_yields_names_the_tenant() {
    check(
        "/tenants/of-path/cart",
        "X-Tenant-Id: of-header
         baggage: tenant.id=of-baggage
         tracestate: tenant=of-state
         host: of-host.shop.example",
        &expect![[r#"tenant Present("of-header"), weight Absent"#]],
    );
    check(
        "/tenants/of-path/cart",
        "X-Tenant-Id:
         X-Tenant-Id: second
         baggage: tenant.id=of-baggage",
        &expect![[r#"tenant Present("second"), weight Absent"#]],
    );
    check(
        "/tenants/of-path/cart",
        "baggage: tenant.id=of%20bag%C3%A9;p=1
         tracestate: tenant=of-state",
        &expect![[r#"tenant Present("of bagé"), weight Absent"#]],
    );
    check(
        "/tenants/of-path/cart",
        "tracestate: a=b, tenant=of-state",
        &expect![[r#"tenant Present("of-state"), weight Absent"#]],
    );
    check("/tenants/of-path/cart", "host: a.shop.example", &expect![[r#"tenant Present("of-path"), weight Absent"#]]);
    check("/cart", "host: acme.shop.example:80", &expect![[r#"tenant Present("acme"), weight Absent"#]]);
    check("/cart", "host: shop.example", &expect!["tenant Absent, weight Absent"]);
}

#[test]
fn a_namespace_takes_its_place_among_the_sources() {
    let tenant = |path, header: Option<&str>, complete, namespace| {
        let headers: Vec<_> =
            header.iter().map(|value| ("x-tenant-id".to_owned(), value.as_bytes().to_vec())).collect();
        format!("{:?}", tenant(path, &headers, complete, namespace))
    };
    let of_path = "/tenants/of-path/cart";
    assert_eq!(tenant(of_path, None, true, Some("shop")), r#"Present("shop")"#, "before the path");
    assert_eq!(tenant(of_path, Some("acme"), true, Some("shop")), r#"Present("acme")"#, "behind the header");
    assert_eq!(tenant(of_path, None, true, None), r#"Present("of-path")"#, "no namespace yields nothing");
    assert_eq!(tenant(of_path, None, false, Some("shop")), "NotObserved", "a header may have been cut off");
    assert!(extractors().asks_for_namespaces());
}

#[test]
fn what_an_incomplete_head_does_not_show_is_not_observed() {
    check(
        "/tenants/a",
        "X-Tenant-Id: of-header ...",
        &expect![[r#"tenant Present("of-header ..."), weight NotObserved"#]],
    );
    check(
        "/tenants/a",
        "baggage: tenant.id=of-baggage,trace.weight=2
        ...",
        &expect!["tenant NotObserved, weight NotObserved"],
    );
    check("/tenants/a", "...", &expect!["tenant NotObserved, weight NotObserved"]);
}

#[test]
fn a_weight_is_one_number() {
    check("/", "x-trace-weight: 0.5", &expect!["tenant Absent, weight Present(Valid(0.5))"]);
    check("/", "x-trace-weight: 1, 1.0", &expect!["tenant Absent, weight Present(Valid(1.0))"]);
    check(
        "/",
        "x-trace-weight: 1
         x-trace-weight: 2",
        &expect!["tenant Absent, weight Present(Malformed)"],
    );
    check("/", "x-trace-weight: -1", &expect!["tenant Absent, weight Present(OutOfRange)"]);
    check("/", "baggage: trace.weight=%33", &expect!["tenant Absent, weight Present(Valid(3.0))"]);
    check(
        "/",
        "x-trace-weight:
         baggage: trace.weight=3",
        &expect!["tenant Absent, weight Present(Malformed)"],
    );
}

#[test]
fn a_repeated_traceparent_is_duplicated_and_a_missing_one_is_missing_only_in_a_whole_head() {
    let value = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec();
    let one = [("traceparent".to_owned(), value.clone())];
    let two = [("traceparent".to_owned(), value.clone()), ("Traceparent".to_owned(), value)];
    assert!(matches!(read("/", &one, false).trace, TraceFact::Valid(_)));
    assert_eq!(format!("{:?}", read("/", &two, true).trace), "Malformed(W3c, Duplicated)");
    assert_eq!(read("/", &[], true).trace, TraceFact::Missing);
    assert_eq!(read("/", &[], false).trace, TraceFact::NotObserved);
}

/// The names that contexts are read from.
const NAMES: &[&str] = &[
    "traceparent",
    "tracestate",
    "baggage",
    "x-tenant-id",
    "x-trace-weight",
    "host",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "grpc-trace-bin",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "sw8",
];

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(
        headers in prop::collection::vec((
            prop::sample::select(NAMES),
            prop_oneof![
                "[0-9a-fA-F]{0,33}[-:;/%3A=,.?d]{0,3}[0-9a-f]{0,17}[-:;=o]{0,3}[0-9d?]{0,3}".prop_map(String::into_bytes),
                "(Root=1-[0-9a-f]{8}-[0-9a-f]{24}|Parent=[0-9a-f]{16}|Sampled=.|;| ){0,6}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..200),
                "[0-9a-fA-F]{2}-[0-9a-f]{30,33}-[0-9a-f]{15,17}-[0-9a-f]{1,3}-?".prop_map(String::into_bytes),
                "([a-z]{1,9}=[ -~]{0,9},?){0,40}".prop_map(String::into_bytes),
                "tenant.id=(%[0-9a-fA-F]{1,2}|.){0,90}".prop_map(String::into_bytes),
            ],
        ), 0..6),
        path in ".{0,80}",
        complete in any::<bool>(),
    ) {
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let context = read(&path, &headers, complete);
        if let TraceFact::Valid(trace) = context.trace {
            prop_assert!(trace.trace_id.0 != 0 && trace.parent_id.0 != 0 && !trace.formats.is_empty());
        }
        if let Fact::Present(Weight::Valid(weight)) = context.weight {
            prop_assert!((0.0..=1_000_000.0).contains(&weight));
        }
        if let Fact::Present(tenant) = tenant(&path, &headers, complete, None) {
            prop_assert!(!tenant.is_empty() && tenant.len() <= 128 && !tenant.chars().any(char::is_control));
        }
    }
}
