//! What eBPF programs cost: the programs that a tool loaded come in; runs and run time of each go out. The kernel counts run
//! time only while somebody asks for it, and that itself costs: only some turns do.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Kinds of programs that see packets: numbers of `enum bpf_prog_type` in include/uapi/linux/bpf.h.
const SOCKET_FILTER: u32 = 1;
const CGROUP_SKB: u32 = 8;

/// Runs of one program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProgramRuns {
    /// Its name in the kernel.
    pub(crate) program: String,
    /// Whether it sees packets, so that a run is a packet at one endpoint.
    pub(crate) sees_packets: bool,
    /// Runs.
    pub(crate) runs: u64,
    /// Nanoseconds in all of them.
    pub(crate) run_ns: u64,
}

/// Every program in the kernel, by its id.
#[derive(Default)]
pub(crate) struct Snapshot(BTreeMap<u32, ProgramRuns>);

impl Snapshot {
    /// As of now.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub(crate) fn take() -> Result<Self> {
        let mut programs = BTreeMap::new();
        for info in aya::programs::loaded_programs() {
            // A program may go while the list is walked.
            let Ok(info) = info else { continue };
            let sees_packets = [CGROUP_SKB, SOCKET_FILTER].contains(&(info.program_type() as u32));
            let run_ns = u64::try_from(info.run_time().as_nanos()).context("run time")?;
            let program = String::from_utf8_lossy(info.name()).into_owned();
            programs.insert(info.id(), ProgramRuns { program, sees_packets, runs: info.run_count(), run_ns });
        }
        Ok(Self(programs))
    }

    /// What ran since `earlier`, of the programs that were not there at `start`.
    pub(crate) fn since(&self, earlier: &Self, start: &Self) -> Vec<ProgramRuns> {
        let mut runs: Vec<ProgramRuns> = self
            .0
            .iter()
            .filter(|(id, _)| !start.0.contains_key(id))
            .map(|(id, now)| {
                let (runs, run_ns) = earlier.0.get(id).map_or((0, 0), |then| (then.runs, then.run_ns));
                ProgramRuns {
                    runs: now.runs.saturating_sub(runs),
                    run_ns: now.run_ns.saturating_sub(run_ns),
                    ..now.clone()
                }
            })
            .filter(|program| program.runs > 0)
            .collect();
        runs.sort_by(|one, other| one.program.cmp(&other.program));
        runs
    }
}

/// Run time is counted as long as the result lives.
///
/// # Errors
///
/// When the kernel refuses.
pub(crate) fn count_run_time() -> Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("run-time statistics of eBPF programs")
}
