//! Headers of a request: whether a trace goes on with them, and what its flags are.

use anyhow::{Context, Result};
use observer_core::context::{Extractors, Sampled, TraceFact, tracestate};
use observer_core::message::{Header, RequestHead};
use serde_json::Value;

use super::Tally;

type Headers = Vec<(String, Vec<u8>)>;

/// The names and values of a case.
fn headers_of(case: &Value) -> Result<Headers> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a header is no pair of texts");
    let headers = case["headers"].as_array().context("no headers")?;
    headers.iter().map(|header| Ok((text(&header[0])?.to_lowercase(), text(&header[1])?.into_bytes()))).collect()
}

/// What the stage of the observer that reads contexts is given of them.
fn read<R>(headers: &Headers, use_them: impl FnOnce(TraceFact, &[Header<'_>]) -> R) -> R {
    let extractors = Extractors::new(Vec::new(), Vec::new());
    let wanted: Vec<Header<'_>> = headers
        .iter()
        .filter_map(|(name, value)| {
            Some(Header { name: extractors.interest().find(name.as_bytes())?, value: value.trim_ascii() })
        })
        .collect();
    let context = extractors.extract(&RequestHead { method: "GET", path: "/", headers: &wanted, complete: true });
    use_them(context.trace, &wanted)
}

/// The cases of the W3C conformance tests with their verdicts.
pub(super) fn w3c(content: &Value, tally: &mut Tally) -> Result<()> {
    for case in content["cases"].as_array().context("no cases")? {
        let verdict = &case["verdict"];
        if verdict.as_object().is_none_or(serde_json::Map::is_empty) {
            continue;
        }
        let passes = read(&headers_of(case)?, |trace, headers| {
            let goes_on = match verdict["trace_id"].as_str() {
                Some("continue") => matches!(trace, TraceFact::Valid(_)),
                Some(_) => !matches!(trace, TraceFact::Valid(_)),
                None => true,
            };
            let flags = verdict["flag_bit_set"].is_null() || matches!(trace, TraceFact::Valid(trace) if trace.random);
            let members: Result<Vec<_>, _> = tracestate::members(headers).collect();
            let members = members.unwrap_or_default();
            let keeps = verdict["tracestate_keep"].as_object().into_iter().flatten().all(|(key, value)| {
                members.iter().any(|member| member.key == key && Some(member.value) == value.as_str())
            });
            let leaves_out = (verdict["tracestate_absent"].as_array().into_iter().flatten())
                .all(|key| members.iter().all(|member| Some(member.key) != key.as_str()));
            goes_on && flags && keeps && leaves_out
        });
        tally.case(passes, || case["test"].to_string());
    }
    Ok(())
}

/// Which propagators of the results a case is of: by the first word of its id.
fn propagators_of(id: &str) -> &'static [&'static str] {
    match id.split('.').next().unwrap_or_default() {
        "b3" | "b3s" | "b3m" => &["b3single", "b3multi"],
        "jaeger" => &["jaeger"],
        "xray" => &["xray"],
        "gcp" => &["gcp"],
        "dd" => &["datadog"],
        _ => &["tracecontext"],
    }
}

/// Cases in which a format's own rules leave the decision to the receiver, and the SDKs ignore the header: AWS X-Ray, `Sampled=?`.
const BY_THEIR_RULES: [&str; 1] = ["xray.?"];

/// What the propagators of SDKs make of the headers of all formats. They disagree on some; the observer is to agree with one of
/// them, and so with all where they agree. A decision that is deferred agrees with any.
pub(super) fn propagators(content: &Value, tally: &mut Tally) -> Result<()> {
    let results = content["results"].as_object().context("no results")?;
    for case in content["cases"].as_array().context("no cases")? {
        let id = case["id"].as_str().context("a case has no id")?;
        let headers = headers_of(case)?;
        if headers.iter().filter(|(name, _)| name == "traceparent").count() > 1 {
            // What a propagator is given of them is up to its web framework; the W3C cases say what is right.
            continue;
        }
        let theirs: Vec<&Value> = results
            .values()
            .flat_map(|result| propagators_of(id).iter().filter_map(|propagator| result[*propagator].get(id)))
            .filter(|result| result.is_object())
            .collect();
        if theirs.is_empty() {
            continue;
        }
        let trace = read(&headers, |trace, _| trace);
        let passes = match trace {
            TraceFact::Valid(trace) if BY_THEIR_RULES.contains(&id) => trace.sampled == Sampled::Deferred,
            _ => theirs.iter().any(|theirs| agrees(&trace, theirs)),
        };
        tally.case(passes, || format!("{id}: {trace:?}"));
    }
    Ok(())
}

fn agrees(trace: &TraceFact, theirs: &Value) -> bool {
    // ddtrace tells a priority instead of a flag, and ids that are null where it finds none.
    let valid = theirs["valid"].as_bool().unwrap_or(!theirs["trace_id"].is_null());
    let sampled = theirs["sampled"].as_bool().unwrap_or(theirs["sampling_priority"].as_i64() > Some(0));
    let is = |key: &str, id: String| theirs[key].as_str().is_some_and(|theirs| theirs.eq_ignore_ascii_case(&id));
    match trace {
        TraceFact::Valid(trace) => {
            valid
                && is("trace_id", trace.trace_id.to_string())
                && is("span_id", trace.parent_id.to_string())
                && (trace.sampled == Sampled::Deferred || sampled == (trace.sampled == Sampled::Sampled))
        }
        _ => !valid,
    }
}
