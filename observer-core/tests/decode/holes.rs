//! Conversations with holes: whatever is missing, nothing is invented.

use std::collections::BTreeMap;

use observer_core::decode::Fidelity;
use observer_core::message::End;
use proptest::prelude::*;

use crate::script::{Script, script};
use crate::tap::{Owned, cut, tell, thin};

/// Checks that every told line is a part of one that was sent, and that no response is given to another request.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let sent: BTreeMap<String, &str> = script.lines.iter().map(|line| (key(line), line.as_str())).collect();
    let mut requests = BTreeMap::new();
    let mut unobserved = 0;
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        if words[3] == "unobserved" {
            unobserved += words[4].parse::<usize>().expect("a count");
            continue;
        }
        let incomplete = line.contains(" incomplete");
        let line = line.replace(" incomplete", "");
        if words[0] == ">" {
            let sent = sent.get(&key(&line));
            prop_assert!(sent.is_some(), "invented: {line}");
            let sent: Vec<&str> = sent.unwrap().split(" | ").skip(1).collect();
            let seen: Vec<&str> = line.split(" | ").skip(1).collect();
            prop_assert!(if incomplete { sent.starts_with(&seen) } else { sent == seen }, "{line} of {sent:?}");
            let earlier = requests.insert(words[1].to_owned(), words[4][2..].to_owned());
            prop_assert!(earlier.is_none(), "told twice: {line}");
        } else if let Some(tenant) = line.split("x-tenant-id: r").nth(1) {
            prop_assert!(!tenant.contains("fake"), "invented: {line}");
            if words[1] != "-" {
                prop_assert_eq!(requests.get(words[1]).map(String::as_str), Some(tenant), "{} of {:#?}", line, told);
            }
        }
    }
    let sent_requests = script.lines.iter().filter(|line| line.starts_with('>')).count();
    prop_assert!(requests.len() + unobserved <= sent_requests, "{unobserved} unobserved, told {told:?}");
    Ok(())
}

/// Which message of the script a line tells of: the path of a request.
fn key(line: &str) -> String {
    line.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" ")
}

/// Leaves out some runs of pieces, but not the first of an end: a stream is joined where its first piece is.
fn lose(pieces: &[Owned], holes: &[(prop::sample::Index, usize)]) -> Vec<Owned> {
    let mut left = pieces.to_vec();
    let first =
        [End::First, End::Second].map(|end| pieces.iter().find(|piece| piece.from == end).map(|piece| piece.seq));
    for (at, count) in holes {
        if !left.is_empty() {
            let at = at.index(left.len());
            let lost = left[at..].iter().take(*count).take_while(|piece| !first.contains(&Some(piece.seq))).count();
            left.drain(at..at + lost);
        }
    }
    left
}

fn holes() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..4_usize), 1..2)
}

/// Segments of which the first is enough to recognise the protocol.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![20..60_usize, 60..400_usize, Just(usize::MAX)], 1..20)
}

proptest! {
    #[test]
    fn a_hole_in_a_capture_never_invents(script in script(false), cuts in cuts(), holes in holes()) {
        let mut cuts = cuts.into_iter().cycle();
        let pieces = lose(&cut(&script.runs, |_| cuts.next().unwrap_or(1)), &holes);
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &pieces).0)?;
    }

    #[test]
    fn a_lost_record_of_the_kernel_never_invents(script in script(false), cuts in cuts(), holes in holes()) {
        let mut cuts = cuts.into_iter().cycle();
        let pieces = lose(&thin(&cut(&script.runs, |_| cuts.next().unwrap_or(1)), usize::MAX), &holes);
        check_nothing_is_invented(&script, &tell(Fidelity::Heads, &pieces).0)?;
    }

    #[test]
    fn a_capture_that_keeps_the_beginnings_of_packets_never_invents(script in script(false), snap in 20..400_usize) {
        let mut pieces = cut(&script.runs, |_| 1448);
        for piece in &mut pieces {
            piece.bytes.truncate(snap);
        }
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &pieces).0)?;
    }
}
