//! Properties of the decoder over made-up conversations.

use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared};
use observer_core::message::End;
use observer_core::time::Timestamp;
use proptest::prelude::*;

use crate::kernel::thin;
use crate::pieces::{cuts, cycle, len, overtaken, repeated};
use crate::script::script;
use crate::tap::{Owned, cut, interest, tell};

/// Segments of which each is enough for the kernel: what a body's last capital letters and the next head's first ones make up
/// together it may take for no head.
fn telling_cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![8..40_usize, 40..1500_usize, Just(usize::MAX)], 1..40)
}

proptest! {
    #[test]
    fn bytes_cut_anywhere_give_the_same_messages(script in script(true), cuts in cuts()) {
        let (lines, anomalies) = tell(Fidelity::Whole, &cut(&script.runs, cycle(&cuts)));
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn what_the_kernel_leaves_out_is_not_missed(script in script(false), cuts in telling_cuts()) {
        let (lines, anomalies) = tell(Fidelity::Heads, &thin(&cut(&script.runs, cycle(&cuts))));
        prop_assert_eq!(lines, script.lines);
        let doubtful_heads = anomalies.doubtful_heads;
        prop_assert_eq!(anomalies, Anomalies { doubtful_heads, ..Anomalies::default() });
    }

    #[test]
    fn whole_segments_of_which_the_beginning_is_captured_give_the_same_messages(script in script(false)) {
        let (lines, _) = tell(Fidelity::Heads, &thin(&cut(&script.runs, |_| usize::MAX)));
        prop_assert_eq!(lines, script.lines);
    }

    #[test]
    fn repeated_pieces_change_nothing(
        script in script(true), cuts in cuts(), repeats in prop::collection::vec(0..6_usize, 1..30),
    ) {
        let pieces = cut(&script.runs, cycle(&cuts));
        let (lines, anomalies) = tell(Fidelity::Whole, &repeated(&pieces, &repeats, 0));
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn both_sights_of_a_looped_connection_are_one(script in script(false), cuts in cuts()) {
        let pieces = thin(&cut(&script.runs, cycle(&cuts)));
        let twice: Vec<Owned> = pieces.iter().flat_map(|piece| [piece.clone(), piece.clone()]).collect();
        prop_assert_eq!(tell(Fidelity::Heads, &twice), tell(Fidelity::Heads, &pieces));
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(true), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let pieces = overtaken(cut(&script.runs, cycle(&cuts)), &turns, 1);
        let (lines, anomalies) = tell(Fidelity::Whole, &pieces);
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn overlapping_pieces_change_nothing(script in script(true), cuts in cuts(), overlaps in prop::collection::vec(0..30_usize, 1..9)) {
        let mut pieces = cut(&script.runs, cycle(&cuts));
        for number in 1..pieces.len() {
            let (before, after) = pieces.split_at_mut(number);
            let (last, piece) = (&before[number - 1], &mut after[0]);
            if last.from == piece.from && last.end() == piece.seq {
                let overlap = overlaps[number % overlaps.len()].min(last.bytes.len());
                piece.bytes.splice(0..0, last.bytes[last.bytes.len() - overlap..].iter().copied());
                piece.seq = piece.seq.wrapping_sub(len(overlap));
                piece.wire_len += len(overlap);
            }
        }
        let (lines, _) = tell(Fidelity::Whole, &pieces);
        prop_assert_eq!(lines, script.lines);
    }

    #[test]
    fn random_pieces_never_panic_and_stay_within_memory(
        heads in any::<bool>(),
        pieces in prop::collection::vec((
            any::<bool>(),
            prop_oneof![any::<u32>(), 0..400_u32],
            0..70_000_u32,
            0..2_000_000_000_u64,
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                Just(b"GET / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n".to_vec()),
                Just(b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
                Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n".to_vec()),
                Just(b"HTTP/1.1 200 OK\r\nHost: ".to_vec()),
                Just(b"0\r\n\r\n".to_vec()),
                Just(b" folded\r\n".to_vec()),
                Just(vec![b'a'; 30_000]),
            ],
        ), 0..120),
    ) {
        let fidelity = if heads { Fidelity::Heads } else { Fidelity::Whole };
        let pieces: Vec<Owned> = pieces.into_iter().map(|(second, seq, more, at, bytes)| {
            let wire_len = len(bytes.len()) + if more % 3 == 0 { more } else { 0 };
            let ack = (more % 5 > 0).then_some(more % 400);
            Owned { at, from: if second { End::Second } else { End::First }, seq, ack, wire_len, bytes, link: None }
        }).collect();
        tell(fidelity, &pieces);
    }
}

#[test]
fn a_head_without_an_end_holds_no_more_than_a_head() {
    let (interest, mut shared) = (interest(), Shared::default());
    let mut conversation = Conversation::new(Fidelity::Whole);
    let mut told = Vec::new();
    let mut seq = 0_u32;
    let start = b"GET /endless HTTP/1.1\r\nHost: a\r\ntracestate: a=1\r\nbaggage: ".to_vec();
    for bytes in std::iter::once(start).chain(std::iter::repeat_n(vec![b'x'; 1000], 500)) {
        let wire_len = len(bytes.len());
        let (at, from) = (Timestamp(1), End::First);
        let piece = Piece { at, from, seq, ack: Some(1), wire_len, bytes: &bytes, link: None };
        conversation.piece(&piece, &interest, &mut shared, &mut |message| told.push(format!("{:?}", message.body)));
        seq += wire_len;
        assert!(conversation.buffered_bytes() < 140_000, "{}", conversation.buffered_bytes());
    }
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("complete: false") && told[0].contains("/endless"), "{told:?}");
    assert_eq!(shared.anomalies.heads_too_long, 1);
    assert_eq!(conversation.buffered_bytes(), 0);
}

#[test]
fn an_idle_conversation_is_small() {
    assert!(size_of::<Conversation>() <= 256, "{}", size_of::<Conversation>());
}
