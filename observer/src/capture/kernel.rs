//! Capture from the kernel: options come in, events of the attached programs go out. Only where no packet at all would be seen
//! does opening fail.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use aya::{Ebpf, EbpfError};
use aya_log::EbpfLogger;
use observer_ebpf::flow::LeftOut;
use observer_ebpf::loss::Loss;
use observer_ebpf::program::{Gives, PROGRAMS};
use observer_ebpf::{RING_BYTES, map};
use rustix::event::{Timespec, epoll};

use super::attach::{self, ProgramState};
use super::kernel_memory::{FlowSlots, RingReader};
use super::records::Records;
use super::{Event, ProgramCost, Source, SourceCounters, cgroup, object};

/// The shortest and the longest time between two looks into the ring. The kernel wakes us where a quarter of it is full.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
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
    slots: FlowSlots,
    losses: PerCpuArray<MapData, u64>,
    records: Records,
    states: Vec<ProgramState>,
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
        let mut ebpf = object::load(options.ring_bytes, !options.ports.is_empty(), options.kernel_log)?;
        set_ports(&mut ebpf, &options.ports)?;
        let Some(Map::RingBuf(ring_map)) = ebpf.take_map(map::RECORDS) else {
            return Err(OpenError::Object(format!("no ring buffer {}", map::RECORDS)));
        };
        let ring = RingReader::new(ring_map.fd().as_fd(), options.ring_bytes).map_err(OpenError::Memory)?;
        let slots = match ebpf.map(map::FLOWS) {
            Some(Map::Array(data)) => FlowSlots::new(data.fd().as_fd()).map_err(OpenError::Memory)?,
            _ => return Err(OpenError::Object(format!("no array {}", map::FLOWS))),
        };
        let losses = PerCpuArray::try_from(taken(&mut ebpf, map::LOSSES)?).map_err(unfit)?;
        let wakeups = watch(&ring_map).map_err(OpenError::Memory)?;
        let logger = options.kernel_log.then(|| EbpfLogger::init(&mut ebpf)).transpose().map_err(unfit)?;

        let (states, packet_filter) = match options.source {
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
        Ok(Self {
            source: options.source,
            ebpf,
            ring,
            ring_bytes: options.ring_bytes as usize,
            slots,
            losses,
            records: Records::of(options.source),
            states,
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

    /// Waits for the next look: as long as the traffic allows, at most `patience`, or until the kernel says that it is time.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        let wait = self.pause.saturating_sub(self.looked.elapsed()).min(patience);
        if wait.is_zero() {
            return Ok(());
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.min(LONGEST_PAUSE).subsec_nanos()) };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
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
        let target = self.ring_bytes / BATCH_SHARE;
        self.pause = if bytes > target { self.pause / 2 } else { self.pause * 2 }.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        Ok(true)
    }

    fn leave_out(&mut self, token: u64, what: LeftOut) {
        if token != 0 {
            self.slots.leave_out(token, what);
        }
    }

    fn counters(&self) -> Vec<SourceCounters> {
        let mut lost: Vec<_> = Loss::ALL
            .into_iter()
            .map(|loss| {
                let all = self.losses.get(&(loss as u32), 0).map_or(0, |each| each.iter().sum());
                (loss.as_str(), all)
            })
            .collect();
        lost.push(("unreadable_record", self.records.unreadable));
        let programs = self
            .states
            .iter()
            .filter(|state| state.outcome.is_ok())
            .filter_map(|state| {
                let info = self.ebpf.program(state.program)?.info().ok()?;
                let run_ns = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
                Some(ProgramCost { program: state.program.to_owned(), run_ns, runs: info.run_count() })
            })
            .collect();
        vec![SourceCounters { source: self.source.as_str(), events: self.records.told, lost, programs }]
    }
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
fn watch(ring: &MapData) -> io::Result<OwnedFd> {
    let wakeups = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&wakeups, ring.fd(), epoll::EventData::new_u64(0), flags)?;
    Ok(wakeups)
}

/// Before 5.11 maps count as locked memory. Where the limit cannot be lifted a later kernel does not mind, and an earlier one
/// says so when the maps are made.
fn lift_memory_limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}
