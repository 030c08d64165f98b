//! Where pieces belong: they come in as the tap saw them, bytes that follow one another go on to reading; pieces that came
//! before their time are held, and what does not come is given up. The rules stand at the top of [`super`].

use super::exchanges::Moment;
use super::half::{Expected, Standing};
use super::start_line::{Looks, Role, looks, looks_anywhere};
use super::{Http1, UNANSWERED_WAIT_MAX};
use crate::decode::ahead::{AHEAD_MAX, Distance};
use crate::decode::{Fidelity, Output, Piece};
use crate::time::Timestamp;

/// Fewer missing bytes may have been an interim response and not a final one: `HTTP/1.1 100 Continue` takes 25, most servers
/// send nothing with it.
const INTERIM_BYTES_MAX: u64 = 64;

impl Http1 {
    /// Takes a piece at its place. `when`: what had been told when it came.
    pub(super) fn place(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
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
    pub(super) fn drain(&mut self, role: Role, out: &mut Output<'_>) {
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
    fn gap(&mut self, role: Role, piece: &Piece<'_>, mut distance: u64, when: Moment, out: &mut Output<'_>) {
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
                distance = distance.saturating_sub(left);
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
        if let Some(when) = self.passed_unseen(role, piece, distance, when, out) {
            out.anomalies.heads_cut = out.anomalies.heads_cut.saturating_add(1);
            return self.start(role, piece, Standing::Resumed, when, out);
        }
        self.hold(role, piece, when, out);
    }

    /// Whether the exchange shows that a whole message has passed unseen before this head, so that waiting for it is in vain;
    /// and what had been told by then. Only where a tap shows heads: there a head is seldom late and often the last piece for
    /// a while.
    fn passed_unseen(
        &mut self,
        role: Role,
        piece: &Piece<'_>,
        distance: u64,
        when: Moment,
        out: &mut Output<'_>,
    ) -> Option<Moment> {
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
        if self.exchanges.unanswered() == 0 && self.requests.ahead.is_some() && distance > INTERIM_BYTES_MAX {
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
    pub(super) fn settle(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
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
                // That body may be another one's, its head lost; only where the client pipelines the order alone tells.
                let pipelined = role == Role::Responses && self.exchanges.pipelined();
                let standing = if pipelined { Standing::Certain } else { Standing::Resumed };
                return self.start(role, piece, standing, when, out);
            }
            let mut when = when;
            if role == Role::Responses && self.exchanges.unanswered() == 0 && self.requests.is_waiting() {
                // Somebody asked for it: what is waited for there.
                self.settle(Role::Requests, piece.at, out);
                when = self.exchanges.now();
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
            if role == Role::Requests && looks == Looks::Yes {
                self.exchanges.doubt();
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
}
