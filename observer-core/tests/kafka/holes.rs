//! Conversations with holes: whatever is missing, nothing is invented. What is taken for given is said at the top of the decoder.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::decode::RecordBounds;
use observer_core::message::End;
use proptest::prelude::*;

use crate::pieces::{Owned, cut, fates, meet};
use crate::script::{Script, place, script, script_of_strangers};
use crate::tap::tell;

/// Checks that every told record was sent, in its place, that none is told twice, and that no more are told and not observed than
/// were sent.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let sent: BTreeSet<&str> = script.lines.iter().map(String::as_str).collect();
    let mut traced = BTreeSet::new();
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    for line in told {
        let unobserved = line.split(" unobserved ").nth(1).map(|count| count.parse().expect("a count"));
        *counted.entry(place(line)).or_default() += unobserved.unwrap_or(1);
        if unobserved.is_none() {
            prop_assert!(sent.contains(line.as_str()), "invented: {line}");
            prop_assert!(!line.contains('|') || traced.insert(line), "told twice: {line}");
        }
    }
    let records = script.records();
    for (place, count) in counted {
        prop_assert!(count <= records.get(&place).copied().unwrap_or(0), "{place}: {count} of {records:?}");
    }
    Ok(())
}

/// How a segment ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    After(usize),
    /// Before what looks like a request, or a batch in its value.
    BeforeRequest,
}

fn segments() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        2 => (20..60_usize).prop_map(Cut::After),
        2 => (60..400_usize).prop_map(Cut::After),
        1 => Just(Cut::After(usize::MAX)),
        5 => Just(Cut::BeforeRequest),
    ];
    prop::collection::vec(cut, 1..20)
}

/// Cuts runs, some of them before what looks like a request: its client id stands fourteen bytes behind its beginning.
fn cut_by(script: &Script, cuts: &[Cut]) -> Vec<Owned> {
    let mut cuts = cuts.iter().cycle();
    cut(&script.runs, |bytes| match cuts.next() {
        Some(Cut::After(len)) => *len,
        Some(Cut::BeforeRequest) | None => {
            let ids: [&[u8]; 2] = [b"another-client", b"orders-service"];
            let begins = |at: &usize| ids.iter().any(|id| bytes[*at + 14..].starts_with(id));
            (20..bytes.len().saturating_sub(14)).find(begins).unwrap_or(bytes.len())
        }
    })
}

proptest! {
    #[test]
    fn holes_never_invent(script in script(), cuts in segments(), fates in fates()) {
        let pieces = cut_by(&script, &cuts);
        let proven = pieces.iter().take_while(|piece| piece.from == End::First).count() + 1;
        check_nothing_is_invented(&script, &tell(RecordBounds::default(), &meet(&pieces, &fates, proven)).lines)?;
    }

    #[test]
    fn a_connection_that_is_joined_anywhere_never_invents(
        script in script_of_strangers(), cuts in segments(), from in any::<prop::sample::Index>(), fates in fates(),
    ) {
        let pieces = cut_by(&script, &cuts);
        let pieces = &pieces[from.index(pieces.len())..];
        check_nothing_is_invented(&script, &tell(RecordBounds::default(), pieces).lines)?;
        check_nothing_is_invented(&script, &tell(RecordBounds::default(), &meet(pieces, &fates, 0)).lines)?;
    }

    #[test]
    fn a_capture_that_keeps_the_beginnings_of_packets_never_invents(script in script(), snap in 20..400_usize) {
        let mut pieces = cut(&script.runs, |_| 1448);
        for piece in &mut pieces {
            piece.bytes.truncate(snap);
        }
        check_nothing_is_invented(&script, &tell(RecordBounds::default(), &pieces).lines)?;
    }

    #[test]
    fn of_a_message_that_is_lost_only_its_own_records_are(script in script(), hole in any::<prop::sample::Index>()) {
        let mut pieces = cut(&script.runs, <[u8]>::len);
        // The first two prove the connection.
        let hole = 2 + hole.index(pieces.len() - 2);
        pieces.remove(hole);
        let mut told = tell(RecordBounds::default(), &pieces).lines;
        let mut expected = script.lines;
        for lost in &script.owned[hole] {
            let at = expected.iter().position(|line| line == lost).expect("a line");
            expected.remove(at);
        }
        // A response that is lost is waited for.
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
    }
}
