//! Where pieces belong: they come in as the tap saw them, bytes that follow one another go on to reading; pieces that came
//! before their time are held, and what does not come is given up. The rules stand at the top of [`super`].

use super::half::{AHEAD_MAX, Distance, Expected, Standing};
use super::start_line::{Looks, Role, looks, looks_anywhere};
use super::turns::Moment;
use super::{Http1, UNANSWERED_WAIT_MAX};
use crate::decode::{Fidelity, Output, Piece};
use crate::time::Timestamp;

impl Http1 {
    /// Takes a piece at its place. `when`: what was known when it came.
    pub(super) fn place(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        let half = self.half(role);
        match half.expected {
            Expected::Anything => {
                if looks_anywhere(role, piece.bytes) != Looks::No {
                    self.start(role, piece, Standing::First, when, out);
                }
                return;
            }
            Expected::Adrift => return self.adrift(role, piece, when, out),
            Expected::UntilClose => return,
            _ if half.standing.is_doubtful()
                && !half.leads_to(piece.seq)
                && (piece.seq != half.next || when.begins())
                && looks_anywhere(role, piece.bytes) == Looks::Yes =>
            {
                return self.adrift(role, piece, when, out);
            }
            Expected::Sized { left } if left > AHEAD_MAX && self.fidelity == Fidelity::Heads => {
                // How often the sequence numbers wrapped meanwhile is not known; where the body ends among them is.
                if piece.seq == half.end_of(left) && looks(role, piece.bytes) != Looks::No {
                    let half = self.half_mut(role);
                    half.message_ended();
                    self.start(role, piece, self.half(role).standing, when, out);
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

    /// A piece came of one end: the other one spoke before it, so this one had what is waited for of that.
    pub(super) fn peer_had(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        match role {
            Role::Requests if when.turn && self.responses.ahead.is_some() && !self.exchanges.pipelined() => {
                self.settle(Role::Responses, piece.at, out);
            }
            Role::Responses
                if when.turn
                    && self.requests.is_waiting()
                    && self.exchanges.unanswered() == 0
                    && looks(role, piece.bytes) == Looks::Yes =>
            {
                self.settle(Role::Requests, piece.at, out);
            }
            _ => {}
        }
    }

    /// A head begins with this piece.
    fn start(&mut self, role: Role, piece: &Piece<'_>, standing: Standing, when: Moment, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        half.draft = None;
        half.next = piece.seq;
        half.expect_head(standing);
        self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
    }

    /// A piece begins `distance` bytes ahead.
    fn gap(&mut self, role: Role, piece: &Piece<'_>, distance: u64, when: Moment, out: &mut Output<'_>) {
        let fidelity = self.fidelity;
        let half = self.half_mut(role);
        match half.expected {
            Expected::Sized { left } if distance <= left => {
                half.advance(distance);
                half.expect_sized(left.saturating_sub(distance));
                return self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
            }
            Expected::Sized { left } => {
                half.advance(left);
                half.message_ended();
            }
            Expected::Chunked(mut chunks) => {
                if chunks.skip(distance) {
                    half.advance(distance);
                    half.expected = Expected::Chunked(chunks);
                    return self.consume(role, piece.at, piece.bytes, piece.wire_len, when, out);
                }
                if fidelity == Fidelity::Heads {
                    half.drift();
                    return self.place(role, piece, when, out);
                }
            }
            _ => {}
        }
        if half.standing.is_doubtful() {
            half.draft = None;
            half.drift();
            return self.place(role, piece, when, out);
        }
        let known = role == Role::Requests && self.exchanges.unmatched() > 0;
        if known && fidelity == Fidelity::Heads && !self.requests.is_waiting() {
            // Its response has come: waiting for it is in vain.
            self.missed(role, piece.at, out);
            return self.place(role, piece, when, out);
        }
        self.hold(role, piece, when, out);
    }

    fn hold(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let ahead = half.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, half.next, when);
        }
        out.anomalies.reorder_overflow = out.anomalies.reorder_overflow.saturating_add(1);
        self.settle(role, piece.at, out);
        if !self.quiet {
            self.place(role, piece, when, out);
        }
    }

    /// Takes the first missing bytes of a direction for lost.
    pub(super) fn settle(&mut self, role: Role, at: Timestamp, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        if let Some(draft) = half.draft.take() {
            self.cut(role, &draft, draft.begun(true), out);
        } else if half.expected == Expected::Head {
            self.missed(role, at, out);
        } else {
            half.drift();
        }
        self.drain(role, out);
    }

    /// A piece while the direction is adrift: what looks like a head is one where the turn shows it.
    fn adrift(&mut self, role: Role, piece: &Piece<'_>, when: Moment, out: &mut Output<'_>) {
        let passed = matches!(self.half(role).distance(piece.seq), Distance::Behind(_));
        if passed || !when.fresh || looks_anywhere(role, piece.bytes) == Looks::No {
            return;
        }
        // Where nothing is seen of the other end, time has to do.
        let alone = self.turns.is_one_sided() && piece.at.since(self.asked_at) >= UNANSWERED_WAIT_MAX;
        let proven = when.begins() || (alone && when.follows);
        self.start(role, piece, if proven { Standing::Resumed } else { Standing::Doubtful }, when, out);
    }
}
