//! HTTP/1 (RFC 9112): pieces of both directions come in, heads of requests and responses go out. Bodies are passed over.
//!
//! # Where a head is believed
//!
//! Bodies can hold text that looks like a head, so a head is believed only where one must begin. After each head it is known
//! where the next one begins: a sized body by arithmetic on sequence numbers, whether or not its bytes are shown; a chunked
//! body by reading its chunks. What begins elsewhere is body. That knowledge is lost, the direction is *adrift*,
//! - when bytes of a head or of chunk sizes are missing for good: they did not come within [`REORDER_WAIT_MAX`] or
//!   [`super::http1::ahead`]'s bounds, or the exchange shows that the peer had them;
//! - when a tap that shows heads alone leaves out chunk sizes ([`Fidelity::Heads`]);
//! - when the length is unclear (contradicting headers), or a head was longer than what is read.
//!
//! Adrift, a piece that starts like a head is believed only
//! - where it begins exactly behind a piece that ends like the chunked body that is passing (`0 CR LF CR LF`), or
//! - of a request: once every request told before has been answered, for until then it may be the body of the last one; or
//!   once the last one has waited [`UNANSWERED_WAIT_MAX`], lest a tap that shows one direction alone ends here;
//! - of a response: once a request was told that is later than the one whose response is passing.
//!
//! Everything else is body, and counted in `doubtful_heads` where it looks like a head. A stream joined in the middle starts
//! at the first piece that begins with a whole first line, for nothing better is known there.

mod ahead;
mod chunks;
mod draft;
mod exchanges;
mod framing;
mod half;
mod head;
pub(super) mod start_line;

use std::time::Duration;

use self::chunks::{Chunks, Step};
use self::draft::{Draft, Progress};
use self::exchanges::{Asked, Exchanges, Moment};
use self::framing::{Body, Framing};
use self::half::{AHEAD_MAX, Distance, Expected, Half, Standing};
use self::head::{Reading, Wanted};
use self::start_line::{Looks, Role, StartLine, looks, looks_anywhere, path};
use super::{Fidelity, Output, Piece};
use crate::message::{End, Header, Message, MessageBody, Protocol, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// How long bytes are waited for while later ones are there. A retransmission takes 200 ms at least (RTO_MIN of Linux,
/// include/net/tcp.h) and 1 s where nothing was measured yet (RFC 6298 section 2.1).
pub const REORDER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a request may go unanswered until the next text that looks like a request is one, where bytes are missing.
pub const UNANSWERED_WAIT_MAX: Duration = Duration::from_secs(10);

/// The decoder of one HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Http1 {
    fidelity: Fidelity,
    client: End,
    /// The connection has left HTTP/1.
    quiet: bool,
    protocol: Protocol,
    /// When the last request was told.
    asked_at: Timestamp,
    requests: Half,
    responses: Half,
    exchanges: Exchanges,
}

impl Http1 {
    /// A decoder for a connection of which `client` sends the requests.
    pub(super) fn new(fidelity: Fidelity, client: End) -> Self {
        Self {
            fidelity,
            client,
            quiet: false,
            protocol: Protocol::Http11,
            asked_at: Timestamp(0),
            requests: Half::new(),
            responses: Half::new(),
            exchanges: Exchanges::default(),
        }
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if self.quiet || piece.wire_len == 0 {
            return;
        }
        self.overdue(piece.at, out);
        let role = if piece.from == self.client { Role::Requests } else { Role::Responses };
        self.place(role, piece, self.exchanges.now(), out);
        self.drain(role, out);
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        for role in [Role::Requests, Role::Responses] {
            while self.half(role).waiting_since().is_some_and(|since| now.since(since) >= REORDER_WAIT_MAX) {
                self.settle(role, now, out);
            }
        }
    }

    /// One direction has ended, or both.
    pub(super) fn closed(&mut self, from: End, at: Timestamp, out: &mut Output<'_>) {
        let role = if from == self.client { Role::Requests } else { Role::Responses };
        while self.half(role).is_waiting() {
            self.settle(role, at, out);
        }
        if role == Role::Responses {
            self.exchanges.end(&mut out.anomalies.unpaired);
        }
    }

    /// The protocol of the head that was told last.
    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether the connection has left HTTP/1.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.requests.buffered_bytes().saturating_add(self.responses.buffered_bytes())
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
            Role::Requests => self.client,
            Role::Responses => self.client.other(),
        }
    }

    /// Takes a piece at its place. `when`: what had been told when it came.
    fn place(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        let half = self.half(role);
        match half.expected {
            Expected::Anything => {
                if looks_anywhere(role, piece.bytes) != Looks::No {
                    self.start(role, piece, Standing::First, when, out);
                }
                return;
            }
            Expected::Adrift { chunked, head_at } => return self.adrift(role, piece, (chunked, head_at), when, out),
            Expected::UntilClose if !half.bodiless_perhaps || piece.seq != half.next => return,
            Expected::Sized { left } if left > AHEAD_MAX && self.fidelity == Fidelity::Heads => {
                // How often the sequence numbers wrapped meanwhile is not known; where the body ends among them is.
                if piece.seq == half.end_of(left) && looks(role, piece.bytes) != Looks::No {
                    self.start(role, piece, Standing::Certain, when, out);
                }
                return;
            }
            _ => {}
        }
        match half.distance(piece.seq) {
            Distance::Ahead(0) => self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out),
            Distance::Ahead(distance) => self.gap(role, piece, u64::from(distance), when, out),
            Distance::Behind(by) => {
                if let Some(wire_len) = piece.wire_len.checked_sub(by).filter(|&len| len > 0) {
                    let bytes = usize::try_from(by).ok().and_then(|by| piece.bytes.get(by..)).unwrap_or_default();
                    self.consume(role, piece.at, bytes, wire_len, when, out);
                }
            }
        }
    }

    /// Takes held pieces as far as they follow.
    fn drain(&mut self, role: Role, out: &mut Output<'_>) {
        while let Some(held) = self.half_mut(role).pop_reached() {
            if !self.quiet {
                self.place(role, &held.piece(self.sender(role)), held.when, out);
            }
        }
    }

    /// A head begins with this piece.
    fn start(&mut self, role: Role, piece: &Piece<'_>, standing: Standing, when: Moment, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        half.next = piece.seq;
        half.expect_head(standing);
        self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
    }

    /// A piece begins `distance` bytes ahead.
    fn gap(&mut self, role: Role, piece: &Piece<'_>, distance: u64, when: Moment, out: &mut Output<'_>) {
        let fidelity = self.fidelity;
        let half = self.half_mut(role);
        half.bodiless_perhaps = false;
        match half.expected {
            Expected::Sized { left } if distance <= left => {
                half.advance(distance);
                half.expect_sized(left.saturating_sub(distance));
                return self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
            }
            Expected::Sized { left } => {
                half.advance(left);
                half.expect_head(Standing::Certain);
            }
            Expected::Chunked(mut chunks) => {
                if chunks.skip(distance) {
                    half.advance(distance);
                    half.expected = Expected::Chunked(chunks);
                    return self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
                }
                if fidelity == Fidelity::Heads {
                    half.drift_in_chunks();
                    return self.place(role, piece, when, out);
                }
            }
            _ => {}
        }
        if let Some(when) = self.passed_unseen(role, piece, when, out) {
            out.anomalies.heads_cut = out.anomalies.heads_cut.saturating_add(1);
            return self.start(role, piece, Standing::Resumed, when, out);
        }
        self.hold(role, piece, when, out);
    }

    /// Whether the exchange shows that a whole message has passed unseen before this head, so that waiting for it is in vain;
    /// and what had been told by then. Only where a tap shows heads: there a head is seldom late and often the last piece for
    /// a while.
    fn passed_unseen(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) -> Option<Moment> {
        let half = self.half(role);
        if self.fidelity == Fidelity::Whole || half.is_waiting() || half.expected != Expected::Head {
            return None;
        }
        if looks_anywhere(role, piece.bytes) != Looks::Yes {
            return None;
        }
        if role == Role::Requests {
            return (self.exchanges.unmatched() > 0).then_some(when);
        }
        if self.exchanges.unanswered() == 0 && self.requests.ahead.is_some() {
            // Missing before the held request, and missing before this response: an exchange passed unseen, and the held text
            // is no body of it.
            let trusted = self.trust_held_requests(piece.at, out);
            return (trusted && self.exchanges.unanswered() > 0).then_some(self.exchanges.now());
        }
        (self.exchanges.unanswered_of(when) >= 2 && !self.exchanges.pipelined()).then_some(when)
    }

    fn hold(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let ahead = half.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, half.next, when);
        }
        out.anomalies.reorder_overflow = out.anomalies.reorder_overflow.saturating_add(1);
        self.settle(role, piece.at, out);
        self.place(role, piece, when, out);
    }

    /// Takes the first missing bytes of a direction for lost.
    fn settle(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        let when = self.exchanges.now();
        let half = self.half_mut(role);
        if let Some(draft) = half.draft.take() {
            self.cut(role, &draft, when, out);
        } else if half.expected == Expected::Head {
            self.missed(role, false, at, out);
        } else {
            half.drift_in_chunks();
        }
        self.drain(role, out);
    }

    /// Takes the bytes before the held requests for an exchange that passed unseen, unless they belong to a head that was seen.
    fn trust_held_requests(&mut self, at: Timestamp, out: &mut Output<'_>) -> bool {
        let first = self.requests.ahead.as_ref().and_then(|ahead| ahead.first()).map(|held| held.seq);
        if self.requests.draft.is_some() || self.requests.expected != Expected::Head || first.is_none() {
            self.settle(Role::Requests, at, out);
            return false;
        }
        self.missed(Role::Requests, true, at, out);
        self.requests.expected = Expected::Adrift { chunked: false, head_at: first };
        self.drain(Role::Requests, out);
        true
    }

    /// A piece while the direction is adrift.
    fn adrift(
        &mut self,
        role: Role,
        piece: &Piece<'_>,
        (chunked, head_at): (bool, Option<u32>),
        when: Moment,
        out: &mut Output<'_>,
    ) {
        let end = piece.seq.wrapping_add(piece.wire_len);
        if let Distance::Behind(by) = self.half(role).distance(piece.seq) {
            if by < piece.wire_len {
                self.half_mut(role).next = end;
            }
            return;
        }
        let looks = looks_anywhere(role, piece.bytes);
        if looks != Looks::No {
            if head_at == Some(piece.seq) {
                return self.start(role, piece, Standing::Certain, when, out);
            }
            let believed = match role {
                Role::Requests => {
                    self.exchanges.all_answered(when) || piece.at.since(self.asked_at) >= UNANSWERED_WAIT_MAX
                }
                Role::Responses => when.asked > self.responses.since,
            };
            if believed {
                return self.start(role, piece, Standing::Resumed, when, out);
            }
            out.anomalies.doubtful_heads = out.anomalies.doubtful_heads.saturating_add(u64::from(looks == Looks::Yes));
        }
        let whole = u32::try_from(piece.bytes.len()) == Ok(piece.wire_len);
        // The last chunk, and no trailers. A head may end like this too: `Content-Length: 0`.
        let ends = piece.bytes == b"0\r\n\r\n" || piece.bytes.ends_with(b"\r\n0\r\n\r\n");
        let head_at = (chunked && whole && ends && looks != Looks::Yes).then_some(end);
        let half = self.half_mut(role);
        half.next = end;
        half.expected = Expected::Adrift { chunked, head_at };
    }

    /// Takes bytes that begin where the direction stands, and the `wire_len` minus those that were not captured.
    fn consume(&mut self, role: Role, at: Timestamp, bytes: &[u8], wire_len: u32, when: Moment, out: &mut Output<'_>) {
        let mut rest = bytes;
        let told_before = self.exchanges.asked();
        while !rest.is_empty() && !self.quiet {
            let half = self.half_mut(role);
            let later = when.asked > half.since;
            if std::mem::take(&mut half.bodiless_perhaps) && later && looks(role, rest) == Looks::Yes {
                // The response to a later request stands where the body would: there is none.
                half.expect_head(Standing::Certain);
            }
            let taken = match half.expected {
                Expected::Head => self.head(role, at, rest, when, out),
                Expected::Sized { left } => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    half.expect_sized(left.saturating_sub(take as u64));
                    take
                }
                Expected::Chunked(mut chunks) => match chunks.feed(rest) {
                    Step::More => {
                        half.expected = Expected::Chunked(chunks);
                        rest.len()
                    }
                    Step::End(taken) => {
                        half.expect_head(Standing::Certain);
                        taken
                    }
                    Step::Bad => {
                        half.drift();
                        out.anomalies.not_http = out.anomalies.not_http.saturating_add(1);
                        rest.len()
                    }
                },
                Expected::Anything | Expected::UntilClose | Expected::Adrift { .. } => rest.len(),
            };
            self.half_mut(role).advance(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        if role == Role::Requests && self.exchanges.asked() > told_before.saturating_add(1) {
            self.exchanges.pipelines();
        }
        let uncaptured = u64::from(wire_len).saturating_sub(bytes.len() as u64);
        if uncaptured > 0 && !self.quiet {
            self.pass_over(role, at, uncaptured, when, out);
        }
    }

    /// Passes over bytes that were on the wire and not captured.
    fn pass_over(&mut self, role: Role, at: Timestamp, count: u64, when: Moment, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        half.advance(count);
        half.bodiless_perhaps = false;
        match half.expected {
            Expected::Head => match half.draft.take() {
                Some(draft) => self.cut(role, &draft, when, out),
                None => self.missed(role, false, at, out),
            },
            Expected::Sized { left } => match left.checked_sub(count) {
                Some(left) => half.expect_sized(left),
                None => self.missed(role, false, at, out),
            },
            Expected::Chunked(mut chunks) => {
                if chunks.skip(count) {
                    half.expected = Expected::Chunked(chunks);
                } else {
                    half.drift_in_chunks();
                }
            }
            Expected::Anything | Expected::UntilClose | Expected::Adrift { .. } => {}
        }
    }

    /// Takes the next bytes of a head; returns how many of them belong to it.
    fn head(&mut self, role: Role, at: Timestamp, bytes: &[u8], when: Moment, out: &mut Output<'_>) -> usize {
        let mut draft = match self.half_mut(role).draft.take() {
            Some(draft) => draft,
            None => {
                // Empty lines before a head are passed over (RFC 9112 section 2.2).
                if let Some(b'\r' | b'\n') = bytes.first() {
                    return bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                }
                let mut wanted = Wanted::new();
                match head::read(role, bytes, out.interest, &mut wanted) {
                    Reading::Whole { start, framing, len } => {
                        self.tell(role, at, &start, wanted.as_slice(), Some(framing), when, out);
                        return len;
                    }
                    Reading::NotHttp => {
                        self.no_head(role, out);
                        return bytes.len();
                    }
                    Reading::Draft => Box::new(Draft::new(role, at)),
                }
            }
        };
        match draft.push(bytes, out.interest) {
            Progress::More => {
                self.half_mut(role).draft = Some(draft);
                bytes.len()
            }
            Progress::Whole(len) => {
                if let Some(start) = draft.start() {
                    self.tell(role, draft.at, &start, &draft.headers(true), Some(draft.framing()), when, out);
                }
                len
            }
            Progress::TooLong => {
                out.anomalies.heads_too_long = out.anomalies.heads_too_long.saturating_add(1);
                self.tell_part(role, &draft, when, out);
                bytes.len()
            }
            Progress::NotHttp => {
                self.no_head(role, out);
                bytes.len()
            }
        }
    }

    /// What was taken for the beginning of a head is none.
    fn no_head(&mut self, role: Role, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        if half.standing == Standing::First {
            half.expected = Expected::Anything;
            return;
        }
        half.drift();
        let certain = u64::from(half.standing == Standing::Certain);
        out.anomalies.not_http = out.anomalies.not_http.saturating_add(certain);
    }

    /// The rest of a head is missing.
    fn cut(&mut self, role: Role, draft: &Draft, when: Moment, out: &mut Output<'_>) {
        if draft.start().is_some() {
            out.anomalies.heads_cut = out.anomalies.heads_cut.saturating_add(1);
            self.tell_part(role, draft, when, out);
        } else if self.half(role).standing == Standing::Certain || draft.looks() == Looks::Yes {
            self.missed(role, false, draft.at, out);
        } else {
            // Too little was seen to call it a message.
            self.lose(role);
        }
    }

    /// Bytes are missing, and the head of the message that is passing may be among them.
    fn lose(&mut self, role: Role) {
        let since = self.exchanges.after_next_answer();
        let half = self.half_mut(role);
        half.drift();
        half.since = since;
    }

    /// A head was somewhere in bytes that are missing. `answered`: its response is known to have passed too.
    fn missed(&mut self, role: Role, answered: bool, at: Timestamp, out: &mut Output<'_>) {
        out.anomalies.heads_cut = out.anomalies.heads_cut.saturating_add(1);
        self.lose(role);
        if role == Role::Requests {
            self.unobserved(answered, at, out);
        }
    }

    fn unobserved(&mut self, answered: bool, at: Timestamp, out: &mut Output<'_>) {
        let count = self.exchanges.missed(answered, &mut out.anomalies.unpaired);
        self.asked_at = at;
        let (from, protocol) = (self.client, self.protocol);
        (out.tell)(Message { at, from, exchange: None, protocol, body: MessageBody::Unobserved { count } });
    }

    /// Tells a head of which the end is not known.
    fn tell_part(&mut self, role: Role, draft: &Draft, when: Moment, out: &mut Output<'_>) {
        self.lose(role);
        if let Some(start) = draft.start() {
            self.tell(role, draft.at, &start, &draft.headers(false), None, when, out);
        }
    }

    /// Tells a head, and from its framing, where it is whole, what is expected next.
    fn tell(
        &mut self,
        role: Role,
        at: Timestamp,
        start: &StartLine<'_>,
        headers: &[Header<'_>],
        framing: Option<Framing>,
        when: Moment,
        out: &mut Output<'_>,
    ) {
        let protocol = start.protocol();
        self.protocol = protocol;
        match *start {
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
                    self.expect_body(role, framing.of_request());
                }
            }
            StartLine::Status { status, .. } => {
                if status < 200 && status != 101 {
                    if framing.is_some() {
                        let standing = self.responses.standing;
                        self.responses.expect_head(standing);
                    }
                    return;
                }
                self.tell_response(at, status, headers, framing, when, out);
            }
        }
    }

    fn tell_response(
        &mut self,
        at: Timestamp,
        status: u16,
        headers: &[Header<'_>],
        framing: Option<Framing>,
        mut when: Moment,
        out: &mut Output<'_>,
    ) {
        if self.exchanges.unanswered() == 0 && self.requests.is_waiting() {
            // The server had what is waited for here.
            self.settle(Role::Requests, at, out);
            when = self.exchanges.now();
        }
        let standing = self.responses.standing;
        self.responses.since = when.asked;
        let answered = self.exchanges.answer(when, standing, &mut out.anomalies.unpaired);
        let upgraded = status == 101 || (answered.kind == Asked::Connect && (200..300).contains(&status));
        let head = ResponseHead { status, headers, complete: framing.is_some(), upgraded };
        let (from, exchange, protocol) = (self.client.other(), answered.exchange, self.protocol);
        (out.tell)(Message { at, from, exchange, protocol, body: MessageBody::Response(head) });
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
