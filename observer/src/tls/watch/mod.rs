//! Finds the processes that use TLS libraries, as they start and as they load one, and has the libraries probed as long as any
//! process uses them. The kernel tells of every executable mapping; /proc is read once at the start, and again where records of
//! the kernel were lost.

mod examiner;
mod kick;
mod prober;
pub(crate) mod proc;
mod records;
mod rings;
mod survey;
mod table;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Examined, Library, Machine};
use crate::pattern::Pattern;
use examiner::{Examiner, Job, Miss};
use kick::Kick;
use prober::{Done, Probing};
use proc::Mapping;
use records::News;
use rings::Rings;
use table::{FileId, LINGER, Order, Table};

pub use prober::{Prober, Scope};
pub(crate) use proc::{cgroup_of, command, mappings};
pub use survey::survey;

/// How long one look may go through /proc: the capture waits meanwhile.
const SLICE: Duration = Duration::from_millis(3);
/// The shortest time between two passes through /proc after losses, and how often processes of the table are asked whether they
/// are still there, should the record of an end have come before that of a beginning.
const RESCAN_EVERY: Duration = Duration::from_secs(1);
const AUDIT_EVERY: Duration = Duration::from_mins(1);
/// Processes whose names are kept.
const COMMANDS_MAX: usize = 1 << 14;
/// How often idle files are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much is held at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of each CPU's ring: a power of two, at least a page.
    pub ring_bytes: usize,
    /// Places of executable files; those of files without TLS are forgotten first.
    pub places: usize,
    /// Files with a TLS library in them, or not looked at yet.
    pub files: usize,
    /// Processes that use these.
    pub processes: usize,
    /// Probes attached at a time. Each takes two descriptors.
    pub links: usize,
    /// How long a file without users stays probed.
    pub linger: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ring_bytes: 64 << 10,
            places: 1 << 16,
            files: 1 << 12,
            processes: 1 << 16,
            links: 1 << 13,
            linger: LINGER,
        }
    }
}

/// What is known of the TLS libraries of a process now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsProcess {
    /// The process (tgid in the pid namespace of this program).
    pub pid: u32,
    /// Its command name; empty where it ended too soon.
    pub command: String,
    /// Libraries that are probed, with their versions as far as the files tell, in order.
    pub observed: Vec<(Library, Option<String>)>,
    /// Libraries that are not, and why.
    pub unfit: Vec<(Library, String)>,
    /// Whether it ended; nothing else is known then.
    pub gone: bool,
}

impl TlsProcess {
    /// Adds what is in one of its files; `outcome` tells of each library whether it is probed, as far as that is known.
    fn add(&mut self, examined: &Examined, outcome: impl Fn(Library) -> Option<Result<(), String>>) {
        for found in &examined.found {
            if examined.machine == Machine::Aarch64 {
                self.unfit
                    .push((found.library, "its code is for 64-bit Arm, of which no registers are read".to_owned()));
                continue;
            }
            match outcome(found.library) {
                Some(Ok(())) => self.observed.push((found.library, found.version.clone())),
                Some(Err(why)) => self.unfit.push((found.library, why)),
                None => {}
            }
        }
        self.unfit.extend(examined.unfit.iter().map(|unfit| (unfit.library, unfit.reason.to_string())));
    }

    fn has_any(&self) -> bool {
        !self.observed.is_empty() || !self.unfit.is_empty()
    }

    fn sort(&mut self) {
        self.observed.sort();
        self.observed.dedup();
        self.unfit.sort();
        self.unfit.dedup();
    }
}

/// How much there is and was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Files that are probed now.
    pub files: usize,
    /// Probes that are attached now.
    pub links: usize,
    /// Processes in the table now.
    pub processes: usize,
    /// Records of the kernel that found no room; /proc is read again then.
    pub lost: u64,
    /// Passes through /proc that are done.
    pub scans: u64,
    /// Files whose process was gone before they could be opened, or that could not be read.
    pub missed: u64,
    /// Files past their bound.
    pub refused: u64,
    /// Processes past theirs.
    pub refused_processes: u64,
}

/// The processes of this host and the TLS libraries that they use.
pub struct Watch {
    rings: Rings,
    kick: Kick,
    examiner: Examiner,
    probing: Probing,
    table: Table,
    bounds: Bounds,
    /// Records that are newer than the last look: another CPU may have told something earlier since.
    later: Vec<(u64, News)>,
    /// What processes were called when they began to run a program or renamed themselves; one may be gone when a mapping of it is told.
    commands: BTreeMap<u32, String>,
    /// Processes whose mappings are to be read.
    unread: VecDeque<u32>,
    scanning: bool,
    /// Processes whose first thread ended.
    ending: BTreeSet<u32>,
    rescan: bool,
    scanned: Instant,
    audited: Instant,
    swept: Instant,
    counters: Counters,
    /// The path of the cgroup whose processes are watched, with those below it.
    within: Option<String>,
}

impl Watch {
    /// Begins to watch; what runs already is found by the first looks. Files are not probed for processes whose command name (man 5
    /// proc, `comm`) one of `leave` matches. Where there is one, files are probed process by process ([`Scope::Added`]): what a new
    /// process does in its first milliseconds is then not observed.
    ///
    /// # Errors
    ///
    /// Where the kernel does not allow to follow all processes, or threads cannot be started.
    pub fn open<P: Prober + 'static>(bounds: Bounds, leave: Vec<Pattern>, prober: P) -> io::Result<Self> {
        let kick = Kick::new()?;
        let rings = Rings::open(bounds.ring_bytes)?;
        let examiner = Examiner::start(kick.clone())?;
        let scope = if leave.is_empty() { Scope::All } else { Scope::Added };
        let probing = Probing::start(prober, scope, bounds.links.min(links_max()), kick.clone())?;
        let now = Instant::now();
        kick.kick();
        Ok(Self {
            rings,
            kick,
            examiner,
            probing,
            table: Table::new(bounds, leave, scope),
            within: None,
            bounds,
            later: Vec::new(),
            commands: BTreeMap::new(),
            unread: proc::processes().into(),
            scanning: true,
            ending: BTreeSet::new(),
            rescan: false,
            scanned: now,
            audited: now,
            swept: now,
            counters: Counters::default(),
        })
    }

    /// Watches the processes of this cgroup and of those below it alone, by its path under the mount of cgroup v2; `None`: all.
    #[must_use]
    pub fn within(self, cgroup: Option<String>) -> Self {
        Self { within: cgroup, ..self }
    }

    /// What becomes readable when there is news: it stays so until [`Self::refresh`].
    pub fn wakeups(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.descriptors().chain([self.kick.descriptor()])
    }

    /// Takes what is new, has files probed and left alone, and tells of each process of which something changed.
    pub fn refresh(&mut self, now: Instant, tell: &mut dyn FnMut(TlsProcess)) {
        self.kick.settle();
        self.take_news(now);
        self.end(now);
        if self.rescan && !self.scanning && now.saturating_duration_since(self.scanned) >= RESCAN_EVERY {
            self.rescan = false;
            self.scanning = true;
            self.audit(now);
            self.unread = proc::processes().into();
        }
        while let Some(looked) = self.examiner.next() {
            let sight = match looked.sight {
                Ok(sight) => sight,
                Err(Miss::Unread) if self.table.fails(looked.file) => {
                    self.rescan = true;
                    continue;
                }
                Err(Miss::Other | Miss::Unread) => {
                    self.counters.missed += 1;
                    self.table.missed(looked.file, looked.pid, looked.place);
                    continue;
                }
            };
            let orders = self.table.seen(looked.file, looked.pid, looked.place, sight, now);
            let mut handle = Some(looked.handle);
            for order in orders {
                match (order, handle.take()) {
                    (Order::Probe(file, examined), Some(open)) => self.probing.attach(file, open, examined),
                    (Order::Probe(..), None) => {}
                    (Order::Leave(file), open) => {
                        handle = open;
                        self.probing.detach(file);
                    }
                }
            }
        }
        self.scan(now);
        for (file, pid, uses) in self.table.uses() {
            if uses {
                self.probing.add(file, pid);
            } else {
                self.probing.remove(file, pid);
            }
        }
        while let Some(done) = self.probing.next() {
            match done {
                Done::Probed { file, outcomes } => {
                    if let Some(Order::Leave(file)) = self.table.probed(file, outcomes) {
                        self.probing.detach(file);
                    }
                }
                Done::Refused { file, pid, why } => self.table.refused(file, pid, why),
            }
        }
        if now.saturating_duration_since(self.swept) >= SWEEP_EVERY.min(self.bounds.linger) {
            self.swept = now;
            for order in self.table.sweep(now, self.bounds.linger) {
                if let Order::Leave(file) = order {
                    self.probing.detach(file);
                }
            }
        }
        if now.saturating_duration_since(self.audited) >= AUDIT_EVERY {
            self.audit(now);
            // What happened on a new CPU before is not known.
            self.rescan |= self.rings.follow_cpus().unwrap_or(false);
        }
        self.table.changes().into_iter().for_each(tell);
    }

    /// Whether every file that was met has been looked at, and probed where it can be.
    pub fn is_settled(&self) -> bool {
        !self.scanning && self.unread.is_empty() && !self.table.waits()
    }

    /// How much there is and was.
    pub fn counters(&self) -> Counters {
        Counters {
            files: self.table.probed_files(),
            links: self.probing.links(),
            processes: self.table.pids().len(),
            refused: self.table.refused,
            refused_processes: self.table.refused_processes,
            ..self.counters
        }
    }

    /// Takes the records of all CPUs in the order of their times.
    fn take_news(&mut self, now: Instant) {
        let horizon = monotonic_ns();
        let mut news = std::mem::take(&mut self.later);
        self.rings.drain(&mut news);
        news.sort_by_key(|(at_ns, _)| *at_ns);
        self.later = news.split_off(news.partition_point(|(at_ns, _)| *at_ns <= horizon));
        if !self.later.is_empty() {
            self.kick.kick();
        }
        for (_, news) in news {
            match news {
                News::Maps { pid, mapping } => self.mapped(pid, &mapping, now),
                News::Execs { pid, command } => {
                    self.table.execs(pid, &command, now);
                    self.named(pid, command);
                }
                News::Renames { pid, command } => {
                    self.table.renamed(pid, &command, now);
                    self.named(pid, command);
                }
                News::Forks { pid, parent } => self.table.forks(pid, parent, now),
                News::ThreadExits { pid, thread } => {
                    if pid == thread {
                        self.commands.remove(&pid);
                    }
                    if self.table.thread_exits(pid, thread) {
                        self.ending.insert(pid);
                    }
                }
                News::Lost(lost) => {
                    if self.counters.lost == 0 {
                        tracing::warn!(
                            "tls: the kernel told of processes faster than was read: /proc is read again, and the first \
                             messages of processes that began then may have been missed"
                        );
                    }
                    self.counters.lost += lost;
                    self.commands.clear();
                    self.rescan = true;
                }
            }
        }
    }

    fn named(&mut self, pid: u32, command: String) {
        if self.commands.len() >= COMMANDS_MAX {
            self.commands.clear();
        }
        self.commands.insert(pid, command);
    }

    fn mapped(&mut self, pid: u32, mapping: &Mapping, now: Instant) {
        if !self.watches(pid) {
            return;
        }
        let command = || self.commands.get(&pid).cloned().unwrap_or_else(|| proc::command(pid));
        let Some(file) = self.table.mapped(pid, mapping, command, now) else { return };
        self.look(file, pid, mapping);
    }

    fn watches(&self, pid: u32) -> bool {
        self.within.as_deref().is_none_or(|cgroup| proc::is_within(pid, cgroup))
    }

    fn look(&mut self, file: FileId, pid: u32, mapping: &Mapping) {
        let Some(handle) = proc::open(pid, mapping) else {
            self.counters.missed += 1;
            self.table.missed(file, pid, mapping.place);
            return;
        };
        let name = mapping.path.to_string_lossy().into_owned();
        if !self.examiner.ask(Job { file, pid, place: mapping.place, handle, name }) {
            self.table.postpone(file, pid);
        }
    }

    /// Goes on reading what processes have mapped, as long as files can be asked for.
    fn scan(&mut self, now: Instant) {
        let end = Instant::now() + SLICE;
        self.unread.extend(self.table.again());
        while self.examiner.has_room()
            && let Some(pid) = self.unread.pop_front()
        {
            let watched = self.watches(pid);
            let mappings = if watched { proc::mappings(pid) } else { Vec::new() };
            for mapping in &mappings {
                self.mapped(pid, mapping, now);
            }
            let places: Vec<_> = mappings.iter().map(|mapping| mapping.place).collect();
            // What other threads have mapped is not told where the first one ended.
            if !places.is_empty() || !watched || !proc::runs(pid) {
                self.table.keep_places(pid, &places, now);
            }
            if Instant::now() >= end {
                break;
            }
        }
        if !self.unread.is_empty() {
            if self.examiner.has_room() {
                self.kick.kick();
            }
        } else if self.scanning {
            self.scanning = false;
            self.scanned = now;
            self.counters.scans += 1;
        }
    }

    /// The end of a thread is told before its memory is given up (from 6.16 on, kernel/exit.c): a process is asked until it has none.
    fn end(&mut self, now: Instant) {
        let mut ending = std::mem::take(&mut self.ending);
        ending.retain(|pid| {
            let ends = self.table.is_ending(*pid);
            let ended = ends && !proc::runs(*pid);
            if ended {
                self.table.exits(*pid, now);
            }
            ends && !ended
        });
        self.ending = ending;
    }

    fn audit(&mut self, now: Instant) {
        self.audited = now;
        for pid in self.table.pids() {
            if !proc::runs(pid) {
                self.table.exits(pid, now);
            }
        }
    }
}

fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |part: i64| u64::try_from(part).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Lifts the limit of open files as far as it goes, and keeps half of it for others: a probe takes two descriptors.
fn links_max() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let lifted = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    let limit = if lifted.is_ok() { limit.maximum } else { limit.current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / 4).unwrap_or(usize::MAX))
}
