//! What is told of a head, and what follows it: heads come in, messages go out, the body's length is noted.

use super::Http1;
use super::chunks::Chunks;
use super::draft::Draft;
use super::exchanges::Asked;
use super::framing::{Body, Framing};
use super::half::{Expected, Standing};
use super::start_line::{Role, StartLine, path};
use super::turns::Place;
use crate::decode::Output;
use crate::message::{Header, HeaderName, Message, MessageBody, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// A head that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) at: Timestamp,
    pub(super) place: Place,
    /// Behind its last byte, where that was seen.
    pub(super) end: u32,
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
    pub(super) fn tell_part(&mut self, role: Role, draft: &Draft, out: &mut Output<'_>) {
        self.half_mut(role).drift();
        if let Some(start) = draft.start() {
            let Draft { at, place, .. } = *draft;
            let headers = draft.headers(false);
            self.tell(&Found { at, place, end: place.seq, start, headers: &headers, framing: None }, out);
        }
    }

    /// Tells a head, and from its framing, where it is whole, what is expected next.
    pub(super) fn tell(&mut self, found: &Found<'_>, out: &mut Output<'_>) {
        match found.start {
            StartLine::Request { method, target, .. } => self.tell_request(found, (method, target), out),
            StartLine::Status { status, .. } if status >= 200 || status == 101 => {
                self.tell_response(found, status, out);
            }
            StartLine::Status { .. } => {
                if found.framing.is_some() {
                    self.exchanges.interim(found.place.seq, found.end);
                    let first = self.responses.standing == Standing::First;
                    self.responses.expect_head(if first { Standing::First } else { Standing::Certain });
                }
            }
        }
    }

    fn tell_request(&mut self, found: &Found<'_>, (method, target): (&str, &[u8]), out: &mut Output<'_>) {
        let Found { at, place, start, headers, framing, .. } = *found;
        let missed = self.exchanges.asks(place.ack, self.requests.standing, &mut out.shared.anomalies.unpaired);
        if self.exchanges.has_left() {
            return self.leave(out);
        }
        self.unobserved(missed, at, out);
        let protocol = start.protocol();
        self.protocol = protocol;
        let kind = match method {
            "HEAD" => Asked::Head,
            "CONNECT" => Asked::Connect,
            _ if headers.iter().any(|header| header.name == HeaderName::UPGRADE) => Asked::Upgrade,
            _ => Asked::Other,
        };
        let number = self.exchanges.ask(kind, place.ack, &mut out.shared.anomalies.unpaired);
        self.asked_at = at;
        let path = path(method, target);
        let head = RequestHead { method, path: &path, headers, complete: framing.is_some() };
        let (from, exchange) = (self.client, Some(number));
        (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Request(head) });
        if let Some(framing) = framing {
            self.expect_body(Role::Requests, framing.of_request());
        }
    }

    fn tell_response(&mut self, found: &Found<'_>, status: u16, out: &mut Output<'_>) {
        let Found { at, place, start, headers, framing, .. } = *found;
        let answered = self.exchanges.answer(place.seq, self.responses.standing, &mut out.shared.anomalies.unpaired);
        self.turns.server_answered(place);
        if self.exchanges.has_left() {
            return self.leave(out);
        }
        let upgraded = status == 101 || (answered.kind == Asked::Connect && (200..300).contains(&status));
        let head = ResponseHead { status: Some(status), headers, complete: framing.is_some(), upgraded };
        self.protocol = start.protocol();
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
            return self.leave(out);
        }
        let Some(framing) = framing else { return };
        let body = framing.of_response(status, answered.kind == Asked::Head);
        if answered.kind == Asked::Unseen && body != Body::Sized(0) {
            // The request may have been HEAD or CONNECT.
            return self.responses.drift();
        }
        self.expect_body(Role::Responses, body);
    }

    /// The connection leaves the protocol, or may have left it.
    fn leave(&mut self, out: &mut Output<'_>) {
        self.quiet = true;
        self.exchanges.end(&mut out.shared.anomalies.unpaired);
        for half in [&mut self.requests, &mut self.responses] {
            half.forget();
        }
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
