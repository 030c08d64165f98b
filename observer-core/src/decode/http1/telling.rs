//! What is told of a head, and what follows it: heads come in, messages go out, the body's length is noted.

use super::Http1;
use super::chunks::Chunks;
use super::draft::Draft;
use super::exchanges::Asked;
use super::framing::{Body, Framing};
use super::half::{Expected, Standing};
use super::start_line::{Role, StartLine, path};
use super::turns::Moment;
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
    /// Tells that requests were missed, if any were.
    pub(super) fn unobserved(&mut self, count: u64, at: Timestamp, out: &mut Output<'_>) {
        if count > 0 {
            let (from, protocol) = (self.client, self.protocol);
            (out.tell)(Message { at, from, exchange: None, protocol, body: MessageBody::Unobserved { count } });
        }
    }

    /// Tells a head of which the end is not known.
    pub(super) fn tell_part(&mut self, role: Role, draft: &Draft, when: Moment, out: &mut Output<'_>) {
        self.half_mut(role).drift();
        if let Some(start) = draft.start() {
            self.tell(&Found { at: draft.at, start, headers: &draft.headers(false), framing: None }, when, out);
        }
    }

    /// Tells a head, if it is one for sure, and from its framing, where it is whole, what is expected next.
    pub(super) fn tell(&mut self, found: &Found<'_>, when: Moment, out: &mut Output<'_>) {
        match found.start {
            StartLine::Request { method, target, .. } => {
                if self.is_proven(Role::Requests, when) {
                    return self.tell_request(found, (method, target), when, out);
                }
                self.doubt(Role::Requests, found.framing.map(Framing::of_request), out);
            }
            StartLine::Status { status, .. } => {
                if !self.is_proven(Role::Responses, when) {
                    if status == 101 {
                        // What would follow is no HTTP, and nothing tells it from a request.
                        return self.leave(out);
                    }
                    let body = found.framing.map(|framing| framing.of_response(status, false));
                    return self.doubt(Role::Responses, body, out);
                }
                if status >= 200 || status == 101 {
                    return self.tell_response(found, status, when, out);
                }
                if self.responses.standing == Standing::Resumed {
                    self.exchanges.server_turn(&when, &mut out.anomalies.unpaired);
                }
                if found.framing.is_some() {
                    let first = self.responses.standing == Standing::First;
                    self.responses.expect_head(if first { Standing::First } else { Standing::Certain });
                }
            }
        }
    }

    /// Whether the head is one: where bytes are missing before it, a turn that begins exactly where a message ends shows it.
    fn is_proven(&mut self, role: Role, when: Moment) -> bool {
        let half = self.half_mut(role);
        if half.standing == Standing::Chained && when.turn {
            half.standing = Standing::Resumed;
        }
        !half.standing.is_doubtful()
    }

    /// What looks like a head may be body: it is not told, but what it says of its length is tried.
    fn doubt(&mut self, role: Role, body: Option<Body>, out: &mut Output<'_>) {
        out.anomalies.doubtful_heads = out.anomalies.doubtful_heads.saturating_add(1);
        if let Some(body) = body {
            self.expect_body(role, body);
        }
    }

    fn tell_request(&mut self, found: &Found<'_>, (method, target): (&str, &[u8]), when: Moment, out: &mut Output<'_>) {
        let Found { at, start, headers, framing } = *found;
        if self.requests.standing == Standing::Resumed {
            let missed = self.exchanges.client_turn(&mut out.anomalies.unpaired);
            if self.exchanges.has_left() {
                return self.leave(out);
            }
            self.unobserved(missed, at, out);
        }
        let protocol = start.protocol();
        self.protocol = protocol;
        let kind = match method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ if headers.iter().any(|header| header.name == HeaderName::UPGRADE) => Asked::Upgrade,
            _ => Asked::Other,
        };
        let number = self.exchanges.ask(kind, &mut out.anomalies.unpaired);
        if when.late && when.spoken != self.turns.spoken() {
            // Its response may have passed.
            self.exchanges.give_up_all(&mut out.anomalies.unpaired);
        }
        self.asked_at = at;
        let path = path(method, target);
        let head = RequestHead { method, path: &path, headers, complete: framing.is_some() };
        let (from, exchange) = (self.client, Some(number));
        (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Request(head) });
        if self.exchanges.has_left() {
            return self.leave(out);
        }
        if let Some(framing) = framing {
            self.expect_body(Role::Requests, framing.of_request());
        }
    }

    fn tell_response(&mut self, found: &Found<'_>, status: u16, mut when: Moment, out: &mut Output<'_>) {
        let Found { at, start, headers, framing } = *found;
        let standing = self.responses.standing;
        if standing == Standing::Resumed {
            self.exchanges.server_turn(&when, &mut out.anomalies.unpaired);
        }
        if self.exchanges.unanswered() == 0 && self.requests.is_waiting() && !when.late {
            // The server had what is waited for here.
            self.settle(Role::Requests, at, out);
            if self.quiet {
                return;
            }
            when.asked = self.exchanges.asked();
        }
        let answered = self.exchanges.answer(&when, standing, &mut out.anomalies.unpaired);
        if !when.late {
            self.turns.answered(self.exchanges.asked());
        }
        if self.exchanges.has_left() {
            return self.leave(out);
        }
        let upgraded = status == 101 || (answered.kind == Asked::Connect && (200..300).contains(&status));
        let head = ResponseHead { status, headers, complete: framing.is_some(), upgraded };
        self.protocol = start.protocol();
        let (from, exchange, protocol) = (self.client.other(), answered.exchange, self.protocol);
        (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Response(head) });
        if upgraded {
            return self.leave(out);
        }
        let Some(framing) = framing else { return };
        let body = framing.of_response(status, answered.kind == Asked::Head);
        if answered.kind == Asked::Unseen && body != Body::Sized(0) {
            // The request may have been HEAD or CONNECT.
            self.responses.standing = Standing::Chained;
        }
        self.expect_body(Role::Responses, body);
    }

    /// The connection leaves the protocol, or may have left it.
    fn leave(&mut self, out: &mut Output<'_>) {
        self.quiet = true;
        self.exchanges.end(&mut out.anomalies.unpaired);
        for half in [&mut self.requests, &mut self.responses] {
            half.forget();
        }
    }

    fn expect_body(&mut self, role: Role, body: Body) {
        let half = self.half_mut(role);
        match body {
            Body::Sized(length) => half.expect_sized(length),
            Body::Chunked => half.expected = Expected::Chunked(Chunks::new()),
            Body::UntilClose if !half.standing.is_doubtful() => half.expected = Expected::UntilClose,
            Body::UntilClose | Body::Unclear => half.drift(),
        }
    }
}
