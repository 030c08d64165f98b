//! What could be observed of the processes that run now: files are read, nothing is watched or attached.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::TlsProcess;
use super::examiner::read;
use super::proc::{self, Place};
use super::table::LEFT_ALONE;
use crate::capture::uretprobe;
use crate::pattern::Pattern;
use crate::tls::{Examined, Library};

/// The processes with a TLS library in what they have mapped, by pid, and whether all were looked at within `patience`. A library
/// that can be probed is told as observed, but for processes that are to be left alone. `cgroup`, a path under the mount of cgroup
/// v2: only processes in it or below it.
pub fn survey(patience: Duration, leave: &[Pattern], cgroup: Option<&str>) -> (Vec<TlsProcess>, bool) {
    let end = Instant::now() + patience;
    let no_returns = uretprobe::harm();
    let mut files: FxHashMap<Place, Option<Arc<Examined>>> = FxHashMap::default();
    let mut found = Vec::new();
    let mut pids = proc::processes();
    pids.sort_unstable();
    for pid in pids.into_iter().filter(|pid| cgroup.is_none_or(|cgroup| proc::is_within(*pid, cgroup))) {
        let mut process = TlsProcess { pid, command: proc::command(pid), ..TlsProcess::default() };
        let is_left = leave.iter().any(|pattern| pattern.matches(&process.command));
        for mapping in proc::mappings(pid) {
            if Instant::now() >= end {
                return (found, false);
            }
            if let Entry::Vacant(vacant) = files.entry(mapping.place) {
                let handle = proc::open(pid, &mapping);
                let read = handle.and_then(|handle| read(&handle.file, &mapping.path.to_string_lossy()).ok());
                // Another process may lead to it.
                let Some(examined) = read else { continue };
                vacant.insert(examined);
            }
            if let Some(Some(examined)) = files.get(&mapping.place) {
                process.add(examined, |library| {
                    let harm = no_returns.filter(|_| library != Library::Go);
                    Some(match harm {
                        _ if is_left => Err(LEFT_ALONE.to_owned()),
                        Some(why) => Err(format!("it cannot be probed: {why}")),
                        None => Ok(()),
                    })
                });
            }
        }
        process.sort();
        if !process.observed.is_empty() || !process.unfit.is_empty() {
            found.push(process);
        }
    }
    (found, true)
}
