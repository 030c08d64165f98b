//! Sessions of TLS libraries: what a process sends and receives through one comes in, the same as of a connection goes out, so
//! that one line takes both. A connection that two processes of this host carry by TLS is two sessions: each shows its own end.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};

use observer_core::connection::{Address, Flow, Packet, Tap};
use observer_core::ids::SocketId;
use observer_core::time::Timestamp;
use rustc_hash::FxHashMap;

use super::parties::{EndAt, Holder, UNSPECIFIED};
use crate::capture::{Plain, Session};

/// Sessions that have begun and of which the connection is kept; past it the oldest are forgotten.
const SESSIONS_MAX: usize = 65_536;
/// Tells the name of a session from that of a socket: the kernel numbers sockets from one.
const SESSION: u64 = 1 << 63;

/// What is known of where a session belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionAt {
    /// The process that holds its near end.
    pub(super) process: u32,
    /// The socket that carries it.
    pub(super) socket: Option<SocketId>,
    /// From the local to the remote address.
    pub(super) flow: Option<Flow>,
}

impl SessionAt {
    /// What is known of its near or its far end.
    pub(super) fn end(&self, near: bool, cgroup: u64) -> EndAt {
        let address = |of: fn(Flow) -> Address| self.flow.map_or(UNSPECIFIED, of);
        if near {
            let holder = Holder::Process(self.process);
            EndAt { address: address(|flow| flow.source), socket: self.socket, cgroup, holder }
        } else {
            EndAt { address: address(|flow| flow.destination), socket: None, cgroup: 0, holder: Holder::Far }
        }
    }
}

/// The connections of sessions that are open.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// By process and number.
    known: FxHashMap<u32, FxHashMap<u64, Below>>,
    len: usize,
    /// As they began; some have ended since.
    order: VecDeque<Session>,
    /// Forgotten to make room.
    evicted: u64,
}

/// The socket below a session, and the addresses of its two ends.
type Below = (Option<SocketId>, Option<Flow>);

impl Sessions {
    /// A session is seen for the first time.
    pub(super) fn begins(&mut self, session: Session, socket: Option<SocketId>, flow: Option<Flow>) {
        if socket.is_none() && flow.is_none() {
            return;
        }
        let of_process = self.known.entry(session.process).or_default();
        if of_process.insert(session.number, (socket, flow)).is_some() {
            return;
        }
        self.len += 1;
        self.order.push_back(session);
        while self.len > SESSIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.evicted += u64::from(self.ends(oldest));
        }
        if self.order.len() > 2 * SESSIONS_MAX {
            let known = &self.known;
            let is_open = |session: &Session| known.get(&session.process).map(|of| of.contains_key(&session.number));
            self.order.retain(|session| is_open(session).unwrap_or_default());
        }
    }

    /// Where a session belongs.
    pub(super) fn of(&self, session: Session) -> SessionAt {
        let below = self.known.get(&session.process).and_then(|of_process| of_process.get(&session.number));
        let (socket, flow) = below.copied().unwrap_or_default();
        SessionAt { process: session.process, socket, flow }
    }

    /// A session is given up. Returns whether its connection was known.
    pub(super) fn ends(&mut self, session: Session) -> bool {
        let Some(of_process) = self.known.get_mut(&session.process) else { return false };
        let was_known = of_process.remove(&session.number).is_some();
        self.len -= usize::from(was_known);
        if of_process.is_empty() {
            self.known.remove(&session.process);
        }
        was_known
    }

    /// A process is gone, and its sessions with it.
    pub(super) fn process_ends(&mut self, process: u32) {
        self.len -= self.known.remove(&process).map_or(0, |of_process| of_process.len());
    }

    /// How many are known, and how many were forgotten to make room.
    pub(super) fn counters(&self) -> (usize, u64) {
        (self.len, self.evicted)
    }
}

/// The name of a session among sockets.
pub(super) fn socket(session: Session) -> SocketId {
    SocketId(SESSION | session.number)
}

/// What goes through a session as a packet: from one end without a port to another.
pub(super) fn packet<'a>(plain: &Plain<'a>) -> Packet<'a> {
    Packet {
        seq: plain.seq,
        ack: Some(plain.ack),
        wire_len: plain.wire_len,
        bytes: plain.bytes,
        link: plain.link,
        token: plain.token,
        ..bare(plain.at, plain.session, plain.sends)
    }
}

/// The ends of what a session sent and received.
pub(super) fn ends(at: Timestamp, session: Session, sent: u32, received: u32) -> [Packet<'static>; 2] {
    [(true, sent), (false, received)].map(|(sends, seq)| Packet { seq, closes: true, ..bare(at, session, sends) })
}

fn bare(at: Timestamp, session: Session, sends: bool) -> Packet<'static> {
    let socket = socket(session);
    let near = Address { ip: IpAddr::V6(Ipv6Addr::from_bits(u128::from(socket.0))), port: 1 };
    let far = Address { port: 0, ..near };
    let (source, destination) = if sends { (near, far) } else { (far, near) };
    let looped = false;
    Packet {
        at,
        flow: Flow { source, destination },
        seq: 0,
        ack: None,
        wire_len: 0,
        bytes: &[],
        link: None,
        tap: if sends { Tap::Egress { socket, looped } } else { Tap::Ingress { socket, looped } },
        closes: false,
        resets: false,
        token: 0,
    }
}
