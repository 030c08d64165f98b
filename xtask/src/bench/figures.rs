//! The figures of a run, as they are written to JSON. Measured values and what follows from them; how they are measured is in
//! `runner`.

use super::arms::ArmName;
use super::host::Host;
use super::programs::ProgramRuns;
use super::scene::Scenario;
use super::statistics::{Interval, median};
use super::targets::Target;
use serde::{Serialize, Serializer};
use std::fmt::Display;

/// One run of the bench.
#[derive(Serialize)]
pub(crate) struct Run {
    /// Where and when.
    pub(crate) host: Host,
    /// Turns of each arm.
    pub(crate) pairs: u32,
    /// Length of each.
    pub(crate) turn_seconds: u64,
    /// One entry for each workload and scenario.
    pub(crate) figures: Vec<Figures>,
}

/// One workload in one scenario.
#[derive(Serialize)]
pub(crate) struct Figures {
    /// What was under load.
    pub(crate) workload: &'static str,
    /// What was counted, in the singular.
    pub(crate) unit: &'static str,
    /// Which ends were watched.
    #[serde(serialize_with = "by_name")]
    pub(crate) scenario: Scenario,
    /// Requests a second of every turn with nothing, in order.
    pub(crate) nothing: Vec<f64>,
    /// Microseconds of the measured service's processor time for a request, of every such turn.
    pub(crate) service_us: Vec<f64>,
    /// What was compared with it.
    pub(crate) arms: Vec<ArmFigures>,
    /// The observer's long turn, if there was one.
    pub(crate) full_load: Option<FullLoad>,
    /// What is to be reached, and whether it is.
    pub(crate) targets: Vec<Target>,
}

/// One way of watching.
#[derive(Serialize)]
pub(crate) struct ArmFigures {
    /// Which.
    #[serde(serialize_with = "by_name")]
    pub(crate) arm: ArmName,
    /// Requests a second of every turn, in order.
    pub(crate) turns: Vec<f64>,
    /// Throughput, as a share of that with nothing.
    pub(crate) ratio: Option<Interval>,
    /// Microseconds of the measured service's processor time for a request, of every turn.
    pub(crate) service_us: Vec<f64>,
    /// Turns in which run time was counted; not in `turns`.
    pub(crate) costs: Vec<Cost>,
}

/// A turn whose cost was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// Requests that the server served.
    pub(crate) served: u64,
    /// Those of them that were seen; none where the arm counts nothing.
    pub(crate) seen: Option<u64>,
    /// Processor time of the tool in its own code.
    pub(crate) user_seconds: Option<f64>,
    /// Processor time of the tool in the kernel: what its programs take is the server's and the client's time, not in here.
    pub(crate) system_seconds: Option<f64>,
    /// The most memory that it used.
    pub(crate) peak_bytes: Option<u64>,
    /// Whether run time was counted; processor time is judged by the turns in which it was not.
    pub(crate) run_time_counted: bool,
    /// What its programs in the kernel did; empty where it has none, or run time was not counted.
    pub(crate) programs: Vec<ProgramRuns>,
}

/// A long turn at full load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FullLoad {
    /// Its length.
    pub(crate) seconds: u64,
    /// As of any turn.
    pub(crate) cost: Cost,
    /// Memory in use, twice a second.
    pub(crate) resident_bytes: Vec<u64>,
}

impl ArmFigures {
    /// Nanoseconds of kernel time for a packet at one endpoint: of the programs that see packets.
    pub(crate) fn kernel_ns_per_packet(&self) -> Option<f64> {
        self.middle(|cost| {
            let packets = cost.programs.iter().filter(|program| program.sees_packets);
            let (ns, runs) = packets.fold((0, 0), |(ns, runs), program| (ns + program.run_ns, runs + program.runs));
            (runs > 0).then(|| ns as f64 / runs as f64)
        })
    }

    /// Nanoseconds of kernel time for a request: of all programs.
    pub(crate) fn kernel_ns_per_request(&self) -> Option<f64> {
        self.middle(|cost| {
            let ns: u64 = cost.programs.iter().map(|program| program.run_ns).sum();
            (ns > 0 && cost.served > 0).then(|| ns as f64 / cost.served as f64)
        })
    }

    /// Microseconds of the tool's processor time for a request that it saw.
    pub(crate) fn processor_us_per_request(&self) -> Option<f64> {
        self.middle(|cost| if cost.run_time_counted { None } else { cost.processor_us_per_request() })
    }

    /// The same apart: in its own code, and in the kernel.
    pub(crate) fn user_and_system_us_per_request(&self) -> Option<(f64, f64)> {
        let part = |seconds: fn(&Cost) -> Option<f64>| {
            self.middle(|cost| if cost.run_time_counted { None } else { cost.us_per_request(seconds(cost)?) })
        };
        Some((part(|cost| cost.user_seconds)?, part(|cost| cost.system_seconds)?))
    }

    /// Each of its programs, of the last turn in which run time was counted: name, runs a request, nanoseconds a run.
    pub(crate) fn programs(&self) -> Vec<(&str, f64, f64)> {
        let last = self.costs.iter().rev().find(|cost| cost.run_time_counted);
        last.into_iter()
            .flat_map(|cost| cost.programs.iter().map(move |program| (program, cost.served.max(1))))
            .map(|(program, served)| {
                let runs = program.runs as f64;
                (program.program.as_str(), runs / served as f64, program.run_ns as f64 / runs)
            })
            .collect()
    }

    /// The most memory that it used in any turn.
    pub(crate) fn peak_bytes(&self) -> Option<u64> {
        self.costs.iter().filter_map(|cost| cost.peak_bytes).max()
    }

    /// The smallest share of requests that it saw in a turn.
    pub(crate) fn seen_share(&self) -> Option<f64> {
        self.costs.iter().filter_map(Cost::seen_share).reduce(f64::min)
    }

    fn middle(&self, of: impl Fn(&Cost) -> Option<f64>) -> Option<f64> {
        let values: Vec<f64> = self.costs.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| median(&values))
    }
}

impl Cost {
    /// Microseconds of the tool's processor time for a request that it saw.
    pub(crate) fn processor_us_per_request(&self) -> Option<f64> {
        Some(self.us_per_request(self.user_seconds?)? + self.us_per_request(self.system_seconds?)?)
    }

    /// So many seconds, as microseconds for a request that it saw.
    fn us_per_request(&self, seconds: f64) -> Option<f64> {
        self.seen.filter(|seen| *seen > 0).map(|seen| seconds * 1e6 / seen as f64)
    }

    /// Requests seen, as a share of those served.
    pub(crate) fn seen_share(&self) -> Option<f64> {
        Some(self.seen? as f64 / self.served.max(1) as f64)
    }
}

fn by_name<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
