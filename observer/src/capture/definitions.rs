//! Probes for single processes: places in files come in, what runs a program there for the processes that are added goes out.
//!
//! Each place is defined in tracefs (Documentation/trace/uprobetracer.rst), and a perf event of the definition adds a process. An event
//! of the PMU `uprobe` could be for one process too, but each is a place of its own. Measured on 6.18 (2026-11-22, one run each, without
//! programs): such an event takes 73 to 92 ms to remove, and 200 for other processes made a call 14 µs longer; 400 to each of two
//! definitions take 0.6 ms each to add and 0.7 to remove (100: 0.1), and a call was no longer than with none. What there is to pay is
//! paid by a kill: the definitions stay, which run nothing but hold their files, until the next such start removes them.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};
use rustc_hash::FxHashMap;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::time::{ClockId, clock_gettime};

/// What the names of all groups of definitions begin with.
const GROUP: &str = "observer_";
const LIST: &str = "uprobe_events";

/// Makes definitions.
pub(super) struct Definitions {
    tracefs: Arc<OwnedFd>,
    /// No other run has the same.
    group: String,
    next: u64,
}

impl Definitions {
    /// Begins, and removes what runs that were killed left behind.
    pub(super) fn open() -> io::Result<Self> {
        let tracefs = Arc::new(tracefs()?);
        let now = clock_gettime(ClockId::Boottime);
        let group = format!("{GROUP}{}_{:x}_{:x}", std::process::id(), now.tv_sec, now.tv_nsec);
        for name in leftover(&read(&tracefs, LIST)?) {
            // What another observer uses the kernel does not remove.
            let _ = write(&tracefs, &format!("-:{name}"));
        }
        Ok(Self { tracefs, group, next: 0 })
    }

    /// Defines a place, at which this program runs for the processes that are added; `at_return` of the function that begins there.
    pub(super) fn define(
        &mut self,
        program: BorrowedFd<'_>,
        file: &Path,
        offset: u64,
        at_return: bool,
    ) -> io::Result<Definition> {
        let name = format!("{}/p{}", self.group, self.next);
        self.next += 1;
        let kind = if at_return { 'r' } else { 'p' };
        write(&self.tracefs, &format!("{kind}:{name} {}:{offset:#x}", file.display()))?;
        let name = Name { tracefs: Arc::clone(&self.tracefs), name };
        let id = read(&self.tracefs, &format!("events/{}/id", name.name))?;
        let id = id.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        // A program belongs to the definition, whichever event brings it. This one is of a thread that never comes there.
        let mut keeper = Builder::new(Tracepoint::with_id(id)).build()?;
        keeper.set_bpf(program.as_raw_fd())?;
        Ok(Definition { id, processes: FxHashMap::default(), _keeper: keeper, _name: name })
    }
}

/// A place in a file at which a program runs for some processes. Dropping it removes it: its fields in this order.
pub(super) struct Definition {
    id: u64,
    processes: FxHashMap<u32, Counter>,
    _keeper: Counter,
    _name: Name,
}

impl Definition {
    /// Runs the program for a process (tgid in the pid namespace of this program), until it is removed; what it makes needs a call of
    /// its own. The event counts nothing: it stays disabled, which is no matter to the program.
    pub(super) fn add(&mut self, pid: u32) -> io::Result<()> {
        let process = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
        let event = Builder::new(Tracepoint::with_id(self.id)).observe_pid(process).any_cpu().build()?;
        self.processes.insert(pid, event);
        Ok(())
    }

    pub(super) fn remove(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }
}

/// The name of a definition, which goes with this value.
struct Name {
    tracefs: Arc<OwnedFd>,
    name: String,
}

impl Drop for Name {
    fn drop(&mut self) {
        if let Err(error) = write(&self.tracefs, &format!("-:{}", self.name)) {
            tracing::warn!("tls: {} stays in {LIST} of tracefs, without effect: {error}", self.name);
        }
    }
}

/// Tracefs where it is mounted, else a mount of its own that has no place. A new mount sets the options of all.
fn tracefs() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = rustix::fs::open("/sys/kernel/tracing", flags, Mode::empty());
    if let Some(mounted) =
        mounted.ok().filter(|mounted| rustix::fs::statat(mounted, LIST, rustix::fs::AtFlags::empty()).is_ok())
    {
        return Ok(mounted);
    }
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

/// The names of definitions of this program in a list of all.
fn leftover(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| {
        let (_, name) = line.split(' ').next()?.split_once(':')?;
        name.starts_with(GROUP).then_some(name)
    })
}

fn read(tracefs: &OwnedFd, name: &str) -> io::Result<String> {
    let mut text = String::new();
    File::from(openat(tracefs, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?).read_to_string(&mut text)?;
    Ok(text)
}

/// Has the list changed by a line. Without `APPEND` the kernel would remove all that it has.
fn write(tracefs: &OwnedFd, line: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
    File::from(openat(tracefs, LIST, flags, Mode::empty())?).write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_program_defined_is_removed() {
        let list = "p:observer_12_3_4/p0 /usr/lib/libssl.so.3:0x10\nr:uprobes/observer_1 /a:0x20\nr:observer_9_1_0/p7 /b:0x1\n\n";
        assert_eq!(leftover(list).collect::<Vec<_>>(), ["observer_12_3_4/p0", "observer_9_1_0/p7"]);
    }
}
