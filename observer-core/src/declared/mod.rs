//! Declared: bytes and where they came from go in, sampling rules come out.

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

/// The sampler that a rule sets, by the names of the contract.
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
    /// The name of the contract, for example `parentbased_traceidratio`.
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
    /// The tenant rules file of the contract.
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
