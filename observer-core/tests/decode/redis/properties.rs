//! Whatever way the bytes come, the same is told; and whatever comes, nothing breaks.

use observer_core::decode::{Anomalies, Fidelity};
use proptest::prelude::*;

use super::script::script;
use crate::pieces::{Owned, changes, cut, cycle, disturbed, overtaken, repeated, strangers};
use crate::tap::tell;

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..8_usize, 8..80_usize, 80..2000_usize], 1..30)
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
        let (lines, anomalies) = told(&repeated(&pieces, &repeats, 0));
        prop_assert_eq!(lines, sorted(&script.lines));
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let pieces = overtaken(cut(&script.runs, cycle(&cuts)), &turns, 1);
        let (lines, anomalies) = told(&pieces);
        prop_assert_eq!(lines, sorted(&script.lines));
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn wrong_pieces_never_panic_and_stay_within_memory(
        script in script(),
        cuts in cuts(),
        changes in changes(),
        strangers in strangers("[*$%>:+\r\n0-9a-z]{0,60}".prop_map(String::into_bytes)),
    ) {
        let pieces = disturbed(cut(&script.runs, cycle(&cuts)), changes, strangers);
        // The tap checks what is held.
        let _ = tell(Fidelity::Heads, &pieces);
    }
}

#[test]
fn an_idle_decoder_is_small() {
    let size = size_of::<observer_core::decode::redis::Redis>();
    assert!(size <= 1024, "{size}");
}
