//! HTTP/1 (RFC 9112): pieces of both directions come in, heads of requests and responses go out. Bodies are passed over.
//!
//! # Where a head is believed
//!
//! Bodies can hold text that looks like a head, so a head is believed only where one must begin. After each head it is known
//! where the next one begins: a sized body by arithmetic on sequence numbers, whether or not its bytes are shown; a chunked
//! body by reading its chunks. What begins elsewhere is body. That knowledge is lost, the direction is *adrift*,
//! - when bytes of a head or of chunk sizes are missing for good: they did not come within [`REORDER_WAIT_MAX`] or
//!   [`super::ahead`]'s bounds, or the exchange shows that the peer had them;
//! - when a tap that shows heads alone leaves out chunk sizes ([`Fidelity::Heads`]);
//! - when the length is unclear (contradicting headers), or a head was longer than what is read.
//!
//! Missing bytes may hold the head of a message of which what follows is the body, so behind them a head is believed only where
//! the other end's acknowledgement number shows that one begins ([`turns`]):
//! - a response where the client had received everything before it, and nothing of it, when it sent its newest bytes;
//! - a request where the server had received everything before it, and nothing of it, when it sent a final response.
//!
//! Everything else that looks like a head is body, and counted in `doubtful_heads`. [`Exchanges`] says how responses find their
//! requests. A request behind a chunked body that is left out, sent before the response, is believed once the server answers
//! with nothing behind it ([`Http1::answers`]). Behind bytes that are no HTTP, none missing, a head is believed once every
//! request is answered. A stream joined in the middle starts at the first piece that begins with a whole first line, for nothing
//! better is known there; and where nothing is seen of the other end at all, after [`UNANSWERED_WAIT_MAX`] the text alone must do.
//!
//! # What is taken for given
//!
//! Behind a loss: a server sends no final response before it has the whole request; a client that pipelines is seen to do so
//! before bytes are lost, and sends a request with a body only when nothing else is unanswered; the packet that is seen is not
//! one that was sent again, its first copy lost, after more had been received. Where this does not hold, text in a body at the
//! beginning of a packet can in principle not be told from a head; nor can it in a tunnel that was opened unseen.

mod chunks;
mod draft;
mod exchanges;
mod framing;
mod half;
pub(super) mod head;
mod placing;
mod reading;
pub(super) mod start_line;
mod telling;
mod turns;

use std::time::Duration;

use self::exchanges::{Answered, Exchanges};
use self::half::{Expected, Half};
use self::start_line::{Looks, Role, looks};
use self::turns::Turns;
use super::http2::Upgrade;
use super::{Fidelity, Output, Piece, REORDER_WAIT_MAX};
use crate::message::{End, Protocol};
use crate::time::Timestamp;

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
    /// It goes on in HTTP/2, with the answer to this request.
    upgraded: Option<Answered>,
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
            upgraded: None,
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
        if let Some(ack) = piece.ack {
            match role {
                Role::Requests => self.received(Role::Responses, ack, piece.at, out),
                // A request that is under way may be seen after parts of the last response.
                Role::Responses if looks(role, piece.bytes) == Looks::No => {}
                Role::Responses => {
                    self.answers(piece, out);
                    self.received(Role::Requests, ack, piece.at, out);
                }
            }
        }
        if role == Role::Requests {
            self.turns.client_spoke(piece);
        }
        if self.quiet {
            return;
        }
        self.place(role, piece, out);
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
            let missed = self.exchanges.end(&mut out.shared.anomalies.unpaired);
            self.unobserved(missed, at, out);
        }
    }

    /// The protocol of the head that was told last.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn fidelity(&self) -> Fidelity {
        self.fidelity
    }

    /// How the connection goes on in HTTP/2, once it does.
    pub(super) fn take_upgrade(&mut self) -> Option<Upgrade> {
        let Answered { exchange, .. } = self.upgraded.take()?;
        Some(Upgrade {
            client: self.client,
            exchange,
            asked: self.exchanges.asked(),
            requests_at: (self.requests.expected == Expected::Head).then_some(self.requests.next),
            responses_at: self.responses.next,
        })
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
