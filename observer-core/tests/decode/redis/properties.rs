//! Whatever way the bytes come, the same is told; and whatever comes, nothing breaks.

use observer_core::decode::{Anomalies, Fidelity};
use observer_core::message::End;
use proptest::prelude::*;

use super::script::script;
use crate::tap::{Owned, cut, tell};

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..8_usize, 8..80_usize, 80..2000_usize], 1..30)
}

fn cycle(cuts: &[usize]) -> impl FnMut(usize) -> usize {
    let mut cuts = cuts.iter().copied().cycle();
    move |_| cuts.next().unwrap_or(1)
}

/// What is told of pieces, sorted: what is sent and what arrives may change places where pieces do.
fn told(pieces: &[Owned]) -> (Vec<String>, Anomalies) {
    let (mut lines, anomalies) = tell(Fidelity::Heads, pieces);
    lines.sort();
    (lines, anomalies)
}

fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    lines.sort();
    lines
}

proptest! {
    #[test]
    fn bytes_cut_anywhere_give_the_same_messages(script in script(), cuts in cuts()) {
        let (lines, anomalies) = tell(Fidelity::Heads, &cut(&script.runs, cycle(&cuts)));
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn repeated_pieces_change_nothing(
        script in script(), cuts in cuts(), repeats in prop::collection::vec(0..6_usize, 1..30),
    ) {
        let pieces = cut(&script.runs, cycle(&cuts));
        let mut repeated: Vec<Owned> = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            repeated.push(piece.clone());
            let back = repeats[number % repeats.len()];
            if back > 0 {
                repeated.push(pieces[(number + 1).saturating_sub(back)].clone());
            }
        }
        let (lines, anomalies) = told(&repeated);
        prop_assert_eq!(lines, sorted(&script.lines));
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let mut pieces = cut(&script.runs, cycle(&cuts));
        let first_of_second = pieces.iter().position(|piece| piece.from == End::Second);
        let mut turns = turns.iter().copied().cycle();
        let mut start = 1;
        while start < pieces.len() {
            let end = (start + turns.next().unwrap_or(1)).min(pieces.len());
            let alone = Some(start) == first_of_second || pieces[start..end].iter().any(|piece| piece.from != pieces[start].from);
            if !alone {
                pieces[start..end].reverse();
            }
            start = if alone { start + 1 } else { end };
        }
        let (lines, anomalies) = told(&pieces);
        prop_assert_eq!(lines, sorted(&script.lines));
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn wrong_pieces_never_panic_and_stay_within_memory(
        script in script(),
        cuts in cuts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..6_u8), 0..60),
        random in prop::collection::vec((any::<bool>(), any::<u32>(), 0..70_000_u32, "[*$%>:+\r\n0-9a-z]{0,60}"), 0..60),
    ) {
        let mut pieces = cut(&script.runs, cycle(&cuts));
        for (piece, at, byte, what) in changes {
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
            if pieces.is_empty() {
                return Ok(());
            }
        }
        for (number, (second, seq, more, text)) in random.into_iter().enumerate() {
            let from = if second { End::Second } else { End::First };
            let wire_len = u32::try_from(text.len()).expect("a piece") + if more % 3 == 0 { more } else { 0 };
            let seq = if more % 2 == 0 { seq } else { more };
            let piece = Owned { at: u64::from(seq), from, seq, ack: Some(seq), wire_len, bytes: text.into_bytes(), link: None };
            pieces.insert(number.min(pieces.len()), piece);
        }
        // The tap checks what is held.
        let _ = tell(Fidelity::Heads, &pieces);
    }
}

#[test]
fn an_idle_decoder_is_small() {
    let size = size_of::<observer_core::decode::redis::Redis>();
    assert!(size <= 1024, "{size}");
}
