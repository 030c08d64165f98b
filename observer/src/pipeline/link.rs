//! What is kept of a connection between its messages: who asks, and which exchanges are left out.

use std::collections::VecDeque;

use observer_core::ids::{ConnectionId, ExchangeId};
use observer_core::message::{End, HeaderName, Message, Protocol};
use observer_core::propagation::Unread;

/// Exchanges of one connection that are left out, or preflights, and not answered at once: there are few.
const UNANSWERED_MAX: usize = 16;

/// Whether the client fetches records from a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fetching {
    #[default]
    Unseen,
    /// It was seen to, and nothing was made of that yet.
    Begun,
    Known,
}

/// What is kept of a connection between its messages.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// The end that sends requests, once a head told.
    pub(super) client: Option<End>,
    /// The sequence number of the packet that is decoded; `None` of a session of TLS, which is not read as it is decoded.
    pub(super) packet_seq: Option<u32>,
    fetching: Fetching,
    /// Whether the other end was told to be a broker.
    serves_records: bool,
    /// The newest exchanges that are neither counted nor judged (`ignore:`, probes, telemetry) and not answered yet.
    uncounted: VecDeque<u64>,
    /// The newest preflights that are not answered yet, and the trace headers that they ask for.
    preflights: VecDeque<(u64, Vec<HeaderName>)>,
}

impl Link {
    /// Where a head is read, if that tells whose thread it was: one that reads from a connection of several exchanges at once serves
    /// them all.
    pub(super) fn unread(&self, message: &Message<'_>, connection: ConnectionId) -> Option<Unread> {
        let number = message.exchange.filter(|_| matches!(message.protocol, Protocol::Http10 | Protocol::Http11))?;
        let exchange = ExchangeId { connection, number };
        Some(Unread { exchange, end: message.from.other(), seq: self.packet_seq? })
    }

    /// The client asks a broker for records, or one came.
    pub(super) fn fetches(&mut self) {
        if self.fetching == Fetching::Unseen {
            self.fetching = Fetching::Begun;
        }
    }

    /// Whether the client was seen to fetch records for the first time.
    pub(super) fn begins_to_fetch(&mut self) -> bool {
        let begins = self.fetching == Fetching::Begun;
        if begins {
            self.fetching = Fetching::Known;
        }
        begins
    }

    /// The end that serves as a broker, the first time that it is known.
    pub(super) fn begins_to_serve_records(&mut self) -> Option<End> {
        let client = self.client?;
        (!std::mem::replace(&mut self.serves_records, true)).then(|| client.other())
    }

    /// Neither counts nor judges this exchange.
    pub(super) fn leave_out(&mut self, exchange: u64) {
        if self.uncounted.len() >= UNANSWERED_MAX {
            self.uncounted.pop_front();
        }
        self.uncounted.push_back(exchange);
    }

    /// A preflight asks for these trace headers.
    pub(super) fn preflight(&mut self, exchange: u64, asked: Vec<HeaderName>) {
        if self.preflights.len() >= UNANSWERED_MAX {
            self.preflights.pop_front();
        }
        self.preflights.push_back((exchange, asked));
    }

    /// What the preflight asked for that this answers.
    pub(super) fn answers_preflight(&mut self, exchange: Option<u64>) -> Option<Vec<HeaderName>> {
        let place = self.preflights.iter().position(|(asking, _)| Some(*asking) == exchange)?;
        self.preflights.remove(place).map(|(_, asked)| asked)
    }

    /// Whether this answers an exchange that is left out, which it ends.
    pub(super) fn answers_left_out(&mut self, exchange: Option<u64>) -> bool {
        let place = self.uncounted.iter().position(|&uncounted| Some(uncounted) == exchange);
        place.is_some_and(|place| self.uncounted.remove(place).is_some())
    }
}
