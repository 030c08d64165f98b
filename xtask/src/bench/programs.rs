//! What eBPF programs cost: a process that holds them comes in; runs and run time of each go out. The kernel counts run
//! time only while somebody asks for it, and that itself costs: only some turns do.

use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
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

/// The programs that a process holds, by their id, with what they did so far. Others run observers, too.
///
/// # Errors
///
/// When the kernel does not say.
pub(crate) fn of(pid: u32) -> Result<BTreeMap<u32, ProgramRuns>> {
    let held = held_by(pid);
    let mut programs = BTreeMap::new();
    for info in aya::programs::loaded_programs() {
        // Another program may go while the list is walked.
        let Ok(info) = info else { continue };
        if held.contains(&info.id()) {
            let sees_packets = [CGROUP_SKB, SOCKET_FILTER].contains(&(info.program_type() as u32));
            let run_ns = u64::try_from(info.run_time().as_nanos()).context("run time")?;
            let program = String::from_utf8_lossy(info.name()).into_owned();
            programs.insert(info.id(), ProgramRuns { program, sees_packets, runs: info.run_count(), run_ns });
        }
    }
    Ok(programs)
}

/// What programs did between two looks, by name; those that did nothing are left out.
pub(crate) fn since(earlier: &BTreeMap<u32, ProgramRuns>, now: BTreeMap<u32, ProgramRuns>) -> Vec<ProgramRuns> {
    let mut runs: Vec<ProgramRuns> = now
        .into_iter()
        .map(|(id, now)| {
            let (runs, run_ns) = earlier.get(&id).map_or((0, 0), |then| (then.runs, then.run_ns));
            ProgramRuns { runs: now.runs.saturating_sub(runs), run_ns: now.run_ns.saturating_sub(run_ns), ..now }
        })
        .filter(|program| program.runs > 0)
        .collect();
    runs.sort_by(|one, other| one.program.cmp(&other.program));
    runs
}

/// Descriptors of programs and of links say which program they are (Documentation/filesystems/proc.rst, fdinfo).
fn held_by(pid: u32) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    texts.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())).collect()
}

/// Run time is counted as long as the result lives.
///
/// # Errors
///
/// When the kernel refuses.
pub(crate) fn count_run_time() -> Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("run-time statistics of eBPF programs")
}
