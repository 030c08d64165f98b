//! Whether the returns of functions can be probed on this host without harm to whoever calls them.
//!
//! From Linux 6.11 on a function that is probed so returns through a system call, `uretprobe` (335 on x86-64), which seccomp filters
//! saw at first: under those of systemd or Docker its process was killed. Since 6.14, 6.13.3 and 6.12.14 they do not see it
//! ("seccomp: passthrough uretprobe systemcall without filtering"); distributions may have taken that into earlier kernels. So it
//! is tried, in a thread of this program.

use std::ffi::CStr;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use perf_event::Builder;
use perf_event::events::Software;

use super::kernel_memory::forbid;
use super::probe_cost::place_of;

/// The system call (arch/x86/entry/syscalls/syscall_64.tbl).
const URETPROBE: u32 = 335;
/// The bit of an event that is a probe at a return (/sys/bus/event_source/devices/uprobe/format/retprobe).
const AT_RETURN: u64 = 1;
const PROGRAM: &CStr = c"/proc/self/exe";
/// How often it is looked whether the thread still runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

const HARM: &str =
    "this kernel's probes at returns kill processes under seccomp filters (Linux 6.14, 6.13.3 and 6.12.14 do not)";

/// Why no return must be probed here; none where it does no harm, or cannot be tried: then it cannot be done either.
pub(crate) fn harm() -> Option<&'static str> {
    static HARMS: OnceLock<bool> = OnceLock::new();
    let harms = HARMS.get_or_init(|| match survives_without(URETPROBE, returns) {
        Ok(Some(hits)) => {
            tracing::debug!(?hits, "a probe at a return under a seccomp filter");
            false
        }
        Ok(None) => true,
        Err(error) => {
            tracing::debug!(%error, "probes at returns were not tried");
            false
        }
    });
    harms.then_some(HARM)
}

/// Calls a function of this program whose return is probed; tells how often the probe was hit.
fn returns(forbid: &dyn Fn() -> io::Result<()>) -> io::Result<u64> {
    // Otherwise the compiler could call a copy.
    let function: extern "C" fn(u64) -> u64 = black_box(probed);
    let place = place_of(function as usize as u64).map_err(io::Error::other)?;
    let kind = std::fs::read_to_string("/sys/bus/event_source/devices/uprobe/type")?;
    let mut event = Builder::new(Software::DUMMY);
    let attributes = event.enabled(true).attrs_mut();
    attributes.type_ = kind.trim_end().parse().map_err(io::Error::other)?;
    attributes.config = AT_RETURN;
    attributes.config1 = PROGRAM.as_ptr() as u64;
    attributes.config2 = place;
    let mut event = event.build()?;
    forbid()?;
    black_box(function(1));
    event.read()
}

#[inline(never)]
extern "C" fn probed(value: u64) -> u64 {
    value ^ 1
}

/// Runs this in a thread that is killed where it makes a system call once that is forbidden; what it tells, none where it was killed.
fn survives_without<T: Send + 'static>(
    syscall: u32,
    run: impl FnOnce(&dyn Fn() -> io::Result<()>) -> io::Result<T> + Send + 'static,
) -> io::Result<Option<T>> {
    let (begins, begun) = channel();
    let (ends, ended) = channel();
    // Never joined: a thread that is killed leaves nothing to join.
    std::thread::Builder::new().name("tls-returns".to_owned()).spawn(move || {
        let _ = begins.send(rustix::thread::gettid());
        let _ = ends.send(run(&|| forbid(syscall)));
    })?;
    let thread = begun.recv().map_err(io::Error::other)?;
    let thread = format!("/proc/self/task/{}", thread.as_raw_nonzero());
    loop {
        let runs = Path::new(&thread).exists();
        match ended.recv_timeout(LOOK_EVERY) {
            Ok(told) => return told.map(Some),
            Err(RecvTimeoutError::Timeout) if runs => {}
            Err(_) => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_are_probed_under_a_filter_that_forbids_the_system_call() {
        match survives_without(URETPROBE, returns) {
            Ok(hits) => assert_eq!(hits, Some(1)),
            Err(error) => assert!(!rustix::process::geteuid().is_root(), "{error}"),
        }
    }

    #[test]
    fn a_thread_that_makes_a_forbidden_call_is_seen_to_be_killed() {
        let asks = |forbid: &dyn Fn() -> io::Result<()>| {
            forbid()?;
            Ok(rustix::process::getppid().is_some())
        };
        let getppid = u32::try_from(libc::SYS_getppid).unwrap();
        assert_eq!(survives_without(getppid, asks).unwrap(), None);
        assert!(survives_without(URETPROBE, asks).unwrap().is_some());
    }
}
