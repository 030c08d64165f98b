//! Capture from the kernel: options come in, events of the attached programs go out. Programs are loaded one by one, and each
//! says why where it cannot run; only where no packet at all would be seen does opening fail.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, ProgramArray};
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr, ProgramError, ProgramFd, SockOps,
    SocketFilter,
};
use aya::{Ebpf, EbpfError};
use aya_log::EbpfLogger;
use observer_ebpf::loss::Loss;
use observer_ebpf::program::{Gives, Hook, PROGRAMS, Program};
use observer_ebpf::{RING_BYTES, map};
use rustix::event::{Timespec, epoll};

use super::kernel_memory::{FlowSlots, RingReader};
use super::records::Records;
use super::{Event, ProgramCost, Source, SourceCounters, cgroup, object, packet_socket};

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
    /// On the interfaces of this network namespace (a socket filter on a packet socket): label `socket-filter`.
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

/// Whether a program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// The program.
    pub program: &'static str,
    /// `Err`: why it does not.
    pub outcome: Result<(), String>,
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

        let mut states = Vec::new();
        let mut packet_filter = None;
        match options.source {
            KernelSource::Cgroup => {
                let directory = open_cgroup(options)?;
                for program in PROGRAMS.iter().filter(|program| program.base() != Hook::Filter) {
                    states.push(state(program, attach(&mut ebpf, program, &directory)));
                }
            }
            KernelSource::SocketFilter => {
                for program in PROGRAMS.iter().filter(|program| program.base() == Hook::Filter) {
                    let outcome = match program.hook {
                        Hook::Entry { array, .. } => enter(&mut ebpf, program, array),
                        _ => attach_filter(&mut ebpf, program, options.interface.as_deref())
                            .map(|socket| packet_filter = Some(socket)),
                    };
                    states.push(state(program, outcome));
                }
            }
        }
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
            records: Records::default(),
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

    fn quiet(&mut self, token: u64) {
        if token != 0 {
            self.slots.quiet(token);
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

fn state(program: &Program, outcome: Result<(), String>) -> ProgramState {
    ProgramState { program: program.name, outcome }
}

fn attach(ebpf: &mut Ebpf, program: &Program, directory: &File) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let mode = CgroupAttachMode::Single;
    let attached: Result<(), ProgramError> = match program.hook {
        Hook::Egress | Hook::Ingress => loaded.try_into().and_then(|skb: &mut CgroupSkb| {
            let side =
                if program.hook == Hook::Egress { CgroupSkbAttachType::Egress } else { CgroupSkbAttachType::Ingress };
            skb.load()?;
            skb.attach(directory, side, mode).map(|_| ())
        }),
        Hook::Socket => loaded.try_into().and_then(|socket: &mut CgroupSock| {
            socket.load()?;
            socket.attach(directory, mode).map(|_| ())
        }),
        Hook::SocketAddress => loaded.try_into().and_then(|address: &mut CgroupSockAddr| {
            address.load()?;
            address.attach(directory, mode).map(|_| ())
        }),
        Hook::SocketOperations => loaded.try_into().and_then(|operations: &mut SockOps| {
            operations.load()?;
            operations.attach(directory, mode).map(|_| ())
        }),
        Hook::Filter => return Err("it is attached to a packet socket".into()),
        Hook::Entry { array, .. } => return enter(ebpf, program, array),
    };
    attached.map_err(|error| reason(&error))
}

/// Loads a program and enters it where another leaves for it.
fn enter(ebpf: &mut Ebpf, program: &Program, array: &str) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let entered: Result<ProgramFd, ProgramError> = match program.base() {
        Hook::Filter => loaded.try_into().and_then(|filter: &mut SocketFilter| {
            filter.load()?;
            filter.fd()?.try_clone().map_err(ProgramError::from)
        }),
        _ => loaded.try_into().and_then(|skb: &mut CgroupSkb| {
            skb.load()?;
            skb.fd()?.try_clone().map_err(ProgramError::from)
        }),
    };
    let descriptor = entered.map_err(|error| reason(&error))?;
    // Borrowed: the kernel empties an array of programs once no process holds it any more.
    let map = ebpf.map_mut(array).ok_or("its array is not in the object")?;
    let mut array = ProgramArray::try_from(map).map_err(|error| error.to_string())?;
    array.set(0, &descriptor, 0).map_err(|error| error.to_string())
}

fn attach_filter(ebpf: &mut Ebpf, program: &Program, interface: Option<&str>) -> Result<OwnedFd, String> {
    let loaded = ebpf.program_mut(program.name).ok_or("it is not in the object")?;
    let filter: &mut SocketFilter = loaded.try_into().map_err(|error: ProgramError| reason(&error))?;
    filter.load().map_err(|error| reason(&error))?;
    let socket = packet_socket::open().map_err(|error| format!("no packet socket: {error}"))?;
    filter.attach(&socket).map_err(|error| reason(&error))?;
    packet_socket::bind(&socket, interface)
        .map_err(|error| format!("cannot see interface {}: {error}", interface.unwrap_or("(all)")))?;
    Ok(socket)
}

/// An error with its causes, in one line; of the verifier's log the end, which names the instruction it refused.
fn reason(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let log = verifier_log.to_string();
        let end: Vec<_> = log.lines().rev().filter(|line| !line.is_empty()).take(4).collect();
        let end: Vec<_> = end.into_iter().rev().collect();
        return format!("the kernel refuses to load it: {io_error} ({})", end.join("; "));
    }
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
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
