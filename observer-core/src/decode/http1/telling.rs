//! What is told of a head, and what follows it: heads come in, messages go out, the body's length is noted.

use super::Http1;
use super::chunks::Chunks;
use super::draft::Draft;
use super::exchanges::{Asked, Moment};
use super::framing::{Body, Framing};
use super::half::{Expected, Standing};
use super::start_line::{Role, StartLine, path};
use crate::decode::Output;
use crate::message::{Header, HeaderName, Message, MessageBody, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// A head that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) at: Timestamp,
    pub(super) start: StartLine<'a>,
    pub(super) headers: &'a [Header<'a>],
    /// `None` where its end was not seen.
    pub(super) framing: Option<Framing>,
}

impl Http1 {
    pub(super) fn unobserved(&mut self, answered: bool, at: Timestamp, out: &mut Output<'_>) {
        let count = self.exchanges.missed(answered, &mut out.anomalies.unpaired);
        self.asked_at = at;
        let (from, protocol) = (self.client, self.protocol);
        (out.tell)(Message { at, from, exchange: None, protocol, body: MessageBody::Unobserved { count } });
    }

    /// Tells a head of which the end is not known.
    pub(super) fn tell_part(&mut self, role: Role, draft: &Draft, when: Moment, out: &mut Output<'_>) {
        self.lose(role);
        if let Some(start) = draft.start() {
            self.tell(&Found { at: draft.at, start, headers: &draft.headers(false), framing: None }, when, out);
        }
    }

    /// Tells a head, and from its framing, where it is whole, what is expected next.
    pub(super) fn tell(&mut self, found: &Found<'_>, when: Moment, out: &mut Output<'_>) {
        let Found { at, start, headers, framing } = *found;
        let protocol = start.protocol();
        self.protocol = protocol;
        match start {
            StartLine::Request { method, target, .. } => {
                if self.requests.standing == Standing::Resumed && self.exchanges.unmatched() > 0 {
                    self.unobserved(true, at, out);
                }
                let kind = match method {
                    "HEAD" => Asked::Head,
                    "CONNECT" => Asked::Connect,
                    _ => Asked::Other,
                };
                let number = self.exchanges.ask(kind, &mut out.anomalies.unpaired);
                self.asked_at = at;
                let path = path(method, target);
                let head = RequestHead { method, path: &path, headers, complete: framing.is_some() };
                let (from, exchange) = (self.client, Some(number));
                (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Request(head) });
                if let Some(framing) = framing {
                    self.expect_body(Role::Requests, framing.of_request());
                }
            }
            StartLine::Status { status, .. } => {
                if status < 200 && status != 101 {
                    self.interim(at, out);
                    if framing.is_some() {
                        let standing = self.responses.standing;
                        self.responses.expect_head(standing);
                    }
                    return;
                }
                self.tell_response(found, status, when, out);
            }
        }
    }

    /// An interim response came: where no request waits for one, its request was missed, and what comes next is its body.
    fn interim(&mut self, at: Timestamp, out: &mut Output<'_>) {
        if self.exchanges.unanswered() > 0 || self.responses.standing == Standing::First {
            return;
        }
        if self.requests.is_waiting() {
            self.settle(Role::Requests, at, out);
        } else if matches!(self.requests.expected, Expected::Head | Expected::Adrift { .. }) {
            self.missed(Role::Requests, false, at, out);
        }
    }

    fn tell_response(&mut self, found: &Found<'_>, status: u16, mut when: Moment, out: &mut Output<'_>) {
        let Found { at, headers, framing, .. } = *found;
        if self.exchanges.unanswered() == 0 && self.requests.is_waiting() {
            // The server had what is waited for here.
            self.settle(Role::Requests, at, out);
            when = self.exchanges.now();
        }
        let standing = self.responses.standing;
        self.responses.since = when.asked;
        let answered = self.exchanges.answer(when, standing, &mut out.anomalies.unpaired);
        let upgraded = status == 101 || (answered.kind == Asked::Connect && (200..300).contains(&status));
        let head = ResponseHead { status: Some(status), headers, complete: framing.is_some(), upgraded };
        let (from, exchange, protocol) = (self.client.other(), answered.exchange, self.protocol);
        let to_http2 = status == 101
            && framing.is_some()
            && headers
                .iter()
                .any(|header| header.name == HeaderName::UPGRADE && header.value.eq_ignore_ascii_case(b"h2c"));
        if to_http2 {
            // The response comes in HTTP/2 (RFC 7540 section 3.2).
            self.upgraded = Some(answered);
        } else {
            (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Response(head) });
        }
        if upgraded {
            self.quiet = true;
            self.exchanges.end(&mut out.anomalies.unpaired);
            for half in [&mut self.requests, &mut self.responses] {
                half.forget();
            }
            return;
        }
        let Some(framing) = framing else { return };
        let body = framing.of_response(status, answered.kind == Asked::Head);
        self.expect_body(Role::Responses, body);
        self.responses.bodiless_perhaps = answered.kind == Asked::Unseen && body != Body::Sized(0);
    }

    fn expect_body(&mut self, role: Role, body: Body) {
        let half = self.half_mut(role);
        match body {
            Body::Sized(length) => half.expect_sized(length),
            Body::Chunked => half.expected = Expected::Chunked(Chunks::new()),
            Body::UntilClose => half.expected = Expected::UntilClose,
            Body::Unclear => half.drift(),
        }
    }
}
