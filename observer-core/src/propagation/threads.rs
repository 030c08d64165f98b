//! Causes by threads: which thread read a request, and which read the answer of a hop, come in; the request that caused the hop goes
//! out, where that is certain.
//!
//! A thread that waits for the answer of a synchronous call is the one that made it, and does nothing else until then. Where it also read
//! exactly one request that is still open, that request is the cause. All of this is wrong of an event loop: with little to do, it has
//! one request open, too, while a timer of its own calls a peer. So nothing is concluded before it is shown that the threads of a process
//! serve one request at a time, and that takes four things at once:
//!
//! - **Nobody waits at the sockets** that it reads. A loop keeps its sockets in a set of descriptors (epoll), and a set waits at each of
//!   them as long as it has it. Of those that wait anew for every event (poll, io_uring) this tells nothing.
//! - **No collision, ever**: no thread read a request while it had another one open, and none read anything else, or answered a request,
//!   between a hop and the answer that it read. One collision refutes the process for as long as it lives.
//! - **Temptations that it withstood**: while a thread waited for an answer, others read requests. With `k` threads that take what comes,
//!   each would have been read by the one that waits with a chance of 1/k. Such chances must add up to the logarithm of 1/α: then loops
//!   would have collided in all but a share α of cases.
//! - **Threads that no loop has**: a loop that its connections are bound to is not tempted by those of others, and with fewer connections
//!   than loops none would ever collide. So either more requests are open at once, each with a thread of its own, than such programs have
//!   loops; or requests of one connection are read by one thread and then by another, as in a pool.
//!
//! A process with a single loop fails the last two whatever it waits with: nobody else reads. Goroutines and tasks that move between
//! threads fail the first.
//!
//! What is not decided: a hop by a thread that did not read the request (work handed to a pool), by a thread without a request, over TLS,
//! HTTP/2 or to a broker; what is read of sockets in a set of descriptors, though a pool may do so. All that stays with the window.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::class::Manner;
use super::{Example, Route};
use crate::ids::{ConnectionId, ExchangeId, ServiceId, SocketId, WorkloadId};
use crate::limits::CAUSE_MEMORY;
use crate::message::End;
use crate::time::Timestamp;

/// Loops that a program which waits without a set of descriptors may have at the least that is assumed, and for each processor of the
/// host: such programs have one loop for each (what is built on io_uring), or a single one (what is built on poll).
const LOOPS_MIN: u32 = 8;
const LOOPS_PER_PROCESSOR: u32 = 2;
/// How often a connection must have gone from one thread to another to show a pool.
const MOVES_MIN: u32 = 20;
/// Readings of requests that are remembered of a process: those that came while a thread waited, and how many threads there are.
const RECENT_MAX: usize = 256;
/// After so many requests that were all read from sockets at which somebody waits there is nothing to be shown.
const AWAITED_MAX: u32 = 50;
/// Entries of each table; far more than come between two breaths of a host that has time for this.
const ENTRIES_MAX: usize = 16_384;
/// How long a thread that reads nothing is remembered; those that serve one connection come and go.
const IDLE: std::time::Duration = std::time::Duration::from_secs(10);

/// What a thread read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Timestamp,
    /// The process, by a number of its own for as long as it lives.
    pub process: u32,
    /// The thread, likewise.
    pub thread: u32,
    /// From which socket.
    pub socket: SocketId,
    /// The connection of which that holds an end, and which; `None` where it is not known.
    pub place: Option<(ConnectionId, End)>,
    /// The sequence number behind the last byte that was read.
    pub up_to: u32,
    /// Whether anybody waits at the socket: a set of descriptors, or another thread.
    pub is_awaited: bool,
}

/// A head that is on its way to the thread that will read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its exchange.
    pub exchange: ExchangeId,
    /// The end of the connection that it reaches.
    pub end: End,
    /// The sequence number of a byte with which it is read, or of one before that none but its reader reads.
    pub seq: u32,
}

/// A hop in doubt.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    pub(super) workload: WorkloadId,
    pub(super) class: u64,
    pub(super) manner: Manner,
    /// From whom to whom.
    pub(super) peers: (ServiceId, ServiceId),
    /// Whether its class counts it among those to be accused.
    pub(super) is_counted: bool,
    /// Whether it was sent while requests older than the observer may have been in flight.
    pub(super) early: bool,
    pub(super) example: Example,
    pub(super) reached: Route,
}

/// Who made a hop that was in doubt.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) doubt: Doubt,
    /// The request that caused it; `None`: its thread had read none, so that it may be anything.
    pub(super) cause: Option<ExchangeId>,
}

#[derive(Clone, Copy, Debug)]
struct Arriving {
    seq: u32,
    exchange: ExchangeId,
    /// Of a request: who serves it; of an answer `None`.
    serves: Option<WorkloadId>,
}

#[derive(Debug)]
struct Sent {
    at: Timestamp,
    order: u64,
    doubt: Option<Doubt>,
}

/// A request that a thread has read and not answered.
#[derive(Clone, Copy, Debug)]
struct Open {
    exchange: ExchangeId,
    workload: WorkloadId,
    order: u64,
    at: Timestamp,
    /// Another one of the same connection may be open, too.
    is_pipelined: bool,
}

#[derive(Debug)]
struct Thread {
    process: u32,
    open: Option<Open>,
    /// Whether it reads requests from sockets at which somebody waits.
    is_loop: bool,
    /// The last reading.
    last: (u64, SocketId),
    /// The last one before it from another socket.
    elsewhere: u64,
    /// When it last answered a request.
    answered: u64,
    at: Timestamp,
}

#[derive(Debug, Default)]
struct Process {
    workload: Option<WorkloadId>,
    is_refuted: bool,
    /// Requests read from sockets at which somebody waits, and from others.
    awaited: u32,
    unawaited: u32,
    /// Threads with an open request, and the most there were.
    open: u32,
    at_once: u32,
    /// How often a connection went from one thread to another.
    moves: u32,
    /// The chances of collisions that did not come, added up.
    withstood: f64,
    /// The last readings of requests: their places in the order of events, and their threads.
    recent: VecDeque<(u64, u32)>,
}

impl Process {
    fn serves_one_at_a_time(&self, proof: Proof) -> bool {
        let has_no_loops = self.at_once > proof.loops_max || self.moves >= MOVES_MIN;
        !self.is_refuted && self.withstood >= proof.goal && has_no_loops
    }

    fn is_hopeless(&self) -> bool {
        self.is_refuted || (self.awaited >= AWAITED_MAX && self.unawaited == 0)
    }

    /// A thread waited for an answer since `order`, with a request open.
    fn withstands(&mut self, thread: u32, order: u64) {
        let mut threads: Vec<u32> = self.recent.iter().map(|(_, thread)| *thread).collect();
        threads.sort_unstable();
        threads.dedup();
        let later = self.recent.iter().rev().take_while(|(read, _)| *read > order);
        let others = later.filter(|(_, other)| *other != thread).count();
        self.withstood += others as f64 / threads.len().max(1) as f64;
    }
}

/// What is asked of a process before anything is concluded of its threads.
#[derive(Clone, Copy, Debug)]
struct Proof {
    /// The logarithm of 1/α.
    goal: f64,
    /// Requests open at once, each with a thread of its own, that are no more than a program may have loops.
    loops_max: u32,
}

/// What threads read while that is told.
#[derive(Debug)]
pub(super) struct Threads {
    proof: Proof,
    /// How many events there were.
    order: u64,
    arriving: FxHashMap<(ConnectionId, End), Arriving>,
    /// Hops whose answers were not read.
    sent: FxHashMap<ExchangeId, Sent>,
    by_id: FxHashMap<u32, Thread>,
    processes: FxHashMap<u32, Process>,
    /// Which thread read the last request of a connection.
    readers: FxHashMap<ConnectionId, u32>,
    refused: u64,
}

impl Threads {
    pub(super) fn new(goal: f64) -> Self {
        Self {
            proof: Proof { goal, loops_max: LOOPS_MIN },
            order: 0,
            arriving: FxHashMap::default(),
            sent: FxHashMap::default(),
            by_id: FxHashMap::default(),
            processes: FxHashMap::default(),
            readers: FxHashMap::default(),
            refused: 0,
        }
    }

    /// The host has so many processors.
    pub(super) fn on_processors(&mut self, processors: u32) {
        self.proof.loops_max = processors.saturating_mul(LOOPS_PER_PROCESSOR).max(LOOPS_MIN);
    }

    /// The head of a request (`serves`: who serves it) or of an answer is on its way to whoever reads it.
    pub(super) fn arrives(&mut self, head: Unread, serves: Option<WorkloadId>) {
        self.order = self.order.saturating_add(1);
        let Unread { exchange, end, seq } = head;
        let place = (exchange.connection, end);
        if self.arriving.len() >= ENTRIES_MAX && !self.arriving.contains_key(&place) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.arriving.insert(place, Arriving { seq, exchange, serves });
    }

    /// A hop is sent.
    pub(super) fn sends(&mut self, at: Timestamp, exchange: ExchangeId, doubt: Option<Doubt>) {
        self.order = self.order.saturating_add(1);
        if self.sent.len() >= ENTRIES_MAX {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.sent.insert(exchange, Sent { at, order: self.order, doubt });
    }

    /// Whether the answer of this exchange is waited for.
    pub(super) fn awaits(&self, exchange: ExchangeId) -> bool {
        self.sent.contains_key(&exchange)
    }

    /// The head of a response leaves.
    pub(super) fn answers(&mut self, exchange: ExchangeId) {
        self.order = self.order.saturating_add(1);
        let Some(thread) = self.readers.get(&exchange.connection).and_then(|id| self.by_id.get_mut(id)) else {
            return;
        };
        if thread.open.is_some_and(|open| open.exchange == exchange) {
            thread.answered = self.order;
            close(thread, &mut self.processes);
        }
    }

    /// A connection is gone: nobody answers what came through it.
    pub(super) fn closes(&mut self, connection: ConnectionId) {
        for end in [End::First, End::Second] {
            self.arriving.remove(&(connection, end));
        }
        let Some(thread) = self.readers.remove(&connection).and_then(|id| self.by_id.get_mut(&id)) else { return };
        if thread.open.is_some_and(|open| open.exchange.connection == connection) {
            close(thread, &mut self.processes);
        }
    }

    /// A thread reads.
    pub(super) fn reads(&mut self, reading: &Reading) -> Option<Verdict> {
        self.order = self.order.saturating_add(1);
        let order = self.order;
        let full = self.by_id.len() >= ENTRIES_MAX && !self.by_id.contains_key(&reading.thread);
        if full || (self.processes.len() >= ENTRIES_MAX && !self.processes.contains_key(&reading.process)) {
            self.refused = self.refused.saturating_add(1);
            return None;
        }
        let begins_with = |arriving: &Arriving| is_behind(reading.up_to, arriving.seq);
        let arriving = reading.place.and_then(|place| {
            self.arriving.get(&place).copied().filter(begins_with).inspect(|_| {
                self.arriving.remove(&place);
            })
        });
        let process = self.processes.entry(reading.process).or_default();
        let thread = self.by_id.entry(reading.thread).or_insert_with(|| Thread {
            process: reading.process,
            open: None,
            is_loop: false,
            last: (0, reading.socket),
            elsewhere: 0,
            answered: 0,
            at: reading.at,
        });
        if thread.last.1 != reading.socket {
            thread.elsewhere = thread.last.0;
        }
        thread.last = (order, reading.socket);
        thread.at = reading.at;
        let arriving = arriving?;
        let Some(workload) = arriving.serves else {
            let sent = self.sent.remove(&arriving.exchange)?;
            return decide(thread, process, (sent, self.proof), reading);
        };
        process.workload = Some(workload);
        if reading.is_awaited {
            thread.is_loop = true;
            process.awaited = process.awaited.saturating_add(1);
            return None;
        }
        process.unawaited = process.unawaited.saturating_add(1);
        let before = thread.open.filter(|open| open.at.after(CAUSE_MEMORY) > reading.at);
        let is_same = |open: &Open| open.exchange.connection == arriving.exchange.connection;
        process.is_refuted |= before.is_some_and(|open| !is_same(&open)) && !thread.is_loop;
        if thread.open.is_none() {
            process.open = process.open.saturating_add(1);
            process.at_once = process.at_once.max(process.open);
        }
        thread.open =
            Some(Open { exchange: arriving.exchange, workload, order, at: reading.at, is_pipelined: before.is_some() });
        if process.recent.len() >= RECENT_MAX {
            process.recent.pop_front();
        }
        process.recent.push_back((order, reading.thread));
        if self.readers.len() < ENTRIES_MAX || self.readers.contains_key(&arriving.exchange.connection) {
            let earlier = self.readers.insert(arriving.exchange.connection, reading.thread);
            process.moves = process.moves.saturating_add(u32::from(earlier.is_some_and(|id| id != reading.thread)));
        } else {
            // Nobody would find out that it was answered.
            close(thread, &mut self.processes);
            self.refused = self.refused.saturating_add(1);
        }
        None
    }

    /// Drops what is past its time.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let processes = &mut self.processes;
        self.by_id.retain(|_, thread| {
            if thread.open.is_some_and(|open| open.at.after(CAUSE_MEMORY) <= now) {
                close(thread, processes);
            }
            thread.open.is_some() || thread.at.after(IDLE) > now
        });
        self.sent.retain(|_, sent| sent.at.after(CAUSE_MEMORY) > now);
    }

    /// Something was missed, or nothing more is told: what threads were about is not known any more. What was refuted stays so.
    pub(super) fn forget(&mut self) {
        self.arriving.clear();
        self.sent.clear();
        self.by_id.clear();
        self.readers.clear();
        self.processes.retain(|_, process| process.is_refuted);
        for process in self.processes.values_mut() {
            process.open = 0;
        }
    }

    /// Whether nothing can be shown of the processes of a workload that read requests.
    pub(super) fn is_hopeless(&self, workload: WorkloadId) -> bool {
        let mut readers = self.processes.values().filter(|process| process.workload == Some(workload)).peekable();
        readers.peek().is_some() && readers.all(Process::is_hopeless)
    }

    /// Threads kept.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Entries of any table for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

/// The request of a thread is open no longer.
fn close(thread: &mut Thread, processes: &mut FxHashMap<u32, Process>) {
    if thread.open.take().is_some()
        && let Some(process) = processes.get_mut(&thread.process)
    {
        process.open = process.open.saturating_sub(1);
    }
}

/// A thread has read the answer of a hop.
fn decide(thread: &Thread, process: &mut Process, (sent, proof): (Sent, Proof), reading: &Reading) -> Option<Verdict> {
    if thread.is_loop || reading.is_awaited {
        return None;
    }
    if thread.elsewhere > sent.order || thread.answered > sent.order {
        process.is_refuted = true;
        return None;
    }
    let open = thread.open.filter(|open| open.at.after(CAUSE_MEMORY) > reading.at);
    if open.is_some() {
        process.withstands(reading.thread, sent.order);
    }
    if !process.serves_one_at_a_time(proof) {
        return None;
    }
    let doubt = sent.doubt?;
    let cause = match open {
        // It was read after the hop was sent, or another one may be open.
        Some(open) if open.order > sent.order || open.is_pipelined || open.workload != doubt.workload => None,
        Some(open) => Some(open.exchange),
        None => None,
    };
    Some(Verdict { doubt, cause })
}

/// Whether one sequence number of TCP lies behind another (RFC 9293 section 3.4).
fn is_behind(one: u32, other: u32) -> bool {
    (1..1 << 31).contains(&one.wrapping_sub(other))
}
