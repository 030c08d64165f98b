//! The table of connections: packets come in, the connection and the end that each belongs to go out. What a connection
//! carries is not looked at here.
//!
//! A socket has one connection for its life, so the socket's name finds it with one look-up. Over the loopback device the
//! sender's and the receiver's socket are two ends of one connection: they are joined by the flow and, because two network
//! namespaces may use the same addresses and ports at once, by the place in the sequence space. Packets without a socket
//! (a capture file, a socket that the kernel could not name) are found by their flow alone.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::ends::Ends;
use super::one::{Connection, Side, UNKNOWN, nearness, takes};
use super::{Beginnings, Flow, Packet, Tap};
use crate::arena::{Arena, List};
use crate::ids::{ConnectionId, SocketId};
use crate::message::End;
use crate::time::Timestamp;

/// A connection is moved to the young end of the table at most this often, which spares the hot path the list.
const RENEWAL: Duration = Duration::from_secs(1);
/// How long a connection outlives its sockets: what was still queued is sent after `close()`.
const LINGER: Duration = Duration::from_secs(2);
/// How many connections with the same addresses and ports are kept apart: network namespaces, and ports used again. It bounds
/// what a peer that makes up packets can cost.
pub(super) const SAME_FLOW_MAX: usize = 16;

/// A packet that found its connection.
#[derive(Debug)]
pub struct Sight<'a, State> {
    /// The connection.
    pub connection: &'a mut Connection<State>,
    /// The end that sent the packet.
    pub from: End,
    /// Whether it is the first packet of the connection that was seen.
    pub new: bool,
    /// Whether this is a receiver's sight of a flow that is also seen at its sender: the source may leave out such sights.
    pub paired: bool,
}

/// What the table has held and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounters {
    /// Connections held now.
    pub tracked: usize,
    /// Connections that were dropped for lack of room while in use.
    pub evicted: u64,
}

/// All connections, bounded in number; the least recently used one is dropped for a new one.
#[derive(Debug)]
pub struct Connections<State> {
    arena: Arena<Connection<State>>,
    by_age: List,
    sockets: FxHashMap<SocketId, (u32, End)>,
    flows: FxHashMap<Flow, u32>,
    ends: Ends,
    /// Connections whose sockets are gone, by the time of that.
    released: VecDeque<(Timestamp, u32, ConnectionId)>,
    limit: usize,
    next_id: u64,
    evicted: u64,
}

impl<State> Connections<State> {
    /// A table for at most `limit` connections.
    pub fn new(limit: usize) -> Self {
        Self {
            arena: Arena::new(),
            by_age: List::EMPTY,
            sockets: FxHashMap::default(),
            flows: FxHashMap::default(),
            ends: Ends::new(limit.max(1)),
            released: VecDeque::new(),
            limit: limit.max(1),
            next_id: 0,
            evicted: 0,
        }
    }

    /// Finds the connection of a packet, or begins one with what `begin` yields. A connection that had to go for it is given
    /// to `gone`.
    ///
    /// `None` only where the table cannot grow any more (2³² connections).
    pub fn packet(
        &mut self,
        packet: &Packet<'_>,
        begin: impl FnOnce() -> State,
        gone: impl FnMut(Connection<State>),
    ) -> Option<Sight<'_, State>> {
        let (sockets, egress, looped) = match packet.tap {
            Tap::Egress { socket, looped } => ([socket, UNKNOWN], true, looped),
            Tap::Ingress { socket, looped } => ([socket, UNKNOWN], false, looped),
            Tap::Wire => (self.ends.of(&packet.flow, packet.seq), true, false),
        };
        let wire = packet.tap == Tap::Wire;
        let [socket, mut far] = sockets;
        let (mut known, listener) = self.by_socket(socket, &packet.flow);
        if known.is_none() && far != UNKNOWN {
            known = self.by_socket(far, &packet.flow).0;
            let ended = |&(key, from): &(u32, End)| {
                self.arena.get(key).is_some_and(|connection| connection.side(from).is_past_end(packet.seq))
            };
            if known.as_ref().is_some_and(ended) {
                // The receiver of the connection before it: its own is not told of yet.
                (known, far) = (None, UNKNOWN);
            }
        }
        // A socket that is held for another flow is a listener: it names no connection.
        let socket = if listener && !wire { UNKNOWN } else { socket };
        let (key, from, new) = if let Some((key, from)) = known {
            (key, from, false)
        } else {
            match self.by_flow(packet, [socket, far], egress, wire) {
                Some((key, from)) => (key, from, false),
                None => (self.begin(packet, wire, begin(), gone)?, End::First, true),
            }
        };
        let local = if egress { from } else { from.other() };
        for (end, socket) in [(local, socket), (local.other(), far)] {
            if (wire || known.is_none()) && socket != UNKNOWN && self.arena.get(key)?.side(end).socket != socket {
                self.hold(key, end, socket);
            }
        }
        let renew = self.arena.get(key)?.renewed_at.after(RENEWAL) <= packet.at;
        if renew {
            self.arena.renew(&mut self.by_age, key);
        }
        let connection = self.arena.get_mut(key)?;
        if renew {
            connection.renewed_at = packet.at;
        }
        connection.last_at = connection.last_at.max(packet.at);
        connection.reset |= packet.resets;
        let side = connection.side_mut(from);
        side.seq = Some(packet.seq);
        if packet.closes {
            side.close(packet.seq.wrapping_add(packet.wire_len));
        }
        side.sends |= egress && !wire && socket != UNKNOWN;
        let paired = !egress && looped && side.sends;
        Some(Sight { connection, from, new, paired })
    }

    /// A connection was established at `socket`; `flow` leads from the local to the remote address. Where its packets name no
    /// socket they are found by its `beginnings`; where its first was seen under the name of the listening socket, it gets its
    /// own.
    pub fn established(&mut self, socket: SocketId, flow: &Flow, beginnings: Option<Beginnings>) {
        if let Some(beginnings) = beginnings {
            self.ends.insert(socket, *flow, beginnings);
            return;
        }
        let mut next = self.flows.get(&canonical(flow)).copied();
        while let Some(key) = next {
            let Some(connection) = self.arena.get(key) else { return };
            next = connection.same_flow;
            let Some(local) = connection.sender(flow) else { continue };
            let side = connection.side(local);
            if !connection.wire && !connection.released && !side.sends && side.socket != socket {
                self.hold(key, local, socket);
                return;
            }
        }
    }

    /// Whether a socket holds an end of a connection.
    pub fn holds(&self, socket: SocketId) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// The connection of which a socket holds an end, and which end.
    pub fn of_socket(&self, socket: SocketId) -> Option<(&Connection<State>, End)> {
        let &(key, end) = self.sockets.get(&socket)?;
        Some((self.arena.get(key)?, end))
    }

    /// A socket is gone. Its connection goes with the last of its sockets, a little later ([`Connections::expire`]).
    pub fn released(&mut self, socket: SocketId, at: Timestamp) {
        self.ends.remove(socket);
        let Some((key, end)) = self.sockets.get(&socket).copied() else { return };
        let Some(connection) = self.arena.get_mut(key) else { return };
        connection.side_mut(end).gone = true;
        let other = connection.side(end.other());
        let other_lives = other.socket != UNKNOWN && !other.gone;
        if !other_lives && !connection.released {
            connection.released = true;
            self.released.push_back((at, key, connection.id));
        }
    }

    /// Drops connections whose sockets are gone and those without a packet for `idle`, and hands each to `gone`.
    pub fn expire(&mut self, now: Timestamp, idle: Duration, mut gone: impl FnMut(Connection<State>)) {
        while let Some(&(at, key, id)) = self.released.front() {
            if at.after(LINGER) > now {
                break;
            }
            self.released.pop_front();
            if self.arena.get(key).is_some_and(|connection| connection.id == id) {
                self.remove(key).into_iter().for_each(&mut gone);
            }
        }
        while let Some(key) = self.by_age.first() {
            let Some(connection) = self.arena.get(key) else { break };
            if connection.last_at.after(idle) > now {
                // Renewed late, up to `RENEWAL` ago: what follows in the list may be a little older, never much.
                break;
            }
            self.remove(key).into_iter().for_each(&mut gone);
        }
    }

    /// Gives up the connection that was silent longest, but for the newest, to make room; `None` where there is no other.
    pub fn make_room(&mut self) -> Option<Connection<State>> {
        let oldest = self.by_age.first().filter(|_| self.arena.len() > 1)?;
        self.evict(oldest)
    }

    /// Every connection, for what is due by time.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection<State>> {
        self.arena.values_mut()
    }

    /// What was held and refused so far.
    pub fn counters(&self) -> ConnectionCounters {
        ConnectionCounters { tracked: self.arena.len(), evicted: self.evicted }
    }

    /// Sockets that are known by what their packets look like.
    pub fn established_counters(&self) -> ConnectionCounters {
        ConnectionCounters { tracked: self.ends.len(), evicted: self.ends.evicted }
    }

    /// The connection and the sending end by the socket; and whether the socket is held for another flow.
    fn by_socket(&self, socket: SocketId, flow: &Flow) -> (Option<(u32, End)>, bool) {
        let Some(&(key, _)) = self.sockets.get(&socket).filter(|_| socket != UNKNOWN) else { return (None, false) };
        match self.arena.get(key).and_then(|connection| connection.sender(flow)) {
            Some(from) => (Some((key, from)), false),
            None => (None, true),
        }
    }

    /// The best connection for a packet whose socket is new or unknown.
    fn by_flow(
        &self,
        packet: &Packet<'_>,
        [socket, far]: [SocketId; 2],
        egress: bool,
        wire: bool,
    ) -> Option<(u32, End)> {
        let mut best: Option<(u32, u32, End)> = None;
        let mut next = self.flows.get(&canonical(&packet.flow)).copied();
        while let Some(key) = next {
            let connection = self.arena.get(key)?;
            next = connection.same_flow;
            let Some(from) = connection.sender(&packet.flow) else { continue };
            let end = if egress { from } else { from.other() };
            let (local, remote) = (connection.side(end), connection.side(end.other()));
            let fits = takes(local, socket, egress && !wire) && takes(remote, far, false);
            if connection.wire != wire || !fits {
                continue;
            }
            let Some(distance) = nearness(connection, from, packet, wire || socket == UNKNOWN) else { continue };
            if best.is_none_or(|(nearest, _, _)| distance < nearest) {
                best = Some((distance, key, from));
            }
        }
        best.map(|(_, key, from)| (key, from))
    }

    fn begin(
        &mut self,
        packet: &Packet<'_>,
        wire: bool,
        state: State,
        mut gone: impl FnMut(Connection<State>),
    ) -> Option<u32> {
        let flow = canonical(&packet.flow);
        if let Some(oldest) = self.last_of_a_long_chain(&flow) {
            self.evict(oldest).into_iter().for_each(&mut gone);
        }
        while self.arena.len() >= self.limit
            && let Some(oldest) = self.by_age.first()
        {
            self.evict(oldest).into_iter().for_each(&mut gone);
        }
        let connection = Connection {
            id: ConnectionId(self.next_id),
            state,
            first: Side::new(packet.flow.source),
            second: Side::new(packet.flow.destination),
            wire,
            reset: false,
            released: false,
            last_at: packet.at,
            renewed_at: packet.at,
            same_flow: self.flows.get(&flow).copied(),
        };
        let key = self.arena.push(&mut self.by_age, connection)?;
        self.next_id = self.next_id.saturating_add(1);
        self.flows.insert(flow, key);
        Some(key)
    }

    fn last_of_a_long_chain(&self, flow: &Flow) -> Option<u32> {
        let mut last = self.flows.get(flow).copied()?;
        for _ in 1..SAME_FLOW_MAX {
            last = self.arena.get(last)?.same_flow?;
        }
        Some(last)
    }

    fn evict(&mut self, key: u32) -> Option<Connection<State>> {
        let connection = self.remove(key)?;
        if !connection.is_over() {
            self.evicted = self.evicted.saturating_add(1);
        }
        Some(connection)
    }

    /// Makes `socket` the holder of an end.
    fn hold(&mut self, key: u32, end: End, socket: SocketId) {
        let Some(connection) = self.arena.get_mut(key) else { return };
        let side = connection.side_mut(end);
        let before = std::mem::replace(&mut side.socket, socket);
        side.sends &= before == socket;
        if before != UNKNOWN && before != socket && self.sockets.get(&before).is_some_and(|&(held, _)| held == key) {
            self.sockets.remove(&before);
        }
        self.sockets.insert(socket, (key, end));
    }

    fn remove(&mut self, key: u32) -> Option<Connection<State>> {
        let connection = self.arena.remove(&mut self.by_age, key)?;
        for side in [connection.first, connection.second] {
            if self.sockets.get(&side.socket).is_some_and(|&(held, _)| held == key) {
                self.sockets.remove(&side.socket);
            }
        }
        let flow = canonical(&Flow { source: connection.first.address, destination: connection.second.address });
        let mut at = self.flows.get(&flow).copied()?;
        if at == key {
            match connection.same_flow {
                Some(next) => self.flows.insert(flow, next),
                None => self.flows.remove(&flow),
            };
            return Some(connection);
        }
        while let Some(other) = self.arena.get_mut(at) {
            match other.same_flow {
                Some(next) if next == key => {
                    other.same_flow = connection.same_flow;
                    break;
                }
                Some(next) => at = next,
                None => break,
            }
        }
        Some(connection)
    }
}

/// A flow and its opposite under one key.
fn canonical(flow: &Flow) -> Flow {
    if flow.source <= flow.destination { *flow } else { Flow { source: flow.destination, destination: flow.source } }
}

#[cfg(test)]
mod tests;
