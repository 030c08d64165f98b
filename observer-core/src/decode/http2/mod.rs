//! HTTP/2 (RFC 9113) and gRPC over it: pieces of both directions come in, heads of requests and responses go out. DATA is
//! passed over by arithmetic; its payload need not be shown.
//!
//! # What is needed of the bytes
//!
//! Every frame header, and the payload of HEADERS, CONTINUATION and PUSH_PROMISE; of GOAWAY the first four bytes. All else may be
//! left out of the pieces, by [`Piece::wire_len`] or as a distance between sequence numbers; frame headers too, where
//! [`Piece::link`] says so. The settings of a connection are
//! not needed: a peer that changes the size of its table says so in the next header block (RFC 7541 section 4.2).
//!
//! # What is missing
//!
//! - Bytes that are needed and not there are waited for, [`REORDER_WAIT_MAX`] long or until a response shows that the server had
//!   them, then given up. A header block that is lost makes the table of its direction unknown, not wrong ([`hpack`]).
//! - A request that refers to what is unknown is told with what is known, as not complete.
//! - Where frames begin is known by arithmetic unless a frame header is lost. Then the direction is *adrift*: a frame is believed
//!   where a second one follows it, or where it fills a piece, of HEADERS its header alone ([`search`]). A connection that is joined
//!   in the middle begins so.
//! - Clients open their streams one after another, so after a loss the next request tells how many were missed.
//!
//! # What is told
//!
//! A request when its head is whole, with the number of its stream's exchange; a response when its head is whole, or of gRPC
//! when its trailers are, for they tell the status; no later than [`HOLD_MAX`], for a stream may go on for days. Of a header that
//! stands in both the trailers count. Pushed responses and interim ones are not told, nor are trailers of requests.

mod frame;
mod grpc;
mod half;
mod held;
mod hpack;
mod search;
mod streams;
mod telling;
mod walking;

use std::time::Duration;

use self::frame::{Frame, Kind, PREFACE};
use self::half::{Expected, Flaw, Half, Trust};
use self::held::Heads;
use self::hpack::Fields;
use self::streams::{Answer, Stream, Streams};
use self::telling::Talk;
use super::http1::start_line::Role;
use super::protocols::Recognition;
use super::{Fidelity, Output, Piece, REORDER_WAIT_MAX};
use crate::message::{End, Protocol};
use crate::time::Timestamp;

/// How long a response that may be of gRPC waits for its trailers. Of a unary call they are sent with the message.
pub const HOLD_MAX: Duration = Duration::from_secs(1);
/// At most so many bytes wait for more: settings until the client's preface is seen, for some servers do not wait for it, and the
/// beginning of HEADERS until its block tells who sent it.
const HELD_BYTES_MAX: usize = 128;

/// The decoder of one HTTP/2 connection. It holds at most, for each direction, a header block of 64 KiB, 128 KiB of pieces that
/// came too early and of the table 1,024 entries (32 KiB) and 64 KiB of values; for both 256 KiB of fields, 1,024 streams (64 KiB) and
/// 64 heads of responses (some 100 KiB): 1 MiB, where a usual connection has 10 KiB.
#[derive(Debug)]
pub(super) struct Http2 {
    requests: Half,
    responses: Half,
    fields: Fields,
    talk: Talk,
}

/// How a connection goes on after a request in HTTP/1 that asked for it (RFC 7540 section 3.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Upgrade {
    pub(super) client: End,
    /// The number of that request's exchange; its response comes on stream 1.
    pub(super) exchange: Option<u64>,
    /// How many requests were told.
    pub(super) asked: u64,
    /// Where the client's preface begins, if that is known.
    pub(super) requests_at: Option<u32>,
    /// Where the server's frames begin.
    pub(super) responses_at: u32,
}

/// What the first bytes of a piece are.
pub(super) fn recognise(bytes: &[u8]) -> Recognition {
    let start = bytes.get(..PREFACE.len()).unwrap_or(bytes);
    if PREFACE.starts_with(start) {
        let whole = start.len() == PREFACE.len();
        return if whole { Recognition::Sure(Role::Requests) } else { Recognition::Perhaps };
    }
    // Joined in the middle.
    if let Some(role) = search::sender(bytes, hpack::role) {
        return Recognition::Sure(role);
    }
    let more_tells = match Frame::at(bytes) {
        Some(frame) => frame.is_settings() || search::begins_block(bytes),
        // Length, type, flags and stream, as far as they are there; at most ten settings.
        None => bytes.iter().enumerate().all(|(at, &byte)| match at {
            2 => byte <= 60,
            3 => byte == 4,
            _ => byte == 0,
        }),
    };
    if more_tells && bytes.len() <= HELD_BYTES_MAX { Recognition::Perhaps } else { Recognition::No }
}

impl Http2 {
    /// A decoder for a connection of which `client` sends the requests.
    pub(super) fn new(fidelity: Fidelity, client: End) -> Self {
        let ends_seen = fidelity == Fidelity::Whole;
        let (streams, heads) = (Streams::default(), Heads::default());
        let talk = Talk { client, protocol: Protocol::Http2, streams, heads, ends_seen };
        Self { requests: Half::new(), responses: Half::new(), fields: Fields::default(), talk }
    }

    /// A decoder for a connection that leaves HTTP/1.
    pub(super) fn upgraded(fidelity: Fidelity, upgrade: Upgrade) -> Self {
        let mut http2 = Self::new(fidelity, upgrade.client);
        if let Some(next) = upgrade.requests_at {
            http2.requests.next = next;
            http2.requests.expected = Expected::Preface(0);
        }
        http2.responses.next = upgrade.responses_at;
        http2.responses.expected = Expected::Frame(Trust::Certain);
        let streams = &mut http2.talk.streams;
        streams.begin(upgrade.asked);
        streams.opened(1);
        if let Some(exchange) = upgrade.exchange {
            let (protocol, answer) = (Protocol::Http2, Answer::Awaited);
            streams.add(Stream { id: 1, exchange, protocol, protocol_seen: true, connects: false, answer });
        }
        http2
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if piece.wire_len == 0 {
            return;
        }
        self.overdue(piece.at, out);
        let role = if piece.from == self.talk.client { Role::Requests } else { Role::Responses };
        self.place(role, piece, out);
        self.drain(role, out);
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        for role in [Role::Requests, Role::Responses] {
            while self.half(role).waiting_since().is_some_and(|since| now.since(since) >= REORDER_WAIT_MAX) {
                self.settle(role, out);
            }
        }
        let hold = u64::try_from(HOLD_MAX.as_nanos()).unwrap_or(u64::MAX);
        if let Some(until) = now.0.checked_sub(hold) {
            self.talk.tell_held_until(Timestamp(until), out);
        }
    }

    /// One direction has ended, or both.
    pub(super) fn closed(&mut self, from: End, out: &mut Output<'_>) {
        let role = if from == self.talk.client { Role::Requests } else { Role::Responses };
        while self.half(role).ahead.is_some() {
            self.settle(role, out);
        }
        let expected = self.half(role).expected;
        self.drift(role, out);
        let half = self.half_mut(role);
        if expected == Expected::Anything {
            half.expected = expected;
        }
        if role == Role::Responses {
            self.talk.end(out);
        }
        self.fields = Fields::default();
    }

    /// The protocol of the request that was told last.
    pub(super) fn protocol(&self) -> Protocol {
        self.talk.protocol
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let halves = self.requests.buffered_bytes().saturating_add(self.responses.buffered_bytes());
        let talk = self.talk.streams.buffered_bytes().saturating_add(self.talk.heads.buffered_bytes());
        halves.saturating_add(self.fields.buffered_bytes()).saturating_add(talk)
    }

    /// A header block is whole.
    fn block(&mut self, role: Role, at: Timestamp, frame: Frame, block: &[u8], out: &mut Output<'_>) {
        if role == Role::Responses {
            // What waits in the other direction for missing bytes: the server had them.
            while self.talk.streams.is_new(frame.stream) && self.requests.ahead.is_some() {
                self.settle(Role::Requests, out);
            }
        }
        let Self { requests, responses, fields, talk } = self;
        let half = if role == Role::Requests { &mut *requests } else { responses };
        if half.hpack.decode(block, out.interest, fields).is_err() {
            return self.block_failed(role, at, frame, Flaw::Broken, out);
        }
        match role {
            _ if frame.kind == Kind::Promise => {}
            Role::Requests => talk.asked(at, frame, fields, &mut requests.lost, out),
            Role::Responses => talk.answered(at, frame, fields, &mut requests.lost, out),
        }
    }

    /// A header block cannot be decoded.
    fn block_failed(&mut self, role: Role, at: Timestamp, frame: Frame, flaw: Flaw, out: &mut Output<'_>) {
        let reason = match flaw {
            Flaw::Cut => &mut out.shared.anomalies.heads_cut,
            Flaw::TooLong => &mut out.shared.anomalies.heads_too_long,
            Flaw::Broken => &mut out.shared.anomalies.not_http,
        };
        *reason = reason.saturating_add(1);
        self.half_mut(role).hpack.forget();
        if frame.kind == Kind::Promise {
            return;
        }
        match role {
            Role::Requests => self.talk.missed(at, frame.stream, &mut self.requests.lost, out),
            Role::Responses if frame.ends_stream() => self.talk.reset(frame.stream, out),
            Role::Responses => {}
        }
    }

    fn half(&self, role: Role) -> &Half {
        match role {
            Role::Requests => &self.requests,
            Role::Responses => &self.responses,
        }
    }

    fn half_mut(&mut self, role: Role) -> &mut Half {
        match role {
            Role::Requests => &mut self.requests,
            Role::Responses => &mut self.responses,
        }
    }

    fn sender(&self, role: Role) -> End {
        match role {
            Role::Requests => self.talk.client,
            Role::Responses => self.talk.client.other(),
        }
    }
}
