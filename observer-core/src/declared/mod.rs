//! Declared: bytes and where they came from go in, sampling rules come out.
//!
//! Each source is one file that yields [`Declarations`]; [`Rules`] puts them together and tells which rule holds for whom.

mod environment;
mod resolve;
mod tenant_rules;

use std::fmt;

pub use environment::{Language, ProcessEnvironment, process_environment};
pub use resolve::{Conflict, Resolution, Rules};
pub use tenant_rules::tenant_rules;

/// What one source declares: whatever of it is right, and what is wrong with the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declarations {
    /// The rules, in the order of the source.
    pub rules: Vec<Rule>,
    /// The tenants that the source names, with a ratio of their own or without.
    pub overrides: Vec<Override>,
    /// What cannot work.
    pub problems: Vec<Problem>,
}

/// A tenant that a source names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The tenant.
    pub tenant: String,
    /// What the source says of it.
    pub state: OverrideState,
    /// Where.
    pub source: String,
}

/// What a source says of a tenant's own ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OverrideState {
    /// It has one: there is a rule.
    Set,
    /// It has none on purpose (`null`).
    Inherits,
    /// It should have one and has not (`{}`).
    Missing,
    /// What stands there is none: there is a problem.
    Invalid,
}

/// A declaration that cannot work, or does not do what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where: `tenant-rules.yaml:2`, `process 4711 (checkout): OTEL_TRACES_SAMPLER_ARG`.
    pub source: String,
    /// The service that it concerns, where it is one.
    pub service: Option<String>,
    /// The key with its path; empty where it is the whole source.
    pub key: String,
    /// What is wrong, as the rest of a sentence that begins with the key.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, key, what, .. } = self;
        if key.is_empty() { write!(formatter, "{source} {what}") } else { write!(formatter, "{source}: {key} {what}") }
    }
}

/// One declared sampling rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The environment it holds in; `None`: every one.
    pub environment: Option<String>,
    /// The service; `None`: every one.
    pub service: Option<String>,
    /// The tenant; `None`: every one without a rule of its own.
    pub tenant: Option<String>,
    /// What it sets.
    pub sampler: Sampler,
    /// The ratio it declares, 0 to 1; `None` where the sampler has none that is known (remote-controlled).
    pub ratio: Option<f64>,
    /// Which kind of source declares it.
    pub kind: SourceKind,
    /// Where exactly: `tenant-rules.yaml:2`, `process 4711 (checkout): OTEL_TRACES_SAMPLER`.
    pub source: String,
}

/// The sampler that a rule sets, by the names of OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sampler {
    /// Everything.
    AlwaysOn,
    /// Nothing.
    AlwaysOff,
    /// By trace id, whatever the parent decided.
    TraceIdRatio,
    /// The parent's decision; everything at the root.
    ParentBasedAlwaysOn,
    /// The parent's decision; nothing at the root.
    ParentBasedAlwaysOff,
    /// The parent's decision; by trace id at the root.
    ParentBasedTraceIdRatio,
    /// Not known.
    Unknown,
}

impl Sampler {
    /// The name in reports, for example `parentbased_traceidratio`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlwaysOn => "always_on",
            Self::AlwaysOff => "always_off",
            Self::TraceIdRatio => "traceidratio",
            Self::ParentBasedAlwaysOn => "parentbased_always_on",
            Self::ParentBasedAlwaysOff => "parentbased_always_off",
            Self::ParentBasedTraceIdRatio => "parentbased_traceidratio",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it decides for traces that arrive with a decision, too.
    pub fn ignores_parent(self) -> bool {
        matches!(self, Self::AlwaysOn | Self::AlwaysOff | Self::TraceIdRatio)
    }
}

/// The kind of place where a rule is declared: the value of the `source` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// The tenant rules file.
    TenantRules,
    /// `OTEL_*` of an observed process.
    ProcessEnvironment,
}

impl SourceKind {
    /// The label value, for example `tenant_rules`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TenantRules => "tenant_rules",
            Self::ProcessEnvironment => "process_environment",
        }
    }
}
