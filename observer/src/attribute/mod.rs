//! Attribution: an end of a connection comes in, the workload that owns it goes out, with its service name and what is known
//! of its processes. Traffic, hops and ratios are not known here.
//!
//! Three sources, in the order in which they are believed: what the kernel told of a socket from process context
//! (`connect`, `bind`); which processes hold it, from a survey of sock_diag and `/proc`; its cgroup and its local address,
//! which only hint. The hot path is [`Attribution::owner`], a look-up in a table. Everything that reads `/proc` is bounded
//! by time or runs on a thread of its own.

pub mod addresses;
pub mod boundary;
mod container_names;
pub mod environment;
mod grouping;
mod listeners;
#[cfg(test)]
pub(crate) mod live;
pub mod naming;
pub mod peers;
pub mod process;
mod processes;
pub mod program;
pub mod runs;
mod sock_diag;
mod sockets;
mod survey;
mod tables;
mod turns;
pub mod workloads;

use std::path::PathBuf;
use std::time::Instant;

use observer_core::connection::Address;
use observer_core::ids::{SocketId, WorkloadId};
use rustc_hash::FxHashMap;

use crate::capture::SocketEvent;
use listeners::{Listener, Listeners};
use naming::ServiceRule;
use peers::{External, Peer, external_host, far_name};
use process::{Places, ProcessFacts};
use processes::{Found, Processes};
use sockets::{Clue, Sockets, State};
pub use survey::Refused;
use turns::Turns;
use workloads::{KubernetesName, Workload, Workloads};

/// Connections known by their addresses alone.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Connections looked for by their addresses at a time.
const WANTED_MAX: usize = 4096;
/// `bind()` and `connect()` calls put off because too many processes were read just before.
const LATE_MAX: usize = 4096;
/// The local and the remote address of an end.
type Connection = (Address, Address);

/// Where to look and what the configuration says.
#[derive(Clone, Debug)]
pub struct Options {
    /// `/proc` and the cgroup v2 mount.
    pub places: Places,
    /// The root directory of the host: container runtimes keep names below it.
    pub host_root: PathBuf,
    /// `services:`.
    pub services: Vec<ServiceRule>,
    /// `external:`.
    pub external: Vec<External>,
}

impl Options {
    /// This host, without configuration. From inside a container (which needs the host's pid namespace) the host's files
    /// are those of its init.
    pub fn of_this_host() -> Self {
        let init_root = PathBuf::from("/proc/1/root");
        let host_root = if init_root.join("proc").exists() { init_root } else { PathBuf::from("/") };
        Self { places: Places::of_this_host(), host_root, services: Vec::new(), external: Vec::new() }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndQuery {
    /// Its socket; `None`: it was seen on an interface.
    pub socket: Option<SocketId>,
    /// The cgroup v2 id of its socket; zero: not known.
    pub cgroup: u64,
    /// Its own address.
    pub local: Address,
    /// The other end's.
    pub remote: Address,
}

/// Who owns an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This workload.
    Workload(WorkloadId),
    /// It is looked for: ask again after [`Attribution::refresh`] has returned true.
    Pending,
    /// Nobody on this host was found.
    Unknown,
}

/// How much a table holds, and how much it refused or dropped so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableCount {
    /// The value of the `table` label.
    pub table: &'static str,
    /// Entries now.
    pub tracked: usize,
    /// Entries refused or dropped because it was full.
    pub evicted: u64,
}

/// Who owns which socket of this host.
#[derive(Debug)]
pub struct Attribution {
    processes: Processes,
    workloads: Workloads,
    listeners: Listeners,
    sockets: Sockets,
    external: Vec<External>,
    by_connection: FxHashMap<Connection, Option<WorkloadId>>,
    asked_by_address: bool,
    wanted: FxHashMap<Connection, u8>,
    late: Vec<SocketEvent>,
    dropped: u64,
    turns: Turns,
}

impl Attribution {
    /// Nothing is read yet: [`Attribution::settle`] reads what exists.
    pub fn new(options: Options) -> Self {
        let now = Instant::now();
        let own_network = options.places.own_network();
        Self {
            processes: Processes::new(options.places, now),
            workloads: Workloads::new(options.services, options.host_root, own_network),
            listeners: Listeners::default(),
            sockets: Sockets::default(),
            external: options.external,
            by_connection: FxHashMap::default(),
            asked_by_address: false,
            wanted: FxHashMap::default(),
            late: Vec::new(),
            dropped: 0,
            turns: Turns::new(now),
        }
    }

    /// Takes in what a socket hook told. Reads the process at its first event, while it exists, as far as time allows.
    pub fn event(&mut self, event: &SocketEvent) {
        match *event {
            SocketEvent::Connects { socket, pid, cgroup, command, .. } => {
                // A socket that was bound to a port of its own and now connects does not listen.
                if let Some(listener) = self.listeners.remove(socket) {
                    self.workloads.unlisten(listener.workload, listener.local);
                }
                let (state, later) = self.state_by_process(Clue { pid, cgroup, command, connection: None });
                self.sockets.set(socket, state);
                if later && matches!(state, State::Owned(_)) {
                    self.put_off(event);
                }
            }
            SocketEvent::Binds { socket, pid, cgroup, to } => {
                if to.port != 0 && !self.bound(socket, pid, cgroup, to) {
                    self.put_off(event);
                }
            }
            SocketEvent::Established { socket, flow, passive, .. } => {
                if passive && self.sockets.owner(socket).is_none() {
                    let clue = Clue { connection: Some((flow.source, flow.destination)), ..Clue::default() };
                    let state = self.guess(clue).unwrap_or(State::Waits(clue));
                    self.sockets.set(socket, state);
                }
            }
            SocketEvent::Released { socket } => {
                self.sockets.remove(socket);
                // The address stays among those that name the workload until the next survey: its last messages are
                // still to come.
                self.listeners.remove(socket);
            }
        }
    }

    /// Who owns an end. Cheap; while the answer is [`Owner::Pending`] a later [`Attribution::refresh`] may know more.
    pub fn owner(&mut self, end: &EndQuery) -> Owner {
        let Some(socket) = end.socket else {
            return self.owner_by_address((end.local, end.remote));
        };
        let known = self.sockets.ask(socket);
        let state = match known {
            Some(State::Waits(Clue { connection: Some(_), .. })) => return Owner::Pending,
            Some(state @ (State::Owned(_) | State::Unknown)) => state,
            // Nothing was told of it, or not its addresses.
            Some(State::Waits(_)) | None => {
                let clue = match known {
                    Some(State::Waits(clue)) => clue,
                    _ => Clue { cgroup: end.cgroup, ..Clue::default() },
                };
                let clue = Clue { connection: Some((end.local, end.remote)), ..clue };
                let state = if clue.pid == 0 { self.guess(clue) } else { None }.unwrap_or(State::Waits(clue));
                self.sockets.set(socket, state);
                state
            }
        };
        match state {
            State::Owned(workload) => Owner::Workload(self.workloads.current(workload)),
            State::Waits(_) => Owner::Pending,
            State::Unknown => Owner::Unknown,
        }
    }

    /// Who a process belongs to; `cgroup` is the cgroup v2 id of a thread of it, for one that has ended.
    pub fn owner_of_process(&mut self, pid: u32, cgroup: u64) -> Owner {
        match self.processes.workload(pid, &mut self.workloads) {
            Found::Workload(workload) => Owner::Workload(self.workloads.current(workload)),
            Found::Later => Owner::Pending,
            Found::Gone => match self.state_by_cgroup(cgroup) {
                Some(State::Owned(workload)) => Owner::Workload(self.workloads.current(workload)),
                _ => Owner::Unknown,
            },
        }
    }

    /// What is known of a workload; `None` once it was forgotten, a minute after its last process ended.
    pub fn workload(&self, id: WorkloadId) -> Option<&Workload> {
        self.workloads.get(id)
    }

    /// The id under which a workload is known now: of two that turned out to be one, the older.
    pub fn current(&self, id: WorkloadId) -> WorkloadId {
        self.workloads.current(id)
    }

    /// All workloads, by id.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        self.workloads.iter()
    }

    /// The processes of a workload that ended a short while ago.
    pub fn ended(&self, workload: WorkloadId) -> impl Iterator<Item = &ProcessFacts> {
        let id = self.current(workload);
        let of_workload = move |of: WorkloadId| self.workloads.current(of) == id;
        self.processes.ended().filter(move |(of, _)| of_workload(*of)).map(|(_, facts)| facts)
    }

    /// Where processes are looked for.
    pub fn places(&self) -> &Places {
        &self.processes.places
    }

    /// Changes whenever the name of a workload does, a process joins one, or two become one.
    pub fn generation(&self) -> u64 {
        self.workloads.generation
    }

    /// What the far end of a connection is called, as `near` sees it (each network namespace has a loopback of its own).
    /// `serves`: it takes the requests; `host`: what the request calls it, without port.
    pub fn peer(&self, near: Option<WorkloadId>, far: Address, serves: bool, host: Option<&str>) -> Peer {
        if serves && self.is_local(far) {
            let network = near.and_then(|near| Some(self.workloads.get(near)?.lead()?.network));
            let current = |id| self.workloads.current(id);
            let listener = match network.filter(|_| far.ip.is_loopback()) {
                Some(network) => self.listeners.at(network, far).map(|listener| current(listener.workload)),
                None => self.listeners.accepts(far, 0, &self.processes.networks, current),
            };
            if let Some(workload) = listener {
                return Peer::Local(workload);
            }
        }
        far_name(self.workloads.rules(), &self.external, far, serves, host)
    }

    /// What a far end is called of which a request tells the host name and nothing else is known.
    pub fn called(&self, host: &str) -> String {
        external_host(&self.external, host).unwrap_or_else(|| host.to_owned())
    }

    /// Whether an address is one of this host or of a network namespace on it.
    pub fn is_local(&self, address: Address) -> bool {
        address.ip.is_loopback() || self.processes.networks.values().any(|addresses| addresses.contains(&address.ip))
    }

    /// What Kubernetes calls a container (by container id), or all containers of a pod (by pod uid).
    pub fn label(&mut self, container_or_pod: &str, name: KubernetesName) {
        self.workloads.label(container_or_pod, name);
    }

    /// Takes over `services:` and `external:` of a configuration that was read again.
    pub fn reconfigure(&mut self, services: Vec<ServiceRule>, external: Vec<External>) {
        let networks = &self.processes.networks;
        self.workloads.set_rules(services, |network| networks.get(&network).cloned().unwrap_or_default());
        self.external = external;
    }

    /// How full the tables are.
    pub fn tables(&self) -> [TableCount; 5] {
        let count = |table, tracked, evicted| TableCount { table, tracked, evicted };
        [
            count("sockets", self.sockets.len(), self.sockets.evicted),
            count("listeners", self.listeners.len(), self.listeners.refused),
            count("processes", self.processes.len(), self.processes.refused),
            count("workloads", self.workloads.len(), self.workloads.refused),
            count("connections", self.by_connection.len(), self.dropped),
        ]
    }

    /// What the last survey was not allowed to read, or left out.
    pub fn refused(&self) -> Refused {
        self.turns.refused
    }

    /// How many surveys have been made.
    pub fn surveys(&self) -> u64 {
        self.turns.surveys
    }

    /// Keeps an event of a process that could not be looked at yet.
    fn put_off(&mut self, event: &SocketEvent) {
        if self.late.len() < LATE_MAX {
            self.late.push(*event);
        } else {
            self.dropped += 1;
        }
    }

    /// The owner by the process, and whether that is to be looked at later.
    fn state_by_process(&mut self, clue: Clue) -> (State, bool) {
        let found = self.processes.workload(clue.pid, &mut self.workloads);
        if let Found::Workload(workload) = found {
            return (State::Owned(workload), false);
        }
        if let Some(state) = self.state_by_cgroup(clue.cgroup) {
            return (state, false);
        }
        let later = found == Found::Later;
        let unseen = self.processes.unseen(clue.pid, clue.command, &mut self.workloads);
        if !later {
            self.processes.end(clue.pid, &mut self.workloads);
        }
        let waits = Clue { pid: if later { clue.pid } else { 0 }, ..clue };
        (unseen.map_or(State::Waits(waits), State::Owned), later)
    }

    fn state_by_cgroup(&mut self, cgroup: u64) -> Option<State> {
        let boundary = self.processes.boundary_of_cgroup(cgroup)?.clone();
        self.workloads.of_boundary(&boundary, &[]).map(State::Owned)
    }

    /// Who owns an end, by its addresses and its cgroup.
    fn guess(&mut self, clue: Clue) -> Option<State> {
        let current = |id| self.workloads.current(id);
        let networks = &self.processes.networks;
        let found = clue.connection.and_then(|connection| {
            self.listeners
                .accepts(connection.0, clue.cgroup, networks, current)
                .or_else(|| self.by_connection.get(&connection).copied().flatten())
        });
        found.map(State::Owned).or_else(|| self.state_by_cgroup(clue.cgroup))
    }

    fn owner_by_address(&mut self, connection: Connection) -> Owner {
        self.asked_by_address = true;
        let clue = Clue { connection: Some(connection), ..Clue::default() };
        if let Some(State::Owned(workload)) = self.guess(clue) {
            return Owner::Workload(self.workloads.current(workload));
        }
        // Before the first survey nothing is known of this host's addresses.
        if self.turns.surveys > 0 && !self.is_local(connection.0) {
            return Owner::Unknown;
        }
        if let Some(&tries) = self.wanted.get(&connection) {
            return if tries < turns::TRIES_MAX { Owner::Pending } else { Owner::Unknown };
        }
        if self.wanted.len() >= WANTED_MAX {
            self.wanted.retain(|_, tries| *tries < turns::TRIES_MAX);
        }
        if self.wanted.len() >= WANTED_MAX {
            self.dropped += 1;
            return Owner::Unknown;
        }
        self.wanted.insert(connection, 0);
        Owner::Pending
    }

    /// Takes in a `bind()`; false: the process could not be looked at yet.
    fn bound(&mut self, socket: SocketId, pid: u32, cgroup: u64, local: Address) -> bool {
        let mut workload = match self.processes.workload(pid, &mut self.workloads) {
            Found::Workload(workload) => self.workloads.current(workload),
            Found::Later => return false,
            Found::Gone => match self.state_by_cgroup(cgroup) {
                Some(State::Owned(workload)) => workload,
                _ => return true,
            },
        };
        let network = self.processes.get(pid).map_or(0, |known| known.facts.network);
        // What a launcher forked and now listens by itself is a service of its own, unless the launcher listens, too.
        let forked = self.processes.get(pid).is_some_and(|known| known.facts.forked && known.facts.boundary.is_none());
        let launched = forked
            && self.workloads.get(workload).is_some_and(|workload| {
                workload.listens.is_empty() && workload.lead().is_some_and(|lead| lead.pid != pid)
            });
        if launched {
            workload = self.processes.split(pid, &mut self.workloads).unwrap_or(workload);
        }
        // Workers with a socket each for one address (SO_REUSEPORT) serve the same connections.
        let twin = self.listeners.at(network, local).filter(|twin| twin.local == local && network != 0);
        if let Some(twin) = twin.map(|twin| self.workloads.current(twin.workload)) {
            let alone = |id| self.workloads.get(id).is_some_and(|workload| workload.boundary.is_none());
            if alone(twin) && alone(workload) {
                workload = self.workloads.merge(twin, workload, self.processes.addresses(pid));
            }
        }
        self.listeners.insert(Listener { local, network, socket: Some(socket), cgroup, workload });
        self.workloads.listen(workload, local, self.processes.addresses(pid));
        self.sockets.set(socket, State::Owned(workload));
        true
    }
}
