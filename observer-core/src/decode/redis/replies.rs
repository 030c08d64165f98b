//! What the server sends: bytes in order come in, each reply is read as the request asks that it answers, records that are fetched
//! go out.

use super::nesting::{Nesting, Spot};
use super::reading::{Heard, Reading, Reply};
use super::resp::{Aggregate, Resp, Token};
use super::talk::{Answer, Asked, Course, Stand};
use super::telling::Context;
use crate::decode::stream::{Parser, Run};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Replies {
    resp: Resp,
    reader: Reader,
    /// The sequence number of the next byte.
    next: u32,
}

/// Reads tokens.
#[derive(Debug)]
struct Reader {
    nesting: Nesting,
    state: State,
    /// When the first byte of the reply was seen, and what its sender had received.
    begun: (Timestamp, Option<u32>),
    /// The length of the value that comes.
    value_len: u64,
}

#[derive(Debug)]
enum State {
    /// It is not known where a reply begins.
    Adrift,
    /// One begins here.
    Between,
    Within(Current),
}

/// The reply that is being read.
#[derive(Debug)]
struct Current {
    reply: Reply,
    reading: Reading,
    /// Of what the reply answers, if it may be put off until EXEC.
    queueable: Option<Asked>,
    /// It is marked as one that nobody asked for (RESP3).
    is_push: bool,
    part: Part,
}

/// Where what is read stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// It is the whole reply.
    Whole,
    /// It is an element of what EXEC is answered with.
    OfTransaction,
}

impl Replies {
    /// Of which the first bytes begin a message of a channel, or nothing is known.
    pub(super) fn new(is_message: bool) -> Self {
        let state = if is_message { State::Between } else { State::Adrift };
        let reader = Reader { nesting: Nesting::default(), state, begun: (Timestamp(0), None), value_len: 0 };
        Self { resp: Resp::default(), reader, next: 0 }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let Reader { nesting, state, .. } = &self.reader;
        let current = match state {
            State::Within(Current { reading, .. }) => reading.buffered_bytes(),
            State::Adrift | State::Between => 0,
        };
        self.resp.buffered_bytes().saturating_add(nesting.buffered_bytes()).saturating_add(current)
    }

    /// Bytes are missing, or are none of a reply.
    fn drift(&mut self, context: &mut Context<'_, '_>) {
        self.cut(context);
        context.talk.stand = Stand::Adrift;
        context.talk.doubt_before(self.next);
    }

    /// What is being read will not be read to its end.
    fn cut(&mut self, context: &mut Context<'_, '_>) {
        if let State::Within(mut current) = std::mem::replace(&mut self.reader.state, State::Adrift) {
            current.reading.cut(current.reply, context);
        }
        self.resp.clear();
        self.reader.nesting.clear();
    }

    /// Whether a reply begins with this run, of which nothing before it is known.
    fn begins(run: &Run<'_>, context: &Context<'_, '_>) -> bool {
        let is_line = run.bytes.first().is_some_and(|mark| b"+-:$*_%~>#,".contains(mark));
        run.begins && is_line && context.talk.received.is_none_or(|received| received == run.seq)
    }
}

impl Reader {
    fn token(&mut self, token: &Token<'_>, context: &mut Context<'_, '_>) -> Step {
        if let Token::Bulk { len } = token {
            self.value_len = *len;
        }
        // Of a value it was asked before.
        let is_first = self.nesting.is_top() && !matches!(token, Token::Value(_));
        if is_first && !matches!(token, Token::Open { kind: Aggregate::Attribute, .. } | Token::Malformed) {
            self.state = State::Within(Current::begin(token, self.begun, context));
        }
        let spot = self.nesting.spot();
        match token {
            Token::Malformed => return Step::Drift,
            Token::Open { kind, len } => {
                if !self.nesting.open(*kind, *len) {
                    return Step::Drift;
                }
                if let Some(current) = self.heard() {
                    current.open(spot, *kind, *len, context);
                }
                self.close(context);
            }
            Token::Bulk { .. } => {
                let Some(current) = self.heard() else { return Step::On };
                current.part_begins(spot, context);
                let (max, prefix) = current.reading.keeps(current.inner(spot), context);
                return Step::Keep(max, prefix);
            }
            Token::Value(value) => {
                let len = self.value_len;
                if let Some(current) = self.heard() {
                    let spot = current.inner(spot);
                    current.reading.value(spot, Some(*value), len, current.reply, context);
                }
                self.complete(context);
            }
            Token::Line { .. } | Token::Null => {
                if let Some(current) = self.heard() {
                    current.other(spot, context);
                }
                self.complete(context);
            }
        }
        Step::On
    }

    /// The reply that is being read, unless what stands here only tells something of it.
    fn heard(&mut self) -> Option<&mut Current> {
        match &mut self.state {
            State::Within(current) if !self.nesting.is_attribute() => Some(current),
            _ => None,
        }
    }

    /// An element ended.
    fn complete(&mut self, context: &mut Context<'_, '_>) {
        if self.nesting.is_top() {
            return self.finish(context);
        }
        self.nesting.complete();
        self.close(context);
    }

    /// Ends the aggregates that ended with the last element.
    fn close(&mut self, context: &mut Context<'_, '_>) {
        while let Some((spot, is_element)) = self.nesting.close() {
            if !is_element {
                continue;
            }
            if let Some(current) = self.heard() {
                current.close(spot, context);
            }
            if self.nesting.is_top() {
                return self.finish(context);
            }
            self.nesting.complete();
        }
    }

    /// The reply ended.
    fn finish(&mut self, context: &mut Context<'_, '_>) {
        context.talk.prove();
        if let State::Within(Current {
            reading: Reading::Heard(Heard { is_answer: true, .. }), is_push: false, ..
        }) = std::mem::replace(&mut self.state, State::Between)
        {
            context.talk.pong();
        }
    }
}

/// What is to be done with the token that follows.
enum Step {
    On,
    /// At most so many bytes of it are kept, else this many.
    Keep(usize, usize),
    Drift,
}

impl Current {
    /// A reply begins with this token.
    fn begin(token: &Token<'_>, (at, ack): (Timestamp, Option<u32>), context: &mut Context<'_, '_>) -> Self {
        let talk = &mut *context.talk;
        let reply = Reply { at, certain: talk.is_certain() };
        let whole = |reading| Self { reply, reading, queueable: None, is_push: false, part: Part::Whole };
        match token {
            Token::Open { kind: Aggregate::Push, .. } => {
                return Self { is_push: true, ..whole(Reading::Heard(Heard::default())) };
            }
            Token::Open { kind: Aggregate::Array, .. } if talk.may_hear() => {
                return whole(Reading::Heard(Heard::default()));
            }
            _ => {}
        }
        let asked = match talk.answer(ack) {
            Answer::To(asked) => asked,
            Answer::Nothing => {
                let anomalies = context.anomalies();
                anomalies.unpaired = anomalies.unpaired.saturating_add(1);
                return whole(Reading::Nothing);
            }
        };
        if let Token::Line { mark: b'+', text: b"QUEUED" } = token {
            return Self { queueable: Some(asked), ..whole(Reading::Nothing) };
        }
        match asked {
            Asked::Take(take) => whole(Reading::of(*take)),
            Asked::Exec => match token {
                Token::Open { kind: Aggregate::Array, len } if talk.is_queued(*len) && reply.certain => {
                    Self { part: Part::OfTransaction, ..whole(Reading::Nothing) }
                }
                _ => {
                    talk.clear_queue();
                    whole(Reading::Nothing)
                }
            },
            Asked::Multi | Asked::Discard => {
                talk.clear_queue();
                whole(Reading::Nothing)
            }
            Asked::Other | Asked::Ping => whole(Reading::Nothing),
        }
    }

    /// Where an element stands in what is read.
    fn inner(&self, spot: Spot) -> Spot {
        match self.part {
            Part::Whole => spot,
            Part::OfTransaction if spot.depth == 1 => Spot { depth: 0, index: 0 },
            Part::OfTransaction => Spot { depth: spot.depth.saturating_sub(1), ..spot },
        }
    }

    /// An element begins: it may be the reply to another request of a transaction.
    fn part_begins(&mut self, spot: Spot, context: &mut Context<'_, '_>) {
        if self.part == Part::OfTransaction && spot.depth == 1 {
            self.reading = match context.talk.queued() {
                Asked::Take(take) => Reading::of(*take),
                _ => Reading::Nothing,
            };
        }
    }

    fn open(&mut self, spot: Spot, kind: Aggregate, len: u64, context: &mut Context<'_, '_>) {
        self.part_begins(spot, context);
        if self.part == Part::Whole || spot.depth > 0 {
            self.reading.open(self.inner(spot), kind, len, self.reply);
        }
    }

    /// What is no text: an error, a number, or nothing. None of these was taken.
    fn other(&mut self, spot: Spot, context: &mut Context<'_, '_>) {
        if let Some(asked) = self.queueable.take()
            && context.talk.queue(asked)
        {
            let anomalies = context.anomalies();
            anomalies.evicted = anomalies.evicted.saturating_add(1);
        }
        self.part_begins(spot, context);
        self.reading.value(self.inner(spot), None, 0, self.reply, context);
    }

    fn close(&mut self, spot: Spot, context: &mut Context<'_, '_>) {
        if self.part == Part::Whole || spot.depth > 0 {
            let inner = self.inner(spot);
            self.reading.close(inner, self.reply, context);
        }
    }
}

impl Parser<Context<'_, '_>> for Replies {
    fn bytes(&mut self, run: &Run<'_>, context: &mut Context<'_, '_>) {
        if context.talk.course != Course::Talk {
            return;
        }
        let len = u32::try_from(run.bytes.len()).unwrap_or(0);
        self.next = run.seq.wrapping_add(len);
        if self.is_adrift() {
            if !Self::begins(run, context) {
                return;
            }
            self.reader.state = State::Between;
        }
        let mut rest = run.bytes;
        loop {
            if self.resp.is_between() && self.reader.nesting.is_top() && !rest.is_empty() {
                self.reader.begun = (run.at, run.ack);
            }
            let Some(token) = self.resp.next(&mut rest) else { break };
            match self.reader.token(&token, context) {
                Step::On => {}
                Step::Keep(max, prefix) => self.resp.keep(max, prefix),
                Step::Drift => {
                    let anomalies = context.anomalies();
                    anomalies.not_redis = anomalies.not_redis.saturating_add(1);
                    self.drift(context);
                    return context.talk.disprove();
                }
            }
        }
        let is_between = self.resp.is_between() && matches!(self.reader.state, State::Between);
        let is_between = is_between && self.reader.nesting.is_top();
        context.talk.stand = if is_between { Stand::At(self.next) } else { Stand::Within };
    }

    fn gap(&mut self, count: u64, context: &mut Context<'_, '_>) {
        // Sequence numbers wrap (RFC 9293 section 3.4).
        self.next = self.next.wrapping_add(u32::try_from(count & u64::from(u32::MAX)).unwrap_or(0));
        let within = matches!(self.reader.state, State::Within(_)) && self.resp.gap(count);
        if !within && !self.is_adrift() {
            let anomalies = context.anomalies();
            anomalies.replies_cut = anomalies.replies_cut.saturating_add(1);
            self.drift(context);
        }
    }

    fn end(&mut self, context: &mut Context<'_, '_>) {
        self.cut(context);
    }

    fn spare(&self) -> u64 {
        self.resp.spare()
    }

    fn is_adrift(&self) -> bool {
        matches!(self.reader.state, State::Adrift)
    }

    fn overflow(context: &mut Context<'_, '_>) {
        let anomalies = context.anomalies();
        anomalies.reorder_overflow = anomalies.reorder_overflow.saturating_add(1);
    }
}
