//! Capture: what the kernel or a capture file shows comes in; packets, socket events and opaque connections go out.

mod attach;
mod btf;
pub mod cgroup;
pub mod clock;
mod definitions;
pub mod file;
mod goroutines;
pub mod kernel;
pub(crate) mod kernel_memory;
pub mod object;
mod packet_socket;
mod probe_budget;
mod probe_cost;
mod probes;
pub(crate) mod readers;
mod records;
mod releases;
mod selection;
mod unnamed;
pub(crate) mod uretprobe;

pub use attach::ProgramState;
pub use kernel::{KernelCapture, KernelSource, OpenError, Options};

use std::time::Duration;

use observer_core::connection::{Address, Beginnings, Flow, Opaque, Packet, Tap};
use observer_core::ids::SocketId;
use observer_core::time::Timestamp;
use observer_ebpf::flow::LeftOut;
use observer_ebpf::record::COMMAND_BYTES;

use crate::output::snapshot::TableUse;
use crate::tls::TlsProcess;

/// What a source yields.
#[derive(Debug)]
pub enum Event<'a> {
    /// The payload of a packet. `cgroup` is the id of the socket's cgroup v2 (0: not known).
    Packet {
        /// The packet.
        packet: Packet<'a>,
        /// Inode number of the cgroup v2 directory of the socket's creator; 0 where it is not known.
        cgroup: u64,
    },
    /// A connection that carries a protocol which is recognised and not decoded.
    Opaque {
        /// When.
        at: Timestamp,
        /// Between whom.
        flow: Flow,
        /// Where it was seen.
        tap: Tap,
        /// As in `Packet`.
        cgroup: u64,
        /// What it carries.
        kind: Opaque,
    },
    /// The first sight of a connection is what its receiver may have asked a broker for and was not seen to.
    Unasked {
        /// When.
        at: Timestamp,
        /// From who sent it to who received it.
        flow: Flow,
        /// Where it was seen: not at its sender.
        tap: Tap,
        /// As in `Packet`.
        cgroup: u64,
    },
    /// A program sent or received something through a TLS library.
    Plain(Plain<'a>),
    /// A session of a TLS library is first seen: before anything that it carries.
    SessionBegins {
        /// When.
        at: Timestamp,
        /// Which.
        session: Session,
        /// The cgroup v2 id of the thread.
        cgroup: u64,
        /// The socket below it, where the way to it is known and something asked for its cookie before.
        socket: Option<SocketId>,
        /// From the local end of that socket to the remote one, where the way to it is known.
        flow: Option<Flow>,
    },
    /// A session of a TLS library is given up.
    SessionEnds {
        /// When.
        at: Timestamp,
        /// Which.
        session: Session,
        /// How many bytes it sent, counted from one.
        sent: u32,
        /// How many bytes it received, counted from one.
        received: u32,
    },
    /// A thread has read from a TCP socket.
    Reads(Reading),
    /// A goroutine calls a peer.
    GoCalls(GoCall),
    /// Something happened to a socket.
    Socket(SocketEvent),
    /// What is known of the TLS libraries of a process changed.
    TlsProcess(TlsProcess),
}

/// A session of a TLS library: a connection as its program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The process (tgid in the initial pid namespace).
    pub process: u32,
    /// Its number: no other has it while the programs run.
    pub number: u64,
}

/// What a program sent or received through a TLS library, in clear.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// When it was done.
    pub at: Timestamp,
    /// Through which session.
    pub session: Session,
    /// Whether the program sent it.
    pub sends: bool,
    /// How many bytes the session sent, or received, before, counted from one.
    pub seq: u32,
    /// How many it had received, or sent, by then.
    pub ack: u32,
    /// How many bytes.
    pub wire_len: u32,
    /// The first of these, as many as were captured.
    pub bytes: &'a [u8],
    /// As [`Piece::link`](observer_core::decode::Piece::link).
    pub link: Option<u32>,
    /// As [`Packet::token`].
    pub token: u64,
    /// The cgroup v2 id of the thread.
    pub cgroup: u64,
}

/// What a thread has read: of processes that were asked for ([`Source::tell_readers`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// From which socket.
    pub socket: SocketId,
    /// The process (tgid in the initial pid namespace).
    pub process: u32,
    /// The thread (tid, likewise).
    pub thread: u32,
    /// The sequence number of TCP behind the last byte that was read.
    pub up_to: u32,
    /// Whether anybody waits at the socket: a set of descriptors (epoll), or another thread.
    pub is_awaited: bool,
}

/// A goroutine of a process that was asked for is about to send a request over HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoCall {
    /// When.
    pub at: Timestamp,
    /// Through which socket, which takes no other request before this one is answered.
    pub socket: SocketId,
    /// The process (tgid in the initial pid namespace).
    pub process: u32,
    /// What it works for; `None`: for no request that is known.
    pub work: Option<Work>,
}

/// What a goroutine works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The socket of the connection whose requests are read, and answered, by one goroutine: itself or one that it descends from.
    pub served: SocketId,
    /// When that goroutine began to read the request that it worked for, itself or when it gave birth to this one's line.
    pub since: Timestamp,
    /// How many births lie between the two; zero: it serves the connection itself.
    pub births: u32,
    /// Where there are any: how often it, or one between the two, has called anybody before.
    pub calls: u32,
}

/// The command name of a thread (`comm`, man 5 proc): the first bytes of its executable's name, or what it calls itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandName(pub [u8; COMMAND_BYTES]);

impl CommandName {
    /// As text, what is no UTF-8 replaced; empty where it is not known.
    pub fn name(&self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(COMMAND_BYTES);
        String::from_utf8_lossy(self.0.get(..end).unwrap_or_default()).into_owned()
    }
}

/// What the socket hooks tell, from process context where a pid is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// `connect()` was called by this process (cgroup/connect4, connect6).
    Connects {
        /// The socket.
        socket: SocketId,
        /// The process (tgid in the initial pid namespace).
        pid: u32,
        /// Its cgroup v2 id.
        cgroup: u64,
        /// What it is called, should it end before it is looked at.
        command: CommandName,
        /// Where to.
        to: Address,
    },
    /// `bind()` was called by this process (cgroup/post_bind4, post_bind6).
    Binds {
        /// The socket.
        socket: SocketId,
        /// The process.
        pid: u32,
        /// Its cgroup v2 id.
        cgroup: u64,
        /// The local address.
        to: Address,
    },
    /// A connection is established (sock_ops). `passive`: it was accepted.
    Established {
        /// The socket: of a passive one that of the accepted socket, not of the listener.
        socket: SocketId,
        /// From the local to the remote address.
        flow: Flow,
        /// Whether this host accepted it.
        passive: bool,
        /// Where its directions begin; `None` where packets name their sockets.
        beginnings: Option<Beginnings>,
    },
    /// The socket is gone (cgroup/sock_release).
    Released {
        /// The socket.
        socket: SocketId,
    },
}

/// How much a source has seen and lost so far. Monotonic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceCounters {
    /// The value of the `source` label: `cgroup`, `socket-filter`, `tls`, `file`.
    pub source: &'static str,
    /// Events delivered.
    pub events: u64,
    /// Events lost, by reason.
    pub lost: Vec<(&'static str, u64)>,
    /// The tables that it keeps.
    pub tables: Vec<TableUse>,
    /// Run time and runs of each kernel program (zero where `kernel.bpf_stats_enabled` is off).
    pub programs: Vec<ProgramCost>,
    /// What probes cost the processes that hit them, by command.
    pub probes: Vec<ProbeCost>,
}

/// What probes cost the processes of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeCost {
    /// The command name; `unknown` where they ended too soon, `__overflow__` for all beyond the bound.
    pub command: String,
    /// How often they hit probes.
    pub hits: u64,
    /// Processor time that this took them lately, each second, by what a hit costs on this host.
    pub a_second: Duration,
}

/// What one kernel program has cost so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program's name.
    pub program: String,
    /// Nanoseconds of run time.
    pub run_ns: u64,
    /// Runs.
    pub runs: u64,
}

/// Where events come from: the kernel, or a capture file.
pub trait Source {
    /// Waits at most `patience` for events and hands each to `tell`. Returns whether more can come (a file ends).
    ///
    /// # Errors
    ///
    /// Only what ends the source for good; lost and unreadable events are counted in [`SourceCounters`].
    fn poll(&mut self, patience: Duration, tell: &mut dyn FnMut(Event<'_>)) -> anyhow::Result<bool>;

    /// Leaves out so much of a flow from now on, by the token of a packet: what is known to be needed by nobody.
    fn leave_out(&mut self, _token: u64, _what: LeftOut) {}

    /// Tells which threads of these processes (tgid in the initial pid namespace) read what from now on; of none: nothing more.
    fn tell_readers(&mut self, _processes: &[u32]) {}

    /// Whether all that it watches from the start is watched.
    fn is_ready(&self) -> bool {
        true
    }

    /// Whether it tells what passes through TLS libraries.
    fn reads_tls(&self) -> bool {
        false
    }

    /// What was seen and lost so far.
    fn counters(&self) -> Vec<SourceCounters>;
}
