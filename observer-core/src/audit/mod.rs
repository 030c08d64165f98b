//! Audit: ratios, hops and rules come in; findings and the report go out. The report is a plain value, every output a
//! rendering of it.
//!
//! The pipeline feeds a [`ledger::Ledger`] as it goes and asks an [`Auditor`] for a [`report::Report`] whenever one is due.
//! Each family of findings is one file; how bad each is stands in one table, `severity`.

mod breaks;
pub mod causes;
mod denied;
mod desk;
mod dropped;
mod formats;
mod gaps;
pub mod ledger;
mod losses;
pub mod path;
mod ratios;
pub mod report;
mod rules;
pub mod runs;
mod samplers;
mod schema;
mod severity;
mod tally;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use schema::schema;
pub use tally::Examples;

use crate::declared::Rules;
use crate::names::{Names, OVERFLOW, UNKNOWN};
use crate::propagation::Routes;
use crate::sampling::traces::Traces;
use crate::time::Timestamp;
use ledger::{Arrivals, Ledger};
use report::{Capture, Finding, ObserverInfo, Report, Requests, SCHEMA, Severity, Summary, Window};

/// What the configuration says of judging.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Relative: how far a ratio may lie from its rule.
    pub tolerance: f64,
    /// The chance of a false alarm per series, run and version of the rule.
    pub false_alarm_rate: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { tolerance: 0.1, false_alarm_rate: 0.001 }
    }
}

/// Events that a source lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The source, for example `cgroup`.
    pub source: String,
    /// The reason, for example `ring_full`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Everything that a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Who observes.
    pub observer: &'a ObserverInfo,
    /// The environment that the configuration names.
    pub environment: Option<&'a str>,
    /// From when to when was observed, by the times of the wire.
    pub window: (Timestamp, Timestamp),
    /// How much was seen.
    pub capture: &'a Capture,
    /// What was lost, by reason; their sum is `capture.lost`.
    pub losses: &'a [Loss],
    /// The names of services and tenants.
    pub names: &'a Names,
    /// What was counted of messages.
    pub ledger: &'a Ledger,
    /// What was counted of traces.
    pub traces: &'a Traces,
    /// The ways that traces took.
    pub routes: &'a Routes,
    /// What is declared.
    pub rules: &'a Rules,
    /// How to judge.
    pub settings: Settings,
}

/// Makes the reports of one run, and remembers from one to the next which alarms were raised.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    memory: ratios::Memory,
}

impl Auditor {
    /// The report as of now. The same inputs, asked for at the same moments, give the same reports.
    pub fn report(&mut self, inputs: &Inputs<'_>) -> Report {
        let mut desk = desk::Desk::new(inputs);
        let ratios = ratios::ratios(&mut desk, &mut self.memory);
        rules::findings(&mut desk);
        let unknown = formats::Unknown::of(desk.inputs.ledger);
        breaks::findings(&mut desk, &unknown);
        formats::findings(&mut desk, &unknown);
        dropped::findings(&mut desk);
        denied::findings(&mut desk);
        losses::findings(&mut desk);
        samplers::findings(&mut desk);
        gaps::findings(&mut desk);

        let (start, end) = inputs.window;
        let mut report = Report {
            schema: SCHEMA.to_owned(),
            observer: inputs.observer.clone(),
            environment: inputs.environment.map(str::to_owned),
            window: Window {
                start: start.to_rfc3339(),
                end: end.to_rfc3339(),
                seconds: end.since(start).as_secs_f64(),
            },
            capture: inputs.capture.clone(),
            requests: requests(&desk),
            samplers: samplers::rows(&desk),
            hops: breaks::rows(&desk),
            weights: losses::weight_rows(&desk),
            errors: losses::error_rows(&desk),
            slow: losses::slow_rows(&desk),
            rules: rules::rows(&desk, &ratios.matched),
            ratios: ratios.rows,
            parity: Vec::new(),
            propagators: formats::propagators(&desk),
            findings: desk.finish(),
            summary: Summary::default(),
        };
        report.summary = summary(&report);
        report
    }
}

/// Requests by service, tenant and protocol, sorted by name.
fn requests(desk: &desk::Desk<'_>) -> Vec<Requests> {
    let mut rows: BTreeMap<(String, String, &'static str), Arrivals> = BTreeMap::new();
    for ((service, tenant, protocol), arrivals) in desk.inputs.ledger.requests() {
        let row = rows.entry((desk.service(service), desk.tenant(tenant), protocol.as_str())).or_default();
        *row = row.and(arrivals);
    }
    rows.into_iter()
        .map(|((service, tenant, protocol), Arrivals { valid, missing, malformed, unobserved })| Requests {
            service,
            tenant,
            protocol: protocol.to_owned(),
            valid,
            missing,
            malformed,
            unobserved,
        })
        .collect()
}

fn summary(report: &Report) -> Summary {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let services: BTreeSet<&str> = (report.requests.iter().map(|row| row.service.as_str()))
        .chain(report.ratios.iter().map(|row| row.service.as_str()))
        .chain(report.hops.iter().map(|row| row.service.as_str()))
        .filter(|name| *name != OVERFLOW)
        .collect();
    let tenants: BTreeSet<&str> = (report.requests.iter().map(|row| row.tenant.as_str()))
        .chain(report.ratios.iter().map(|row| row.tenant.as_str()))
        .filter(|name| ![OVERFLOW, UNKNOWN].contains(name))
        .collect();
    let of = |severity: Severity| {
        count(report.findings.iter().filter(|finding: &&Finding| finding.severity == severity).count())
    };
    Summary {
        services: count(services.len()),
        tenants: count(tenants.len()),
        rules: count(report.rules.len()),
        tenant_overrides: count(report.rules.iter().filter(|rule| rule.tenant.is_some()).count()),
        parity_violations: count(report.parity.len()),
        critical: of(Severity::Critical),
        warning: of(Severity::Warning),
        info: of(Severity::Info),
    }
}
