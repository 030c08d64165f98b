//! Properties of the decoders over made-up conversations.

use observer_core::decode::Anomalies;
use observer_core::message::End;
use proptest::prelude::*;

use crate::script::script;
use crate::tap::{Owned, cut, tell, tell_needed};

/// Segment lengths, used over and over: from single bytes to whole runs.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(1), 1..40_usize, 40..1500_usize, Just(usize::MAX)], 1..40)
}

fn cycle(cuts: &[usize]) -> impl FnMut(&[u8]) -> usize + '_ {
    let mut cuts = cuts.iter().copied().cycle();
    move |_| cuts.next().unwrap_or(1)
}

/// What a conversation may hold: headers of a message and pieces that came too early for each direction.
const HELD_BYTES_MAX: usize = 550 * 1024;

proptest! {
    #[test]
    fn bytes_cut_anywhere_give_the_same_messages(script in script(), cuts in cuts()) {
        let told = tell(&cut(&script.runs, cycle(&cuts)));
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
        prop_assert_eq!(told.protocol, Some(script.protocol));
    }

    #[test]
    fn what_a_tap_may_leave_out_is_no_loss(script in script(), cuts in cuts()) {
        let pieces = cut(&script.runs, cycle(&cuts));
        let told = tell_needed(&pieces);
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn repeated_pieces_change_nothing(
        script in script(), cuts in cuts(), repeats in prop::collection::vec(0..6_usize, 1..30),
    ) {
        let pieces = cut(&script.runs, cycle(&cuts));
        // Before the protocol is known nothing is put in order.
        let known = pieces.iter().take_while(|piece| piece.from == pieces[0].from).count() + 1;
        let mut repeated: Vec<Owned> = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            repeated.push(piece.clone());
            let back = repeats[number % repeats.len()];
            if back > 0 && number > known + back {
                repeated.push(pieces[number + 1 - back].clone());
            }
        }
        let told = tell(&repeated);
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let mut pieces = cut(&script.runs, cycle(&cuts));
        let opening: usize = script.runs[..script.opening].iter().map(|(_, bytes)| bytes.len()).sum();
        let mut passed = 0;
        let mut start = pieces.iter().position(|piece| {
            passed += piece.bytes.len();
            passed > opening
        }).unwrap_or(pieces.len());
        let mut turns = turns.iter().copied().cycle();
        while start < pieces.len() {
            let end = (start + turns.next().unwrap_or(1)).min(pieces.len());
            if pieces[start..end].iter().all(|piece| piece.from == pieces[start].from) {
                pieces[start..end].reverse();
            }
            start = end;
        }
        let told = tell(&pieces);
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn random_pieces_never_panic_and_stay_within_memory(
        script in script(),
        cuts in cuts(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..6_u8), 0..60),
        random in prop::collection::vec((any::<bool>(), any::<u32>(), 0..70_000_u32, prop::collection::vec(any::<u8>(), 0..80)), 0..60),
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
        for (number, (second, seq, more, bytes)) in random.into_iter().enumerate() {
            let from = if second { End::Second } else { End::First };
            let captured = u32::try_from(bytes.len()).expect("a piece");
            let wire_len = captured + if more % 3 == 0 { more } else { 0 };
            let seq = if more % 2 == 0 { seq } else { more };
            pieces.insert(number.min(pieces.len()), Owned { at: u64::from(seq), from, seq, wire_len, bytes });
        }
        let told = tell(&pieces);
        prop_assert!(told.held_bytes <= HELD_BYTES_MAX, "{}", told.held_bytes);
    }
}
