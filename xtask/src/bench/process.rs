//! What a process and its descendants use: a process id comes in; processor time and memory go out, as /proc tells them.

use std::fs;
use std::time::Duration;

/// Of a process and of all that it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Time in its own code, that of ended and reaped children included. To 10 ms.
    pub(crate) user: Duration,
    /// The same in the kernel on its behalf.
    pub(crate) system: Duration,
    /// Memory in use now.
    pub(crate) resident_bytes: u64,
    /// The most memory that was in use at any time; of several processes the sum of each one's.
    pub(crate) peak_bytes: u64,
}

/// What `pid` and its descendants use; zero of a process that is gone.
pub(crate) fn usage(pid: u32) -> Usage {
    let mut usage = Usage::default();
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (user, system) = times(&read("stat")).unwrap_or_default();
        usage.user += user;
        usage.system += system;
        let status = read("status");
        usage.resident_bytes += kibibytes(&status, "VmRSS:") * 1024;
        usage.peak_bytes += kibibytes(&status, "VmHWM:") * 1024;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            waiting.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    usage
}

/// Asks a child to end. Nothing happens to one that has ended.
pub(crate) fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // Fails only for a process that is gone.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

/// Fields 14 to 17 of /proc/PID/stat, in ticks (proc(5)): user and system time, then those of reaped children. The name before
/// them may hold blanks.
fn times(stat: &str) -> Option<(Duration, Duration)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(4).map_while(|field| field.parse().ok()).collect();
    let &[user, system, reaped_user, reaped_system] = ticks.as_slice() else { return None };
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((
        Duration::from_secs(user + reaped_user) / per_second,
        Duration::from_secs(system + reaped_system) / per_second,
    ))
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_blanks() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 20 10 20 0 3 0 100 0 0";
        let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        assert_eq!(times(stat), Some((Duration::from_secs(170) / ticks, Duration::from_mins(1) / ticks)));
    }

    #[test]
    fn a_process_that_is_gone_uses_nothing() {
        assert_eq!(usage(u32::MAX).peak_bytes, 0);
        assert!(usage(std::process::id()).peak_bytes > 0);
    }
}
