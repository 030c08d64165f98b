//! Capture from the kernel: options come in, events of the attached programs go out. Only where no packet at all would be seen
//! does opening fail.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, PerCpuHashMap};
use aya::{Ebpf, EbpfError};
use aya_log::EbpfLogger;
use observer_ebpf::flow::LeftOut;
use observer_ebpf::loss::Loss;
use observer_ebpf::program::{Gives, PROGRAMS};
use observer_ebpf::{RING_BYTES, map};
use rustix::event::{Timespec, epoll};

use super::attach::{self, ProgramState};
use super::cgroup::Below;
use super::goroutines::Goroutines;
use super::kernel_memory::{RingReader, Wishes};
use super::object::Loaded;
use super::probe_budget::ProbeBudget;
use super::probe_cost;
use super::probes::Probes;
use super::readers::Readers;
use super::records::Records;
use super::selection::Selection;
use super::{Event, ProgramCost, Source, SourceCounters, cgroup, object};
use crate::output::snapshot::TableUse;
use crate::pattern::Pattern;
use crate::tls::{Bounds, Counters, Watch, command};

/// The shortest and the longest time between two looks into the ring. The kernel wakes us where a quarter of it is full.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The least time between two looks that were not due: processes may start by the hundreds a second.
const EARLIEST: Duration = Duration::from_millis(2);
/// The share of the ring (one in so many) that a look should find: more shortens the pause, less makes it longer.
const BATCH_SHARE: usize = 32;

/// Where packets are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelSource {
    /// At every socket of a cgroup and of all below it (cgroup_skb): label `cgroup`.
    Cgroup,
    /// On the interfaces of this network namespace (a socket filter on a packet socket): label `socket-filter`. Whose the
    /// sockets are is told by the hooks of every cgroup, where the host allows them.
    SocketFilter,
}

impl KernelSource {
    /// The value of the `source` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::SocketFilter => "socket-filter",
        }
    }
}

/// What to capture.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where packets are seen.
    pub source: KernelSource,
    /// The cgroup v2 directory whose sockets are seen; `None`: the root, so all.
    pub cgroup_directory: Option<PathBuf>,
    /// The interface that the socket filter sees; `None`: all.
    pub interface: Option<String>,
    /// Packets with none of these ports are left out; empty: every port.
    pub ports: Vec<u16>,
    /// Bytes of the ring buffer: a power of two and a multiple of the page size. They are mapped twice.
    pub ring_bytes: u32,
    /// How TLS libraries are found and probed; `None`: not at all.
    pub tls: Option<Bounds>,
    /// The cgroup whose processes they are probed for, with those below it, by its path under the mount of cgroup v2; sessions of
    /// others are not told. `None`: all.
    pub tls_cgroup: Option<String>,
    /// Command names of processes for which they are not probed.
    pub tls_leave: Vec<Pattern>,
    /// The share of one processor that probes may cost a process before the log says so.
    pub tls_budget: f64,
    /// Whether the programs write debug lines (to the `log` crate). Slow.
    pub kernel_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: KernelSource::Cgroup,
            cgroup_directory: None,
            interface: None,
            ports: Vec::new(),
            ring_bytes: RING_BYTES,
            tls: None,
            tls_cgroup: None,
            tls_leave: Vec::new(),
            tls_budget: 0.1,
            kernel_log: false,
        }
    }
}

/// Why nothing can be captured.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No cgroup to attach to.
    #[error("cannot attach to the cgroup {}: {source}", directory.as_ref().map_or_else(|| "root".into(), |path| path.display().to_string()))]
    Cgroup {
        /// The directory, where one was given or found.
        directory: Option<PathBuf>,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused the maps.
    #[error("the kernel does not take the observer's maps: {0}")]
    Maps(#[from] EbpfError),
    /// A map of the object is not as this program expects it.
    #[error("the kernel object does not fit this program: {0}")]
    Object(String),
    /// Memory shared with the kernel cannot be mapped.
    #[error("memory of the kernel cannot be mapped: {0}")]
    Memory(#[source] io::Error),
    /// Programs that see packets cannot run.
    #[error("{program} cannot run in this kernel: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        reason: String,
    },
}

/// The attached programs and their ring.
pub struct KernelCapture {
    source: KernelSource,
    ebpf: Ebpf,
    ring: RingReader,
    ring_bytes: usize,
    wishes: Wishes,
    losses: PerCpuArray<MapData, u64>,
    hits: PerCpuHashMap<MapData, u32, u64>,
    records: Records,
    /// `None` where threads cannot be told.
    readers: Option<Readers>,
    /// `None` where goroutines cannot be followed, or not to be.
    goroutines: Option<Goroutines>,
    states: Vec<ProgramState>,
    tls: Option<Result<Watch, String>>,
    /// `None` where a hit could not be timed.
    budget: Option<ProbeBudget>,
    wakeups: OwnedFd,
    pause: Duration,
    looked: Instant,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// The packet socket; the filter is attached as long as it is open.
    _socket: Option<OwnedFd>,
    /// The map must stay open for epoll to know it.
    _ring_map: MapData,
}

impl KernelCapture {
    /// Loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// Where no packet would be seen; what else cannot run is in [`Self::programs`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        lift_memory_limit();
        let Loaded { mut ebpf, members } =
            object::load(options.ring_bytes, !options.ports.is_empty(), options.tls.is_some(), options.kernel_log)?;
        set_ports(&mut ebpf, &options.ports)?;
        let Some(Map::RingBuf(ring_map)) = ebpf.take_map(map::RECORDS) else {
            return Err(OpenError::Object(format!("no ring buffer {}", map::RECORDS)));
        };
        let ring = RingReader::new(ring_map.fd().as_fd(), options.ring_bytes).map_err(OpenError::Memory)?;
        let wishes = match ebpf.map(map::LEFT_OUT) {
            Some(Map::Array(data)) => Wishes::new(data.fd().as_fd()).map_err(OpenError::Memory)?,
            _ => return Err(OpenError::Object(format!("no array {}", map::LEFT_OUT))),
        };
        let losses = PerCpuArray::try_from(taken(&mut ebpf, map::LOSSES)?).map_err(unfit)?;
        let hits = PerCpuHashMap::try_from(taken(&mut ebpf, map::HITS)?).map_err(unfit)?;
        let logger = options.kernel_log.then(|| EbpfLogger::init(&mut ebpf)).transpose().map_err(unfit)?;

        let (mut states, packet_filter) = match options.source {
            KernelSource::Cgroup => (attach::at_sockets(&mut ebpf, &open_cgroup(options)?), None),
            KernelSource::SocketFilter => attach::on_interface(&mut ebpf, options.interface.as_deref()),
        };
        let blind = states.iter().find_map(|state| {
            let program = PROGRAMS.iter().find(|program| program.name == state.program)?;
            let reason = state.outcome.as_ref().err()?;
            let is_needed = program.gives == Gives::Packets;
            is_needed.then(|| OpenError::Program { program: state.program, reason: reason.clone() })
        });
        if let Some(error) = blind {
            return Err(error);
        }
        let readers = match options.source {
            KernelSource::Cgroup => {
                let (readers, state) = Readers::open(&mut ebpf, members.clone());
                states.push(state);
                readers
            }
            // Packets that name no socket are not of a thread that is known.
            KernelSource::SocketFilter => None,
        };
        let mut hit_cost = None;
        let tls = options.tls.map(|bounds| {
            let mut probes = load_tls(&mut ebpf, &mut states)?;
            hit_cost = probe_cost::measure(&mut probes)
                .inspect(|cost| tracing::debug!(?cost, "a hit of a probe"))
                .map_err(|why| tracing::warn!("tls: what probes cost processes is not known: {why}"))
                .ok();
            Watch::open(bounds, options.tls_leave.clone(), probes)
                .map(|watch| watch.within(options.tls_cgroup.clone()))
                .map_err(|error| format!("processes cannot be followed: {error}"))
        });
        let watch = tls.as_ref().and_then(|opened| opened.as_ref().ok());
        let goroutines = match options.source {
            // Where TLS libraries are not to be probed nothing of a program is.
            KernelSource::Cgroup if options.tls.is_some() => {
                let leave = options.tls_leave.clone();
                let (goroutines, loaded) = Goroutines::open(&mut ebpf, members, (hit_cost, options.tls_budget), leave);
                states.extend(loaded);
                goroutines
            }
            KernelSource::Cgroup | KernelSource::SocketFilter => None,
        };
        let budget = hit_cost.map(|cost| ProbeBudget::new(cost, options.tls_budget, &all_hits(&hits), Instant::now()));
        let wakeups = wakeups(&ring_map, watch).map_err(OpenError::Memory)?;
        Ok(Self {
            source: options.source,
            ebpf,
            ring,
            ring_bytes: options.ring_bytes as usize,
            wishes,
            losses,
            hits,
            records: Records::of(options.source, selection(options)),
            readers,
            goroutines,
            states,
            tls,
            budget,
            wakeups,
            pause: SHORTEST_PAUSE,
            looked: Instant::now(),
            logger,
            _socket: packet_filter,
            _ring_map: ring_map,
        })
    }

    /// Which programs run, and why the others do not.
    pub fn programs(&self) -> &[ProgramState] {
        &self.states
    }

    /// Why TLS libraries are not observed although that was asked for.
    pub fn tls_refused(&self) -> Option<&str> {
        self.tls.as_ref()?.as_ref().err().map(String::as_str)
    }

    /// How many files, processes and probes of TLS libraries there are; nothing where they are not observed.
    pub fn tls_counters(&self) -> Option<Counters> {
        Some(self.tls.as_ref()?.as_ref().ok()?.counters())
    }

    /// How often probes were hit so far, by process (tgid in the initial pid namespace); of the processes that hit most lately.
    pub fn probe_hits(&self) -> Vec<(u32, u64)> {
        all_hits(&self.hits)
    }

    /// Waits for the next look: as long as the traffic allows, at most `patience`, or until the kernel says that it is time.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let wait = self.pause.saturating_sub(self.looked.elapsed()).min(patience);
        if wait.is_zero() {
            return Ok(());
        }
        let early = EARLIEST.saturating_sub(self.looked.elapsed()).min(wait);
        if self.tls.is_some() && !early.is_zero() {
            std::thread::sleep(early);
        }
        let wait = wait.saturating_sub(early);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.min(LONGEST_PAUSE).subsec_nanos()) };
        let none = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [none; 64];
        match epoll::wait(&self.wakeups, &mut events, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Source for KernelCapture {
    fn poll(&mut self, patience: Duration, tell: &mut dyn FnMut(Event<'_>)) -> anyhow::Result<bool> {
        self.wait(patience)?;
        self.looked = Instant::now();
        self.records.clock.refresh();
        let records = &mut self.records;
        let bytes = self.ring.drain(|bytes| records.take(bytes, tell));
        self.records.expire(tell);
        if let Some(Ok(watch)) = &mut self.tls {
            watch.refresh(self.looked, &mut |process| tell(Event::TlsProcess(process)));
        }
        if let Some(readers) = &mut self.readers {
            readers.look(self.looked, self.records.told_of_readers);
        }
        if let Some(goroutines) = &mut self.goroutines {
            goroutines.look(self.looked, |process| hits_of(&self.hits, process));
        }
        if let Some(budget) = self.budget.as_mut().filter(|budget| budget.is_due(self.looked)) {
            budget.look(self.looked, &all_hits(&self.hits), command);
        }
        let target = self.ring_bytes / BATCH_SHARE;
        self.pause = if bytes > target { self.pause / 2 } else { self.pause * 2 }.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        Ok(true)
    }

    fn leave_out(&mut self, token: u64, what: LeftOut) {
        if token != 0 {
            self.wishes.leave_out(token, what);
        }
    }

    fn tell_readers(&mut self, processes: &[u32]) {
        if let Some(readers) = &mut self.readers {
            readers.wish(&mut self.ebpf, processes, self.looked);
        }
        if let Some(goroutines) = &mut self.goroutines {
            goroutines.wish(processes, self.looked);
        }
    }

    fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.as_ref().map_or(true, Watch::is_settled))
    }

    fn reads_tls(&self) -> bool {
        matches!(self.tls, Some(Ok(_)))
    }

    fn counters(&self) -> Vec<SourceCounters> {
        let lost_to = |loss: Loss| {
            let all = self.losses.get(&(loss as u32), 0).map_or(0, |each| each.iter().sum());
            (loss.as_str(), all)
        };
        let mut lost: Vec<_> = Loss::ALL.into_iter().filter(|loss| *loss != Loss::TlsCall).map(lost_to).collect();
        lost.push(("unreadable_record", self.records.unreadable));
        let (events, source) = (self.records.told - self.records.told_of_tls, self.source.as_str());
        let mut all = vec![SourceCounters {
            source,
            events,
            lost,
            programs: self.costs(|gives| gives != Gives::Tls),
            ..SourceCounters::default()
        }];
        if let Some(counters) = self.tls_counters() {
            let lost = vec![lost_to(Loss::TlsCall)];
            let count = |entries: usize| u64::try_from(entries).unwrap_or(u64::MAX);
            let table = |table, tracked, evicted| TableUse { table, tracked: count(tracked), evicted };
            let tables = vec![
                table("tls_files", counters.files, counters.refused),
                table("tls_processes", counters.processes, counters.refused_processes),
                table("tls_process_records", 0, counters.lost),
            ];
            let programs = self.costs(|gives| gives == Gives::Tls);
            let probes = self.budget.as_ref().map_or_else(Vec::new, ProbeBudget::costs);
            let events = self.records.told_of_tls;
            all.push(SourceCounters { source: "tls", events, lost, tables, programs, probes });
        }
        all
    }
}

impl KernelCapture {
    /// What the programs that run have cost, of those that give this.
    fn costs(&self, of: impl Fn(Gives) -> bool) -> Vec<ProgramCost> {
        let runs = |state: &&ProgramState| {
            let mut programs = PROGRAMS.iter().filter(|program| of(program.gives));
            state.outcome.is_ok() && programs.any(|program| program.name == state.program)
        };
        let cost = |state: &ProgramState| {
            let info = self.ebpf.program(state.program)?.info().ok()?;
            let run_ns = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
            Some(ProgramCost { program: state.program.to_owned(), run_ns, runs: info.run_count() })
        };
        self.states.iter().filter(runs).filter_map(cost).collect()
    }
}

/// Loads what is attached to TLS libraries.
fn load_tls(ebpf: &mut Ebpf, states: &mut Vec<ProgramState>) -> Result<Probes, String> {
    let loaded = attach::for_tls(ebpf);
    let failed = loaded.iter().find_map(|state| Some(format!("{}: {}", state.program, state.outcome.as_ref().err()?)));
    if let Some(failed) = failed {
        return Err(failed);
    }
    states.extend(loaded);
    Probes::of(ebpf)
}

/// Which sessions of TLS libraries are told: none where a cgroup was asked for and there is no such hierarchy.
fn selection(options: &Options) -> Selection {
    let below = options.tls_cgroup.as_deref().map(|path| {
        let root = cgroup::root().unwrap_or_default();
        Below::of(root.join(path.trim_start_matches('/')))
    });
    Selection::new(below, options.ports.clone())
}

/// How often each process hit probes.
fn all_hits(hits: &PerCpuHashMap<MapData, u32, u64>) -> Vec<(u32, u64)> {
    hits.iter().filter_map(Result::ok).map(|(process, hits)| (process, hits.iter().sum())).collect()
}

/// How often a process hit probes.
fn hits_of(hits: &PerCpuHashMap<MapData, u32, u64>, process: u32) -> u64 {
    hits.get(&process, 0).map_or(0, |hits| hits.iter().sum())
}

fn open_cgroup(options: &Options) -> Result<File, OpenError> {
    let failed = |directory: Option<PathBuf>| move |source| OpenError::Cgroup { directory, source };
    let directory = match &options.cgroup_directory {
        Some(directory) => directory.clone(),
        None => cgroup::root().map_err(failed(None))?,
    };
    cgroup::open(&directory).map_err(failed(Some(directory)))
}

fn set_ports(ebpf: &mut Ebpf, ports: &[u16]) -> Result<(), OpenError> {
    let mut wanted = [0u64; 1024];
    for port in ports {
        wanted[usize::from(port / 64)] |= 1 << (port % 64);
    }
    // Borrowed, not taken: the programs that are loaded later refer to it by its descriptor.
    let map = ebpf.map_mut(map::PORTS).ok_or_else(|| OpenError::Object(format!("no map {}", map::PORTS)))?;
    let mut map: Array<_, [u64; 1024]> = Array::try_from(map).map_err(unfit)?;
    map.set(0, wanted, 0).map_err(|error: MapError| unfit(error))
}

fn taken(ebpf: &mut Ebpf, name: &str) -> Result<Map, OpenError> {
    ebpf.take_map(name).ok_or_else(|| OpenError::Object(format!("no map {name}")))
}

fn unfit(error: impl std::fmt::Display) -> OpenError {
    OpenError::Object(error.to_string())
}

/// An epoll set that tells the kernel's wakeups and nothing else: edge-triggered, or it would be ready whenever a single record
/// waits.
fn wakeups(ring: &MapData, watch: Option<&Watch>) -> io::Result<OwnedFd> {
    let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&wakeups, ring.fd(), epoll::EventData::new_u64(0), flags)?;
    for descriptor in watch.into_iter().flat_map(Watch::wakeups) {
        epoll::add(&wakeups, descriptor, epoll::EventData::new_u64(0), flags)?;
    }
    Ok(wakeups)
}

/// Before 5.11 maps count as locked memory. Where the limit cannot be lifted a later kernel does not mind, and an earlier one
/// says so when the maps are made.
fn lift_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}
