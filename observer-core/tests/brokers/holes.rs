//! Conversations with holes: whatever is missing, nothing is invented. What is taken for given is said at the top of each decoder.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::message::End;
use proptest::prelude::*;

use crate::pieces::{Owned, cut, fates, meet};
use crate::script::{FAKES, Script, script};
use crate::tap::tell;

/// Checks that every told message was sent, that none is told twice, and that no more are told and not observed than were sent,
/// answers included: these are not known where their address is missing.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let sent: BTreeSet<String> = script.lines().into_iter().collect();
    let mut traced = BTreeSet::new();
    let mut counted: BTreeMap<char, u64> = BTreeMap::new();
    for line in told {
        let sign = line.chars().next().expect("a sign");
        let unobserved = line.split(" unobserved ").nth(1).map(|count| count.parse().expect("a count"));
        *counted.entry(sign).or_default() += unobserved.unwrap_or(1);
        if unobserved.is_none() {
            prop_assert!(sent.contains(line), "invented: {line}");
            prop_assert!(!line.contains('|') || traced.insert(line), "told twice: {line}");
        }
    }
    for (sign, count) in counted {
        let from = if sign == '>' { End::First } else { End::Second };
        let ended = script.runs.iter().zip(&script.told).skip(script.opening);
        let sent: usize = ended.filter(|((end, _), _)| *end == from).map(|(_, told)| told.len().max(1)).sum();
        prop_assert!(count <= sent as u64, "{sign}: {count} of {sent}");
    }
    Ok(())
}

/// Lengths of pieces: of some bytes, or of a whole run.
fn segments() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![20..60_usize, 60..400_usize, Just(usize::MAX)], 1..20)
}

/// Cuts runs, but none where a message begins that nobody sent.
fn cut_by(script: &Script, cuts: &[usize]) -> Vec<Owned> {
    let mut cuts = cuts.iter().cycle();
    cut(&script.runs, |bytes| {
        let len = *cuts.next().expect("a length");
        let begins = |fake: &&[u8]| bytes.get(len..).is_some_and(|rest| rest.starts_with(fake));
        if FAKES.iter().any(begins) { len + 1 } else { len }
    })
}

proptest! {
    #[test]
    fn holes_never_invent(script in script(), cuts in segments(), fates in fates()) {
        check_nothing_is_invented(&script, &tell(&meet(&cut_by(&script, &cuts), &fates, 1)).lines)?;
    }

    #[test]
    fn a_connection_that_is_joined_anywhere_never_invents(
        script in script(), cuts in segments(), from in any::<prop::sample::Index>(), fates in fates(),
    ) {
        let pieces = cut_by(&script, &cuts);
        let pieces = &pieces[from.index(pieces.len())..];
        check_nothing_is_invented(&script, &tell(pieces).lines)?;
        check_nothing_is_invented(&script, &tell(&meet(pieces, &fates, 0)).lines)?;
    }

    #[test]
    fn a_capture_that_keeps_the_beginnings_of_packets_never_invents(script in script(), snap in 20..400_usize) {
        let mut pieces = cut_by(&script, &[1448]);
        for piece in &mut pieces {
            piece.bytes.truncate(snap);
        }
        check_nothing_is_invented(&script, &tell(&pieces).lines)?;
    }

    #[test]
    fn of_a_message_that_is_lost_only_its_own_line_is(script in script(), hole in any::<prop::sample::Index>()) {
        let mut pieces = cut(&script.runs, <[u8]>::len);
        // What opens the connection proves it.
        let hole = script.opening + hole.index(pieces.len() - script.opening);
        pieces.remove(hole);
        let mut told = tell(&pieces).lines;
        let mut expected = script.told.clone();
        expected.remove(hole);
        let mut expected = expected.concat();
        // What is lost is waited for.
        told.sort();
        expected.sort();
        prop_assert_eq!(told, expected);
    }

    #[test]
    fn a_connection_that_is_joined_at_a_message_tells_all_from_there_on(script in script(), from in any::<prop::sample::Index>()) {
        let pieces = cut(&script.runs, <[u8]>::len);
        let from = script.opening + from.index(pieces.len() - script.opening);
        // Only what announces a message tells by itself what this is.
        let mut expected = script.told[from..].iter().skip_while(|told| told.is_empty());
        prop_assert_eq!(tell(&pieces[from..]).lines, expected.by_ref().flatten().cloned().collect::<Vec<_>>());
    }
}
