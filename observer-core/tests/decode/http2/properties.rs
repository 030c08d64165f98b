//! Properties of the decoder over made-up conversations: cut anywhere they tell the same, and whatever is missing nothing is
//! invented.

use observer_core::decode::{Anomalies, Fidelity};
use observer_core::message::End;
use proptest::prelude::*;

use super::script::{Script, frame, script};
use super::walk::thin;
use crate::tap::{Owned, cut, tell};

/// Segment lengths, used over and over: from single bytes to whole runs.
fn cuts(least: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![Just(least), least..40_usize, 40..1500_usize, Just(usize::MAX)], 1..40)
}

fn pieces(script: &Script, cuts: &[usize]) -> Vec<Owned> {
    let mut cuts = cuts.iter().copied().cycle();
    cut(&script.runs, |_| cuts.next().unwrap_or(1))
}

/// The reads of peers that take each header of a frame by itself: the preface, headers and payloads, of which `cuts` may cut the last
/// (golang.org/x/net/http2 over TLS).
fn read_by_frames(script: &Script, cuts: &[usize]) -> Vec<Owned> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut payload_left = 0;
    cut(&script.runs, |rest| {
        if payload_left > 0 {
            let len = cuts.next().unwrap_or(1).min(payload_left);
            payload_left -= len;
            return len;
        }
        if rest.starts_with(b"PRI * ") {
            return 24;
        }
        payload_left = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
        9
    })
}

/// Whether a piece is the header of a frame that opens a stream, read by itself.
fn opens_stream(piece: &Owned) -> bool {
    piece.from == End::First && piece.bytes.len() == 9 && piece.bytes[0] == 0 && piece.bytes[3] == 1
}

/// Checks that every told line is a part of one that was sent, says so where it is not all of it, and that no response is given
/// to another request.
fn check_nothing_is_invented(script: &Script, told: &[String]) -> Result<(), TestCaseError> {
    let requests: Vec<&String> = script.lines.iter().filter(|line| line.starts_with('>')).collect();
    let mut by_exchange = std::collections::BTreeMap::new();
    let mut counted = 0;
    for line in told {
        let words: Vec<&str> = line.split(' ').collect();
        if words[3] == "unobserved" {
            counted += words[4].parse::<usize>().expect("a count");
            continue;
        }
        let mut parts = line.split(" | ");
        let start = parts.next().expect("a line");
        let headers: Vec<&str> = parts.collect();
        if words[0] == "<" {
            if let Some(number) = line.split("x-tenant-id: r").nth(1)
                && let Some(path) = by_exchange.get(words[1])
            {
                prop_assert!([format!("/r{number}"), String::new()].contains(path), "{line} of {told:#?}");
            }
            let of_exchange = by_exchange.get(words[1]).and_then(|path: &String| path.strip_prefix("/r"));
            if let Some(number) = of_exchange.filter(|_| words[3] != "?") {
                let sent: Vec<&str> =
                    script.lines.iter().filter(|line| line.starts_with('<')).map(String::as_str).collect();
                let answer = sent.iter().find(|sent| sent.split(' ').nth(1) == Some(number)).expect("an answer");
                prop_assert_eq!(answer.split(' ').nth(3), Some(words[3]), "{} of {:#?}", line, told);
            }
            continue;
        }
        counted += 1;
        let complete = !start.contains(" incomplete");
        let (method, path) = (words[3], words[4]);
        let fits = |sent: &&&String| {
            let mut parts = sent.split(" | ");
            let start: Vec<&str> = parts.next().expect("a line").split(' ').collect();
            let sent: Vec<&str> = parts.collect();
            let all = headers.iter().all(|header| sent.contains(header)) && (!complete || headers == sent);
            all && (method == start[3] || (method.is_empty() && !complete))
                && (path == start[4] || (path.is_empty() && !complete))
        };
        prop_assert!(requests.iter().any(|sent| fits(&sent)), "invented: {line} of {requests:#?}");
        let earlier = by_exchange.insert(words[1].to_owned(), path.to_owned());
        prop_assert!(earlier.is_none(), "told twice: {line}");
    }
    prop_assert!(counted <= requests.len(), "{counted} of {}: {told:#?}", requests.len());
    Ok(())
}

fn holes() -> impl Strategy<Value = Vec<(prop::sample::Index, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..6_usize), 1..4)
}

fn lose(mut pieces: Vec<Owned>, holes: &[(prop::sample::Index, usize)]) -> Vec<Owned> {
    for (at, count) in holes {
        if !pieces.is_empty() {
            let at = at.index(pieces.len());
            pieces.drain(at..(at + count).min(pieces.len()));
        }
    }
    pieces
}

proptest! {
    #[test]
    fn bytes_cut_anywhere_give_the_same_messages(script in script(), cuts in cuts(1)) {
        let (lines, anomalies) = tell(Fidelity::Whole, &pieces(&script, &cuts));
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn data_that_is_left_out_is_not_missed(script in script(), cuts in cuts(1)) {
        let (lines, anomalies) = tell(Fidelity::Heads, &thin(&pieces(&script, &cuts)));
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_are_repeated_or_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(30..400_usize, 1..40), turns in prop::collection::vec(1..6_usize, 1..30),
    ) {
        let sent = pieces(&script, &cuts);
        let mut turns = turns.iter().cycle();
        let mut seen = sent[..1].to_vec();
        let first_of_second = sent.iter().position(|piece| piece.from == End::Second);
        let mut rest = &sent[1..];
        while let Some(first) = rest.first() {
            let begins = Some(sent.len() - rest.len()) == first_of_second;
            let wanted = if begins { 1 } else { *turns.next().expect("a turn") };
            let run = rest.iter().take(wanted).take_while(|piece| piece.from == first.from).count();
            seen.extend(rest[..run].iter().rev().cloned());
            seen.push(rest[0].clone());
            rest = &rest[run..];
        }
        let (lines, anomalies) = tell(Fidelity::Whole, &seen);
        prop_assert_eq!(lines, script.lines);
        prop_assert_eq!(anomalies, Anomalies::default());
    }

    #[test]
    fn a_hole_in_a_capture_never_invents(script in script(), cuts in cuts(20), holes in holes()) {
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &lose(pieces(&script, &cuts), &holes)).0)?;
    }

    #[test]
    fn a_lost_record_of_the_kernel_never_invents(script in script(), cuts in cuts(20), holes in holes()) {
        check_nothing_is_invented(&script, &tell(Fidelity::Heads, &lose(thin(&pieces(&script, &cuts)), &holes)).0)?;
    }

    #[test]
    fn a_capture_that_keeps_the_beginnings_of_packets_never_invents(script in script(), snap in 20..400_usize) {
        let mut pieces = pieces(&script, &[1448]);
        for piece in &mut pieces {
            piece.bytes.truncate(snap);
        }
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &pieces).0)?;
    }

    #[test]
    fn a_connection_that_is_joined_late_never_invents(script in script(), cuts in cuts(20), join in any::<prop::sample::Index>()) {
        let pieces = pieces(&script, &cuts);
        check_nothing_is_invented(&script, &tell(Fidelity::Whole, &pieces[join.index(pieces.len())..]).0)?;
    }

    #[test]
    fn joined_where_a_header_is_read_alone_every_request_is_told_from_there(script in script(), join in any::<prop::sample::Index>()) {
        let pieces = thin(&read_by_frames(&script, &[usize::MAX]));
        let requests: Vec<usize> = (0..pieces.len()).filter(|&at| opens_stream(&pieces[at])).collect();
        let join = join.index(requests.len());
        let (lines, _) = tell(Fidelity::Heads, &pieces[requests[join]..]);
        check_nothing_is_invented(&script, &lines)?;
        let told = lines.iter().filter(|line| line.starts_with('>') && !line.contains("unobserved")).count();
        prop_assert_eq!(told, requests.len() - join, "{:#?}", lines);
    }

    #[test]
    fn headers_that_are_read_alone_never_invent(
        script in script(), cuts in cuts(1), join in any::<prop::sample::Index>(), holes in holes(),
    ) {
        let pieces = lose(read_by_frames(&script, &cuts), &holes);
        let join = join.index(pieces.len() + 1);
        check_nothing_is_invented(&script, &tell(Fidelity::Heads, &pieces[join..]).0)?;
    }

    #[test]
    fn random_pieces_never_panic_and_stay_within_memory(
        pieces in prop::collection::vec((
            any::<bool>(),
            prop_oneof![any::<u32>(), 0..400_u32],
            0..70_000_u32,
            0..2_000_000_000_u64,
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..80),
                (0..11_u8, any::<u8>(), 0..5_u32, prop::collection::vec(any::<u8>(), 0..40))
                    .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload)),
                Just(frame(1, 0, 1, &[0x40].repeat(30_000))),
                Just(frame(9, 0, 1, &b"a".repeat(30_000))),
                Just(frame(1, 5, 3, &[0x82].repeat(30_000))),
                Just(vec![0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 1]),
            ],
        ), 0..120),
    ) {
        let preface = Owned { at: 0, from: End::First, seq: 0, ack: None, wire_len: 24, bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), link: None };
        let mut next = [24_u32, 0];
        let pieces = pieces.into_iter().map(|(second, seq, more, at, bytes)| {
            let wire_len = u32::try_from(bytes.len()).expect("a piece") + if more % 5 == 0 { more } else { 0 };
            let next = &mut next[usize::from(second)];
            let seq = if more % 3 == 0 { seq } else { *next };
            *next = seq.wrapping_add(wire_len);
            Owned { at, from: if second { End::Second } else { End::First }, seq, ack: None, wire_len, bytes, link: more.checked_rem(7).filter(|&rest| rest == 0).map(|_| seq.wrapping_sub(more)) }
        });
        let pieces: Vec<Owned> = std::iter::once(preface).chain(pieces).collect();
        tell(Fidelity::Whole, &pieces);
    }
}
