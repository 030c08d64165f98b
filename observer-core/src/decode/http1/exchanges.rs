//! Which response answers which request: requests and responses come in in the order of the wire, exchange numbers go out.
//!
//! Responses answer requests first in, first out (RFC 9112 section 9.3.2), as long as no byte of either direction that may hold
//! a head is missing. Behind a loss the order begins anew where a turn proves it: see [`super`]. With a client that pipelines
//! no turn proves anything, so after a loss its responses are told without an exchange.

use super::half::Standing;
use super::turns::Moment;

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
    /// Responses without a request since the last request that was told: as many requests were missed.
    unmatched: u32,
    /// Requests that are told as not observed and whose responses may still come.
    credit: u32,
    pipelined: bool,
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

    /// How many responses had no request since the last request: so many requests were missed.
    pub(super) fn unmatched(&self) -> u32 {
        self.unmatched
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

    /// A request was told; returns its number.
    pub(super) fn ask(&mut self, kind: Asked, unpaired: &mut u64) -> u64 {
        let number = self.asked;
        if self.unanswered() >= UNANSWERED_MAX {
            self.lose_track(unpaired);
        }
        let shift = Self::shift(number);
        self.kinds = self.kinds & !(0b11 << shift) | (kind as u128 & 0b11) << shift;
        self.asked = self.asked.saturating_add(1);
        self.unmatched = 0;
        number
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

    /// A request is about to be told with which the client's turn began: whatever was asked before is answered. Returns how
    /// many requests were missed since the last one.
    pub(super) fn client_turn(&mut self, unpaired: &mut u64) -> u64 {
        self.left |= self.may_leave();
        if self.pipelined {
            self.lose_track(unpaired);
        }
        self.give_up(self.asked, unpaired);
        (self.credit, self.vague) = (0, false);
        u64::from(std::mem::take(&mut self.unmatched))
    }

    /// A response begins with which the server's turn began.
    pub(super) fn server_turn(&mut self, when: &Moment, unpaired: &mut u64) {
        if self.pipelined {
            self.left |= self.may_leave();
            self.lose_track(unpaired);
        }
        // The server answers what was asked since it spoke last; where that is not known, one of all these.
        self.vague = when.asked_before.is_none();
        self.give_up(when.asked_before.unwrap_or(when.asked), unpaired);
    }

    /// Responses to what was asked until now may have passed.
    pub(super) fn give_up_all(&mut self, unpaired: &mut u64) {
        self.vague = true;
        self.give_up(self.asked, unpaired);
    }

    /// A response came at that moment; `standing`: what is known of the bytes before it.
    pub(super) fn answer(&mut self, when: &Moment, standing: Standing, unpaired: &mut u64) -> Answered {
        let waiting = if self.lost_track { 0 } else { self.asked.min(when.asked).saturating_sub(self.answered) };
        if waiting >= 2 && standing == Standing::Certain {
            self.pipelined = true;
        }
        if waiting >= 2 && standing == Standing::First && !self.pipelined {
            // The client pipelines, or the responses before this one were lost.
            self.lose_track(unpaired);
        }
        if waiting == 0 || self.lost_track {
            *unpaired = unpaired.saturating_add(1);
            if standing != Standing::First && !self.lost_track && !self.vague && !when.late && when.asked == self.asked
            {
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

    fn now(exchanges: &Exchanges, asked_before: Option<u64>) -> Moment {
        Moment {
            asked: exchanges.asked(),
            asked_before,
            spoken: 0,
            fresh: true,
            turn: true,
            follows: true,
            late: false,
        }
    }

    #[test]
    fn responses_answer_requests_in_order() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for kind in [Asked::Other, Asked::Head, Asked::Connect, Asked::Upgrade] {
            exchanges.ask(kind, &mut unpaired);
        }
        let when = now(&exchanges, None);
        for (number, kind) in [(0, Asked::Other), (1, Asked::Head), (2, Asked::Connect), (3, Asked::Upgrade)] {
            assert_eq!(
                exchanges.answer(&when, Standing::Certain, &mut unpaired),
                Answered { exchange: Some(number), kind }
            );
        }
        assert_eq!(exchanges.answer(&when, Standing::Certain, &mut unpaired).exchange, None);
        assert_eq!(unpaired, 1);
    }

    #[test]
    fn a_response_with_which_a_turn_begins_answers_what_was_asked_since_the_last_one() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        exchanges.ask(Asked::Other, &mut unpaired);
        exchanges.ask(Asked::Other, &mut unpaired);
        let when = now(&exchanges, Some(1));
        exchanges.server_turn(&when, &mut unpaired);
        assert_eq!(exchanges.answer(&when, Standing::Resumed, &mut unpaired).exchange, Some(1));
        assert_eq!((exchanges.unanswered(), unpaired), (0, 1));
    }

    #[test]
    fn after_a_loss_under_pipelining_no_exchange_is_guessed() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for _ in 0..4 {
            exchanges.ask(Asked::Other, &mut unpaired);
        }
        let when = now(&exchanges, Some(1));
        assert_eq!(exchanges.answer(&when, Standing::Certain, &mut unpaired).exchange, Some(0));
        exchanges.server_turn(&when, &mut unpaired);
        assert_eq!(exchanges.answer(&when, Standing::Resumed, &mut unpaired).exchange, None);
        exchanges.ask(Asked::Other, &mut unpaired);
        let when = now(&exchanges, Some(1));
        assert_eq!(exchanges.answer(&when, Standing::Certain, &mut unpaired).exchange, None);
    }

    #[test]
    fn more_requests_than_are_remembered_are_not_matched() {
        let (mut exchanges, mut unpaired) = (Exchanges::default(), 0);
        for number in 0..100 {
            assert_eq!(exchanges.ask(Asked::Other, &mut unpaired), number);
        }
        let when = now(&exchanges, None);
        assert_eq!(exchanges.answer(&when, Standing::Certain, &mut unpaired).exchange, None);
    }
}
