//! Conversations with holes: whatever is missing, nothing is invented. What is taken for given of servers and of clients that
//! pipeline is said at the top of the decoder, and the scripts keep to it; the first piece of each end is never lost.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::decode::Fidelity;
use observer_core::message::End;
use proptest::prelude::*;

use crate::kernel::thin;
use crate::script::{Script, wide_script};
use crate::tap::{Owned, cut, tell};

/// Checks that every told line is a part of one that was sent, that none is told twice, that no response is given to another
/// request, and that no more requests are called missed than were.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let sent: BTreeMap<String, &str> = script.lines.iter().map(|line| (key(line), line.as_str())).collect();
    let mut requests = BTreeMap::new();
    let mut responses = BTreeSet::new();
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
            prop_assert!(sent.is_some(), "invented: {line} of {told:#?}");
            let sent: Vec<&str> = sent.unwrap().split(" | ").skip(1).collect();
            let seen: Vec<&str> = line.split(" | ").skip(1).collect();
            prop_assert!(if incomplete { sent.starts_with(&seen) } else { sent == seen }, "{line} of {sent:?}");
            let earlier = requests.insert(words[1].to_owned(), words[4][2..].to_owned());
            prop_assert!(earlier.is_none(), "told twice: {line}");
        } else {
            let tenant = line.split("x-tenant-id: ").nth(1);
            prop_assert!(incomplete || tenant.is_some(), "invented: {line} of {told:#?}");
            prop_assert!(words[3] != "299" && tenant != Some("fake"), "invented: {line} of {told:#?}");
            let Some(tenant) = tenant else { continue };
            prop_assert!(responses.insert(tenant.to_owned()), "told twice: {line}");
            if words[1] != "-" {
                let asked = requests.get(words[1]).map(String::as_str);
                prop_assert_eq!(asked, Some(&tenant[1..]), "{} of {:#?}", line, told);
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

/// The first pieces of the ends, and those of the first runs: a stream is joined where its first piece is.
fn kept(pieces: &[Owned], runs: usize) -> usize {
    let mut starts = pieces.windows(2).enumerate().filter(|(_, pair)| pair[0].from != pair[1].from);
    starts.nth(runs.max(1) - 1).map_or(pieces.len(), |(at, _)| at + 1)
}

/// How a segment ends.
#[derive(Clone, Copy, Debug)]
enum Cut {
    After(usize),
    /// Before what looks like a head.
    BeforeText,
}

/// What happens to a piece on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passes,
    Lost,
    Twice,
    /// It comes after the next piece of the same run.
    Overtaken,
}

fn segments() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        2 => (20..60_usize).prop_map(Cut::After),
        2 => (60..400_usize).prop_map(Cut::After),
        1 => Just(Cut::After(usize::MAX)),
        5 => Just(Cut::BeforeText),
    ];
    prop::collection::vec(cut, 1..20)
}

/// Fates of pieces, over and over; some connections lose little and some lose most.
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    (0..12_u32, 0..3_u32, 0..3_u32).prop_flat_map(|(lost, twice, overtaken)| {
        let fate = prop_oneof![
            8 => Just(Fate::Passes),
            lost + 1 => Just(Fate::Lost),
            twice + 1 => Just(Fate::Twice),
            overtaken + 1 => Just(Fate::Overtaken),
        ];
        prop::collection::vec(fate, 1..60)
    })
}

fn cut_by(script: &Script, cuts: &[Cut]) -> Vec<Owned> {
    let mut cuts = cuts.iter().cycle();
    cut(&script.runs, |bytes| match cuts.next() {
        Some(Cut::After(len)) => *len,
        Some(Cut::BeforeText) | None => {
            let starts = |at: &usize| {
                ["GET ", "POST ", "PUT ", "HTTP/1.1 "].iter().any(|text| bytes[*at..].starts_with(text.as_bytes()))
            };
            (20..bytes.len()).find(starts).unwrap_or(bytes.len())
        }
    })
}

/// Lets pieces meet their fates, but for the first piece of each end and the first runs.
fn meet(pieces: &[Owned], fates: &[Fate], runs: usize) -> Vec<Owned> {
    let second = pieces.iter().position(|piece| piece.from == End::Second);
    let safe = if runs > 0 { kept(pieces, runs) } else { 1 };
    let mut left: Vec<Owned> = Vec::new();
    let mut late: Option<Owned> = None;
    for (number, (piece, fate)) in pieces.iter().zip(fates.iter().cycle()).enumerate() {
        let fate = if number < safe || Some(number) == second { Fate::Passes } else { *fate };
        if late.as_ref().is_some_and(|late| late.from != piece.from || Some(number) == second) {
            left.extend(late.take());
        }
        match fate {
            Fate::Lost => {}
            Fate::Overtaken if late.is_none() => {
                late = Some(piece.clone());
                continue;
            }
            Fate::Passes | Fate::Overtaken => left.push(piece.clone()),
            Fate::Twice => left.extend([piece.clone(), piece.clone()]),
        }
        left.extend(late.take());
    }
    left.extend(late);
    left
}

proptest! {
    #[test]
    fn records_of_the_kernel_that_are_lost_repeated_and_overtaken_never_invent(
        (script, runs) in wide_script(true), cuts in segments(), on_the_wire in fates(), in_the_ring in fates(),
    ) {
        let on_the_wire: Vec<Fate> = on_the_wire.into_iter().map(|fate| if fate == Fate::Lost { Fate::Passes } else { fate }).collect();
        let told = thin(&meet(&cut_by(&script, &cuts), &on_the_wire, runs));
        check_nothing_is_invented(&script, &tell(Fidelity::Heads, &meet(&told, &in_the_ring, runs)).0)?;
    }

    #[test]
    fn packets_that_the_kernel_does_not_see_never_invent((script, runs) in wide_script(true), cuts in segments(), fates in fates()) {
        let told = thin(&meet(&cut_by(&script, &cuts), &fates, runs));
        check_nothing_is_invented(&script, &tell(Fidelity::Heads, &told).0)?;
    }

    #[test]
    fn holes_in_a_capture_never_invent((script, runs) in wide_script(true), cuts in segments(), fates in fates()) {
        let pieces = meet(&cut_by(&script, &cuts), &fates, runs);
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &pieces).0)?;
    }

    #[test]
    fn without_a_loss_every_kind_of_conversation_is_told((script, _) in wide_script(true), cuts in segments()) {
        prop_assert_eq!(tell(Fidelity::Whole, &cut_by(&script, &cuts)).0, script.lines);
    }

    #[test]
    fn a_capture_that_keeps_the_beginnings_of_packets_never_invents(script in wide_script(false), snap in 20..400_usize) {
        let mut pieces = cut(&script.0.runs, |_| 1448);
        for piece in &mut pieces {
            piece.bytes.truncate(snap);
        }
        check_nothing_is_invented(&script.0, &tell(Fidelity::Whole, &pieces).0)?;
    }
}
