//! Which response answers which request: requests and responses come in in the order of the wire, exchange numbers go out.
//!
//! Responses answer requests first in, first out (RFC 9112 section 9.3.2), as long as no byte of either direction that may hold
//! a head is missing. Behind a loss the response to a request begins, interim responses aside, exactly where the client had
//! received everything when it asked. That says nothing of a client that pipelines, which asks before it has the response:
//! after a loss its responses are told without an exchange.

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
    /// It asks for an upgrade: a 101 to it leaves the protocol.
    Upgrade,
    /// A request that is not known. Never asked.
    Unseen,
}

/// Unanswered requests of one connection; two bits of a u128 each. Clients that pipeline at all send some tens at most.
pub(super) const UNANSWERED_MAX: u64 = 64;

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that a loss can leave unknown")]
pub(super) struct Exchanges {
    asked: u64,
    answered: u64,
    kinds: u128,
    /// Where the response to the last request begins: what the client had received when it asked.
    answer_at: Option<u32>,
    /// Responses without a request since the last request that was told: as many requests were missed.
    unmatched: u32,
    /// Requests that are told as not observed and whose responses may still come.
    credit: u32,
    pipelined: bool,
    /// Bytes were lost that may have held a head.
    holed: bool,
    lost_track: bool,
    /// A response may be to a request that was given up.
    vague: bool,
    /// A request that may have left the protocol was given up.
    left: bool,
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
        if self.lost_track { 0 } else { self.asked.saturating_sub(self.answered) }
    }

    /// Where the response to the last request begins.
    pub(super) fn answer_at(&self) -> Option<u32> {
        self.answer_at
    }

    /// Whether the client was seen to send requests before the last one was answered.
    pub(super) fn pipelined(&self) -> bool {
        self.pipelined
    }

    /// Whether the connection may have left the protocol unseen.
    pub(super) fn has_left(&self) -> bool {
        self.left
    }

    /// Whether what follows the last request may be another protocol.
    pub(super) fn may_leave(&self) -> bool {
        let last = self.asked.checked_sub(1).filter(|&last| last >= self.answered);
        last.is_some_and(|last| matches!(self.kind(last), Asked::Connect | Asked::Upgrade))
    }

    /// A request is about to be told. Returns how many requests were missed since the last one.
    pub(super) fn asks(&mut self, ack: Option<u32>, standing: Standing, unpaired: &mut u64) -> u64 {
        if standing == Standing::Resumed {
            self.left |= self.may_leave();
            if self.pipelined {
                self.lose_track(unpaired);
            }
            self.give_up(self.asked, unpaired);
        } else if self.unanswered() > 0 && !self.pipelined {
            if ack == self.answer_at {
                self.pipelined = true;
            } else {
                // The client has the response; it was not seen.
                self.give_up(self.asked, unpaired);
            }
        }
        (self.credit, self.vague) = (0, false);
        u64::from(std::mem::take(&mut self.unmatched))
    }

    /// A request was told, of which the sender had received everything before `ack`; returns its number.
    pub(super) fn ask(&mut self, kind: Asked, ack: Option<u32>, unpaired: &mut u64) -> u64 {
        let number = self.asked;
        if self.unanswered() >= UNANSWERED_MAX {
            self.lose_track(unpaired);
        }
        let shift = Self::shift(number);
        self.kinds = self.kinds & !(0b11 << shift) | (kind as u128 & 0b11) << shift;
        self.asked = self.asked.saturating_add(1);
        self.answer_at = ack;
        number
    }

    /// Bytes are missing that may have held a head.
    pub(super) fn lost(&mut self) {
        self.holed = true;
    }

    /// An interim response was read: the final one is behind it.
    pub(super) fn interim(&mut self, begin: u32, end: u32) {
        if self.answer_at == Some(begin) {
            self.answer_at = Some(end);
        }
    }

    /// Bytes are missing in which a request began; returns how many are known to have been missed since the last one.
    pub(super) fn missed(&mut self) -> u64 {
        if self.unmatched == 0 {
            self.credit = self.credit.saturating_add(1);
        }
        u64::from(std::mem::take(&mut self.unmatched).max(1))
    }

    /// The client was seen to send several requests at once.
    pub(super) fn pipelines(&mut self) {
        self.pipelined = true;
    }

    /// A response begins at `seq`; `standing`: what is known of the bytes before it.
    pub(super) fn answer(&mut self, seq: u32, standing: Standing, unpaired: &mut u64) -> Answered {
        if self.unanswered() > 0 && !self.pipelined && self.answer_at.is_some_and(|at| at != seq) {
            if standing == Standing::Certain && !self.holed {
                // It asked before it had the whole response before.
                self.pipelined = true;
            } else {
                self.give_up(self.asked, unpaired);
                self.vague = true;
            }
        }
        if self.unanswered() == 0 {
            *unpaired = unpaired.saturating_add(1);
            if standing != Standing::First && !self.lost_track && !self.vague {
                match self.credit.checked_sub(1) {
                    Some(credit) => self.credit = credit,
                    None => self.unmatched = self.unmatched.saturating_add(1),
                }
            }
            return Answered { exchange: None, kind: Asked::Unseen };
        }
        let number = self.answered;
        self.answered = self.answered.saturating_add(1);
        Answered { exchange: Some(number), kind: self.kind(number) }
    }

    /// No more responses will come. Returns how many requests were missed since the last one.
    pub(super) fn end(&mut self, unpaired: &mut u64) -> u64 {
        *unpaired = unpaired.saturating_add(self.unanswered());
        self.answered = self.asked;
        u64::from(std::mem::take(&mut self.unmatched))
    }

    /// The responses to the requests before this one are lost.
    fn give_up(&mut self, before: u64, unpaired: &mut u64) {
        if self.lost_track {
            return;
        }
        let before = before.min(self.asked);
        while self.answered < before {
            self.left |= matches!(self.kind(self.answered), Asked::Connect | Asked::Upgrade);
            self.answered = self.answered.saturating_add(1);
            *unpaired = unpaired.saturating_add(1);
        }
    }

    fn lose_track(&mut self, unpaired: &mut u64) {
        self.give_up(self.asked, unpaired);
        self.lost_track = true;
    }

    fn kind(&self, number: u64) -> Asked {
        match self.kinds >> Self::shift(number) & 0b11 {
            0 => Asked::Other,
            1 => Asked::Head,
            2 => Asked::Connect,
            _ => Asked::Upgrade,
        }
    }

    fn shift(number: u64) -> u32 {
        u32::try_from(number % UNANSWERED_MAX).unwrap_or(0).wrapping_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(answered: Answered) -> Option<u64> {
        answered.exchange
    }

    #[test]
    fn responses_answer_requests_in_order() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for kind in [Asked::Other, Asked::Head, Asked::Connect, Asked::Upgrade] {
            exchanges.asks(Some(5), Standing::Certain, &mut unpaired);
            exchanges.ask(kind, Some(5), &mut unpaired);
        }
        for (number, kind) in [(0, Asked::Other), (1, Asked::Head), (2, Asked::Connect), (3, Asked::Upgrade)] {
            let answered = exchanges.answer(5 + 10 * u32::try_from(number).unwrap(), Standing::Certain, &mut unpaired);
            assert_eq!(answered, Answered { exchange: Some(number), kind });
        }
        assert_eq!(exchange(exchanges.answer(45, Standing::Certain, &mut unpaired)), None);
        assert_eq!(unpaired, 1);
    }

    #[test]
    fn behind_a_loss_a_response_answers_the_request_that_was_sent_where_it_begins() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        exchanges.ask(Asked::Other, Some(5), &mut unpaired);
        exchanges.asks(Some(25), Standing::Certain, &mut unpaired);
        exchanges.ask(Asked::Other, Some(25), &mut unpaired);
        exchanges.lost();
        assert_eq!(exchange(exchanges.answer(25, Standing::Resumed, &mut unpaired)), Some(1));
        exchanges.ask(Asked::Other, Some(30), &mut unpaired);
        assert_eq!(exchange(exchanges.answer(40, Standing::Resumed, &mut unpaired)), None);
        assert_eq!((exchanges.unanswered(), unpaired), (0, 3));
    }

    #[test]
    fn after_a_loss_under_pipelining_no_exchange_is_guessed() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for _ in 0..4 {
            exchanges.asks(Some(5), Standing::Certain, &mut unpaired);
            exchanges.ask(Asked::Other, Some(5), &mut unpaired);
        }
        assert_eq!(exchange(exchanges.answer(5, Standing::Certain, &mut unpaired)), Some(0));
        exchanges.asks(Some(10), Standing::Resumed, &mut unpaired);
        exchanges.ask(Asked::Other, Some(10), &mut unpaired);
        assert_eq!(exchange(exchanges.answer(10, Standing::Certain, &mut unpaired)), None);
    }

    #[test]
    fn more_requests_than_are_remembered_are_not_matched() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for number in 0..100 {
            assert_eq!(exchanges.ask(Asked::Other, None, &mut unpaired), number);
        }
        assert_eq!(exchange(exchanges.answer(5, Standing::Certain, &mut unpaired)), None);
    }
}
