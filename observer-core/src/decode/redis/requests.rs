//! What the client sends: bytes in order come in, records that are produced go out, and what is asked is remembered.

use super::adding::Adding;
use super::command::{Command, NAME_BYTES_MAX, begins};
use super::envelope::PREFIX_BYTES;
use super::place::{Class, KEY_BYTES_MAX, Place};
use super::resp::{Aggregate, Resp, Token, Value};
use super::talk::{Asked, Course, Replies};
use super::telling::{Context, Manner};
use super::wishing::{Does, Script, Wishing};
use crate::decode::stream::{Parser, Run};
use crate::time::Timestamp;

/// The longest word that CLIENT is looked at for.
const WORD_BYTES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Requests {
    resp: Resp,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing was seen yet.
    New,
    /// It is not known where a request begins.
    Adrift,
    /// One begins here, or began in the line that is not all there.
    Between {
        at: Timestamp,
        start: u32,
    },
    Within(Request),
}

/// A request that is being read.
#[derive(Debug)]
struct Request {
    at: Timestamp,
    start: u32,
    /// How many elements it has, the name counted, and how many of these were read.
    len: u64,
    index: u64,
    /// The length of the element that comes.
    value_len: u64,
    call: Call,
}

/// What is made of the arguments.
#[derive(Debug)]
enum Call {
    Name,
    Plain(Asked),
    /// Channels: answered by pushes alone.
    Subscribe,
    Feed,
    Reset,
    Client {
        is_reply: bool,
        replies: Option<Replies>,
    },
    Value {
        manner: Manner,
        place: Option<Place>,
    },
    Add(Box<Adding>),
    Wish(Box<Wishing>),
    Script(Box<Script>),
}

/// What is to be done with the token that follows.
enum Step {
    On,
    /// At most so many bytes of it are kept, else this many.
    Keep(usize, usize),
    Drift,
}

impl Requests {
    pub(super) fn new() -> Self {
        Self { resp: Resp::default(), state: State::New }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let call = match &self.state {
            State::Within(request) => request.call.buffered_bytes(),
            State::New | State::Adrift | State::Between { .. } => 0,
        };
        self.resp.buffered_bytes().saturating_add(call)
    }

    /// Bytes are missing, or are none of a request.
    fn drift(&mut self, context: &mut Context<'_, '_>) {
        if let State::Within(request) = std::mem::replace(&mut self.state, State::Adrift) {
            request.cut(context);
        }
        self.resp.clear();
        context.talk.doubt();
    }
}

impl Parser<Context<'_, '_>> for Requests {
    fn bytes(&mut self, run: &Run<'_>, context: &mut Context<'_, '_>) {
        if context.talk.course != Course::Talk {
            return;
        }
        if self.is_adrift() {
            // What was recognised by its first bytes may be cut anywhere.
            let is_enough = begins(run.bytes).unwrap_or(matches!(self.state, State::New));
            if !run.begins || !is_enough {
                self.state = State::Adrift;
                return;
            }
            self.state = State::Between { at: run.at, start: run.seq };
        }
        let mut rest = run.bytes;
        loop {
            if self.resp.is_between()
                && !rest.is_empty()
                && let State::Between { at, start } = &mut self.state
            {
                let passed = u32::try_from(run.bytes.len().saturating_sub(rest.len())).unwrap_or(0);
                (*at, *start) = (run.at, run.seq.wrapping_add(passed));
                context.talk.request_begins(run.ack);
            }
            let Some(token) = self.resp.next(&mut rest) else { break };
            match step(&mut self.state, &token, context) {
                Step::On => {}
                Step::Keep(max, prefix) => self.resp.keep(max, prefix),
                Step::Drift => {
                    let anomalies = context.anomalies();
                    anomalies.not_redis = anomalies.not_redis.saturating_add(1);
                    self.drift(context);
                    return context.talk.disprove();
                }
            }
            if context.talk.course == Course::Feed {
                self.state = State::Adrift;
                return self.resp.clear();
            }
        }
    }

    fn gap(&mut self, count: u64, context: &mut Context<'_, '_>) {
        let within = matches!(self.state, State::Within(_)) && self.resp.gap(count);
        if !within && !self.is_adrift() {
            let anomalies = context.anomalies();
            anomalies.requests_cut = anomalies.requests_cut.saturating_add(1);
            self.drift(context);
        }
    }

    fn end(&mut self, context: &mut Context<'_, '_>) {
        if let State::Within(request) = std::mem::replace(&mut self.state, State::Adrift) {
            request.cut(context);
        }
        self.resp.clear();
    }

    fn spare(&self) -> u64 {
        self.resp.spare()
    }

    fn is_adrift(&self) -> bool {
        matches!(self.state, State::New | State::Adrift)
    }

    fn overflow(context: &mut Context<'_, '_>) {
        let anomalies = context.anomalies();
        anomalies.reorder_overflow = anomalies.reorder_overflow.saturating_add(1);
    }
}

fn step(state: &mut State, token: &Token<'_>, context: &mut Context<'_, '_>) -> Step {
    match (&mut *state, token) {
        (&mut State::Between { at, start }, Token::Open { kind: Aggregate::Array, len }) => {
            // A request of nothing is passed over by servers.
            if *len > 0 {
                *state = State::Within(Request { at, start, len: *len, index: 0, value_len: 0, call: Call::Name });
            }
            Step::On
        }
        (State::Within(request), Token::Bulk { len }) => {
            request.value_len = *len;
            let (max, prefix) = request.keeps(context);
            Step::Keep(max, prefix)
        }
        (State::Within(request), Token::Value(value)) => {
            request.argument(*value, context);
            request.index = request.index.saturating_add(1);
            if request.index == request.len {
                let next = State::Between { at: request.at, start: request.start };
                if let State::Within(request) = std::mem::replace(state, next) {
                    request.finish(context);
                }
            }
            Step::On
        }
        _ => Step::Drift,
    }
}

impl Request {
    /// How many bytes of the next element are kept at most, and of a longer one.
    fn keeps(&self, context: &Context<'_, '_>) -> (usize, usize) {
        let max = match &self.call {
            Call::Name => NAME_BYTES_MAX,
            Call::Client { .. } if self.index <= 2 => WORD_BYTES_MAX,
            Call::Value { place: None, .. } => KEY_BYTES_MAX,
            Call::Value { place: Some(Place { class: Class::Any, .. }), .. } => {
                return (context.value_bytes(), PREFIX_BYTES);
            }
            Call::Add(adding) => adding.keeps(),
            Call::Wish(wishing) => wishing.keeps(self.index),
            Call::Script(script) => script.keeps(self.index),
            Call::Client { .. } | Call::Value { .. } | Call::Plain(_) | Call::Subscribe | Call::Feed | Call::Reset => 0,
        };
        (max, 0)
    }

    fn argument(&mut self, value: Value<'_>, context: &mut Context<'_, '_>) {
        let (at, index) = (self.at, self.index);
        match &mut self.call {
            Call::Name => self.call = self.named(value, context),
            Call::Client { is_reply, .. } if index == 1 => *is_reply = value.bytes.eq_ignore_ascii_case(b"REPLY"),
            Call::Client { is_reply: true, replies } if index == 2 => {
                *replies = match value.bytes.to_ascii_uppercase().as_slice() {
                    b"OFF" => Some(Replies::Off),
                    b"SKIP" => Some(Replies::Skip),
                    b"ON" => Some(Replies::On),
                    _ => None,
                };
            }
            Call::Value { place: place @ None, .. } => {
                *place = Some(if value.whole { Place::new(value.bytes) } else { Place::unknown() });
            }
            Call::Value { manner, place: Some(place) } => context.value(at, place, *manner, Some(value), true),
            Call::Add(adding) => adding.argument(value, self.value_len, context),
            Call::Wish(wishing) => wishing.argument(index, self.len, value),
            Call::Script(script) => script.argument(index, value),
            Call::Client { .. } | Call::Plain(_) | Call::Subscribe | Call::Feed | Call::Reset => {}
        }
    }

    fn named(&self, name: Value<'_>, context: &mut Context<'_, '_>) -> Call {
        context.talk.prove();
        match Command::of(if name.whole { name.bytes } else { b"" }) {
            Command::Other => Call::Plain(Asked::Other),
            Command::Ping => Call::Plain(Asked::Ping),
            Command::Multi => Call::Plain(Asked::Multi),
            Command::Exec => Call::Plain(Asked::Exec),
            Command::Discard => Call::Plain(Asked::Discard),
            Command::Subscribe => Call::Subscribe,
            Command::Reset => Call::Reset,
            Command::Feed => Call::Feed,
            Command::Client => Call::Client { is_reply: false, replies: None },
            Command::Push => Call::Value { manner: Manner::Pushed, place: None },
            Command::Publish => Call::Value { manner: Manner::Published, place: None },
            Command::Add => Call::Add(Box::new(Adding::new())),
            Command::Take(taking) => Call::Wish(Box::new(Wishing::new(taking, self.len))),
            Command::Script => Call::Script(Box::default()),
        }
    }

    /// All of it was read.
    fn finish(self, context: &mut Context<'_, '_>) {
        let asked = match self.call {
            Call::Plain(asked) => asked,
            Call::Name | Call::Value { .. } => Asked::Other,
            Call::Add(adding) => {
                adding.finish(self.at, true, context);
                Asked::Other
            }
            Call::Wish(wishing) => wishing.finish(),
            Call::Script(script) => match script.finish() {
                Does::Takes(asked) => asked,
                Does::Nothing => Asked::Other,
                Does::Adds(place) => {
                    context.value(self.at, &place, Manner::Pushed, None, true);
                    Asked::Other
                }
            },
            Call::Subscribe => return context.talk.subscribed = true,
            Call::Feed => return context.talk.course = Course::Feed,
            Call::Reset => {
                context.talk.subscribed = false;
                context.talk.clear_queue();
                Asked::Other
            }
            Call::Client { replies, .. } => match replies {
                Some(replies @ (Replies::Off | Replies::Skip)) => return context.talk.replies = replies,
                Some(Replies::On) => {
                    context.talk.replies = Replies::On;
                    Asked::Other
                }
                None => Asked::Other,
            },
        };
        if context.talk.ask(asked, self.start) {
            let anomalies = context.anomalies();
            anomalies.evicted = anomalies.evicted.saturating_add(1);
        }
    }

    /// The rest of it is missing.
    fn cut(self, context: &mut Context<'_, '_>) {
        if let Call::Add(adding) = self.call {
            adding.finish(self.at, false, context);
        }
    }
}

impl Call {
    fn buffered_bytes(&self) -> usize {
        match self {
            Self::Add(adding) => size_of::<Adding>().saturating_add(adding.buffered_bytes()),
            Self::Wish(_) => size_of::<Wishing>(),
            Self::Script(script) => size_of::<Script>().saturating_add(script.buffered_bytes()),
            _ => 0,
        }
    }
}
