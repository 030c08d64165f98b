//! The truth: the services' own logs come in, what a report must say about them goes out.
//!
//! Written from what the outcomes mean, without a line of the observer's analysis, so that the two can disagree. It knows what
//! no observer knows: which request really caused each one that a service sent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use observer_core::audit::report::Report;
use serde::Deserialize;

/// Requests with a valid context, without one, with a malformed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Valid.
    pub valid: u64,
    /// Missing.
    pub missing: u64,
    /// Malformed.
    pub malformed: u64,
}

impl Requests {
    /// All of them.
    pub fn all(self) -> u64 {
        self.valid + self.missing + self.malformed
    }
}

/// Distinct traces, and those of them that are sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// All with a decision.
    pub traces: u64,
    /// Sampled.
    pub sampled: u64,
}

/// Everything that the logs tell and a report must match. Keys are service and tenant, or service and peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Requests that arrived.
    pub requests: BTreeMap<(String, String), Requests>,
    /// Point `received`.
    pub received: BTreeMap<(String, String), Traces>,
    /// Point `started`.
    pub started: BTreeMap<(String, String), Traces>,
    /// Hops by peer and outcome; outcomes that did not occur are left out.
    pub hops: BTreeMap<(String, String), BTreeMap<&'static str, u64>>,
    /// Weights kept and missing, on hops that carry an arrived trace.
    pub weights: BTreeMap<(String, String), (u64, u64)>,
    /// Error responses, and those whose trace was not sampled.
    pub errors: BTreeMap<(String, String), (u64, u64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    In,
    Out,
}

#[derive(Deserialize)]
struct Line {
    kind: Kind,
    at_ns: u64,
    path: String,
    #[serde(default)]
    peer: String,
    headers: Headers,
    #[serde(default)]
    cause: Option<Headers>,
    status: u16,
}

#[derive(Default, Deserialize)]
struct Headers {
    traceparent: Option<String>,
    baggage: Option<String>,
    b3: Option<String>,
    #[serde(rename = "x-tenant-id")]
    tenant: Option<String>,
    #[serde(rename = "x-trace-weight")]
    weight: Option<String>,
}

/// A valid traceparent.
#[derive(Clone, Copy)]
struct Parent<'a> {
    trace_id: &'a str,
    span_id: &'a str,
    sampled: bool,
}

impl Headers {
    fn tenant(&self) -> String {
        let named = self.tenant.clone().or_else(|| {
            let members = self.baggage.as_deref()?.split(',');
            members.filter_map(|member| member.trim().strip_prefix("tenant.id=")).map(str::to_owned).next()
        });
        named.unwrap_or_else(|| "unknown".to_owned())
    }

    fn has_context(&self) -> bool {
        self.traceparent.is_some() || self.b3.is_some()
    }

    fn parent(&self) -> Option<Parent<'_>> {
        self.w3c().or_else(|| self.single_b3())
    }

    /// openzipkin/b3-propagation, "Single Header", with ids of 128 bits and a decision.
    fn single_b3(&self) -> Option<Parent<'_>> {
        let fields: Vec<&str> = self.b3.as_deref()?.split('-').collect();
        let [trace_id, span_id, sampled] = fields.as_slice() else { return None };
        Some(Parent { trace_id, span_id, sampled: *sampled == "1" })
    }

    /// W3C Trace Context, section 3.2.2: version 00 has exactly four lower-case fields, none of the ids all zero.
    fn w3c(&self) -> Option<Parent<'_>> {
        let fields: Vec<&str> = self.traceparent.as_deref()?.split('-').collect();
        let [version, trace_id, span_id, flags] = fields.as_slice() else { return None };
        let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
        let nonzero = |text: &str| text.bytes().any(|b| b != b'0');
        let whole = *version == "00" && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
        let sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (whole && nonzero(trace_id) && nonzero(span_id)).then_some(Parent { trace_id, span_id, sampled })
    }
}

/// Reads the log of each service in `logs`, from `since_ns` (nanoseconds since 1970) on.
///
/// # Errors
/// A log is missing or has a line that is not as the services write it.
pub fn read(logs: &Path, services: impl Iterator<Item = &'static str>, since_ns: u64) -> Result<Facts> {
    let mut facts = Facts::default();
    for service in services {
        let path = logs.join(format!("{service}.jsonl"));
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let parsed = text.lines().map(serde_json::from_str).collect::<Result<Vec<Line>, _>>();
        let mut lines = parsed.with_context(|| format!("{} has a line that is no record", path.display()))?;
        lines.retain(|line| line.path != "/healthz" && line.at_ns >= since_ns);
        lines.sort_by_key(|line| line.at_ns);
        add(&mut facts, service, &lines);
    }
    Ok(facts)
}

fn add(facts: &mut Facts, service: &str, lines: &[Line]) {
    let mut received = BTreeSet::new();
    let mut started = BTreeSet::new();
    for line in lines {
        let key = (service.to_owned(), line.headers.tenant());
        match line.kind {
            Kind::In => add_inbound(facts, key, line, &mut received),
            Kind::Out => {
                if let Some(sent) = line.headers.parent()
                    && !received.contains(sent.trace_id)
                    && started.insert(sent.trace_id)
                {
                    count(facts.started.entry(key.clone()).or_default(), sent);
                }
                let outcome = outcome(line);
                let hops = facts.hops.entry((service.to_owned(), line.peer.clone())).or_default();
                *hops.entry(outcome).or_default() += 1;
                let arrived = line.cause.as_ref().and_then(|cause| cause.weight.as_ref());
                // A weight belongs to its trace: where the trace does not go on, that is the fault, and the only one.
                if arrived.is_some() && matches!(outcome, "continued" | "passed_through" | "flipped") {
                    let (kept, missing) = facts.weights.entry(key).or_default();
                    *(if line.headers.weight.is_some() { kept } else { missing }) += 1;
                }
            }
        }
    }
}

fn add_inbound<'a>(facts: &mut Facts, key: (String, String), line: &'a Line, received: &mut BTreeSet<&'a str>) {
    let requests = facts.requests.entry(key.clone()).or_default();
    let parent = line.headers.parent();
    match (line.headers.has_context(), parent) {
        (false, _) => requests.missing += 1,
        (true, None) => requests.malformed += 1,
        (true, Some(parent)) => {
            requests.valid += 1;
            if received.insert(parent.trace_id) {
                count(facts.received.entry(key.clone()).or_default(), parent);
            }
        }
    }
    if line.status >= 500 {
        let (responses, unsampled) = facts.errors.entry(key).or_default();
        *responses += 1;
        *unsampled += u64::from(parent.is_some_and(|parent| !parent.sampled));
    }
}

fn count(traces: &mut Traces, parent: Parent<'_>) {
    traces.traces += 1;
    traces.sampled += u64::from(parent.sampled);
}

/// What became of the context of the request that truly caused this one.
fn outcome(line: &Line) -> &'static str {
    let cause = line.cause.as_ref().and_then(Headers::parent);
    match (cause, line.headers.parent()) {
        (None, _) => "rooted",
        (Some(_), None) => "lost",
        (Some(cause), Some(sent)) if cause.trace_id != sent.trace_id => "restarted",
        (Some(cause), Some(sent)) if cause.sampled != sent.sampled => "flipped",
        (Some(cause), Some(sent)) if cause.span_id == sent.span_id => "passed_through",
        (Some(_), Some(_)) => "continued",
    }
}

/// The same facts as a report states them, for the named services alone.
pub fn reported(report: &Report, services: &[&str]) -> Facts {
    let ours = |service: &str| services.contains(&service);
    let mut facts = Facts::default();
    for row in report.requests.iter().filter(|row| ours(&row.service)) {
        let requests = facts.requests.entry((row.service.clone(), row.tenant.clone())).or_default();
        requests.valid += row.valid;
        requests.missing += row.missing;
        requests.malformed += row.malformed;
    }
    for row in report.ratios.iter().filter(|row| ours(&row.service) && row.traces > 0) {
        let point = match row.point {
            observer_core::sampling::Point::Received => &mut facts.received,
            observer_core::sampling::Point::Started => &mut facts.started,
            _ => continue,
        };
        let traces = Traces { traces: row.traces, sampled: row.sampled };
        point.insert((row.service.clone(), row.tenant.clone()), traces);
    }
    for row in report.hops.iter().filter(|row| ours(&row.service)) {
        let outcomes = [
            ("continued", row.continued),
            ("passed_through", row.passed_through),
            ("lost", row.lost),
            ("restarted", row.restarted),
            ("flipped", row.flipped),
            ("rooted", row.rooted),
            ("background", row.background),
            ("ambiguous", row.ambiguous),
            ("unattributed", row.unattributed),
        ];
        let seen = outcomes.into_iter().filter(|(_, count)| *count > 0).collect();
        facts.hops.insert((row.service.clone(), row.peer.clone()), seen);
    }
    for row in report.weights.iter().filter(|row| ours(&row.service) && row.kept + row.missing > 0) {
        facts.weights.insert((row.service.clone(), row.tenant.clone()), (row.kept, row.missing));
    }
    for row in report.errors.iter().filter(|row| ours(&row.service) && row.responses > 0) {
        facts.errors.insert((row.service.clone(), row.tenant.clone()), (row.responses, row.unsampled));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(traceparent: Option<String>) -> Headers {
        Headers { traceparent, ..Headers::default() }
    }

    #[test]
    fn a_traceparent_is_valid_by_the_letter_of_the_recommendation() {
        let valid = |text: String| headers(Some(text)).parent().is_some();
        assert!(valid(format!("00-{TRACE}-00f067aa0ba902b7-01")));
        assert!(valid(format!("00-{TRACE}-00f067aa0ba902b7-03")));
        assert!(!valid(format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase())));
        assert!(!valid(format!("00-{TRACE}-0000000000000000-01")));
        assert!(!valid(format!("00-{TRACE}-00f067aa0ba902b7")));
        assert!(!valid(format!("00-{TRACE}-00f067aa0ba902b7-")));
        assert!(!valid(format!("00-{TRACE}-00f067aa0ba902b7-01-more")));
    }

    #[test]
    fn an_outcome_follows_from_what_arrived_and_what_was_sent() {
        let at = |id: &str, span: u8, flags: &str| Some(format!("00-{id}-{span:016x}-{flags}"));
        let other = "0af7651916cd43dd8448eb211c80319c";
        let cases = [
            (at(TRACE, 1, "01"), at(TRACE, 2, "01"), "continued"),
            (at(TRACE, 1, "01"), at(TRACE, 1, "01"), "passed_through"),
            (at(TRACE, 1, "01"), at(TRACE, 2, "00"), "flipped"),
            (at(TRACE, 1, "00"), at(other, 2, "00"), "restarted"),
            (at(TRACE, 1, "00"), None, "lost"),
            (None, at(TRACE, 1, "02"), "rooted"),
            (None, None, "rooted"),
        ];
        for (arrived, sent, expected) in cases {
            let shown = format!("{arrived:?} {sent:?}");
            let line = Line {
                kind: Kind::Out,
                at_ns: 0,
                path: String::new(),
                peer: String::new(),
                headers: headers(sent),
                cause: Some(headers(arrived)),
                status: 200,
            };
            assert_eq!(outcome(&line), expected, "{shown}");
        }
    }
}
