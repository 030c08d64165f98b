//! What is said of breaks, by what their culprits run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use expect_test::expect_file;

use super::*;
use crate::audit::dropped::KEEP_TENANT;
use crate::audit::report::{Requests, Severity};

fn finding(code: Code, service: &str, peer: Option<&str>) -> Finding {
    Finding {
        code,
        severity: Severity::Warning,
        service: Some(service.to_owned()),
        tenant: None,
        peer: peer.map(str::to_owned),
        message: String::new(),
        remedy: "as it was".to_owned(),
        count: 1,
        of: 1,
        evidence: None,
        examples: Vec::new(),
        path: None,
        runs: Vec::new(),
    }
}

fn runs(runtime: Runtime, libraries: &[&str], unread: Option<&str>) -> Runs {
    Runs {
        runtime,
        version: Some("1.2.3".to_owned()),
        libraries: libraries.iter().map(|name| ((*name).to_owned(), None)).collect(),
        command: "program".to_owned(),
        pid: 7,
        unread: unread.map(str::to_owned),
    }
}

/// The finding after it was explained, with HTTP requests at each service.
fn explained(finding: Finding, programs: Vec<Runs>) -> Finding {
    let mut report: Report = serde_json::from_str(include_str!("../testdata/report.json")).unwrap();
    let request = |service: &str, protocol: &str| Requests {
        service: service.to_owned(),
        tenant: "t".to_owned(),
        protocol: protocol.to_owned(),
        valid: 1,
        missing: 0,
        malformed: 0,
        unobserved: 0,
    };
    report.requests = vec![request("stock", "http/1.1"), request("cart", "http/1.1"), request("calls", "grpc")];
    report.findings = vec![finding];
    explain(&mut report, &BTreeMap::from([("cart".to_owned(), programs)]));
    report.findings.remove(0)
}

/// Who broke what: the code, the other service, what the culprit runs and has.
const CASES: &[(Code, &str, Runtime, &[&str])] = &[
    // What a client lacks is named, of what the hop speaks alone.
    (
        Code::ContextLost,
        "stock",
        Runtime::Python,
        &["opentelemetry-sdk", "httpx", "opentelemetry-instrumentation-requests", "requests", "grpcio"],
    ),
    (Code::ContextLost, "calls", Runtime::Python, &["opentelemetry-sdk", "httpx", "grpcio"]),
    (Code::ContextLost, "kafka:orders", Runtime::Python, &["opentelemetry-sdk", "httpx", "aiokafka"]),
    (
        Code::ContextLost,
        "stock",
        Runtime::Node,
        &["@opentelemetry/sdk-trace-node", "@opentelemetry/instrumentation-http"],
    ),
    (Code::ContextLost, "stock", Runtime::Node, &["@opentelemetry/auto-instrumentations-node"]),
    (Code::ContextLost, "stock", Runtime::Go, &["go.opentelemetry.io/otel", "go.opentelemetry.io/otel/sdk"]),
    (Code::ContextLost, "stock", Runtime::Java, &["opentelemetry-javaagent"]),
    (Code::ContextLost, "stock", Runtime::Rust, &["opentelemetry", "hyper"]),
    // Where nothing traces, what to add.
    (Code::ContextLost, "stock", Runtime::Python, &["flask", "requests"]),
    (Code::ContextMissing, "stock", Runtime::Node, &["express"]),
    (Code::ContextLost, "calls", Runtime::Go, &["google.golang.org/grpc"]),
    (Code::ContextLost, "stock", Runtime::Java, &[]),
    (Code::ContextLost, "stock", Runtime::Nginx, &[]),
    (Code::ContextLost, "stock", Runtime::Native, &[]),
    // Another thread, another sampler, another writer.
    (
        Code::TraceRestarted,
        "stock",
        Runtime::Python,
        &["opentelemetry-sdk", "fastapi", "opentelemetry-instrumentation-fastapi"],
    ),
    (
        Code::TraceRestarted,
        "stock",
        Runtime::Python,
        &["opentelemetry-sdk", "flask", "opentelemetry-instrumentation-threading"],
    ),
    (Code::DecisionFlipped, "stock", Runtime::Go, &["go.opentelemetry.io/otel/sdk"]),
    (Code::BaggageDropped, "stock", Runtime::Go, &["go.opentelemetry.io/otel"]),
    (Code::TracestateDropped, "stock", Runtime::Python, &["opentelemetry-sdk"]),
    (Code::ContextMalformed, "stock", Runtime::Python, &[]),
    (Code::ContextDuplicated, "stock", Runtime::Python, &["ddtrace", "opentelemetry-sdk"]),
    (Code::ContextLost, "stock", Runtime::Node, &["dd-trace", "express"]),
];

#[test]
fn the_remedy_is_in_the_language_of_the_culprit_and_names_what_is_missing() {
    let mut told = String::new();
    for (code, peer, runtime, libraries) in CASES {
        let (service, peer) = match code {
            Code::ContextMissing | Code::ContextMalformed | Code::ContextDuplicated => (*peer, "cart"),
            _ => ("cart", *peer),
        };
        let found = explained(finding(*code, service, Some(peer)), vec![runs(*runtime, libraries, None)]);
        assert_eq!(found.runs.len(), 1);
        let Finding { remedy, .. } = found;
        let name = runtime.as_str();
        let _ = write!(told, "{code:?} {service} {peer}: {name} with {}\n    {remedy}\n", libraries.join(", "));
    }
    expect_file!["../testdata/remedies.txt"].assert_eq(&told);
}

#[test]
fn what_was_not_read_is_not_called_missing() {
    let unread = runs(Runtime::Python, &["flask"], Some("its packages cannot be listed"));
    assert_eq!(explained(finding(Code::ContextLost, "cart", Some("stock")), vec![unread.clone()]).remedy, "as it was");
    let found = explained(
        finding(Code::ContextLost, "cart", Some("stock")),
        vec![Runs::unknown(7, "sh".into(), "it ended".into())],
    );
    assert_eq!((found.remedy.as_str(), found.runs[0].line().as_str()), ("as it was", "sh (pid 7): unknown (it ended)"));
}

#[test]
fn of_several_programs_none_is_blamed_and_each_is_named_once() {
    let python = runs(Runtime::Python, &["flask"], None);
    let nginx = runs(Runtime::Nginx, &[], None);
    let other_worker = Runs { pid: 8, ..python.clone() };
    let found =
        explained(finding(Code::ContextLost, "cart", Some("stock")), vec![python.clone(), other_worker, nginx.clone()]);
    assert_eq!((found.remedy.as_str(), found.runs), ("as it was", vec![python, nginx]));
}

#[test]
fn who_takes_the_tenant_out_of_baggage_has_it_among_its_propagators() {
    let remedy = format!("let cart {KEEP_TENANT}");
    let taken_out = Finding { remedy: remedy.clone(), ..finding(Code::BaggageDropped, "cart", Some("stock")) };
    assert_eq!(explained(taken_out, vec![runs(Runtime::Python, &["opentelemetry-sdk"], None)]).remedy, remedy);
}

#[test]
fn findings_of_other_kinds_and_other_services_stay_as_they_were() {
    let python = || vec![runs(Runtime::Python, &[], None)];
    for finding in [
        finding(Code::RatioUnder, "cart", None),
        finding(Code::ContextLost, "stock", Some("cart")),
        finding(Code::ContextMissing, "cart", None),
    ] {
        assert_eq!(explained(finding.clone(), python()), finding);
    }
}
