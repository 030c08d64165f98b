//! The audit report, `sampling-audit/v1`: the public JSON, field by field.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::Path;
use super::runs::Runs;
pub use crate::propagation::Evidence;
use crate::sampling::{Point, Verdict};

/// The value of `schema`.
pub const SCHEMA: &str = "sampling-audit/v1";
/// The name of the newest audit in its directory.
pub const FILE_NAME: &str = "trace_sampling_audit_report.json";

/// What one run of the observer found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Who observed.
    pub observer: ObserverInfo,
    /// The environment that the configuration names; null where it names none.
    pub environment: Option<String>,
    /// When.
    pub window: Window,
    /// How much was seen, and how much was not.
    pub capture: Capture,
    /// Requests by service, tenant and protocol, as the service received them.
    pub requests: Vec<Requests>,
    /// Ratios by service, tenant and point.
    pub ratios: Vec<Ratio>,
    /// The sampler that each service really runs.
    pub samplers: Vec<SamplerSeen>,
    /// Hops by service and peer.
    pub hops: Vec<Hops>,
    /// Weights by service and tenant.
    pub weights: Vec<Weights>,
    /// Error responses by service and tenant.
    pub errors: Vec<Errors>,
    /// Slow responses by service and tenant, where a threshold is declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slow: Vec<Slow>,
    /// The declared rules.
    pub rules: Vec<RuleUse>,
    /// Differences between environments.
    pub parity: Vec<Parity>,
    /// Propagators declared and seen.
    pub propagators: Vec<Propagators>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Totals.
    pub summary: Summary,
}

/// Who observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObserverInfo {
    /// The observer's version.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
}

/// The time that a report covers, by the times of the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// RFC 3339, UTC.
    pub start: String,
    /// RFC 3339, UTC.
    pub end: String,
    /// Length in seconds.
    pub seconds: f64,
}

/// How much was seen, and how much was not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    /// The sources that were open: `cgroup`, `socket-filter`, `tls`, `file`.
    pub sources: Vec<String>,
    /// Messages decoded.
    pub messages: u64,
    /// Records that came from the sources.
    pub events: u64,
    /// Records known to be lost, over all reasons.
    pub lost: u64,
    /// Heads that could not be decoded.
    pub undecodable: u64,
}

/// Requests that a service received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// The service.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// For example `http/1.1`.
    pub protocol: String,
    /// With a valid context.
    pub valid: u64,
    /// Without one.
    pub missing: u64,
    /// With one that a receiver must ignore.
    pub malformed: u64,
    /// Of which the head was not fully seen.
    pub unobserved: u64,
}

/// The sampling ratio of a service and tenant at a point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// The service.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// Where it was measured.
    pub point: Point,
    /// Distinct traces with a decision.
    pub traces: u64,
    /// Those sampled.
    pub sampled: u64,
    /// Distinct traces that left the decision to the receiver; not among `traces`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deferred: u64,
    /// `sampled / traces`; null without traces.
    pub ratio: Option<f64>,
    /// Lower end of the interval, valid at any time.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
    /// The threshold on trace ids, where the decisions show one.
    pub threshold: Option<Threshold>,
    /// At `started`: traces started ÷ requests that came without context, at most 1; elsewhere the share of messages observed.
    pub coverage: Option<f64>,
    /// The declared ratio that it is compared with.
    pub declared: Option<f64>,
    /// Where that is declared.
    pub source: Option<String>,
    /// The conclusion.
    pub verdict: Verdict,
    /// The same traces by their weights, where some have one; the verdict is on those below 1, where there are any, else on those
    /// without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_weight: Option<ByWeight>,
}

/// Traces with a decision, by the weight that each has first at the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ByWeight {
    /// 1 or more: they must be kept.
    pub one_or_more: Portion,
    /// Below 1: the rule decides.
    pub below_one: Portion,
    /// None, or one that is no weight.
    pub none: Portion,
    /// Of which that was not observed.
    pub unobserved: Portion,
}

/// Some of the traces of a ratio.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Portion {
    /// Distinct traces with a decision.
    pub traces: u64,
    /// Those sampled.
    pub sampled: u64,
}

/// Whether a count is left out of the JSON.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A threshold on trace ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// Lower end of the ratio's interval.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// The family of sampler arithmetic, for example `LOW64`.
    pub family: String,
}

/// The sampler that a service really runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SamplerSeen {
    /// The service.
    pub service: String,
    /// Its sampler, for example `parentbased_traceidratio`.
    pub sampler: String,
    /// Its ratio, where it has one.
    pub ratio: Option<f64>,
    /// Decisions that agree with it.
    pub agree: u64,
    /// Decisions that do not.
    pub disagree: u64,
}

/// Hops from a service to a peer, by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hops {
    /// The service that sends.
    pub service: String,
    /// Whom it sends to.
    pub peer: String,
    /// See [`crate::propagation::Outcome`].
    pub continued: u64,
    /// Carries no context though its cause had one.
    pub lost: u64,
    /// Carries a new trace though its cause had a context.
    pub restarted: u64,
    /// Carries the right trace with the other flag.
    pub flipped: u64,
    /// Carries the trace with the parent id unchanged.
    pub passed_through: u64,
    /// New trace or none, and its cause had none.
    pub rooted: u64,
    /// No request was in flight.
    pub background: u64,
    /// More than one reading is left.
    pub ambiguous: u64,
    /// What reaches the process is not fully seen.
    pub unattributed: u64,
    /// How many hops at least lost their context, decided one by one or in sum.
    pub lost_at_least: u64,
    /// How many at most: the others may be due to requests that had no context.
    #[serde(default)]
    pub lost_at_most: u64,
}

/// What became of weights.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Weights {
    /// The service that sends (or, for a weight that arrives damaged, receives).
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// Forwarded unchanged.
    pub kept: u64,
    /// Not forwarded.
    pub missing: u64,
    /// Forwarded with another value.
    pub changed: u64,
    /// Not a number.
    pub malformed: u64,
    /// A number that is no weight.
    pub out_of_range: u64,
}

/// Error responses (HTTP 5xx).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Errors {
    /// The service that answers.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// Error responses.
    pub responses: u64,
    /// Those whose trace was not sampled.
    pub unsampled: u64,
    /// Those whose trace was sampled with a weight below 1 that was not raised.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub below_one: u64,
}

/// Responses that took longer than `requirements` of the configuration declare.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slow {
    /// The service that answers.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// How long a response may take, in seconds.
    pub threshold_seconds: f64,
    /// Responses that took longer.
    pub responses: u64,
    /// Those whose trace was not sampled.
    pub unsampled: u64,
    /// Those whose trace was sampled with a weight below 1 that was not raised.
    pub below_one: u64,
}

/// A declared rule and how many traces it was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RuleUse {
    /// The environment it holds in; null: every one.
    pub environment: Option<String>,
    /// The service; null: every one.
    pub service: Option<String>,
    /// The tenant; null: every one without a rule of its own.
    pub tenant: Option<String>,
    /// The sampler that it sets, for example `traceidratio`.
    pub sampler: String,
    /// The ratio it declares.
    pub ratio: Option<f64>,
    /// File and line, process or row.
    pub source: String,
    /// Distinct traces that it applied to.
    pub matched: u64,
}

/// A difference between environments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parity {
    /// The service.
    pub service: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The field that differs.
    pub field: String,
    /// Its value in each environment.
    pub values: BTreeMap<String, serde_json::Value>,
    /// How bad that is.
    pub risk: Severity,
    /// Where each value is declared.
    pub sources: BTreeMap<String, String>,
}

/// Propagators declared and seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Propagators {
    /// The service.
    pub service: String,
    /// As declared.
    pub declared: Vec<String>,
    /// As seen in what it sends.
    pub seen: Vec<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Wrong, and it costs something.
    Warning,
    /// Wrong, and traces are lost or misleading by it.
    Critical,
}

impl Severity {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One thing that is wrong, with its evidence and its remedy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// The service that is to blame, where there is one.
    pub service: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The other service of the hop.
    pub peer: Option<String>,
    /// One line for a person.
    pub message: String,
    /// One line: what to change, where.
    pub remedy: String,
    /// How often.
    pub count: u64,
    /// Of how many that could be decided.
    pub of: u64,
    /// How a break was decided, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// A few examples.
    pub examples: Vec<Example>,
    /// The way of the traces that are broken, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// What the service that breaks propagation runs, by program; empty where that is not known or the finding is of another kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Runs>,
}

/// One example of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Example {
    /// The trace, where there is one.
    pub trace_id: Option<String>,
    /// The parent id of the message.
    pub parent_id: Option<String>,
    /// RFC 3339, UTC.
    pub at: String,
    /// The other service of the hop.
    pub peer: Option<String>,
}

/// Totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Services seen.
    pub services: u64,
    /// Tenants seen.
    pub tenants: u64,
    /// Rules declared.
    pub rules: u64,
    /// Rules that name a tenant.
    pub tenant_overrides: u64,
    /// Differences between environments.
    pub parity_violations: u64,
    /// Findings by severity.
    pub critical: u64,
    /// Findings by severity.
    pub warning: u64,
    /// Findings by severity.
    pub info: u64,
}

/// The code of a finding: public interface, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Code {
    RatioUnder,
    RatioOver,
    RatioChanged,
    SamplerMismatch,
    DecisionInconsistent,
    IdsNotRandom,
    ExportShortfall,
    RequirementUnmet,
    RulesConflict,
    RuleInvalid,
    RuleUnreachable,
    RuleStale,
    SchemaMismatch,
    TenantOverrideMissing,
    TenantUndeclared,
    EnvironmentParity,
    PropagatorsMismatch,
    BufferTooSmall,
    MetricsAfterSampling,
    ContextMissing,
    ContextLost,
    TraceRestarted,
    DecisionFlipped,
    ContextMalformed,
    ContextDuplicated,
    TracestateDropped,
    BaggageDropped,
    FormatMismatch,
    WeightMissing,
    WeightChanged,
    WeightInvalid,
    WeightUnsampled,
    WeightNotExposed,
    ErrorUnsampled,
    SlowUnsampled,
    NothingObserved,
    NotObserved,
    Cardinality,
    CaptureLoss,
    ClockUnsynchronised,
}
