//! Conversations with holes, and joined in the middle: whatever is missing, nothing is invented.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::decode::Fidelity;
use proptest::prelude::*;

use super::script::{Script, script};
use crate::pieces::{Owned, cut, fates, meet};
use crate::tap::tell;

/// Way and place of a line.
fn place(line: &str) -> String {
    line.split(' ').take(5).collect::<Vec<_>>().join(" ")
}

fn headers(line: &str) -> impl Iterator<Item = &str> {
    line.split(" | ").skip(1)
}

/// Checks that every told record was sent, at its place, with no header but its own; that none is told twice, and that no more are
/// told and not observed than were sent.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let (mut sent, mut counts): (BTreeSet<(String, &str)>, BTreeMap<String, u64>) = Default::default();
    for line in &script.lines {
        *counts.entry(place(line)).or_default() += 1;
        sent.extend(headers(line).map(|header| (place(line), header)));
    }
    let whole: BTreeSet<&str> = script.lines.iter().map(String::as_str).collect();
    let (mut traces, mut told_counts): (BTreeSet<&str>, BTreeMap<String, u64>) = Default::default();
    for line in told {
        let unobserved = line.split(" unobserved ").nth(1).map(|count| count.parse().expect("a count"));
        *told_counts.entry(place(line)).or_default() += unobserved.unwrap_or(1);
        let is_whole = unobserved.is_none() && !line.contains(" incomplete") && !place(line).ends_with(' ');
        prop_assert!(!is_whole || whole.contains(line.as_str()), "invented: {line}");
        // Where the key was lost, it may be any.
        let way = line.split(' ').take(4).collect::<Vec<_>>().join(" ");
        let is_sent = |header| match place(line).strip_prefix(&way) {
            Some(" ") => sent.iter().any(|(place, sent)| place.starts_with(&way) && *sent == header),
            _ => sent.contains(&(place(line), header)),
        };
        for header in headers(line) {
            prop_assert!(is_sent(header), "invented: {header} in {line}");
            prop_assert!(!header.starts_with("traceparent") || traces.insert(header), "told twice: {line}");
        }
    }
    for (place, count) in told_counts.into_iter().filter(|(place, _)| !place.ends_with(' ')) {
        prop_assert!(count <= counts.get(&place).copied().unwrap_or(0), "{place}: {count} of {counts:?}");
    }
    Ok(())
}

/// How a segment ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    After(usize),
    /// Before the next request.
    BeforeRequest,
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        2 => (20..60_usize).prop_map(Cut::After),
        2 => (60..400_usize).prop_map(Cut::After),
        1 => Just(Cut::After(usize::MAX)),
        5 => Just(Cut::BeforeRequest),
    ];
    prop::collection::vec(cut, 1..20)
}

fn cut_by(script: &Script, cuts: &[Cut]) -> Vec<Owned> {
    let mut cuts = cuts.iter().cycle();
    cut(&script.runs, |bytes| match cuts.next() {
        Some(Cut::After(len)) => *len,
        _ => bytes.windows(2).position(|two| two == b"\n*").map_or(bytes.len(), |at| at + 1),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_missing_nothing_is_invented(
        script in script(),
        cuts in cuts(),
        fates in fates(),
        step_ns in prop_oneof![Just(1000_u64), Just(400_000_000)],
    ) {
        let mut pieces = meet(&cut_by(&script, &cuts), &fates, 0);
        for (number, piece) in (0..).zip(&mut pieces) {
            piece.at = number * step_ns;
        }
        let (lines, _) = tell(Fidelity::Heads, &pieces);
        check_nothing_is_invented(&script, &lines)?;
    }

    #[test]
    fn joined_anywhere_nothing_is_invented(
        script in script(), cuts in cuts(), start in any::<prop::sample::Index>(),
    ) {
        let pieces = cut_by(&script, &cuts);
        let start = start.index(pieces.len());
        let (lines, _) = tell(Fidelity::Heads, &pieces[start..]);
        check_nothing_is_invented(&script, &lines)?;
    }
}
