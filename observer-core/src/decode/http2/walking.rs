//! From frame to frame: pieces come in as the tap saw them, header blocks and ends of streams go on to telling. What nobody
//! needs is passed over by arithmetic; what is missing and needed is waited for, then given up. The rules stand at the top of
//! [`super`].

use super::Http2;
use super::frame::{Frame, HEADER_BYTES, Kind, PREFACE};
use super::half::{Block, Expected, Flaw, Trust};
use super::search::search;
use crate::decode::ahead::Distance;
use crate::decode::http1::start_line::Role;
use crate::decode::{Output, Piece};
use crate::time::Timestamp;

/// The bytes of GOAWAY that tell the last stream (RFC 9113 section 6.8).
const LAST_STREAM_BYTES: usize = 4;

impl Http2 {
    /// Takes a piece at its place.
    pub(super) fn place(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        if self.half(role).expected == Expected::Anything {
            self.begin(role, piece);
        }
        let Piece { at, seq, wire_len, bytes, link, .. } = *piece;
        if link.is_some_and(|link| self.half(role).is_left_out(link, seq)) {
            self.half_mut(role).next = seq;
        }
        match Distance::of(seq, self.half(role).next) {
            Distance::Ahead(0) => self.consume(role, at, bytes, wire_len, out),
            Distance::Ahead(distance) => {
                let distance = u64::from(distance);
                if !self.half(role).may_skip(distance) {
                    return self.hold(role, piece, out);
                }
                self.skip(role, distance, out);
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

    /// The first piece of a direction: a connection begins with the preface or with settings (RFC 9113 section 3.4).
    fn begin(&mut self, role: Role, piece: &Piece<'_>) {
        let half = self.half_mut(role);
        half.next = piece.seq;
        let start = piece.bytes.get(..PREFACE.len()).unwrap_or(piece.bytes);
        if role == Role::Requests && PREFACE.starts_with(start) {
            half.expected = Expected::Preface(0);
        } else if piece.bytes.len() < HEADER_BYTES || Frame::at(piece.bytes).is_some_and(Frame::is_settings) {
            half.expected = Expected::Frame(Trust::Beginning);
        } else {
            half.hpack.forget();
            half.expected = Expected::Adrift { frame_at: None };
        }
    }

    /// Takes held pieces as far as they follow.
    pub(super) fn drain(&mut self, role: Role, out: &mut Output<'_>) {
        while let Some(held) = self.half_mut(role).pop(false) {
            self.place(role, &held.piece(self.sender(role)), out);
        }
    }

    fn hold(&mut self, role: Role, piece: &Piece<'_>, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let ahead = half.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, half.next);
        }
        out.shared.anomalies.reorder_overflow = out.shared.anomalies.reorder_overflow.saturating_add(1);
        self.settle(role, out);
        self.place(role, piece, out);
    }

    /// Takes the first missing bytes of a direction for lost.
    pub(super) fn settle(&mut self, role: Role, out: &mut Output<'_>) {
        let Some(held) = self.half_mut(role).pop(true) else { return };
        if let Distance::Ahead(distance) = Distance::of(held.seq, self.half(role).next) {
            self.skip(role, u64::from(distance), out);
        }
        self.place(role, &held.piece(self.sender(role)), out);
        self.drain(role, out);
    }

    /// Takes bytes that begin where the direction stands, and the `wire_len` minus those that were not captured.
    fn consume(&mut self, role: Role, at: Timestamp, bytes: &[u8], wire_len: u32, out: &mut Output<'_>) {
        let whole = u32::try_from(bytes.len()) == Ok(wire_len);
        let mut rest = bytes;
        while !rest.is_empty() {
            let half = self.half_mut(role);
            let taken = match half.expected {
                Expected::Preface(seen) => {
                    let left = PREFACE.get(seen..).unwrap_or_default();
                    let taken = left.len().min(rest.len());
                    if left.get(..taken) == rest.get(..taken) {
                        half.expected = Expected::Preface(seen.saturating_add(taken));
                        if taken == left.len() {
                            half.expected = Expected::Frame(Trust::Certain);
                            self.talk.streams.begin(0);
                        }
                    } else {
                        self.no_frame(role, out);
                    }
                    taken
                }
                Expected::Frame(trust) => {
                    if !half.is_gathering() {
                        half.frame_at = at;
                    }
                    let taken = half.gather(rest, HEADER_BYTES);
                    half.advance(taken as u64);
                    if let Some(header) = half.gathered() {
                        self.frame(role, Frame::parse(header), trust, out);
                    }
                    rest = rest.get(taken..).unwrap_or_default();
                    continue;
                }
                Expected::Payload { frame, left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    half.advance(taken as u64);
                    self.payload(role, frame, left, rest.get(..taken).unwrap_or_default(), out);
                    rest = rest.get(taken..).unwrap_or_default();
                    continue;
                }
                Expected::Adrift { frame_at } => {
                    let found = search(role, rest, whole && rest.len() == bytes.len(), (half.next, frame_at));
                    half.expected = found.expected;
                    half.lost = half.lost.saturating_add(found.passed as u64);
                    found.passed
                }
                Expected::Anything => rest.len(),
            };
            self.half_mut(role).advance(taken as u64);
            rest = rest.get(taken..).unwrap_or_default();
        }
        let uncaptured = u64::from(wire_len).saturating_sub(bytes.len() as u64);
        if uncaptured > 0 {
            self.skip(role, uncaptured, out);
        }
    }

    /// Passes over bytes that were on the wire and are not there.
    fn skip(&mut self, role: Role, count: u64, out: &mut Output<'_>) {
        let in_block = self.half(role).is_in_block();
        let half = self.half_mut(role);
        match half.expected {
            Expected::Payload { frame, left } => {
                if in_block {
                    let frame_at = half.frame_at;
                    half.block.get_or_insert_with(|| Box::new(Block::new(frame_at, frame))).fail(Flaw::Cut);
                }
                let skipped = u32::try_from(count).unwrap_or(u32::MAX).min(left);
                half.advance(u64::from(skipped));
                half.gather_anew();
                self.passed(role, frame, left.saturating_sub(skipped), out);
                let beyond = count.saturating_sub(u64::from(skipped));
                if beyond > 0 {
                    self.skip(role, beyond, out);
                }
            }
            Expected::Adrift { frame_at } => {
                // What looked like a frame may end in what is missing.
                let reached = frame_at.is_some_and(|frame_at| u64::from(frame_at.wrapping_sub(half.next)) < count);
                half.expected = Expected::Adrift { frame_at: frame_at.filter(|_| !reached) };
                half.advance(count);
                half.lost = half.lost.saturating_add(count);
            }
            Expected::Preface(_) | Expected::Frame(_) => {
                half.advance(count);
                half.lost = half.lost.saturating_add(count);
                out.shared.anomalies.heads_cut = out.shared.anomalies.heads_cut.saturating_add(1);
                self.drift(role, out);
            }
            Expected::Anything => half.advance(count),
        }
    }

    /// A frame header was read.
    fn frame(&mut self, role: Role, frame: Frame, trust: Trust, out: &mut Output<'_>) {
        let believed = match trust {
            Trust::Certain => frame.is_sound(),
            Trust::Beginning => frame.is_settings(),
            Trust::Doubtful => frame.is_plausible(role),
        };
        if !believed {
            let doubtful = u64::from(trust == Trust::Doubtful);
            out.shared.anomalies.doubtful_heads = out.shared.anomalies.doubtful_heads.saturating_add(doubtful);
            let wrong = u64::from(trust == Trust::Certain);
            out.shared.anomalies.not_http = out.shared.anomalies.not_http.saturating_add(wrong);
            return self.drift(role, out);
        }
        let half = self.half_mut(role);
        let goes_on = |block: &Block| frame.kind == Kind::Continuation && frame.stream == block.frame.stream;
        match &mut half.block {
            // Nothing may stand between the frames of a block (RFC 9113 section 4.3).
            Some(block) if !goes_on(block) => {
                block.fail(Flaw::Broken);
                self.end_block(role, out);
            }
            // The end of a block of which the beginning is not known.
            None if frame.kind == Kind::Continuation => half.hpack.forget(),
            _ => {}
        }
        match frame.kind {
            Kind::Data if frame.ends_stream() && role == Role::Responses => {
                self.talk.ended(frame.stream, out);
            }
            Kind::Reset => self.talk.reset(frame.stream, out),
            _ => {}
        }
        self.half_mut(role).expected = Expected::Payload { frame, left: frame.len };
        if frame.len == 0 {
            self.payload(role, frame, 0, &[], out);
        }
    }

    /// Takes bytes of a payload of which `left` were to come.
    fn payload(&mut self, role: Role, frame: Frame, left: u32, bytes: &[u8], out: &mut Output<'_>) {
        let half = self.half_mut(role);
        let still = left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if half.is_in_block() {
            if half.block.is_none() && still == 0 && left == frame.len && frame.ends_block() {
                // The usual case: a whole block in one run of bytes is decoded in place.
                half.expected = Expected::Frame(Trust::Certain);
                let at = half.frame_at;
                return match frame.fragment(bytes).and_then(|(start, end)| bytes.get(start..end)) {
                    Some(block) => self.block(role, at, frame, block, out),
                    None => self.block_failed(role, at, frame, Flaw::Broken, out),
                };
            }
            let frame_at = half.frame_at;
            half.block.get_or_insert_with(|| Box::new(Block::new(frame_at, frame))).push(bytes);
        } else if frame.kind == Kind::GoAway {
            half.gather(bytes, LAST_STREAM_BYTES);
        }
        self.passed(role, frame, still, out);
    }

    /// So many bytes of a payload are still to come.
    fn passed(&mut self, role: Role, frame: Frame, left: u32, out: &mut Output<'_>) {
        let in_block = self.half(role).is_in_block();
        let half = self.half_mut(role);
        half.expected = Expected::Payload { frame, left };
        if left > 0 {
            return;
        }
        half.expected = Expected::Frame(Trust::Certain);
        if in_block {
            if let Some(block) = &mut half.block {
                block.end_payload(frame);
            }
            if frame.ends_block() {
                self.end_block(role, out);
            }
        } else if frame.kind == Kind::GoAway {
            let last = half.gathered::<LAST_STREAM_BYTES>();
            half.gather_anew();
            if let Some(last) = last.filter(|_| role == Role::Responses) {
                self.talk.goes_away(u32::from_be_bytes(last) & 0x7fff_ffff, out);
            }
        }
    }

    /// The block that came in parts is whole, or given up.
    fn end_block(&mut self, role: Role, out: &mut Output<'_>) {
        let Some(block) = self.half_mut(role).block.take() else { return };
        match block.flaw {
            None => self.block(role, block.at, block.frame, block.bytes(), out),
            Some(flaw) => self.block_failed(role, block.at, block.frame, flaw, out),
        }
    }

    /// Bytes stand where a frame must begin that are none.
    fn no_frame(&mut self, role: Role, out: &mut Output<'_>) {
        out.shared.anomalies.not_http = out.shared.anomalies.not_http.saturating_add(1);
        self.drift(role, out);
    }

    /// It is not known any more where frames begin.
    pub(super) fn drift(&mut self, role: Role, out: &mut Output<'_>) {
        let half = self.half_mut(role);
        half.gather_anew();
        half.expected = Expected::Adrift { frame_at: None };
        half.hpack.forget();
        if let Some(block) = &mut half.block {
            block.fail(Flaw::Cut);
            self.end_block(role, out);
        }
    }
}
