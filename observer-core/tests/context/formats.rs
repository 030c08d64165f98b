//! Contexts in formats other than W3C: what propagators are fed with, several formats in one message, and that what a format
//! writes is read again.

use std::fmt::Write;

use expect_test::expect;
use observer_core::context::{Beside, Format, Formats, Sampled, Spelling, Spellings, TraceContext, TraceFact};
use proptest::prelude::*;
use serde_json::Value;

use super::{headers_of, read};

/// One line a case of B3, Jaeger, X-Ray, Cloud Trace and Datadog, with what stands beside.
fn formats(cases: &Value) -> String {
    let mut lines = String::new();
    for case in cases["cases"].as_array().unwrap() {
        writeln!(lines, "{}: {}", case["id"].as_str().unwrap(), told(&headers_of(case), true)).unwrap();
    }
    lines
}

fn told(headers: &[(String, Vec<u8>)], complete: bool) -> String {
    let context = read("/", headers, complete);
    let mut text = match context.trace {
        TraceFact::Valid(context) => context_told(&context),
        TraceFact::Missing => "missing".into(),
        TraceFact::Malformed(format, reason) => format!("malformed {} {}", format.header(), reason.as_str()),
        TraceFact::NotObserved => "not observed".into(),
    };
    for other in &context.beside.contexts {
        write!(text, "; but {}", context_told(other)).unwrap();
    }
    if let Some((format, reason)) = context.beside.malformed {
        write!(text, "; malformed {} {}", format.header(), reason.as_str()).unwrap();
    }
    if !context.beside.asides.is_empty() {
        write!(text, "; {}", context.beside.asides).unwrap();
    }
    text
}

/// The id shortened, as all ids of the cases are the same.
fn context_told(context: &TraceContext) -> String {
    let id = context.trace_id.to_string();
    format!("{}..{} {} {}", &id[..4], &id[28..], context.sampled.as_str(), context.formats)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line a case")]
fn what_propagators_of_other_formats_are_fed_with_is_read() {
    let cases: Value = serde_json::from_str(include_str!("../vectors/propagator_formats.json")).unwrap();
    expect![[r"
        b3s.full.1: 4bf9..4736 true b3
        b3s.full.0: 4bf9..4736 false b3
        b3s.debug: 4bf9..4736 true b3
        b3s.parent: 4bf9..4736 true b3
        b3s.nodecision: 4bf9..4736 deferred b3
        b3s.deny: missing; a sampling decision without a trace
        b3s.accept: missing; a sampling decision without a trace
        b3s.d: missing; a sampling decision without a trace
        b3s.64: 0000..4736 true b3
        b3s.true: malformed b3 flags
        b3s.upper: malformed b3 trace_id
        b3s.D: malformed b3 flags
        b3s.bad.sampled: malformed b3 flags
        b3s.zero.trace: malformed b3 trace_id
        b3s.zero.span: malformed b3 parent_id
        b3s.short: malformed b3 trace_id
        b3s.empty: malformed b3 length
        b3s.trail: 4bf9..4736 true b3
        b3s.long: malformed b3 length
        b3m.1: 4bf9..4736 true x-b3-traceid
        b3m.0: 4bf9..4736 false x-b3-traceid
        b3m.true: 4bf9..4736 true x-b3-traceid
        b3m.false: 4bf9..4736 false x-b3-traceid
        b3m.True: 4bf9..4736 true x-b3-traceid
        b3m.d: malformed x-b3-traceid flags
        b3m.flags1: 4bf9..4736 true x-b3-traceid
        b3m.flags1.sampled0: 4bf9..4736 true x-b3-traceid
        b3m.flags0: 4bf9..4736 deferred x-b3-traceid
        b3m.absent: 4bf9..4736 deferred x-b3-traceid
        b3m.bad: malformed x-b3-traceid flags
        b3m.64: 0000..4736 true x-b3-traceid
        b3m.notrace: malformed x-b3-traceid trace_id
        b3m.only.sampled0: missing; a sampling decision without a trace
        b3m.only.sampled1: missing; a sampling decision without a trace
        b3m.upper: 4bf9..4736 true x-b3-traceid
        b3m.parent: 4bf9..4736 true x-b3-traceid
        b3.both.conflict: 4bf9..4736 true b3; but 4bf9..4736 false x-b3-traceid
        b3.badsingle.goodmulti: 4bf9..4736 true x-b3-traceid; malformed b3 length
        jaeger.1: 4bf9..4736 true uber-trace-id
        jaeger.0: 4bf9..4736 false uber-trace-id
        jaeger.2: 4bf9..4736 false uber-trace-id
        jaeger.3: 4bf9..4736 true uber-trace-id
        jaeger.8: 4bf9..4736 false uber-trace-id
        jaeger.9: 4bf9..4736 true uber-trace-id
        jaeger.f: 4bf9..4736 true uber-trace-id
        jaeger.ff: 4bf9..4736 true uber-trace-id
        jaeger.10: 4bf9..4736 false uber-trace-id
        jaeger.11: 4bf9..4736 true uber-trace-id
        jaeger.0x1: 4bf9..4736 true uber-trace-id
        jaeger.01: 4bf9..4736 true uber-trace-id
        jaeger.64: 0000..4736 true uber-trace-id
        jaeger.stripped: 0000..4736 true uber-trace-id
        jaeger.pct: 4bf9..4736 true uber-trace-id
        jaeger.parent: 4bf9..4736 true uber-trace-id
        jaeger.zero: malformed uber-trace-id trace_id
        jaeger.upper: 4bf9..4736 true uber-trace-id
        jaeger.3parts: malformed uber-trace-id length
        jaeger.5parts: malformed uber-trace-id length
        jaeger.long: malformed uber-trace-id trace_id
        jaeger.empty: malformed uber-trace-id length
        jaeger.noflags: malformed uber-trace-id flags
        jaeger.baggage: 4bf9..4736 true uber-trace-id
        xray.1: 5759..2793 true x-amzn-trace-id
        xray.0: 5759..2793 false x-amzn-trace-id
        xray.?: 5759..2793 deferred x-amzn-trace-id
        xray.nosampled: 5759..2793 deferred x-amzn-trace-id
        xray.noparent: missing; a trace id without a parent id
        xray.rootonly: missing; a trace id without a parent id
        xray.order: 5759..2793 true x-amzn-trace-id
        xray.spaces: 5759..2793 true x-amzn-trace-id
        xray.self: 5759..2793 true x-amzn-trace-id
        xray.lineage: 5759..2793 true x-amzn-trace-id
        xray.bad: malformed x-amzn-trace-id version
        xray.upper: 5759..2793 true x-amzn-trace-id
        xray.Sampled2: malformed x-amzn-trace-id flags
        gcp.1: 4bf9..4736 true x-cloud-trace-context
        gcp.0: 4bf9..4736 false x-cloud-trace-context
        gcp.2: 4bf9..4736 false x-cloud-trace-context
        gcp.3: 4bf9..4736 true x-cloud-trace-context
        gcp.noo: 4bf9..4736 deferred x-cloud-trace-context
        gcp.traceonly: missing; a trace id without a parent id
        gcp.upper: malformed x-cloud-trace-context trace_id
        gcp.zero: missing; a trace id without a parent id
        gcp.hexspan: malformed x-cloud-trace-context parent_id
        gcp.big: 4bf9..4736 true x-cloud-trace-context
        gcp.overflow: malformed x-cloud-trace-context parent_id
        gcp.o1trail: malformed x-cloud-trace-context flags
        dd.prio-1: 0000..4736 false x-datadog-trace-id
        dd.prio0: 0000..4736 false x-datadog-trace-id
        dd.prio1: 0000..4736 true x-datadog-trace-id
        dd.prio2: 0000..4736 true x-datadog-trace-id
        dd.prio3: 0000..4736 true x-datadog-trace-id
        dd.prio-2: 0000..4736 false x-datadog-trace-id
        dd.priox: malformed x-datadog-trace-id flags
        dd.prio1.0: malformed x-datadog-trace-id flags
        dd.prio: malformed x-datadog-trace-id flags
        dd.noprio: 0000..4736 deferred x-datadog-trace-id
        dd.128: 4bf9..4736 true x-datadog-trace-id
        dd.bad128: 0000..4736 true x-datadog-trace-id
        dd.hex: malformed x-datadog-trace-id trace_id
        dd.128dec: malformed x-datadog-trace-id trace_id
        dd.zero: malformed x-datadog-trace-id trace_id
        dd.origin: 0000..4736 true x-datadog-trace-id
        dd.overflow: malformed x-datadog-trace-id trace_id
    "]]
    .assert_eq(&formats(&cases));
}

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Headers, one a line; `ID` and `LOW` stand for a trace id and for its low half in decimal digits.
fn lines(text: &str) -> Vec<(String, Vec<u8>)> {
    let text = text.replace("ID", ID).replace("LOW", "11803532876627986230");
    let header = |line: &str| line.trim().split_once(':').map(|(name, value)| (name.into(), value.trim().into()));
    text.lines().filter_map(header).collect()
}

#[test]
fn of_several_formats_the_first_valid_one_counts_and_those_that_agree_with_it() {
    let w3c = "traceparent: 00-ID-00f067aa0ba902b7-01\n";
    let other = "0123456789abcdef0123456789abcdef-00f067aa0ba902b7";
    for (headers, expected) in [
        ("b3: ID-00f067aa0ba902b7-1", "4bf9..4736 true traceparent and b3"),
        // Another parent id is another span of the same trace.
        ("b3: ID-00f067aa0ba902b8-1", "4bf9..4736 true traceparent and b3"),
        ("b3: ID-00f067aa0ba902b7", "4bf9..4736 true traceparent and b3"),
        ("b3: a3ce929d0e0e4736-00f067aa0ba902b7-1", "4bf9..4736 true traceparent and b3"),
        ("b3: ID-00f067aa0ba902b7-0", "4bf9..4736 true traceparent; but 4bf9..4736 false b3"),
        (&format!("b3: {other}-0"), "4bf9..4736 true traceparent; but 0123..cdef false b3"),
        (
            &format!("b3: {other}-0\nuber-trace-id: {}:0:0", other.replace('-', ":")),
            "4bf9..4736 true traceparent; but 0123..cdef false b3 and uber-trace-id",
        ),
        (
            "x-datadog-trace-id: LOW\nx-datadog-parent-id: 1\nx-datadog-sampling-priority: 2",
            "4bf9..4736 true traceparent and x-datadog-trace-id",
        ),
        (
            "x-datadog-trace-id: LOW\nx-datadog-parent-id: 1\nx-datadog-tags: _dd.p.dm=-4, _dd.p.tid=0123456789abcdef",
            "4bf9..4736 true traceparent; but 0123..4736 deferred x-datadog-trace-id",
        ),
        ("b3: bad", "4bf9..4736 true traceparent; malformed b3 length"),
        ("b3: 0", "4bf9..4736 true traceparent; a sampling decision without a trace"),
        (
            "x-amzn-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793",
            "4bf9..4736 true traceparent; a trace id without a parent id",
        ),
        (
            "newrelic: e30\nX-Dynatrace: FW4;1\nsw8: 1-a\nRequest-Id: |a.b\nelastic-apm-traceparent: 00\not-tracer-traceid: 1",
            "4bf9..4736 true traceparent; request-id, newrelic, elastic-apm-traceparent, sw8, ottrace and x-dynatrace, which are not decoded",
        ),
    ] {
        assert_eq!(told(&lines(&format!("{w3c}{headers}")), true), expected, "{headers}");
    }
    for (headers, complete, expected) in [
        // The whole id, and a decision, may stand in a later format.
        (
            "b3: a3ce929d0e0e4736-00f067aa0ba902b7\ngrpc-trace-bin: AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE",
            true,
            "4bf9..4736 true b3 and grpc-trace-bin",
        ),
        ("traceparent: 00\nb3: ID-00f067aa0ba902b7-1", true, "4bf9..4736 true b3; malformed traceparent length"),
        ("traceparent: 00\nb3: bad", true, "malformed traceparent length"),
        ("traceparent: 00\nb3: bad", false, "malformed traceparent length"),
        ("b3: bad", false, "not observed"),
        ("b3: ID-00f067aa0ba902b7-1", false, "not observed"),
        ("newrelic: e30", true, "missing; newrelic, which is not decoded"),
        ("b3: ID-00f067aa0ba902b7-1\nb3: ID-00f067aa0ba902b7-1", true, "malformed b3 duplicated"),
        (
            "x-b3-traceid: ID\nx-b3-spanid: 00f067aa0ba902b7\nx-b3-traceid: ID",
            true,
            "malformed x-b3-traceid duplicated",
        ),
        ("b3: ID-00f067aa0ba902b7-1,ID-00f067aa0ba902b7-1", true, "malformed b3 duplicated"),
        ("x-datadog-trace-id: LOW", true, "missing; a trace id without a parent id"),
        ("x-datadog-sampling-priority: 1", true, "missing; a sampling decision without a trace"),
        ("x-datadog-parent-id: 1\nx-datadog-origin: rum", true, "missing"),
    ] {
        assert_eq!(told(&lines(headers), complete), expected, "{headers}");
    }
}

#[test]
fn some_sdk_agrees_with_each_reading() {
    let cases: Value = serde_json::from_str(include_str!("../vectors/propagator_formats.json")).unwrap();
    let mut alone = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let trace = read("/", &headers_of(case), true).trace;
        let agrees = |theirs: &Value| match trace.valid() {
            // A deferred decision is the receiver's.
            Some(ours) => {
                theirs["trace_id"] == ours.trace_id.to_string()
                    && theirs["span_id"] == ours.parent_id.to_string()
                    && (ours.sampled == Sampled::Deferred || theirs["sampled"] == (ours.sampled == Sampled::Sampled))
            }
            None => theirs.is_null(),
        };
        if !case["sdks"].as_object().unwrap().values().any(agrees) {
            alone.push(case["id"].as_str().unwrap());
        }
    }
    assert_eq!(alone, ["xray.?"], "AWS asks the receiver to decide; the SDKs of OpenTelemetry ignore the header");
}

/// The headers in which a format carries a context, as SDKs write them.
fn written(format: Format, id: u128, parent: u64, sampled: Sampled) -> Vec<(&'static str, String)> {
    let is_kept = sampled == Sampled::Sampled;
    let decision = match sampled {
        Sampled::Sampled => Some("1"),
        Sampled::NotSampled => Some("0"),
        Sampled::Deferred => None,
    };
    let with = |before: &str| decision.map_or_else(String::new, |decision| format!("{before}{decision}"));
    let (high, low) = (id >> 64, id & u128::from(u64::MAX));
    match format {
        Format::W3c => vec![("traceparent", format!("00-{id:032x}-{parent:016x}-{:02x}", u8::from(is_kept)))],
        Format::B3 => vec![("b3", format!("{id:032x}-{parent:016x}{}", with("-")))],
        Format::B3Multi => {
            let ids = [("X-B3-TraceId", format!("{id:032x}")), ("X-B3-SpanId", format!("{parent:016x}"))];
            let decision = decision.map(|decision| ("X-B3-Sampled", decision.to_owned()));
            ids.into_iter().chain(decision).collect()
        }
        Format::Jaeger => vec![("uber-trace-id", format!("{id:x}:{parent:x}:0:{}", u8::from(is_kept)))],
        Format::Datadog => {
            let ids = [
                ("x-datadog-trace-id", low.to_string()),
                ("x-datadog-parent-id", parent.to_string()),
                ("x-datadog-tags", format!("_dd.p.dm=-1,_dd.p.tid={high:016x}")),
            ];
            let priority = decision.map(|decision| ("x-datadog-sampling-priority", decision.to_owned()));
            ids.into_iter().chain(priority).collect()
        }
        Format::OpenCensus => {
            let fields = [&[0, 0][..], &id.to_be_bytes(), &[1], &parent.to_be_bytes(), &[2, u8::from(is_kept)]];
            vec![("grpc-trace-bin", base64(&fields.concat()))]
        }
        Format::XRay => {
            let (time, random) = (id >> 96, id & (u128::MAX >> 32));
            let sampled = decision.unwrap_or("?");
            vec![("X-Amzn-Trace-Id", format!("Root=1-{time:08x}-{random:024x};Parent={parent:016x};Sampled={sampled}"))]
        }
        Format::CloudTrace => vec![("X-Cloud-Trace-Context", format!("{id:032x}/{parent}{}", with(";o=")))],
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let word = [0, 1, 2].iter().fold(0_u32, |word, &at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        (0..=chunk.len()).map(|at| char::from(DIGITS[(word >> (18 - 6 * at) & 63) as usize])).collect::<String>()
    };
    bytes.chunks(3).map(digits).collect()
}

proptest! {
    #[test]
    fn what_a_format_writes_is_read_again(
        format in prop::sample::select(&Format::ALL[..]),
        id in (any::<u64>(), 1..=u64::MAX).prop_map(|(high, low)| u128::from(high) << 64 | u128::from(low)),
        parent in 1..=u64::MAX,
        sampled in prop::sample::select(&[Sampled::Sampled, Sampled::NotSampled, Sampled::Deferred][..]),
    ) {
        let headers: Vec<_> = (written(format, id, parent, sampled).into_iter())
            .map(|(name, value)| (name.to_owned(), value.into_bytes()))
            .collect();
        let context = read("/", &headers, true);
        let Some(trace) = context.trace.valid() else { return Err(TestCaseError::fail(format!("{headers:?}"))) };
        prop_assert_eq!((trace.trace_id.0, trace.parent_id.0, trace.formats), (id, parent, Formats::of(format)));
        // These three cannot leave a decision open.
        let decides = matches!(format, Format::W3c | Format::Jaeger | Format::OpenCensus);
        let expected = if decides && sampled == Sampled::Deferred { Sampled::NotSampled } else { sampled };
        prop_assert_eq!(trace.sampled, expected);
        prop_assert_eq!(&context.beside, &Beside { spellings: context.beside.spellings, ..Beside::default() });
        // Jaeger's clients leave leading zeros out; what has 64 bits has them in every format.
        let shortened = format == Format::Jaeger && (parent >> 60 == 0 || ![0, 16].contains(&(id.leading_zeros() / 4)));
        let expected = [(Spelling::Shortened, shortened), (Spelling::Half, id >> 64 == 0)];
        let spellings = expected.iter().filter(|(_, is)| *is);
        let spellings = spellings.fold(Spellings::NONE, |set, (one, _)| set.and(Spellings::of(*one)));
        prop_assert_eq!(context.spellings(), spellings);
    }
}
