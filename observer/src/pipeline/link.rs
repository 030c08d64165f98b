//! What is kept of a connection between its messages: who asks, and which exchanges are left out.

use std::collections::VecDeque;

use observer_core::message::End;

/// Exchanges of one connection that are left out and not answered at once: probes and exporters have few.
const UNCOUNTED_MAX: usize = 16;

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
    fetching: Fetching,
    /// The newest exchanges that are neither counted nor judged (`ignore:`, probes, telemetry) and not answered yet.
    uncounted: VecDeque<u64>,
}

impl Link {
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

    /// Neither counts nor judges this exchange.
    pub(super) fn leave_out(&mut self, exchange: u64) {
        if self.uncounted.len() >= UNCOUNTED_MAX {
            self.uncounted.pop_front();
        }
        self.uncounted.push_back(exchange);
    }

    /// Whether this answers an exchange that is left out, which it ends.
    pub(super) fn answers_left_out(&mut self, exchange: Option<u64>) -> bool {
        let place = self.uncounted.iter().position(|&uncounted| Some(uncounted) == exchange);
        place.is_some_and(|place| self.uncounted.remove(place).is_some())
    }
}
