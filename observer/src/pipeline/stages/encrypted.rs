//! Connections of TLS as the wire shows them come in, and sessions of TLS libraries of which requests are decoded; what none of
//! these shows goes out as hidden.
//!
//! The socket of a session is known of some libraries. Of the others (memory BIOs, as asyncio and Node use them) a session stands
//! for the oldest connection of its workload that has none: which of several it is may be wrong, how many have none is not.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use observer_core::connection::{Address, Opaque};
use observer_core::ids::{ServiceId, SocketId, WorkloadId};
use observer_core::propagation::{Hidden, Owner};
use observer_core::time::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet, FxHasher};

use super::Stages;
use crate::pipeline::parties::{EndAt, Parties};
use crate::pipeline::sessions::SessionAt;

/// How long after the first bytes of a connection its first request must have been seen: a handshake over the longest ways, and
/// what comes then.
const SESSION_WAIT: Duration = Duration::from_secs(3);
/// Connections that are known, and sessions that were seen.
const SOCKETS_MAX: usize = 65_536;
/// Pieces that a client sends over a session with which its connection is sought: it may pass through none, as over a Unix socket.
const TRIES_MAX: u8 = 16;
/// Tells what stands for a connection on an interface from a socket: the kernel numbers sockets from one.
const WIRE: u64 = 1 << 62;

/// A connection of TLS whose session was not seen yet.
#[derive(Clone, Copy, Debug)]
struct Unread {
    at: Timestamp,
    owner: Owner,
    /// Whether the workload serves it; else it has opened it.
    serves: bool,
    /// Whether its socket is gone. What it carried may still be told.
    closed: bool,
    /// Whether it was counted as not observed.
    told: bool,
}

/// Connections of a workload that have no session yet, each the oldest first; some of them may have one by now.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<SocketId>,
    told: VecDeque<SocketId>,
}

/// Where a session was placed.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// At a connection.
    Found,
    /// Nowhere, so many times.
    Sought(u8),
}

/// What of the TLS of this host is read.
#[derive(Debug, Default)]
pub(super) struct Encrypted {
    /// Whether any TLS is read at all.
    pub(super) may_be_read: bool,
    /// Processes with a TLS library, and why some that they have are not probed.
    processes: FxHashMap<u32, Vec<Box<str>>>,
    /// Connections whose sessions were seen; and which session that is where the library does not tell the socket.
    shown: FxHashMap<SocketId, Option<SocketId>>,
    places: FxHashMap<SocketId, Place>,
    unread: FxHashMap<SocketId, Unread>,
    queues: FxHashMap<(WorkloadId, bool), Queue>,
    /// Workloads of which a session was seen that serves, or one that does not: their next connections are taken to have
    /// theirs, until one has not.
    trusted: FxHashSet<(WorkloadId, bool)>,
}

impl Encrypted {
    /// Whether the TLS of all these processes is read, as far as their libraries are known.
    fn reads_all(&self, processes: impl IntoIterator<Item = u32>) -> bool {
        processes.into_iter().all(|process| self.processes.get(&process).is_none_or(Vec::is_empty))
    }

    /// A socket is gone.
    pub(super) fn released(&mut self, socket: SocketId) {
        if let Some(Some(session)) = self.shown.remove(&socket) {
            // What stands there next may be another one: some libraries tell no end.
            self.places.remove(&session);
        }
        if let Some(unread) = self.unread.get_mut(&socket) {
            unread.closed = true;
            if unread.told {
                self.unread.remove(&socket);
            }
        }
    }

    pub(super) fn forget(&mut self, known: impl Fn(WorkloadId) -> bool) {
        self.trusted.retain(|&(workload, _)| known(workload));
        self.unread.retain(|_, unread| known(unread.owner.workload));
        self.queues.retain(|&(workload, _), _| known(workload));
    }

    /// The connection of a workload that has waited longest for its session: an open one before one that was counted already,
    /// and that before one that is closed.
    fn oldest_unread(&self, workload: WorkloadId, serves: bool) -> Option<SocketId> {
        let Queue { waiting, told } = self.queues.get(&(workload, serves))?;
        let is = |closed| move |socket: &&SocketId| self.unread.get(socket).is_some_and(|found| found.closed == closed);
        let open = waiting.iter().chain(told).find(is(false));
        open.or_else(|| waiting.iter().find(is(true))).copied()
    }

    /// Takes out the connections that have waited too long.
    fn take_overdue(&mut self, now: Timestamp) -> Vec<(SocketId, Unread)> {
        let Self { unread, queues, .. } = self;
        let mut overdue = Vec::new();
        queues.retain(|_, Queue { waiting, told }| {
            while let Some(&socket) = waiting.front() {
                if let Some(found) = unread.get(&socket).filter(|found| !found.told) {
                    if found.at.after(SESSION_WAIT) > now {
                        break;
                    }
                    overdue.extend(unread.remove_entry(&socket));
                }
                waiting.pop_front();
            }
            told.retain(|socket| unread.contains_key(socket));
            !(waiting.is_empty() && told.is_empty())
        });
        overdue
    }
}

impl Stages {
    /// Whether TLS libraries are probed: what passes through them is told.
    pub(in crate::pipeline) fn tls_is_read(&mut self, is_read: bool) {
        self.encrypted.may_be_read = is_read;
    }

    /// What is known of the TLS libraries of a process: why some that it has are not probed; `None`: it has none, or is gone.
    pub(in crate::pipeline) fn reads_tls(&mut self, process: u32, unread: Option<Vec<Box<str>>>) {
        match unread {
            Some(unread) => self.encrypted.processes.insert(process, unread),
            None => self.encrypted.processes.remove(&process),
        };
    }

    /// Says in the ledger of which processes some TLS is not read: of those that run, or did when it was said last.
    pub(in crate::pipeline) fn note_unread(&mut self, parties: &mut Parties) {
        let mut by_service: BTreeMap<ServiceId, Vec<&str>> = BTreeMap::new();
        for (&process, unread) in &self.encrypted.processes {
            if !unread.is_empty()
                && let Some(service) = parties.service_of(process, &mut self.names)
            {
                by_service.entry(service).or_default().extend(unread.iter().map(|why| &**why));
            }
        }
        for (service, unread) in by_service {
            self.ledger.unread(service, unread);
        }
    }

    /// Whether the connection of a session is known, or sought no longer.
    pub(in crate::pipeline) fn is_placed(&self, session: SocketId) -> bool {
        let encrypted = &self.encrypted;
        match encrypted.places.get(&session) {
            Some(Place::Found) => true,
            Some(Place::Sought(times)) => *times >= TRIES_MAX,
            None => encrypted.places.len() >= SOCKETS_MAX,
        }
    }

    /// A session of a TLS library that a workload holds takes what a client sends (`serves`) or sends it, and it was decoded: the
    /// connection that carries it is read.
    pub(in crate::pipeline) fn session_asks(
        &mut self,
        (session, at): (SocketId, SessionAt),
        (owner, serves): (Owner, bool),
    ) {
        let encrypted = &mut self.encrypted;
        let on_interface = at.flow.map(|flow| wire(flow.source, flow.destination));
        let is_unread = |socket: &SocketId| encrypted.unread.contains_key(socket);
        let found = [at.socket, on_interface].into_iter().flatten().find(is_unread).or(at.socket);
        let Some(socket) = found.or_else(|| encrypted.oldest_unread(owner.workload, serves)) else {
            if let Place::Sought(times) = encrypted.places.entry(session).or_insert(Place::Sought(0)) {
                *times = times.saturating_add(1);
            }
            return;
        };
        encrypted.places.insert(session, Place::Found);
        if encrypted.shown.len() < SOCKETS_MAX {
            encrypted.shown.insert(socket, found.is_none().then_some(session));
        }
        let unread = encrypted.unread.remove(&socket);
        if let Some(unread) = unread.filter(|unread| unread.told) {
            let service = unread.owner.service;
            if serves { self.ledger.read_late(service) } else { self.ledger.unsealed(service) }
        }
        if unread.is_some() && serves {
            self.hidden_by.remove(&socket);
        }
        if unread.is_some() {
            self.was_read(owner.workload, serves);
        }
    }

    /// A session ended.
    pub(in crate::pipeline) fn session_ended(&mut self, session: SocketId) {
        self.encrypted.places.remove(&session);
    }

    /// A connection of TLS reaches a workload (`serves`) or leaves it, whose libraries may show what it carries. Its ends: that of
    /// the workload, and the far one.
    pub(super) fn waits_for_session(
        &mut self,
        at: Timestamp,
        [near, far]: [&EndAt; 2],
        (owner, serves): (Owner, bool),
        processes: impl IntoIterator<Item = u32>,
    ) {
        let encrypted = &mut self.encrypted;
        let socket = near.socket.unwrap_or_else(|| wire(near.address, far.address));
        if encrypted.shown.contains_key(&socket) || encrypted.unread.contains_key(&socket) {
            return;
        }
        let unread = Unread { at, owner, serves, closed: false, told: false };
        if encrypted.unread.len() >= SOCKETS_MAX {
            self.is_not_read(at, socket, unread);
            return;
        }
        encrypted.unread.insert(socket, unread);
        encrypted.queues.entry((owner.workload, serves)).or_default().waiting.push_back(socket);
        if serves && !(encrypted.trusted.contains(&(owner.workload, true)) && encrypted.reads_all(processes)) {
            self.hide(owner.workload, Hidden::Tls, at);
        }
    }

    /// The session of a connection of a workload is seen.
    fn was_read(&mut self, workload: WorkloadId, serves: bool) {
        let mut others = self.hidden_by.values().chain(&self.hidden);
        if !serves {
            self.encrypted.trusted.insert((workload, false));
        } else if others.all(|&behind| behind != (workload, Hidden::Tls)) {
            self.encrypted.trusted.insert((workload, true));
            self.propagation.reveal(workload, Hidden::Tls);
        }
    }

    /// Connections whose session was not seen in time hide who serves them.
    pub(super) fn not_read_in_time(&mut self, now: Timestamp) {
        for (socket, unread) in self.encrypted.take_overdue(now) {
            self.is_not_read(now, socket, unread);
        }
    }

    /// The observation ends: connections of workloads none of whose sessions was seen wait no longer.
    pub(in crate::pipeline) fn conclude(&mut self, now: Timestamp) {
        for (socket, unread) in self.encrypted.take_overdue(now.after(SESSION_WAIT)) {
            if !self.encrypted.trusted.contains(&(unread.owner.workload, unread.serves)) {
                self.is_not_read(now, socket, unread);
            }
        }
    }

    fn is_not_read(&mut self, at: Timestamp, socket: SocketId, unread: Unread) {
        let Unread { owner, serves, closed, .. } = unread;
        let encrypted = &mut self.encrypted;
        let key = (owner.workload, serves);
        if closed && encrypted.trusted.contains(&key) {
            // A connection without a request: others of this workload were read.
            return;
        }
        encrypted.trusted.remove(&key);
        // Of a connection on an interface nobody tells the end.
        if !closed && socket.0 & WIRE == 0 && encrypted.unread.len() < SOCKETS_MAX {
            encrypted.unread.insert(socket, Unread { told: true, ..unread });
            encrypted.queues.entry(key).or_default().told.push_back(socket);
        }
        if !serves {
            self.ledger.sealed(owner.service);
            return;
        }
        self.ledger.opaque(owner.service, Opaque::Tls);
        if closed {
            self.hide(owner.workload, Hidden::Tls, at);
        } else {
            self.hide_behind(Some(socket), owner.workload, Hidden::Tls, at);
        }
    }
}

/// What stands for the socket of a connection that is seen on an interface.
fn wire(near: Address, far: Address) -> SocketId {
    let mut hasher = FxHasher::default();
    (near.ip, near.port, far.ip, far.port).hash(&mut hasher);
    SocketId(WIRE | hasher.finish() >> 2)
}
