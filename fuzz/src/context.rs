//! The headers of a request: lines of a character for the name (`0`, `1`, and so on) and the value.
//!
//! Whatever they are, reading never panics, and a name or a weight that comes out is one.

use std::sync::LazyLock;

use observer_core::context::{Extractors, TenantSource, Weight, WeightSource, baggage, tracestate};
use observer_core::fact::Fact;
use observer_core::message::{Header, HeaderName, Interest, RequestHead};
use regex::Regex;

/// As many as divide the number of `0`, which stands for the first.
const NAMES: [&str; 24] = [
    "traceparent",
    "tracestate",
    "baggage",
    "host",
    "grpc-trace-bin",
    "x-tenant-id",
    "x-trace-weight",
    "x-tenant-bin",
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
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "newrelic",
    "sw8",
    "request-id",
    "x-dynatrace",
];

/// Reads an input.
///
/// # Panics
///
/// A reader broke a promise.
pub fn run(input: &[u8]) {
    let extractors = &*EXTRACTORS;
    let (first, lines) = input.split_first().unwrap_or((&0, &[]));
    let headers: Vec<Header<'_>> = lines
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let (&which, value) = line.split_first()?;
            Some(Header {
                name: name(usize::from(which) % NAMES.len(), extractors.interest())?,
                value: value.trim_ascii(),
            })
        })
        .collect();
    let path = std::str::from_utf8(lines).unwrap_or("/tenants/acme");
    let head = RequestHead { method: "GET", path, headers: &headers, complete: first % 2 == 0 };
    let context = extractors.extract(&head);
    for trace in context.contexts() {
        assert!(trace.trace_id.0 != 0 && trace.parent_id.0 != 0 && !trace.formats.is_empty());
    }
    if let Fact::Present(Weight::Valid(weight)) = context.weight {
        assert!((0.0..=1_000_000.0).contains(&weight), "{weight}");
    }
    if let Fact::Present(tenant) = extractors.tenant(&head, None) {
        assert!(!tenant.is_empty() && tenant.len() <= 128 && !tenant.chars().any(char::is_control), "{tenant:?}");
    }
    let _ = tracestate::members(&headers).count();
    for member in baggage::members(&headers) {
        let _ = baggage::decode(member.value);
    }
}

static EXTRACTORS: LazyLock<Extractors> = LazyLock::new(extractors);

fn extractors() -> Extractors {
    let pattern = |text| Regex::new(text).ok();
    let mut tenant = vec![
        TenantSource::Header("x-tenant-id".into()),
        TenantSource::Header("x-tenant-bin".into()),
        TenantSource::Baggage("tenant.id".into()),
        TenantSource::Tracestate("tenant".into()),
    ];
    tenant.extend(pattern("^/tenants/(?<tenant>[^/]+)").map(TenantSource::Path));
    tenant.extend(pattern(r"^(?<tenant>\w+)\.shop\.example").map(TenantSource::Host));
    Extractors::new(
        tenant,
        vec![WeightSource::Header("x-trace-weight".into()), WeightSource::Baggage("trace.weight".into())],
    )
}

fn name(which: usize, interest: &Interest) -> Option<HeaderName> {
    interest.find(NAMES.get(which)?.as_bytes())
}

/// Headers as SDKs send them.
pub fn seeds() -> crate::Seeds {
    let heads = [
        (
            "w3c",
            "000-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n1ot=th:e666;rv:0123456789abcd,tenant=acme\n2tenant.id=acme,trace.weight=2.5;p=1",
        ),
        ("later-version", "0cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more\n3acme.shop.example:80"),
        ("weight", "60.25\n5 acme \n2trace.weight=1e3,tenant.id=caf%C3%A9"),
        ("b3", "84bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d\n9a3ce929d0e0e4736\n:00f067aa0ba902b7\n;true\n<1"),
        ("jaeger", "=a3ce929d0e0e4736%3Af067aa0ba902b7%3A0%3A3\nE1-a-b-3-c"),
        ("datadog", ">11803532876627986230\n?67667974448284343\n@-1\nA_dd.p.dm=-4,_dd.p.tid=4bf92f3577b34da6"),
        ("x-ray", "BSelf=1-a-b;Root=1-5759e988-bd862e3fe1be46a994272793; Parent=53995c3f42cd8ad8;Sampled=?"),
        ("cloud-trace", "C4bf92f3577b34da6a3ce929d0e0e4736/67667974448284343;o=1\nF|a.b."),
        ("binary", "4AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE\n7YWNtZQ=="),
    ];
    heads.into_iter().map(|(name, lines)| (name.to_owned(), [b"\0", lines.as_bytes()].concat())).collect()
}
