//! The metrics: name, type, labels and help of each, once. The numbers are not here.

/// A metric.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Never falls while the observer runs.
    Counter,
    /// Rises and falls.
    Gauge,
}

macro_rules! families {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family { name: $name, help: $help, kind: Kind::$kind, labels: &[$($label),*] };
        )*
        /// Every metric.
        pub const ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    REQUESTS = Counter "trace_sampling_requests_total" ["service", "tenant", "protocol", "context"]
        "Requests that a service received, by what they said of their trace.";
    TRACES = Counter "trace_sampling_traces_total" ["service", "tenant", "point", "sampled"]
        "Distinct traces, by where they were measured and the decision they carried.";
    RATIO = Gauge "trace_sampling_ratio" ["service", "tenant", "point"]
        "Share of traces with a decision that are sampled.";
    RATIO_LOWER = Gauge "trace_sampling_ratio_lower" ["service", "tenant", "point"]
        "Lower end of the ratio's interval, valid at any time.";
    RATIO_UPPER = Gauge "trace_sampling_ratio_upper" ["service", "tenant", "point"]
        "Upper end of the ratio's interval, valid at any time.";
    DECLARED_RATIO = Gauge "trace_sampling_declared_ratio" ["service", "tenant", "source"]
        "Ratio that a rule declares, by the kind of its source.";
    VERDICT = Gauge "trace_sampling_verdict" ["service", "tenant", "point", "verdict"]
        "1 for the verdict that holds on a ratio.";
    SAMPLER_INFO = Gauge "trace_sampling_sampler_info" ["service", "sampler"]
        "The sampler that a service really runs.";
    HOPS = Counter "trace_propagation_hops_total" ["service", "peer", "outcome"]
        "Requests that a service sent, by what became of the context.";
    MALFORMED = Counter "trace_propagation_malformed_total" ["service", "reason"]
        "Contexts that a receiver must ignore.";
    WEIGHTS = Counter "trace_weight_requests_total" ["service", "tenant", "outcome"]
        "Requests with a weight, by what became of it.";
    ERROR_RESPONSES = Counter "trace_error_responses_total" ["service", "tenant", "sampled"]
        "Error responses, by the decision on their trace.";
    SLOW_RESPONSES = Counter "trace_slow_responses_total" ["service", "tenant", "sampled"]
        "Responses that took longer than is declared for them, by the decision on their trace.";
    EVENTS = Counter "observer_events_total" ["source"]
        "Events that a capture source delivered.";
    EVENTS_LOST = Counter "observer_events_lost_total" ["source", "reason"]
        "Events that a capture source lost.";
    KERNEL_SECONDS = Counter "observer_kernel_seconds_total" ["program"]
        "Run time of a kernel program; zero while kernel.bpf_stats_enabled is off.";
    KERNEL_RUNS = Counter "observer_kernel_runs_total" ["program"]
        "Runs of a kernel program; zero while kernel.bpf_stats_enabled is off.";
    PROBE_HITS = Counter "observer_probe_hits_total" ["command"]
        "Hits of probes on TLS libraries, by the command of the processes that they cost time.";
    PROBE_COST = Gauge "observer_probe_cost_ratio" ["command"]
        "Share of one processor that these hits cost the processes of a command lately, at least: as calls that carry nothing.";
    TRACKED = Gauge "observer_tracked" ["table"]
        "Entries of a table.";
    EVICTED = Counter "observer_evicted_total" ["table"]
        "Entries that a table evicted or refused for want of room.";
    FINDINGS = Gauge "observer_findings" ["severity"]
        "Findings that hold.";
    BUILD_INFO = Gauge "observer_build_info" ["version", "kernel", "environment"]
        "The observer and where it runs.";
}
