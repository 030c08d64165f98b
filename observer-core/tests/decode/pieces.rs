//! Pieces of a made-up conversation, and what happens to them on their way: bytes of two ends go in, pieces come out, whole or cut
//! anywhere, lost, repeated, overtaken, changed and among strange ones. Every suite over a protocol uses these.

use observer_core::decode::Piece;
use observer_core::message::End;
use observer_core::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;

/// A piece that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) at: u64,
    pub(crate) from: End,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) wire_len: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) link: Option<u32>,
}

impl Owned {
    pub(crate) fn borrow(&self) -> Piece<'_> {
        let Self { at, from, seq, ack, wire_len, ref bytes, link } = *self;
        Piece { at: Timestamp(at), from, seq, ack, wire_len, bytes, link }
    }

    pub(crate) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.wire_len)
    }
}

pub(crate) fn len(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a piece")
}

/// The sequence numbers with which the ends begin: both wrap soon.
const FIRST_SEQ: [u32; 2] = [u32::MAX - 60, u32::MAX - 200];

/// Cuts each run of bytes into segments; `segment(bytes)` tells the next segment's length of the bytes that are left.
pub(crate) fn cut(runs: &[(End, Vec<u8>)], mut segment: impl FnMut(&[u8]) -> usize) -> Vec<Owned> {
    let mut next = FIRST_SEQ;
    let mut pieces = Vec::new();
    for (from, bytes) in runs {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(segment(rest).clamp(1, rest.len()));
            let ack = Some(next[usize::from(*from == End::First)]);
            let seq = &mut next[usize::from(*from == End::Second)];
            let (at, bytes) = (pieces.len() as u64 * 1000, piece.to_vec());
            let piece = Owned { at, from: *from, seq: *seq, ack, wire_len: len(bytes.len()), bytes, link: None };
            *seq = piece.end();
            pieces.push(piece);
            rest = after;
        }
    }
    pieces
}

/// Segment lengths, used over and over: from single bytes to whole runs.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(1), 1..40_usize, 40..1500_usize, Just(usize::MAX)], 1..40)
}

pub(crate) fn cycle(cuts: &[usize]) -> impl FnMut(&[u8]) -> usize + '_ {
    let mut cuts = cuts.iter().copied().cycle();
    move |_| cuts.next().unwrap_or(1)
}

/// Behind each piece one that came so many before it comes again, if that one is not among the first `safe`.
pub(crate) fn repeated(pieces: &[Owned], repeats: &[usize], safe: usize) -> Vec<Owned> {
    let mut all = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        all.push(piece.clone());
        let back = repeats[number % repeats.len()];
        let earlier = (number + 1).saturating_sub(back);
        if back > 0 && earlier >= safe {
            all.push(pieces[earlier].clone());
        }
    }
    all
}

/// Turns the order of so many pieces at a time round, where all of them come from one end, but for the first `safe` pieces and the
/// first one of the other end.
pub(crate) fn overtaken(mut pieces: Vec<Owned>, turns: &[usize], safe: usize) -> Vec<Owned> {
    let first_of_second = pieces.iter().position(|piece| piece.from == End::Second);
    let mut turns = turns.iter().copied().cycle();
    let mut start = safe;
    while start < pieces.len() {
        let end = (start + turns.next().unwrap_or(1)).min(pieces.len());
        let alone =
            Some(start) == first_of_second || pieces[start..end].iter().any(|piece| piece.from != pieces[start].from);
        if !alone {
            pieces[start..end].reverse();
        }
        start = if alone { start + 1 } else { end };
    }
    pieces
}

/// Changes of pieces: which one, which byte of it, and to what.
pub(crate) fn changes() -> impl Strategy<Value = Vec<(Index, Index, u8, u8)>> {
    prop::collection::vec((any::<Index>(), any::<Index>(), any::<u8>(), 0..6_u8), 0..60)
}

/// Pieces that nobody sent, of these bytes.
pub(crate) fn strangers(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<Owned>> {
    let stranger = (any::<bool>(), any::<u32>(), 0..70_000_u32, bytes).prop_map(|(second, seq, more, bytes)| {
        let from = if second { End::Second } else { End::First };
        let wire_len = len(bytes.len()) + if more % 3 == 0 { more } else { 0 };
        let seq = if more % 2 == 0 { seq } else { more };
        Owned { at: u64::from(seq), from, seq, ack: Some(seq), wire_len, bytes, link: None }
    });
    prop::collection::vec(stranger, 0..60)
}

/// Changes pieces, takes some away, and puts strange ones among them.
pub(crate) fn disturbed(
    mut pieces: Vec<Owned>,
    changes: Vec<(Index, Index, u8, u8)>,
    strangers: Vec<Owned>,
) -> Vec<Owned> {
    for (piece, at, byte, what) in changes {
        if pieces.is_empty() {
            break;
        }
        let number = piece.index(pieces.len());
        let piece = &mut pieces[number];
        match what {
            0 => piece.wire_len += u32::from(byte) * 1000,
            1 => piece.seq = piece.seq.wrapping_add(u32::from(byte)),
            2 => drop(pieces.remove(number)),
            _ if !piece.bytes.is_empty() => {
                let at = at.index(piece.bytes.len());
                piece.bytes[at] = byte;
            }
            _ => {}
        }
    }
    for (number, piece) in strangers.into_iter().enumerate() {
        pieces.insert(number.min(pieces.len()), piece);
    }
    pieces
}

/// What happens to a piece on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Passes,
    Lost,
    Twice,
    /// Its last bytes are not captured.
    Cut,
    /// It comes after the next piece.
    Overtaken,
}

/// Fates of pieces, over and over; some connections lose little and some lose most.
pub(crate) fn fates() -> impl Strategy<Value = Vec<Fate>> {
    (0..12_u32, 0..3_u32, 0..3_u32, 0..3_u32).prop_flat_map(|(lost, twice, cut, overtaken)| {
        let fate = prop_oneof![
            8 => Just(Fate::Passes),
            lost + 1 => Just(Fate::Lost),
            twice + 1 => Just(Fate::Twice),
            cut + 1 => Just(Fate::Cut),
            overtaken + 1 => Just(Fate::Overtaken),
        ];
        prop::collection::vec(fate, 1..60)
    })
}

/// Lets pieces meet their fates, but for the first `safe` ones.
pub(crate) fn meet(pieces: &[Owned], fates: &[Fate], safe: usize) -> Vec<Owned> {
    let mut left: Vec<Owned> = Vec::new();
    let mut late: Option<Owned> = None;
    for (number, (piece, fate)) in pieces.iter().zip(fates.iter().cycle()).enumerate() {
        let mut piece = piece.clone();
        match if number < safe { Fate::Passes } else { *fate } {
            Fate::Lost => {}
            Fate::Overtaken if late.is_none() => {
                late = Some(piece);
                continue;
            }
            Fate::Cut => {
                piece.bytes.truncate(piece.bytes.len() / 2);
                left.push(piece);
            }
            Fate::Passes | Fate::Overtaken => left.push(piece),
            Fate::Twice => left.extend([piece.clone(), piece]),
        }
        left.extend(late.take());
    }
    left.extend(late);
    left
}
