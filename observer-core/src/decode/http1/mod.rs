//! HTTP/1 (RFC 9112): pieces of both directions come in, heads of requests and responses go out. Bodies are passed over.
//!
//! # Where a head is believed
//!
//! Bodies can hold text that looks like a head, so a head is believed only where one must begin. After each head it is known
//! where the next one begins: a sized body by arithmetic on sequence numbers, whether or not its bytes are shown; a chunked
//! body by reading its chunks. What begins elsewhere is body. That knowledge is lost, the direction is *adrift*,
//! - when bytes of a head or of chunk sizes are missing for good: they did not come within [`REORDER_WAIT_MAX`] or
//!   [`super::http1::ahead`]'s bounds, or the exchange shows that the peer had them;
//! - when a tap that shows heads alone leaves out chunk sizes ([`Fidelity::Heads`]);
//! - when the length is unclear (contradicting headers), or a head was longer than what is read.
//!
//! Missing bytes may hold the head of a message of which what follows is the body, so behind them a head is believed only at
//! a *turn*: with the first bytes that one end sends after the other has spoken (the server with a final response), and
//! - only exactly behind the last byte that was seen of its own direction (the kernel shows where a chunked body ends), or
//! - only exactly where the message ends that was last taken for one on trial: what looks like a head while adrift is read,
//!   not told, and counted in `doubtful_heads`.
//!
//! So a loss costs the next message too, which is then a response without a request or a request that was not observed.
//! [`Exchanges`] says how responses find their requests. A stream joined in the middle starts at the first piece that begins
//! with a whole first line, for nothing better is known there; and where nothing is seen of the other end at all, after
//! [`UNANSWERED_WAIT_MAX`] the place alone must do.
//!
//! # What is taken for given
//!
//! A server sends no final response before it has the whole request; a client that pipelines is seen to do so before bytes
//! are lost, and sends a request with a body only when nothing else is unanswered. Where this does not hold, text in a body at
//! the beginning of a packet can in principle not be told from a head behind a loss; nor can it where the length that another
//! such text declares leads exactly to it across the lost head of the next message, or in a tunnel that was opened unseen.

mod ahead;
mod chunks;
mod draft;
mod exchanges;
mod framing;
mod half;
mod head;
mod placing;
mod reading;
pub(super) mod start_line;
mod telling;
mod turns;

use std::time::Duration;

use self::exchanges::Exchanges;
use self::half::Half;
use self::start_line::Role;
use self::turns::Turns;
use super::{Fidelity, Output, Piece};
use crate::message::{End, Protocol};
use crate::time::Timestamp;

/// How long bytes are waited for while later ones are there. A retransmission takes 200 ms at least (RTO_MIN of Linux,
/// include/net/tcp.h) and 1 s where nothing was measured yet (RFC 6298 section 2.1).
pub const REORDER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request may go unanswered until the next text that looks like a request is one, where bytes are missing and a tap
/// shows one direction alone.
pub const UNANSWERED_WAIT_MAX: Duration = Duration::from_secs(10);

/// The decoder of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    fidelity: Fidelity,
    client: End,
    /// The connection has left HTTP/1.
    quiet: bool,
    protocol: Protocol,
    /// When the last request was told.
    asked_at: Timestamp,
    requests: Half,
    responses: Half,
    exchanges: Exchanges,
    turns: Turns,
}

impl Http1 {
    /// A decoder for a connection of which `client` sends the requests.
    pub(super) fn new(fidelity: Fidelity, client: End) -> Self {
        Self {
            fidelity,
            client,
            quiet: false,
            protocol: Protocol::Http11,
            asked_at: Timestamp(0),
            requests: Half::new(),
            responses: Half::new(),
            exchanges: Exchanges::default(),
            turns: Turns::default(),
        }
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if self.quiet || piece.wire_len == 0 {
            return;
        }
        self.overdue(piece.at, out);
        let role = if piece.from == self.client { Role::Requests } else { Role::Responses };
        let mut when = self.turns.arrive(role, piece, self.exchanges.asked());
        self.peer_had(role, piece, when, out);
        when.asked = self.exchanges.asked();
        if role == Role::Responses {
            let asked = Some(when.asked).filter(|_| !self.requests.is_waiting());
            self.turns.server_spoke(piece, &when, asked);
        }
        if self.quiet {
            return;
        }
        self.place(role, piece, when, out);
        self.drain(role, out);
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        for role in [Role::Requests, Role::Responses] {
            while self.half(role).waiting_since().is_some_and(|since| now.since(since) >= REORDER_WAIT_MAX) {
                self.settle(role, now, out);
            }
        }
    }

    /// One direction has ended, or both.
    pub(super) fn closed(&mut self, from: End, at: Timestamp, out: &mut Output<'_>) {
        let role = if from == self.client { Role::Requests } else { Role::Responses };
        while !self.quiet && self.half(role).is_waiting() {
            self.settle(role, at, out);
        }
        if role == Role::Responses && !self.quiet {
            let missed = self.exchanges.end(&mut out.anomalies.unpaired);
            self.unobserved(missed, at, out);
        }
    }

    /// The protocol of the head that was told last.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the connection has left HTTP/1.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.requests.buffered_bytes().saturating_add(self.responses.buffered_bytes())
    }

    fn half(&self, role: Role) -> &Half {
        match role {
            Role::Requests => &self.requests,
            Role::Responses => &self.responses,
        }
    }

    fn half_mut(&mut self, role: Role) -> &mut Half {
        match role {
            Role::Requests => &mut self.requests,
            Role::Responses => &mut self.responses,
        }
    }

    fn sender(&self, role: Role) -> End {
        match role {
            Role::Requests => self.client,
            Role::Responses => self.client.other(),
        }
    }
}
