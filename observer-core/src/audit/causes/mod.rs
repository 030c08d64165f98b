//! Causes: a report and what its services run come in; which service is to blame for a break, what that runs and what to change
//! in its language go into the report's findings.
//!
//! Nothing is read here, and nothing is said of a service of which nothing is known.

mod libraries;
mod remedies;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use libraries::is_tracing;
pub use libraries::{matters, names};

use super::report::{Code, Finding, Report};
use super::runs::{Runs, Runtime};
use libraries::Speaks;

/// What services run, by their names.
pub type ByService = BTreeMap<String, Vec<Runs>>;

/// Programs of one service that are named in a finding.
const SHOWN_MAX: usize = 4;

/// The service whose program breaks the propagation that a finding is about.
pub fn culprit(finding: &Finding) -> Option<&str> {
    match finding.code {
        Code::ContextLost
        | Code::TraceRestarted
        | Code::DecisionFlipped
        | Code::TracestateDropped
        | Code::BaggageDropped
        | Code::FormatMismatch
        | Code::WeightMissing
        | Code::WeightChanged => finding.service.as_deref(),
        // Who receives is named first; who sends has made it.
        Code::ContextMissing | Code::ContextMalformed | Code::ContextDuplicated => finding.peer.as_deref(),
        _ => None,
    }
}

/// The services that are to blame for breaks of propagation in a report.
pub fn culprits(report: &Report) -> BTreeSet<&str> {
    report.findings.iter().filter_map(culprit).collect()
}

/// Names in each finding of a break what the culprit runs, and the remedy in its language.
pub fn explain(report: &mut Report, known: &ByService) {
    let mut spoken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &report.requests {
        spoken.entry(row.service.clone()).or_default().insert(row.protocol.clone());
    }
    for finding in &mut report.findings {
        let Some(runs) = culprit(finding).and_then(|culprit| known.get(culprit)) else { continue };
        let runs = distinct(runs);
        // What belongs to several programs belongs to none of them for sure.
        let known: Vec<&Runs> = runs.iter().filter(|runs| runs.runtime != Runtime::Unknown).collect();
        if let [only] = known[..]
            && let Some(remedy) = remedies::remedy(finding, only, &speaks(finding, &spoken))
        {
            finding.remedy = remedy;
        }
        finding.runs = runs;
    }
}

/// Each program once, whatever processes run it; as many as are shown.
fn distinct(runs: &[Runs]) -> Vec<Runs> {
    let mut kept: Vec<Runs> = Vec::new();
    for one in runs {
        let is_same = |other: &Runs| {
            (other.runtime, &other.version, &other.libraries, &other.command, &other.unread)
                == (one.runtime, &one.version, &one.libraries, &one.command, &one.unread)
        };
        if kept.len() < SHOWN_MAX && !kept.iter().any(is_same) {
            kept.push(one.clone());
        }
    }
    kept
}

/// What the culprit may have spoken where the break was seen: as its peer's name or what reaches the peer tells.
fn speaks(finding: &Finding, spoken: &BTreeMap<String, BTreeSet<String>>) -> Vec<Speaks> {
    let receiver = match finding.code {
        Code::ContextMissing | Code::ContextMalformed | Code::ContextDuplicated => finding.service.as_deref(),
        _ => finding.peer.as_deref(),
    };
    let receiver = receiver.unwrap_or_default();
    if ["kafka:", "amqp:", "nats:", "redis:"].iter().any(|broker| receiver.starts_with(broker)) {
        return vec![Speaks::Records];
    }
    let Some(protocols) = spoken.get(receiver) else { return vec![Speaks::Http, Speaks::Grpc] };
    let mut speaks = Vec::new();
    if protocols.iter().any(|protocol| protocol.starts_with("http/")) {
        speaks.push(Speaks::Http);
    }
    if protocols.contains("grpc") {
        speaks.push(Speaks::Grpc);
    }
    speaks
}
