//! What a client asked and was not answered yet: requests go in, the one that a response answers comes out. A broker answers in
//! the order in which it was asked.

use std::collections::VecDeque;

use super::api::Api;

/// Requests that are remembered; of more the oldest is forgotten, and its answer passed over. Clients that pipeline have five
/// produce requests under way by default, and one fetch.
pub(super) const ASKED_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Asked {
    requests: VecDeque<(i32, Api)>,
}

impl Asked {
    /// A request was sent; whether one was forgotten for it whose answer matters. A broker may not answer what is produced.
    pub(super) fn ask(&mut self, correlation: i32, api: Api) -> bool {
        let full = self.requests.len() >= ASKED_MAX;
        let forgotten = if full { self.requests.pop_front() } else { None };
        self.requests.push_back((correlation, api));
        forgotten.is_some_and(|(_, api)| api.key != Api::PRODUCE)
    }

    /// The request with this number, if it waits for an answer. Those before it will get none: acks were not asked for, or the
    /// answer is lost.
    pub(super) fn answer(&mut self, correlation: i32) -> Option<Api> {
        let at = self.requests.iter().position(|(number, _)| *number == correlation)?;
        self.requests.drain(..=at).next_back().map(|(_, api)| api)
    }

    /// Whether a request with this number waits for an answer.
    pub(super) fn awaits(&self, correlation: i32) -> bool {
        self.requests.iter().any(|(number, _)| *number == correlation)
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.requests.capacity().saturating_mul(size_of::<(i32, Api)>())
    }

    pub(super) fn forget(&mut self) {
        self.requests = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FETCH: Api = Api { key: Api::FETCH, version: 12 };
    const PRODUCE: Api = Api { key: Api::PRODUCE, version: 8 };

    #[test]
    fn what_was_asked_before_is_not_answered_any_more() {
        let mut asked = Asked::default();
        asked.ask(7, PRODUCE);
        asked.ask(8, FETCH);
        asked.ask(9, FETCH);
        assert_eq!(asked.answer(8), Some(FETCH));
        assert_eq!((asked.answer(7), asked.awaits(9)), (None, true));
    }

    #[test]
    fn the_oldest_of_too_many_requests_is_forgotten() {
        let mut asked = Asked::default();
        for number in 0..=i32::try_from(ASKED_MAX).unwrap() {
            asked.ask(number, FETCH);
        }
        assert!(!asked.awaits(0) && asked.awaits(1));
    }
}
