//! Properties of the decoders over made-up conversations.

use observer_core::decode::Anomalies;
use proptest::prelude::*;

use crate::pieces::{Owned, changes, cut, cuts, cycle, disturbed, overtaken, repeated, strangers};
use crate::script::script;
use crate::tap::{tell, tell_needed};

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
        let told = tell(&repeated(&pieces, &repeats, known + 2));
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let pieces = cut(&script.runs, cycle(&cuts));
        let opening: usize = script.runs[..script.opening].iter().map(|(_, bytes)| bytes.len()).sum();
        let mut passed = 0;
        let opens = |piece: &&Owned| {
            passed += piece.bytes.len();
            passed <= opening
        };
        let safe = pieces.iter().take_while(opens).count();
        let pieces = overtaken(pieces, &turns, safe);
        let told = tell(&pieces);
        prop_assert_eq!(told.lines, script.lines());
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn random_pieces_never_panic_and_stay_within_memory(
        script in script(),
        cuts in cuts(),
        changes in changes(),
        strangers in strangers(prop::collection::vec(any::<u8>(), 0..80)),
    ) {
        let pieces = disturbed(cut(&script.runs, cycle(&cuts)), changes, strangers);
        let told = tell(&pieces);
        prop_assert!(told.held_bytes <= HELD_BYTES_MAX, "{}", told.held_bytes);
    }
}
