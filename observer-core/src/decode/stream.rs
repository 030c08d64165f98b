//! One direction of a connection put in order: pieces come in as the tap saw them, bytes that follow one another go out to a
//! [`Parser`], and how many are missing between them.
//!
//! What nobody needs ([`Parser::spare`]) may be missing without a loss; what is needed is waited for, [`REORDER_WAIT_MAX`] long,
//! and given up then or when too much waits behind it. What a parser makes of the bytes is its own affair.

use super::Piece;
use super::ahead::{Ahead, Distance, Held, REORDER_WAIT_MAX};
use crate::message::End;
use crate::time::Timestamp;

/// How far a stretch that nobody needs is followed at once: what is farther could not be told from what lies behind.
const UNNEEDED_MAX: u64 = 1 << 30;

/// Bytes in order, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<'a> {
    /// When the tap saw them.
    pub(super) at: Timestamp,
    /// The sequence number of the first of them.
    pub(super) seq: u32,
    /// As in [`Piece::ack`].
    pub(super) ack: Option<u32>,
    pub(super) bytes: &'a [u8],
    /// Whether the first of them is the first one of a piece: where bytes are missing, only there a message can be found again.
    pub(super) begins: bool,
    /// Whether the last of them is the last one of a piece.
    pub(super) ends: bool,
}

/// What reads one direction and puts what it finds into an `O`.
pub(super) trait Parser<O> {
    /// Takes bytes that stand behind those that were taken or were missing.
    fn bytes(&mut self, run: &Run<'_>, out: &mut O);

    /// So many bytes were on the wire here and are not there: the next [`Self::spare`] of them needed by nobody, the others lost.
    fn gap(&mut self, count: u64, out: &mut O);

    /// The direction ended: tells what can only be told then, and holds nothing any more. Bytes that come late are still given.
    fn end(&mut self, out: &mut O);

    /// How many of the next bytes are known to be needed by nobody.
    fn spare(&self) -> u64;

    /// Whether it is not known what stands next. Missing bytes are not waited for then.
    fn is_adrift(&self) -> bool;

    /// More came too early than is held: what was missing before it is taken for lost. For the counter.
    fn overflow(out: &mut O);
}

/// One direction.
#[derive(Debug)]
pub(super) struct Stream<P> {
    from: End,
    /// The sequence number of the next byte; `None` where nothing was seen yet.
    next: Option<u32>,
    ahead: Option<Box<Ahead>>,
    pub(super) parser: P,
}

impl<P> Stream<P> {
    /// What the end `from` sends, beginning with whatever comes first.
    pub(super) fn new(from: End, parser: P) -> Self {
        Self { from, next: None, ahead: None, parser }
    }

    /// Whether nothing was seen yet.
    pub(super) fn is_new(&self) -> bool {
        self.next.is_none()
    }

    /// Whether pieces wait for missing bytes.
    pub(super) fn is_waiting(&self) -> bool {
        self.ahead.is_some()
    }

    /// Takes the next piece.
    pub(super) fn piece<O>(&mut self, piece: &Piece<'_>, out: &mut O)
    where
        P: Parser<O>,
    {
        if piece.wire_len == 0 {
            return;
        }
        self.overdue(piece.at, out);
        self.place(piece, out);
        self.drain(out);
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue<O>(&mut self, now: Timestamp, out: &mut O)
    where
        P: Parser<O>,
    {
        let oldest = |stream: &Self| stream.ahead.as_ref().and_then(|ahead| ahead.oldest());
        while oldest(self).is_some_and(|since| now.since(since) >= REORDER_WAIT_MAX) {
            self.settle(out);
        }
    }

    /// The end closed its direction, or the connection was reset. A piece that comes late is still taken.
    pub(super) fn closed<O>(&mut self, out: &mut O)
    where
        P: Parser<O>,
    {
        while self.is_waiting() {
            self.settle(out);
        }
        self.parser.end(out);
    }

    /// What is missing before the nearest piece that waits will not come.
    pub(super) fn settle<O>(&mut self, out: &mut O)
    where
        P: Parser<O>,
    {
        let Some(held) = self.pop() else { return };
        self.take(&held.piece(self.from), out);
        self.drain(out);
    }

    /// Drops the pieces that wait.
    pub(super) fn forget(&mut self) {
        self.ahead = None;
    }

    /// Where the first byte is that somebody may need, if some before it are known to be needed by nobody.
    pub(super) fn unneeded<O>(&self) -> Option<u32>
    where
        P: Parser<O>,
    {
        let spare = u32::try_from(self.parser.spare().min(UNNEEDED_MAX)).ok().filter(|&spare| spare > 0)?;
        Some(self.next?.wrapping_add(spare))
    }

    /// Bytes of the pieces that wait.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.ahead.as_ref().map_or(0, |ahead| ahead.buffered_bytes())
    }

    /// Takes a piece at its place, or holds it.
    fn place<O>(&mut self, piece: &Piece<'_>, out: &mut O)
    where
        P: Parser<O>,
    {
        if self.is_reached(piece.seq) {
            return self.take(piece, out);
        }
        let next = self.next.unwrap_or(piece.seq);
        let ahead = self.ahead.get_or_insert_default();
        if ahead.has_room(piece) {
            return ahead.hold(piece, next);
        }
        P::overflow(out);
        self.settle(out);
        self.place(piece, out);
    }

    /// Takes what waits as far as it follows.
    fn drain<O>(&mut self, out: &mut O)
    where
        P: Parser<O>,
    {
        while let Some(seq) = self.ahead.as_ref().and_then(|ahead| ahead.first()).map(|held| held.seq)
            && self.is_reached(seq)
            && let Some(held) = self.pop()
        {
            self.take(&held.piece(self.from), out);
        }
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.ahead.as_mut()?.pop();
        if self.ahead.as_ref().is_some_and(|ahead| ahead.first().is_none()) {
            self.ahead = None;
        }
        held
    }

    /// Whether bytes that begin here need not wait.
    fn is_reached<O>(&self, seq: u32) -> bool
    where
        P: Parser<O>,
    {
        let Some(next) = self.next else { return true };
        match Distance::of(seq, next) {
            Distance::Behind(_) => true,
            Distance::Ahead(distance) => self.parser.is_adrift() || self.parser.spare() >= u64::from(distance),
        }
    }

    /// Takes a piece at its place: what is missing before it is lost or not needed, what was seen of it before is not taken again.
    fn take<O>(&mut self, piece: &Piece<'_>, out: &mut O)
    where
        P: Parser<O>,
    {
        let Piece { at, seq, ack, wire_len, bytes, .. } = *piece;
        let (bytes, wire_len, begins) = match Distance::of(seq, *self.next.get_or_insert(seq)) {
            Distance::Ahead(distance) => {
                self.pass(distance, out);
                (bytes, wire_len, true)
            }
            Distance::Behind(by) => {
                let Some(fresh) = wire_len.checked_sub(by).filter(|&fresh| fresh > 0) else { return };
                (usize::try_from(by).ok().and_then(|by| bytes.get(by..)).unwrap_or_default(), fresh, false)
            }
        };
        let captured = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(wire_len);
        if captured > 0 {
            let seq = self.next.unwrap_or(seq);
            self.advance(captured);
            self.parser.bytes(&Run { at, seq, ack, bytes, begins, ends: captured == wire_len }, out);
        }
        self.pass(wire_len.saturating_sub(captured), out);
    }

    /// So many bytes are missing.
    fn pass<O>(&mut self, count: u32, out: &mut O)
    where
        P: Parser<O>,
    {
        if count > 0 {
            self.advance(count);
            self.parser.gap(u64::from(count), out);
        }
    }

    fn advance(&mut self, count: u32) {
        // Sequence numbers wrap (RFC 9293 section 3.4).
        self.next = self.next.map(|next| next.wrapping_add(count));
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// Letters, which are told, and digits: so many bytes behind each are needed by nobody. What follows a `?` is not known.
    #[derive(Debug, Default)]
    struct Letters {
        spare: u64,
        adrift: bool,
    }

    impl Parser<String> for Letters {
        fn bytes(&mut self, run: &Run<'_>, out: &mut String) {
            if run.begins {
                out.push('|');
            }
            for byte in run.bytes {
                match byte {
                    _ if self.spare > 0 => self.spare -= 1,
                    b'0'..=b'9' => self.spare = u64::from(byte & 15),
                    _ => {
                        self.adrift = *byte == b'?';
                        out.push(char::from(*byte));
                    }
                }
            }
        }

        fn gap(&mut self, count: u64, out: &mut String) {
            let lost = count.saturating_sub(self.spare);
            self.spare = self.spare.saturating_sub(count);
            if lost > 0 {
                let _ = write!(out, "({lost})");
            }
        }

        fn end(&mut self, out: &mut String) {
            out.push('.');
        }

        fn spare(&self) -> u64 {
            self.spare
        }

        fn is_adrift(&self) -> bool {
            self.adrift
        }

        fn overflow(out: &mut String) {
            out.push('!');
        }
    }

    const FIRST_SEQ: u32 = u32::MAX - 3;

    fn piece(at_ms: u64, offset: u32, wire_len: u32, bytes: &str) -> Piece<'_> {
        let (at, seq) = (Timestamp(at_ms * 1_000_000), FIRST_SEQ.wrapping_add(offset));
        Piece { at, from: End::First, seq, ack: None, wire_len, bytes: bytes.as_bytes(), link: None }
    }

    /// What is told of pieces, each with the millisecond, the place and how many bytes were on the wire.
    fn check(pieces: &[(u64, u32, u32, &str)], told: &str) {
        let mut stream = Stream::new(End::First, Letters::default());
        let mut out = String::new();
        for &(at_ms, offset, wire_len, bytes) in pieces {
            stream.piece(&piece(at_ms, offset, wire_len, bytes), &mut out);
        }
        stream.closed(&mut out);
        assert_eq!((out.as_str(), stream.buffered_bytes()), (told, 0));
    }

    #[test]
    fn pieces_are_put_in_order_and_nothing_is_taken_twice() {
        check(&[(0, 0, 3, "abc"), (1, 3, 3, "def")], "|abc|def.");
        check(&[(0, 0, 3, "abc"), (1, 9, 1, "j"), (2, 6, 3, "ghi"), (3, 3, 3, "def")], "|abc|def|ghi|j.");
        check(&[(0, 0, 3, "abc"), (1, 0, 3, "abc"), (2, 1, 4, "bcde"), (3, 2, 2, "cd")], "|abcde.");
        check(&[(0, 0, 3, "abc"), (1, 5, 2, "fg"), (2, 5, 3, "fgh"), (3, 3, 2, "de")], "|abc|de|fgh.");
    }

    #[test]
    fn what_is_missing_is_waited_for_one_second() {
        check(&[(0, 0, 1, "a"), (1, 3, 1, "d"), (999, 1, 2, "bc")], "|a|bc|d.");
        check(&[(0, 0, 1, "a"), (1, 3, 1, "d"), (1001, 1, 2, "bc"), (1002, 4, 1, "e")], "|a(2)|d|e.");
        check(&[(0, 0, 1, "a"), (1, 3, 1, "d")], "|a(2)|d.");
        let mut stream = Stream::new(End::First, Letters::default());
        let mut out = String::new();
        stream.piece(&piece(0, 0, 1, "a"), &mut out);
        stream.piece(&piece(1, 3, 1, "d"), &mut out);
        stream.overdue(Timestamp(1_000_999_999), &mut out);
        assert_eq!((out.as_str(), stream.is_waiting()), ("|a", true));
        stream.overdue(Timestamp(1_001_000_000), &mut out);
        assert_eq!((out.as_str(), stream.is_waiting()), ("|a(2)|d", false));
    }

    #[test]
    fn bytes_that_nobody_needs_may_be_missing() {
        check(&[(0, 0, 2, "a4"), (1, 6, 1, "b")], "|a|b.");
        check(&[(0, 0, 6, "a4xy"), (1, 6, 1, "b")], "|a|b.");
        check(&[(0, 0, 2, "a4"), (1, 4, 3, "xxb")], "|a|b.");
        // One more is missing than nobody needs.
        check(&[(0, 0, 2, "a4"), (1, 7, 1, "b")], "|a(1)|b.");
        check(&[(0, 0, 8, "a4xy")], "|a(2).");
    }

    #[test]
    fn where_it_is_not_known_what_comes_nothing_is_waited_for() {
        check(&[(0, 0, 1, "?"), (1, 5, 1, "f"), (2, 1, 4, "bcde")], "|?(4)|f.");
    }

    #[test]
    fn a_stretch_that_nobody_needs_ends_where_it_is_said() {
        let mut stream = Stream::new(End::First, Letters::default());
        let mut out = String::new();
        assert_eq!(stream.unneeded::<String>(), None);
        stream.piece(&piece(0, 0, 2, "a9"), &mut out);
        assert_eq!(stream.unneeded::<String>(), Some(FIRST_SEQ.wrapping_add(11)));
        stream.piece(&piece(0, 2, 4, "xx"), &mut out);
        assert_eq!(stream.unneeded::<String>(), Some(FIRST_SEQ.wrapping_add(11)));
        stream.piece(&piece(0, 6, 6, "xxxxxb"), &mut out);
        assert_eq!((stream.unneeded::<String>(), out.as_str()), (None, "|a||b"));
    }

    #[test]
    fn too_much_that_came_too_early_is_a_loss() {
        let mut stream = Stream::new(End::First, Letters::default());
        let mut out = String::new();
        stream.piece(&piece(0, 0, 1, "a"), &mut out);
        for number in 0..=crate::decode::ahead::AHEAD_PIECES_MAX {
            stream.piece(&piece(0, 3 + 2 * u32::try_from(number).unwrap(), 1, "b"), &mut out);
        }
        assert_eq!(out, "|a!(2)|b");
    }
}
