//! Which response answers which request: requests and responses come in in the order of the wire, exchange numbers go out.
//!
//! Responses answer requests first in, first out (RFC 9112 section 9.3.2). After a loss that order is only known where the
//! client waits for each response before it sends the next request; where it pipelines, responses are told without an
//! exchange from then on, rather than with a wrong one. The same holds where several requests wait when the first response is
//! seen: whether the one before it was lost nobody can tell, unless the requests came together.

use super::half::Standing;

/// What the observer must remember of an unanswered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its response has a body by the usual rules.
    Other,
    /// HEAD: its response has none.
    Head,
    /// CONNECT: a 2xx to it leaves the protocol.
    Connect,
    /// A request that was not seen, but is known to have been there.
    Unseen,
}

/// Unanswered requests of one connection; two bits of a u128 each. Clients that pipeline at all send some tens at most.
pub(super) const UNANSWERED_MAX: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Exchanges {
    asked: u64,
    answered: u64,
    kinds: u128,
    unmatched: u32,
    pipelined: bool,
    lost_track: bool,
}

/// How far a conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    /// How many requests had been told.
    pub(super) asked: u64,
    /// How many of them had been answered.
    pub(super) answered: u64,
}

/// The request that a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// Its number, where it was told.
    pub(super) exchange: Option<u64>,
    /// Its kind; `Unseen` where it is not known.
    pub(super) kind: Asked,
}

impl Exchanges {
    /// How many requests were told.
    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    /// How many of these wait for their response.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered_of(self.now())
    }

    /// How many of those told at that moment wait for their response now.
    pub(super) fn unanswered_of(&self, when: Moment) -> u64 {
        if self.lost_track { 0 } else { self.asked.min(when.asked).saturating_sub(self.answered) }
    }

    /// Whether every request that was told until now had been answered at that moment.
    pub(super) fn all_answered(&self, when: Moment) -> bool {
        when.answered >= self.asked
    }

    /// How far the conversation has come.
    pub(super) fn now(&self) -> Moment {
        Moment { asked: self.asked, answered: self.answered }
    }

    /// The number of requests told once the one that is answered next was.
    pub(super) fn after_next_answer(&self) -> u64 {
        self.answered.saturating_add(1).min(self.asked)
    }

    /// How many responses had no request since the last request: so many requests were missed.
    pub(super) fn unmatched(&self) -> u32 {
        self.unmatched
    }

    /// Whether the client was seen to send requests before the last one was answered.
    pub(super) fn pipelined(&self) -> bool {
        self.pipelined
    }

    /// A request was told; returns its number.
    pub(super) fn ask(&mut self, kind: Asked, unpaired: &mut u64) -> u64 {
        let number = self.asked;
        if self.unanswered() >= UNANSWERED_MAX {
            self.lose_track(unpaired);
        }
        let shift = Self::shift(number);
        self.kinds = self.kinds & !(0b11 << shift) | (kind as u128) << shift;
        self.asked = self.asked.saturating_add(1);
        self.unmatched = 0;
        number
    }

    /// Requests were missed: their responses are still to come, but for those that came without a request. Returns how many
    /// there were at least.
    pub(super) fn missed(&mut self, answered_already: bool, unpaired: &mut u64) -> u64 {
        let count = u64::from(self.unmatched.max(1));
        if self.unmatched == 0 && !answered_already {
            self.ask(Asked::Unseen, unpaired);
        }
        self.unmatched = 0;
        count
    }

    /// The client was seen to send several requests at once.
    pub(super) fn pipelines(&mut self) {
        self.pipelined = true;
    }

    /// A response came at that moment; `standing`: what is known of the bytes before it.
    pub(super) fn answer(&mut self, when: Moment, standing: Standing, unpaired: &mut u64) -> Answered {
        let waiting = self.unanswered_of(when);
        if waiting >= 2 {
            match standing {
                Standing::Certain => self.pipelined = true,
                Standing::First if self.pipelined => {}
                Standing::Resumed if !self.pipelined => {
                    // The client waited for each response: those before the last one were lost.
                    let lost = waiting.saturating_sub(1);
                    *unpaired = unpaired.saturating_add(lost);
                    self.answered = self.answered.saturating_add(lost);
                }
                Standing::First | Standing::Resumed => self.lose_track(unpaired),
            }
        }
        if waiting == 0 || self.lost_track {
            *unpaired = unpaired.saturating_add(1);
            self.unmatched = self.unmatched.saturating_add(1);
            return Answered { exchange: None, kind: Asked::Unseen };
        }
        let number = self.answered;
        self.answered = self.answered.saturating_add(1);
        let kind = match self.kinds >> Self::shift(number) & 0b11 {
            0 => Asked::Other,
            1 => Asked::Head,
            2 => Asked::Connect,
            _ => Asked::Unseen,
        };
        Answered { exchange: (kind != Asked::Unseen).then_some(number), kind }
    }

    /// No more responses will come.
    pub(super) fn end(&mut self, unpaired: &mut u64) {
        *unpaired = unpaired.saturating_add(self.unanswered());
        self.answered = self.asked;
    }

    fn lose_track(&mut self, unpaired: &mut u64) {
        self.end(unpaired);
        self.lost_track = true;
    }

    fn shift(number: u64) -> u32 {
        u32::try_from(number % UNANSWERED_MAX).unwrap_or(0).wrapping_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_answer_requests_in_order() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for kind in [Asked::Other, Asked::Head, Asked::Connect] {
            exchanges.ask(kind, &mut unpaired);
        }
        for (number, kind) in [(0, Asked::Other), (1, Asked::Head), (2, Asked::Connect)] {
            assert_eq!(
                exchanges.answer(exchanges.now(), Standing::Certain, &mut unpaired),
                Answered { exchange: Some(number), kind }
            );
        }
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Certain, &mut unpaired).exchange, None);
        assert_eq!(unpaired, 1);
    }

    #[test]
    fn after_a_lost_response_the_next_one_answers_the_last_request() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        exchanges.ask(Asked::Other, &mut unpaired);
        exchanges.ask(Asked::Other, &mut unpaired);
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Resumed, &mut unpaired).exchange, Some(1));
        assert_eq!((exchanges.unanswered(), unpaired), (0, 1));
    }

    #[test]
    fn after_a_loss_under_pipelining_no_exchange_is_guessed() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for _ in 0..4 {
            exchanges.ask(Asked::Other, &mut unpaired);
        }
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Certain, &mut unpaired).exchange, Some(0));
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Resumed, &mut unpaired).exchange, None);
        exchanges.ask(Asked::Other, &mut unpaired);
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Certain, &mut unpaired).exchange, None);
    }

    #[test]
    fn more_requests_than_are_remembered_are_not_matched() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for number in 0..100 {
            assert_eq!(exchanges.ask(Asked::Other, &mut unpaired), number);
        }
        assert_eq!(exchanges.answer(exchanges.now(), Standing::Certain, &mut unpaired).exchange, None);
    }
}
