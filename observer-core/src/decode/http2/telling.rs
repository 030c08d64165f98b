//! What is told of header blocks: their fields and the ends of streams come in, messages go out.

use super::frame::Frame;
use super::grpc::{http_status, is_grpc};
use super::held::{Head, Heads};
use super::hpack::{Fields, First};
use super::streams::{Answer, Stream, Streams};
use crate::decode::Output;
use crate::decode::http1::head::Wanted;
use crate::message::{End, Header, HeaderName, Message, MessageBody, Protocol, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// What a request takes on the wire at least: a frame header and one byte of its block.
const REQUEST_BYTES_MIN: u64 = 10;

/// The exchanges of one connection.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) client: End,
    /// Of the request that was told last.
    pub(super) protocol: Protocol,
    pub(super) streams: Streams,
    /// Those of responses that are held.
    pub(super) heads: Heads,
    /// Whether the ends of streams are seen that come with DATA.
    pub(super) ends_seen: bool,
}

/// A response that is told.
struct Told<'a> {
    at: Timestamp,
    exchange: Option<u64>,
    protocol: Protocol,
    status: Option<u16>,
    headers: &'a [Header<'a>],
    complete: bool,
    upgraded: bool,
}

impl Talk {
    /// A header block of the client. `lost`: bytes that were missed since its last request.
    pub(super) fn asked(&mut self, at: Timestamp, frame: Frame, fields: &Fields, lost: &mut u64, out: &mut Output<'_>) {
        let id = frame.stream;
        if id.is_multiple_of(2) || !self.streams.is_new(id) {
            // No stream of clients, or trailers.
            return;
        }
        let joined = self.streams.highest().is_none();
        if !fields.of_request {
            if joined {
                // Perhaps trailers of a stream that was opened before.
                return;
            }
            if fields.first != First::Unknown {
                // Trailers of a request that was missed.
                return self.missed(at, id, lost, out);
            }
        }
        if *lost > 0 && !joined {
            let between = self.streams.opened_with(id).saturating_sub(1).min(*lost / REQUEST_BYTES_MIN);
            self.unobserved(at, between, out);
        }
        *lost = 0;
        self.streams.opened(id);
        let content_type = fields.header(HeaderName::CONTENT_TYPE);
        let protocol_seen = content_type.is_some() || !fields.hidden;
        if protocol_seen {
            self.protocol = if content_type.is_some_and(is_grpc) { Protocol::Grpc } else { Protocol::Http2 };
        }
        let (exchange, protocol) = (self.streams.ask(), self.protocol);
        let method = std::str::from_utf8(fields.method()).unwrap_or_default();
        let path = String::from_utf8_lossy(fields.path());
        let mut headers = Wanted::new();
        fields.headers(&mut headers);
        let head = RequestHead { method, path: &path, headers: headers.as_slice(), complete: !fields.hidden };
        let (from, body) = (self.client, MessageBody::Request(head));
        (out.tell)(Message { at, from, exchange: Some(exchange), protocol, body });
        let connects = method == "CONNECT";
        let stream = Stream { id, exchange, protocol, protocol_seen, connects, answer: Answer::Awaited };
        if let Some(oldest) = self.streams.add(stream) {
            self.abandon(&oldest, out);
        }
    }

    /// A client's header block that opens this stream, or follows it, was missed.
    pub(super) fn missed(&mut self, at: Timestamp, id: u32, lost: &mut u64, out: &mut Output<'_>) {
        if self.streams.highest().is_none() || id.is_multiple_of(2) || !self.streams.is_new(id) {
            return;
        }
        let count = self.streams.opened_with(id).min((*lost / REQUEST_BYTES_MIN).saturating_add(1));
        *lost = 0;
        self.streams.opened(id);
        self.unobserved(at, count, out);
    }

    /// A header block of the server.
    pub(super) fn answered(
        &mut self,
        at: Timestamp,
        frame: Frame,
        fields: &Fields,
        lost: &mut u64,
        out: &mut Output<'_>,
    ) {
        let id = frame.stream;
        let stream = self.streams.get(id);
        let interim = fields.status.is_some_and(|status| status < 200) && !frame.ends_stream();
        if id.is_multiple_of(2) || interim {
            // A pushed response (nobody asked for it), or one that is not the last.
            return;
        }
        let awaited = stream.is_some_and(|stream| stream.answer == Answer::Awaited);
        let is_head = fields.status.is_some() || (awaited && fields.first == First::Unknown);
        let Some(stream) = stream else {
            if is_head {
                self.missed(at, id, lost, out);
                out.shared.anomalies.unpaired = out.shared.anomalies.unpaired.saturating_add(1);
                let protocol = fields.header(HeaderName::CONTENT_TYPE).map_or(self.protocol, protocol_of);
                self.tell_head(at, None, (protocol, false), fields, fields.status, out);
            }
            return;
        };
        if !is_head {
            if frame.ends_stream() {
                self.streams.end(id);
                self.trailed(&stream, at, fields, out);
            }
            return;
        }
        let content_type = fields.header(HeaderName::CONTENT_TYPE).map(protocol_of);
        let seen = content_type.or(stream.protocol_seen.then_some(stream.protocol));
        let protocol = seen.unwrap_or(stream.protocol);
        if seen == Some(Protocol::Http2) || frame.ends_stream() {
            let status =
                if seen == Some(Protocol::Http2) { fields.status } else { final_status(fields.status, fields) };
            let exchange = Some(stream.exchange);
            // Where the status of an interim head was not known, that was held.
            self.heads.free(id);
            self.tell_head(at, exchange, (protocol, stream.connects), fields, status, out);
            // Of a response that is not of gRPC trailers say no more, and where its end comes with DATA it may not be seen.
            if frame.ends_stream() || !self.ends_seen {
                self.streams.end(id);
            } else {
                self.streams.answer(id, Answer::Told);
            }
        } else {
            // It may be gRPC, of which the trailers tell the status.
            self.streams.answer(id, Answer::Held { at, status: fields.status });
            self.heads.keep(id, fields);
        }
    }

    /// The server ended a stream without trailers.
    pub(super) fn ended(&mut self, id: u32, out: &mut Output<'_>) {
        let Some(stream) = self.streams.end(id) else { return };
        match stream.answer {
            // Without trailers gRPC has no status.
            Answer::Held { at, status } if stream.protocol != Protocol::Grpc => {
                self.tell_held(&stream, at, status, None, out);
            }
            _ => self.abandon(&stream, out),
        }
    }

    /// Either end has reset a stream.
    pub(super) fn reset(&mut self, id: u32, out: &mut Output<'_>) {
        if let Some(stream) = self.streams.end(id) {
            self.abandon(&stream, out);
        }
    }

    /// The server takes no streams above `last`, and has not looked at those there are (RFC 9113 section 6.8).
    pub(super) fn goes_away(&mut self, last: u32, out: &mut Output<'_>) {
        while let Some(newest) = self.streams.newest_above(last) {
            self.reset(newest, out);
        }
    }

    /// Nothing will come any more.
    pub(super) fn end(&mut self, out: &mut Output<'_>) {
        while let Some(id) = self.streams.any() {
            self.reset(id, out);
        }
        self.streams.shrink();
        self.heads.shrink();
    }

    /// Tells the responses of which the heads were seen at `until` or before: their streams go on for long.
    pub(super) fn tell_held_until(&mut self, until: Timestamp, out: &mut Output<'_>) {
        while let Some(id) = self.streams.held_until(until) {
            let Some(stream) = self.streams.get(id) else { return };
            self.streams.answer(id, Answer::Told);
            if let Answer::Held { at, status } = stream.answer {
                // 200 tells nothing of what gRPC ends with.
                let status = status.filter(|&status| status != 200 || stream.protocol != Protocol::Grpc);
                self.tell_held(&stream, at, status, None, out);
            }
        }
    }

    /// Trailers of a stream.
    fn trailed(&mut self, stream: &Stream, at: Timestamp, fields: &Fields, out: &mut Output<'_>) {
        match stream.answer {
            Answer::Held { at, status } => {
                self.tell_held(stream, at, final_status(status, fields), Some(fields), out);
            }
            Answer::Awaited if fields.grpc_status.is_some() => {
                self.tell_held(stream, at, final_status(None, fields), Some(fields), out);
            }
            Answer::Awaited => self.abandon(stream, out),
            // A long stream of gRPC fails.
            Answer::Told => {
                if let Some(status) = final_status(None, fields).filter(|&status| status >= 500) {
                    self.tell_held(stream, at, Some(status), Some(fields), out);
                }
            }
        }
    }

    /// A stream has ended before its response was told.
    fn abandon(&mut self, stream: &Stream, out: &mut Output<'_>) {
        match stream.answer {
            Answer::Awaited => out.shared.anomalies.unpaired = out.shared.anomalies.unpaired.saturating_add(1),
            Answer::Held { at, .. } => self.tell_held(stream, at, None, None, out),
            Answer::Told => {}
        }
    }

    fn tell_head(
        &mut self,
        at: Timestamp,
        exchange: Option<u64>,
        (protocol, connects): (Protocol, bool),
        fields: &Fields,
        status: Option<u16>,
        out: &mut Output<'_>,
    ) {
        let upgraded = connects && fields.status.is_some_and(|status| (200..300).contains(&status));
        let (mut headers, complete) = (Wanted::new(), !fields.hidden);
        fields.headers(&mut headers);
        let headers = headers.as_slice();
        self.tell(&Told { at, exchange, protocol, status, headers, complete, upgraded }, out);
    }

    /// Tells a response with what was kept of its head, and what its trailers say instead or besides.
    fn tell_held(
        &mut self,
        stream: &Stream,
        at: Timestamp,
        status: Option<u16>,
        trailers: Option<&Fields>,
        out: &mut Output<'_>,
    ) {
        self.tell_kept(stream, at, status, trailers, out);
        self.heads.free(stream.id);
    }

    fn tell_kept(
        &self,
        stream: &Stream,
        at: Timestamp,
        status: Option<u16>,
        trailers: Option<&Fields>,
        out: &mut Output<'_>,
    ) {
        let (exchange, protocol) = (Some(stream.exchange), stream.protocol);
        let mut headers = Wanted::new();
        if let Some(trailers) = trailers {
            trailers.headers(&mut headers);
        }
        let head = self.heads.get(stream.id);
        if let Some(head) = head {
            head.add_to(&mut headers);
        }
        let complete = head.is_some_and(Head::is_complete) && !trailers.is_some_and(|trailers| trailers.hidden);
        let headers = headers.as_slice();
        self.tell(&Told { at, exchange, protocol, status, headers, complete, upgraded: false }, out);
    }

    fn tell(&self, told: &Told<'_>, out: &mut Output<'_>) {
        let &Told { at, exchange, protocol, status, headers, complete, upgraded } = told;
        let head = ResponseHead { status, headers, complete, upgraded };
        (out.tell)(Message { at, from: self.client.other(), exchange, protocol, body: MessageBody::Response(head) });
    }

    fn unobserved(&mut self, at: Timestamp, count: u64, out: &mut Output<'_>) {
        if count > 0 {
            let (from, protocol) = (self.client, self.protocol);
            (out.tell)(Message { at, from, exchange: None, protocol, body: MessageBody::Unobserved { count } });
        }
    }
}

fn protocol_of(content_type: &[u8]) -> Protocol {
    if is_grpc(content_type) { Protocol::Grpc } else { Protocol::Http2 }
}

/// The status of what may be gRPC, where its last header block is known: `None` where it is hidden.
fn final_status(status: Option<u16>, fields: &Fields) -> Option<u16> {
    match fields.grpc_status {
        Some(grpc_status) => Some(http_status(grpc_status)),
        None if fields.hidden => None,
        None => status,
    }
}
