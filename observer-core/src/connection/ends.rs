//! Established connections come in; the sockets at both ends of a packet that names none go out.
//!
//! Such a packet was seen on an interface. Its addresses and ports tell the connection, and where they were used more than once,
//! or in two network namespaces, its place in the sequence space does: it follows the nearest beginning before it.

use rustc_hash::FxHashMap;

use super::one::UNKNOWN;
use super::table::SAME_FLOW_MAX;
use super::{Beginnings, Flow};
use crate::arena::{Arena, List};
use crate::ids::SocketId;

/// A socket and its connection.
#[derive(Debug)]
struct Established {
    socket: SocketId,
    /// From the local to the remote address.
    flow: Flow,
    beginnings: Beginnings,
    /// The one before it with the same addresses and ports.
    older: Option<u32>,
}

/// Sockets by what their packets look like, bounded in number; the one that was established first goes for a new one.
#[derive(Debug)]
pub(super) struct Ends {
    arena: Arena<Established>,
    by_age: List,
    sockets: FxHashMap<SocketId, u32>,
    newest: FxHashMap<Flow, u32>,
    limit: usize,
    /// Sockets that were dropped for lack of room.
    pub(super) evicted: u64,
}

impl Ends {
    /// A table for at most `limit` sockets.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            arena: Arena::new(),
            by_age: List::EMPTY,
            sockets: FxHashMap::default(),
            newest: FxHashMap::default(),
            limit,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.arena.len()
    }

    /// A connection was established at `socket`; `flow` leads from the local to the remote address.
    pub(super) fn insert(&mut self, socket: SocketId, flow: Flow, beginnings: Beginnings) {
        self.remove(socket);
        while self.arena.len() >= self.limit
            && let Some(oldest) = self.by_age.first().and_then(|key| self.arena.get(key))
        {
            self.evicted = self.evicted.saturating_add(1);
            self.remove(oldest.socket);
        }
        let older = self.newest.get(&flow).copied();
        let Some(key) = self.arena.push(&mut self.by_age, Established { socket, flow, beginnings, older }) else {
            return;
        };
        self.newest.insert(flow, key);
        self.sockets.insert(socket, key);
    }

    /// A socket is gone.
    pub(super) fn remove(&mut self, socket: SocketId) {
        let Some(key) = self.sockets.remove(&socket) else { return };
        let Some(Established { flow, older, .. }) = self.arena.remove(&mut self.by_age, key) else { return };
        let Some(mut at) = self.newest.get(&flow).copied() else { return };
        if at == key {
            match older {
                Some(older) => self.newest.insert(flow, older),
                None => self.newest.remove(&flow),
            };
            return;
        }
        while let Some(newer) = self.arena.get_mut(at) {
            match newer.older {
                Some(next) if next == key => {
                    newer.older = older;
                    return;
                }
                Some(next) => at = next,
                None => return,
            }
        }
    }

    /// The sockets of the sender and of the receiver of a packet; [`UNKNOWN`] where nothing was told of them.
    pub(super) fn of(&self, flow: &Flow, seq: u32) -> [SocketId; 2] {
        if self.arena.len() == 0 {
            return [UNKNOWN; 2];
        }
        let opposite = Flow { source: flow.destination, destination: flow.source };
        let (behind_sender, sender) = self.nearest(flow, seq, |beginnings| beginnings.sent);
        let (behind_receiver, receiver) = self.nearest(&opposite, seq, |beginnings| beginnings.received);
        // Both ends of a connection begin alike: the farther one is of an earlier connection, and the other end of this one was
        // not told of, or not yet.
        [
            if behind_sender > behind_receiver { UNKNOWN } else { sender },
            if behind_receiver > behind_sender { UNKNOWN } else { receiver },
        ]
    }

    fn nearest(&self, flow: &Flow, seq: u32, begins: impl Fn(Beginnings) -> u32) -> (u32, SocketId) {
        let mut best = (1 << 31, UNKNOWN);
        let mut next = self.newest.get(flow).copied();
        for _ in 0..SAME_FLOW_MAX {
            let Some(established) = next.and_then(|key| self.arena.get(key)) else { break };
            let behind = seq.wrapping_sub(begins(established.beginnings));
            if behind < best.0 {
                best = (behind, established.socket);
            }
            next = established.older;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Address;

    fn flow(source: u16, destination: u16) -> Flow {
        let at = |port| Address { ip: [127, 0, 0, 1].into(), port };
        Flow { source: at(source), destination: at(destination) }
    }

    #[test]
    fn a_packet_belongs_to_the_nearest_beginning_before_it() {
        let mut ends = Ends::new(9);
        for (socket, sent, received) in [(1, 1000, 50), (3, 9000, 70), (5, u32::MAX - 9, 90)] {
            ends.insert(SocketId(socket), flow(7, 80), Beginnings { sent, received });
            ends.insert(SocketId(socket + 1), flow(80, 7), Beginnings { sent: received, received: sent });
        }
        let of = |ends: &Ends, seq| ends.of(&flow(7, 80), seq).map(|socket| socket.0);
        assert_eq!(of(&ends, 1000), [1, 2]);
        assert_eq!(of(&ends, 8999), [1, 2]);
        assert_eq!(of(&ends, 9000), [3, 4]);
        assert_eq!(of(&ends, u32::MAX), [5, 6]);
        assert_eq!(of(&ends, 5), [5, 6], "numbers wrap");
        assert_eq!(ends.of(&flow(80, 7), 60).map(|socket| socket.0), [2, 1]);
        assert_eq!(ends.of(&flow(8, 80), 1000), [UNKNOWN; 2]);
        ends.remove(SocketId(3));
        assert_eq!(of(&ends, 9000), [0, 4], "the sender of the earlier connection is not its peer");
        for socket in [1, 2, 4, 5, 6] {
            ends.remove(SocketId(socket));
        }
        assert_eq!((of(&ends, 9000), ends.len(), ends.newest.len()), ([0, 0], 0, 0));
    }

    #[test]
    fn a_full_table_drops_the_connection_that_was_established_first() {
        let mut ends = Ends::new(2);
        for socket in 1..=4 {
            ends.insert(SocketId(socket), flow(7, 80), Beginnings { sent: 100, received: 0 });
        }
        assert_eq!((ends.len(), ends.evicted, ends.sockets.len()), (2, 2, 2));
        assert_eq!(ends.of(&flow(7, 80), 100)[0], SocketId(4), "of equals the youngest");
    }
}
