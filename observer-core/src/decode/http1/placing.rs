//! Where pieces belong: they come in as the tap saw them, bytes that follow one another go on to reading; pieces that came
//! before their time are held, and what does not come is given up. The rules stand at the top of [`super`].

use super::framing::Body;
use super::half::{Expected, Standing};
use super::head::{self, Reading, Wanted};
use super::start_line::{Looks, Role, looks, looks_anywhere};
use super::{Http1, UNANSWERED_WAIT_MAX};
use crate::decode::ahead::{AHEAD_MAX, Distance, Held, is_ahead};
use crate::decode::{Fidelity, Output, Piece};
use crate::time::Timestamp;

impl Http1 {
    /// Takes a piece at its place.
    pub(super) fn place(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let half = self.half(role);
        match half.expected {
            Expected::Anything => {
                if looks_anywhere(role, piece.bytes) != Looks::No {
                    self.start(role, piece, Standing::First, out);
                }
                return;
            }
            Expected::Adrift | Expected::Chunks => return self.adrift(role, piece, out),
            Expected::UntilClose => return,
            Expected::Sized { left } if left > AHEAD_MAX && self.fidelity == Fidelity::Heads => {
                // How often the sequence numbers wrapped meanwhile is not known; where the body ends among them is.
                if piece.seq == half.end_of(left) && looks(role, piece.bytes) != Looks::No {
                    self.start(role, piece, Standing::Certain, out);
                }
                return;
            }
            _ => {}
        }
        match half.distance(piece.seq) {
            Distance::Ahead(0) => {
                let resumes = half.expected == Expected::Garbage
                    && role == Role::Requests
                    && self.exchanges.unanswered() == 0
                    && looks_anywhere(role, piece.bytes) == Looks::Yes;
                if resumes {
                    return self.start(role, piece, Standing::Resumed, out);
                }
                self.consume(role, piece.at, piece.bytes, piece.wire_len, piece.ack, out);
            }
            Distance::Ahead(distance) => self.gap(role, piece, u64::from(distance), out),
            Distance::Behind(by) => {
                if let Some(wire_len) = piece.wire_len.checked_sub(by).filter(|&len| len > 0) {
                    let bytes = usize::try_from(by).ok().and_then(|by| piece.bytes.get(by..)).unwrap_or_default();
                    self.consume(role, piece.at, bytes, wire_len, piece.ack, out);
                }
            }
        }
    }

    /// Takes held pieces as far as they follow.
    pub(super) fn drain(&mut self, role: Role, out: &mut Output<'_>) {
        while let Some(held) = self.half_mut(role).pop_reached() {
            if !self.quiet {
                self.place(role, &held.piece(self.sender(role)), out);
            }
        }
    }

    /// The peer had received everything before `ack`: what is missing of that will not come.
    pub(super) fn received(&mut self, role: Role, ack: u32, at: Timestamp, out: &mut Output<'_>) {
        while !self.quiet && self.half(role).is_waiting() && is_ahead(ack, self.half(role).next) {
            self.settle(role, at, out);
        }
    }

    /// A response begins: a request that may have been sent behind a chunked body was, if the server answers with nothing
    /// behind it, for such a body ends in other text.
    pub(super) fn answers(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        let waits = self.requests.expected == Expected::Chunks && self.requests.ahead.is_some();
        let is_final = looks(Role::Responses, piece.bytes) == Looks::Yes && piece.bytes.get(9) != Some(&b'1');
        if !waits || !is_final || !self.turns.begins(Role::Responses, piece) {
            return;
        }
        let ends = |held: &Held| piece.ack == Some(held.seq.wrapping_add(held.wire_len));
        if let Some(held) = self.requests.pop_if(ends)
            && self.may_be_pipelined(&held.piece(self.client), out)
        {
            self.start(Role::Requests, &held.piece(self.client), Standing::Certain, out);
        }
    }

    /// Whether a piece within a chunked body may be a request that was sent behind it: one head and nothing else, where no line
    /// is a last chunk, before the client heard anything.
    fn may_be_pipelined(&self, piece: &Piece<'_>, out: &Output<'_>) -> bool {
        let within_one_turn = piece.ack.is_some() && piece.ack == self.exchanges.answer_at();
        if !within_one_turn || self.exchanges.unanswered() != 1 {
            return false;
        }
        match head::read(Role::Requests, piece.bytes, out.interest, &mut Wanted::new()) {
            Reading::Whole { framing, len, .. } => {
                u32::try_from(len) == Ok(piece.wire_len)
                    && framing.of_request() == Body::Sized(0)
                    && !piece.bytes.windows(2).any(|line| line == b"\n0")
            }
            Reading::Draft | Reading::NotHttp => false,
        }
    }

    /// A head begins with this piece.
    fn start(&mut self, role: Role, piece: &Piece<'_>, standing: Standing, out: &mut Output<'_>) {
        if standing == Standing::Resumed {
            self.exchanges.lost();
        }
        let half = self.half_mut(role);
        half.next = piece.seq;
        half.expect_head(standing);
        self.consume(role, piece.at, piece.bytes, piece.wire_len, piece.ack, out);
    }

    /// A piece begins `distance` bytes ahead.
    fn gap(&mut self, role: Role, piece: &Piece<'_>, distance: u64, out: &mut Output<'_>) {
        let fidelity = self.fidelity;
        let half = self.half_mut(role);
        match half.expected {
            Expected::Sized { left } if distance <= left => {
                half.advance(distance);
                half.expect_sized(left.saturating_sub(distance));
                return self.consume(role, piece.at, piece.bytes, piece.wire_len, piece.ack, out);
            }
            Expected::Sized { left } => {
                half.advance(left);
                half.expect_head(Standing::Certain);
            }
            Expected::Chunked(mut chunks) => {
                if chunks.skip(distance) {
                    half.advance(distance);
                    half.expected = Expected::Chunked(chunks);
                    return self.consume(role, piece.at, piece.bytes, piece.wire_len, piece.ack, out);
                }
                if fidelity == Fidelity::Heads {
                    half.drift_in_chunks(role);
                    return self.adrift(role, piece, out);
                }
            }
            Expected::Garbage => {
                half.drift();
                return self.adrift(role, piece, out);
            }
            _ => {}
        }
        if self.begins(role, piece) && looks_anywhere(role, piece.bytes) != Looks::No {
            self.lose(role, piece.at, out);
            return self.place(role, piece, out);
        }
        self.hold(role, piece, out);
    }

    fn hold(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let ahead = half.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, half.next);
        }
        out.shared.anomalies.reorder_overflow = out.shared.anomalies.reorder_overflow.saturating_add(1);
        self.settle(role, piece.at, out);
        if !self.quiet {
            self.place(role, piece, out);
        }
    }

    /// Takes the first missing bytes of a direction for lost.
    pub(super) fn settle(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        self.lose(role, at, out);
        self.drain(role, out);
    }

    fn lose(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        if let Some(draft) = half.draft.take() {
            self.cut(role, &draft, out);
        } else if half.expected == Expected::Head {
            self.missed(role, at, out);
        } else {
            half.drift();
        }
    }

    /// A piece while the direction is adrift: what looks like a head is one where the other end's word shows it.
    fn adrift(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let looks = looks_anywhere(role, piece.bytes);
        if looks == Looks::No || matches!(self.half(role).distance(piece.seq), Distance::Behind(_)) {
            return;
        }
        if self.begins(role, piece) {
            return self.start(role, piece, Standing::Resumed, out);
        }
        if self.half(role).expected == Expected::Chunks && self.may_be_pipelined(piece, out) {
            // Of several the last one counts.
            let earlier = self.requests.ahead.take();
            let other = earlier.is_some_and(|ahead| ahead.first().is_some_and(|held| held.seq != piece.seq));
            out.shared.anomalies.doubtful_heads = out.shared.anomalies.doubtful_heads.saturating_add(u64::from(other));
            return self.hold(role, piece, out);
        }
        if looks == Looks::Yes {
            self.half_mut(role).next = piece.seq.wrapping_add(piece.wire_len);
            out.shared.anomalies.doubtful_heads = out.shared.anomalies.doubtful_heads.saturating_add(1);
        }
    }

    /// Whether a message must begin with this piece, whatever is missing before it.
    fn begins(&self, role: Role, piece: &Piece<'_>) -> bool {
        match role {
            Role::Requests => {
                // Where nothing is seen of the other end, time has to do.
                let alone = self.responses.expected == Expected::Anything;
                let waited = piece.at.since(self.asked_at) >= UNANSWERED_WAIT_MAX;
                (alone && waited) || self.turns.begins(role, piece)
            }
            Role::Responses => !self.exchanges.pipelined() && self.turns.begins(role, piece),
        }
    }
}
