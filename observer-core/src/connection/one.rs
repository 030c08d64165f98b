//! One connection: its two ends and how far each has sent come in; which packets and which sockets can be its goes out.

use super::{Address, Flow, Packet};
use crate::ids::{ConnectionId, SocketId};
use crate::message::End;
use crate::time::Timestamp;

/// The socket that is none.
pub(super) const UNKNOWN: SocketId = SocketId(0);
/// How far from the last packet of a direction the next one of the same connection may start, in bytes: wider than any send
/// window in use (Linux: tcp_wmem 4 MiB by default), and 1 in 128 for a sequence number that is not related at all.
const SEQ_NEAR: u32 = 1 << 24;
/// How far a direction can jump without being another connection that uses the same ports: a body that was not captured.
const SEQ_SAME: u32 = 1 << 28;

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    pub(super) address: Address,
    /// The socket of this host that holds the end; [`UNKNOWN`] where there is none or it is not known.
    pub(super) socket: SocketId,
    /// Whether the socket was seen to send. A listening socket, which the first request of a connection may name, never
    /// does (tcp_v4_rcv hands that packet to the filter before the new socket exists).
    pub(super) sends: bool,
    /// Whether the socket is gone.
    pub(super) gone: bool,
    /// The sequence number where it closed its direction.
    pub(super) end: Option<u32>,
    /// The sequence number of the last packet that the end sent.
    pub(super) seq: Option<u32>,
}

impl Side {
    pub(super) fn new(address: Address) -> Self {
        Self { address, socket: UNKNOWN, sends: false, gone: false, end: None, seq: None }
    }

    /// How far `seq` lies from the end's last packet; `None` where none was seen.
    fn distance(&self, seq: u32) -> Option<u32> {
        self.seq.map(|last| seq.wrapping_sub(last).min(last.wrapping_sub(seq)))
    }

    /// Whether `seq` lies past the end of its direction, where nothing can follow but another connection with the same ports.
    /// Its FIN takes a number, behind which it may still send a RST (RFC 9293 section 3.4).
    pub(super) fn is_past_end(&self, seq: u32) -> bool {
        self.end.is_some_and(|end| is_later(seq, end.wrapping_add(1)))
    }

    /// It closes its direction at `end`.
    pub(super) fn close(&mut self, end: u32) {
        if self.end.is_none_or(|known| is_later(end, known)) {
            self.end = Some(end);
        }
    }
}

/// Whether a sequence number lies behind another, as far as numbers that wrap can tell.
fn is_later(seq: u32, than: u32) -> bool {
    (1..1 << 31).contains(&seq.wrapping_sub(than))
}

/// One connection, with what the caller keeps of it.
#[derive(Debug)]
pub struct Connection<State> {
    /// Its number.
    pub id: ConnectionId,
    /// What the caller keeps.
    pub state: State,
    pub(super) first: Side,
    pub(super) second: Side,
    /// Seen on an interface or in a file.
    pub(super) wire: bool,
    /// One of the ends has reset it.
    pub(super) reset: bool,
    pub(super) released: bool,
    pub(super) last_at: Timestamp,
    pub(super) renewed_at: Timestamp,
    /// The next connection with the same addresses and ports.
    pub(super) same_flow: Option<u32>,
}

impl<State> Connection<State> {
    /// The address of an end.
    pub fn address(&self, end: End) -> Address {
        self.side(end).address
    }

    /// The socket of this host that holds an end, where there is one and its name is known.
    pub fn socket(&self, end: End) -> Option<SocketId> {
        Some(self.side(end).socket).filter(|&socket| socket != UNKNOWN)
    }

    /// Whether one of the ends closed its direction.
    fn is_closing(&self) -> bool {
        self.first.end.is_some() || self.second.end.is_some()
    }

    /// Whether it is over: its sockets are gone, it was reset, or both ends closed their direction.
    pub(super) fn is_over(&self) -> bool {
        self.released || self.reset || (self.first.end.is_some() && self.second.end.is_some())
    }

    pub(super) fn side(&self, end: End) -> &Side {
        match end {
            End::First => &self.first,
            End::Second => &self.second,
        }
    }

    pub(super) fn side_mut(&mut self, end: End) -> &mut Side {
        match end {
            End::First => &mut self.first,
            End::Second => &mut self.second,
        }
    }

    /// The end that sends packets of `flow`; `None` where the flow is another connection's.
    pub(super) fn sender(&self, flow: &Flow) -> Option<End> {
        let (first, second) = (self.first.address, self.second.address);
        if flow.source == first && flow.destination == second {
            Some(End::First)
        } else if flow.source == second && flow.destination == first {
            Some(End::Second)
        } else {
            None
        }
    }
}

/// Whether an end can be held by `socket`: it is held by none yet, or by one that may have been the listener, since now it
/// `sends` for the first time.
pub(super) fn takes(side: &Side, socket: SocketId, sends: bool) -> bool {
    socket == UNKNOWN || side.socket == UNKNOWN || side.socket == socket || (sends && !side.sends)
}

/// How near a packet lies to what its sender sent before on a connection with the same addresses and ports; `None` where it
/// is another connection's. Of equals the youngest is taken.
pub(super) fn nearness<State>(
    connection: &Connection<State>,
    from: End,
    packet: &Packet<'_>,
    by_flow_alone: bool,
) -> Option<u32> {
    if connection.released {
        return None;
    }
    let distance = connection.side(from).distance(packet.seq);
    if by_flow_alone {
        // The ports may have been used again without a sight of the new connection's SYN. Its numbers are not unrelated: the
        // first one goes up with the clock (RFC 6528 section 3), or lies 65,537 past the last one that the old connection
        // used (tcp_timewait_state_process, tcp_twsk_unique). What follows a reset is another's as well, but for an end that
        // was under way.
        let side = connection.side(from);
        let follows = side.seq.is_none_or(|last| is_later(packet.seq, last));
        if side.is_past_end(packet.seq) || (connection.reset && follows && packet.wire_len > 0) {
            return None;
        }
        let near = if connection.is_closing() { SEQ_NEAR } else { SEQ_SAME };
        return match distance {
            Some(distance) => (distance < near).then_some(distance),
            None => side.end.is_none().then_some(0),
        };
    }
    Some(distance.unwrap_or(SEQ_NEAR - 1)).filter(|&distance| distance < SEQ_NEAR)
}
