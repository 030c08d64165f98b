//! Where pieces belong: they come in as the tap saw them, bytes that follow one another go on to reading. What nobody needs is
//! passed over by arithmetic; what is missing and needed is waited for, then given up. The rules stand at the top of [`super`].

use super::Kafka;
use super::frame::{REQUEST_HEADER_BYTES, RESPONSE_HEADER_BYTES, Request, Response};
use super::half::{Expected, Trust};
use super::search::search;
use super::{Output, Role};
use crate::decode::Piece;
use crate::decode::ahead::Distance;
use crate::time::Timestamp;

impl Kafka {
    /// Takes a piece at its place.
    pub(super) fn place(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let Piece { at, seq, wire_len, bytes, .. } = *piece;
        if self.half(role).expected == Expected::Anything {
            let half = self.half_mut(role);
            half.next = seq;
            // Of requests it was recognised by the first piece.
            half.expected = match role {
                Role::Requests => Expected::Header(Trust::Certain),
                Role::Responses => Expected::Adrift { request_at: None },
            };
        }
        if let Distance::Ahead(distance @ 1..) = Distance::of(seq, self.half(role).next)
            && !self.half(role).may_skip(u64::from(distance))
        {
            return self.hold(role, piece, out);
        }
        self.take(role, at, seq, bytes, wire_len, out);
    }

    /// Takes bytes at their place; what is missing before them is not waited for, and what was seen of them before not taken again.
    fn take(&mut self, role: Role, at: Timestamp, seq: u32, bytes: &[u8], wire_len: u32, out: &mut Output<'_>) {
        match Distance::of(seq, self.half(role).next) {
            Distance::Ahead(distance) => {
                self.skip(role, u64::from(distance), out);
                self.consume(role, at, bytes, wire_len, out);
            }
            Distance::Behind(by) => {
                if let Some(wire_len) = wire_len.checked_sub(by).filter(|&len| len > 0) {
                    let bytes = usize::try_from(by).ok().and_then(|by| bytes.get(by..)).unwrap_or_default();
                    self.consume(role, at, bytes, wire_len, out);
                }
            }
        }
    }

    /// Takes held pieces as far as they follow.
    pub(super) fn drain(&mut self, role: Role, out: &mut Output<'_>) {
        while let Some(held) = self.half_mut(role).pop(false) {
            self.take(role, held.at, held.seq, &held.bytes, held.wire_len, out);
        }
    }

    fn hold(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let ahead = half.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, half.next);
        }
        out.anomalies.reorder_overflow = out.anomalies.reorder_overflow.saturating_add(1);
        self.settle(role, out);
        self.place(role, piece, out);
    }

    /// What is missing before the nearest held piece will not come.
    pub(super) fn settle(&mut self, role: Role, out: &mut Output<'_>) {
        let Some(held) = self.half_mut(role).pop(true) else { return };
        self.take(role, held.at, held.seq, &held.bytes, held.wire_len, out);
        self.drain(role, out);
    }

    /// Takes bytes that begin where the direction stands, and the `wire_len` minus those that were not captured.
    fn consume(&mut self, role: Role, at: Timestamp, bytes: &[u8], wire_len: u32, out: &mut Output<'_>) {
        let whole = u32::try_from(bytes.len()) == Ok(wire_len);
        if role == Role::Responses && matches!(self.responses.expected, Expected::Adrift { .. }) {
            self.responses.expected = Expected::Header(Trust::Doubtful);
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.talk.refuted {
            let half = self.half_mut(role);
            match half.expected {
                Expected::Header(trust) => {
                    if half.header.bytes().is_empty() {
                        half.at = at;
                    }
                    let (len, wanted) = match role {
                        Role::Requests => (rest.len(), REQUEST_HEADER_BYTES),
                        Role::Responses => (rest.len(), RESPONSE_HEADER_BYTES),
                    };
                    let header =
                        half.header.take(&mut rest, wanted).map(|header| (Request::at(header), Response::at(header)));
                    half.advance(len.saturating_sub(rest.len()) as u64);
                    match (role, header) {
                        (Role::Requests, Some((Some(request), _))) => self.request(request, trust, out),
                        (Role::Responses, Some((_, Some(response)))) => self.response(response, trust, out),
                        _ => {}
                    }
                }
                Expected::Body { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    half.advance(taken as u64);
                    self.body(role, rest.get(..taken).unwrap_or_default(), left, out);
                    rest = rest.get(taken..).unwrap_or_default();
                }
                Expected::Adrift { .. } => {
                    let passed = self.seek(role, rest, whole && rest.len() == bytes.len());
                    rest = rest.get(passed..).unwrap_or_default();
                }
                Expected::Anything => rest = &[],
            }
        }
        let uncaptured = u64::from(wire_len).saturating_sub(bytes.len() as u64);
        if uncaptured > 0 && !self.talk.refuted {
            self.skip(role, uncaptured, out);
        }
    }

    /// Looks for a message among bytes of which it is not known where one begins; returns how many bytes it passed over.
    fn seek(&mut self, role: Role, bytes: &[u8], whole: bool) -> usize {
        let half = self.half_mut(role);
        let passed = match (role, half.expected) {
            (Role::Requests, Expected::Adrift { request_at: Some((at, client_len, correlation)) }) => {
                let distance = usize::try_from(at.wrapping_sub(half.next)).unwrap_or(usize::MAX);
                if distance < bytes.len() {
                    half.expected = Expected::Header(Trust::Follows { client_len, correlation });
                }
                distance.min(bytes.len())
            }
            (Role::Requests, _) => {
                let (seq, known) = (self.requests.next, self.talk.known());
                let found = search(bytes, whole, seq, known);
                self.requests.expected = found.expected;
                found.passed
            }
            // A response is looked for at the beginning of a piece alone.
            (Role::Responses, _) => bytes.len(),
        };
        self.half_mut(role).advance(passed as u64);
        passed
    }

    /// Passes over bytes that were on the wire and are not there.
    pub(super) fn skip(&mut self, role: Role, count: u64, out: &mut Output<'_>) {
        let mut count = count;
        while count > 0 && !self.talk.refuted {
            let half = self.half_mut(role);
            let skipped = match half.expected {
                Expected::Body { left } => {
                    let skipped = count.min(left);
                    half.advance(skipped);
                    self.miss(role, skipped, left, out);
                    skipped
                }
                Expected::Header(trust) => {
                    half.advance(count);
                    self.lose_track(role, trust, out);
                    count
                }
                Expected::Adrift { request_at } => {
                    // What looked like a request may end in what is missing.
                    let reached = request_at.is_some_and(|(at, ..)| u64::from(at.wrapping_sub(half.next)) < count);
                    half.expected = Expected::Adrift { request_at: request_at.filter(|_| !reached) };
                    half.advance(count);
                    count
                }
                Expected::Anything => {
                    half.advance(count);
                    count
                }
            };
            count = count.saturating_sub(skipped);
        }
    }
}
