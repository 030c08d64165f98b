//! Causes by goroutines: which request a goroutine works for that calls a peer comes in, the request that caused the hop goes out, where
//! that is certain.
//!
//! net/http serves a connection by one goroutine: it reads a request, works for it, answers, reads the next. Such a turn is named by the
//! connection and by when it began. Goroutines born in a turn belong to it for as long as they live. The request of a turn is the first
//! of its connection that was not answered when the turn began; as long as it is open, what the turn calls is caused by it. Once it is
//! answered nothing is: a poller that some request started is charged to nobody.
//!
//! - **The goroutine that serves** calls for its request, whatever else runs.
//! - **One that it gave birth to** may have been made for more than its request, and be at work for others while that is still open: a
//!   pool that grows, a poller that a first request starts. Such goroutines outlive their turn, call again and again, and carry the
//!   traces of others. So only what a goroutine calls first is looked at; of a class of hops nothing is concluded before those of many turns
//!   were seen in a row, of which none came from a turn that was over; and nothing at all where one was seen that went on with a
//!   trace which its own request had not brought.
//!
//! What is not decided: what goroutines call that belong to no turn (pools that were there before, timers), over HTTP/2, or by other
//! libraries than net/http; what a pipelining client asks for. All that stays with the window.

use rustc_hash::{FxHashMap, FxHashSet};

use super::class::STRANGE_SHARE;
use crate::ids::{ConnectionId, ExchangeId, SocketId, WorkloadId};
use crate::limits::CAUSE_MEMORY;
use crate::time::Timestamp;

/// Entries of each table; far more than come between two breaths of a host that has time for this.
const ENTRIES_MAX: usize = 16_384;

/// A goroutine is about to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoCall {
    /// When.
    pub at: Timestamp,
    /// Through which socket, which takes no other request before this one is answered.
    pub socket: SocketId,
    /// What it works for; `None`: for no request that is known.
    pub work: Option<Work>,
}

/// What a goroutine works for: a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// The serving socket of the connection whose requests one goroutine reads and answers.
    pub served: SocketId,
    /// When that goroutine began to read.
    pub since: Timestamp,
    /// How many births lie between it and the one that calls; zero: it calls itself.
    pub births: u32,
    /// Where there are any: how often it, or one between the two, has called anybody before.
    pub calls: u32,
}

/// Who made a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    /// The request that it works for; `None`: that is answered.
    pub(super) request: Option<ExchangeId>,
    work: Work,
}

/// What follows for a hop that is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// This request caused it.
    Caused(ExchangeId),
    /// No request did that is open.
    Outlived,
    /// Nothing.
    Open,
}

impl Maker {
    /// Whether it may work for others than the request that it was made for.
    pub(super) fn may_be_shared(&self) -> bool {
        self.work.births > 0
    }
}

/// A connection that is served.
#[derive(Clone, Copy, Debug)]
struct Served {
    workload: WorkloadId,
    /// Its last request, and when its head came.
    exchange: ExchangeId,
    at: Timestamp,
    is_open: bool,
    /// When the one before was answered; `None` where that was not seen.
    before: Option<Timestamp>,
    /// Whether requests came before earlier ones were answered.
    is_pipelined: bool,
}

/// What goroutines call while that is told.
#[derive(Debug)]
pub(super) struct Goroutines {
    /// Turns in a row that show a class to be made in them.
    turns_min: usize,
    served: FxHashMap<SocketId, Served>,
    sockets: FxHashMap<ConnectionId, SocketId>,
    calls: FxHashMap<SocketId, GoCall>,
    /// The turns in a row of which born goroutines made hops, by class of these; as many as it takes.
    rows: FxHashMap<u64, FxHashSet<(SocketId, Timestamp)>>,
    /// Workloads of which any goroutine was told that works for a request.
    told: FxHashSet<WorkloadId>,
    /// Workloads in which goroutines work for others than the request that they were made for.
    shared: FxHashSet<WorkloadId>,
    refused: u64,
}

impl Goroutines {
    /// `goal`: the logarithm of 1/α.
    pub(super) fn new(goal: f64) -> Self {
        let turns_min = (goal / -libm::log1p(-STRANGE_SHARE)).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some dozens")]
        let turns_min = turns_min as usize;
        Self {
            turns_min,
            served: FxHashMap::default(),
            sockets: FxHashMap::default(),
            calls: FxHashMap::default(),
            rows: FxHashMap::default(),
            told: FxHashSet::default(),
            shared: FxHashSet::default(),
            refused: 0,
        }
    }

    /// A request reaches the socket of a workload.
    pub(super) fn arrives(&mut self, at: Timestamp, socket: SocketId, exchange: ExchangeId, workload: WorkloadId) {
        if self.served.len() >= ENTRIES_MAX && !self.served.contains_key(&socket) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        let previous = self.served.get(&socket);
        // Before the first request of a connection there is none to wait for.
        let first = (exchange.number == 0).then_some(Timestamp(0));
        let before = previous.map_or(first, |previous| previous.before.filter(|_| !previous.is_open));
        let is_pipelined = previous.is_some_and(|previous| previous.is_open || previous.is_pipelined);
        self.served.insert(socket, Served { workload, exchange, at, is_open: true, before, is_pipelined });
        self.sockets.insert(exchange.connection, socket);
    }

    /// The head of a response leaves.
    pub(super) fn answers(&mut self, at: Timestamp, exchange: ExchangeId) {
        let served = self.sockets.get(&exchange.connection).and_then(|socket| self.served.get_mut(socket));
        if let Some(served) = served.filter(|served| served.exchange == exchange) {
            served.is_open = false;
            served.before = Some(at);
        }
    }

    /// A connection is gone.
    pub(super) fn closes(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.remove(&connection) {
            self.served.remove(&socket);
        }
    }

    /// A goroutine is about to send a request.
    pub(super) fn calls(&mut self, call: GoCall) {
        if self.calls.len() >= ENTRIES_MAX && !self.calls.contains_key(&call.socket) {
            self.refused = self.refused.saturating_add(1);
            return;
        }
        self.calls.insert(call.socket, call);
    }

    /// A workload sends a request through a socket: who made it, where that is known.
    pub(super) fn sends(&mut self, at: Timestamp, socket: SocketId, workload: WorkloadId) -> Option<Maker> {
        let call = self.calls.remove(&socket).filter(|call| call.at <= at && call.at.after(CAUSE_MEMORY) > at)?;
        let work = call.work?;
        self.told.insert(workload);
        let served = self.served.get(&work.served)?;
        let before = served.before.filter(|_| !served.is_pipelined && served.workload == workload)?;
        let may_cause = served.is_open && served.at <= call.at && served.at.after(CAUSE_MEMORY) > at;
        Some(Maker { request: (may_cause && before < work.since).then_some(served.exchange), work })
    }

    /// What follows from who made it, for a hop of this class that is in doubt.
    pub(super) fn concludes(&mut self, maker: &Maker, workload: WorkloadId, class: u64) -> Conclusion {
        let Maker { request, work } = *maker;
        let conclusion = request.map_or(Conclusion::Outlived, Conclusion::Caused);
        if !maker.may_be_shared() {
            return conclusion;
        }
        if self.rows.len() >= ENTRIES_MAX && !self.rows.contains_key(&class) {
            self.refused = self.refused.saturating_add(1);
            return Conclusion::Open;
        }
        let row = self.rows.entry(class).or_default();
        if request.is_none() {
            row.clear();
            return conclusion;
        }
        if work.calls > 0 || self.shared.contains(&workload) {
            return Conclusion::Open;
        }
        if row.len() < self.turns_min {
            row.insert((work.served, work.since));
        }
        if row.len() < self.turns_min { Conclusion::Open } else { conclusion }
    }

    /// A goroutine of the workload went on with a trace that its own request had not brought.
    pub(super) fn is_shared(&mut self, workload: WorkloadId) {
        if self.shared.len() < ENTRIES_MAX {
            self.shared.insert(workload);
        }
    }

    /// Drops what is past its time, and workloads that are not `known`.
    pub(super) fn expire(&mut self, now: Timestamp, known: impl Fn(WorkloadId) -> bool) {
        self.shared.retain(|&workload| known(workload));
        self.calls.retain(|_, call| call.at.after(CAUSE_MEMORY) > now);
    }

    /// It is told no longer what goroutines of a workload call, nor what requests reach it.
    pub(super) fn leaves(&mut self, workload: WorkloadId) {
        let served = &mut self.served;
        served.retain(|_, served| served.workload != workload);
        self.sockets.retain(|_, socket| served.contains_key(socket));
        self.told.remove(&workload);
    }

    /// Something was missed, or nothing more is told: what goroutines were about is not known any more.
    pub(super) fn forget(&mut self) {
        self.served.clear();
        self.sockets.clear();
        self.calls.clear();
        self.rows.clear();
        self.told.clear();
    }

    /// Whether any goroutine of a workload was told that works for a request.
    pub(super) fn tells_of(&self, workload: WorkloadId) -> bool {
        self.told.contains(&workload)
    }

    /// Connections and calls kept.
    pub(super) fn len(&self) -> usize {
        self.served.len().saturating_add(self.calls.len())
    }

    /// Entries of any table for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}
