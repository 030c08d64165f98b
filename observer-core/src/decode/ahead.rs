//! Pieces that came before the bytes in front of them: kept in the order of their sequence numbers, within bounds.

use std::time::Duration;

use super::Piece;
use crate::message::End;
use crate::time::Timestamp;

/// How long bytes are waited for while later ones are there. A retransmission takes 200 ms at least (RTO_MIN of Linux,
/// include/net/tcp.h) and 1 s where nothing was measured yet (RFC 6298 section 2.1).
pub const REORDER_WAIT_MAX: Duration = Duration::from_secs(1);

/// Pieces held of one direction while earlier bytes are missing. A reordered packet overtakes a few others, seldom tens.
pub(super) const AHEAD_PIECES_MAX: usize = 64;
/// Bytes held of one direction while earlier bytes are missing: two of the largest GRO packets.
pub(super) const AHEAD_BYTES_MAX: usize = 128 * 1024;
/// The largest window of TCP (RFC 7323 section 2.3, 2^30): nothing that is still under way is farther behind. Everything else
/// is ahead, so bodies of up to 3 GiB may be left out without a doubt.
const BEHIND_MAX: u32 = 1 << 30;
/// The farthest distance ahead that is told from behind.
pub(super) const AHEAD_MAX: u64 = (1 << 32) - BEHIND_MAX as u64 - 1;

/// Where a piece begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distance {
    Behind(u32),
    Ahead(u32),
}

impl Distance {
    /// How far `seq` is from `next`.
    pub(super) fn of(seq: u32, next: u32) -> Self {
        let ahead = seq.wrapping_sub(next);
        if u64::from(ahead) > AHEAD_MAX { Self::Behind(next.wrapping_sub(seq)) } else { Self::Ahead(ahead) }
    }
}

/// Whether a sequence number is farther than another.
pub(super) fn is_ahead(seq: u32, of: u32) -> bool {
    matches!(Distance::of(seq, of), Distance::Ahead(1..))
}

/// A piece that was copied.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) at: Timestamp,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) wire_len: u32,
    pub(super) bytes: Box<[u8]>,
    /// As in [`Piece::link`].
    pub(super) link: Option<u32>,
}

impl Held {
    pub(super) fn piece(&self, from: End) -> Piece<'_> {
        let Self { at, seq, ack, wire_len, ref bytes, link } = *self;
        Piece { at, from, seq, ack, wire_len, bytes, link }
    }
}

/// The pieces held of one direction.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Sorted by distance from where the direction stands, the farthest first.
    pieces: Vec<Held>,
    bytes: usize,
}

impl Ahead {
    /// Whether the piece fits.
    pub(super) fn has_room(&self, piece: &Piece<'_>) -> bool {
        self.pieces.len() < AHEAD_PIECES_MAX && self.bytes.saturating_add(piece.bytes.len()) <= AHEAD_BYTES_MAX
    }

    /// Keeps a piece that begins ahead of `next`; one that is held already is dropped.
    pub(super) fn hold(&mut self, piece: &Piece<'_>, next: u32) {
        let distance = |seq: u32| seq.wrapping_sub(next);
        let at = self.pieces.partition_point(|held| distance(held.seq) > distance(piece.seq));
        if let Some(held) = self.pieces.get(at).filter(|held| held.seq == piece.seq)
            && held.wire_len >= piece.wire_len
        {
            return;
        }
        self.bytes = self.bytes.saturating_add(piece.bytes.len());
        let Piece { at: time, seq, ack, wire_len, bytes, link, .. } = *piece;
        self.pieces.insert(at, Held { at: time, seq, ack, wire_len, bytes: bytes.into(), link });
    }

    /// The nearest piece.
    pub(super) fn first(&self) -> Option<&Held> {
        self.pieces.last()
    }

    /// Takes the nearest piece out.
    pub(super) fn pop(&mut self) -> Option<Held> {
        let held = self.pieces.pop()?;
        self.bytes = self.bytes.saturating_sub(held.bytes.len());
        Some(held)
    }

    /// When the piece that has waited longest came.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.pieces.iter().map(|held| held.at).min()
    }

    /// Bytes held.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes
            .saturating_add(self.pieces.capacity().saturating_mul(size_of::<Held>()))
            .saturating_add(size_of::<Self>())
    }
}
