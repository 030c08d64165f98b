//! Properties of the decoder over made-up conversations.

use observer_core::decode::RecordBounds;
use observer_core::decode::kafka::Anomalies;
use observer_core::message::End;
use proptest::prelude::*;

use crate::pieces::{changes, cut, cuts, cycle, disturbed, len, overtaken, repeated, strangers};
use crate::script::{place, script};
use crate::tap::tell;
use crate::wire::{Batch, CODECS, Record, fetch, fetched, raw_batch};

/// What a connection may hold: a batch and pieces that came too early for each direction, and what is small.
const HELD_BYTES_MAX: usize = 500 * 1024;

proptest! {
    #[test]
    fn bytes_cut_anywhere_give_the_same_messages(script in script(), cuts in cuts()) {
        let told = tell(RecordBounds::default(), &cut(&script.runs, cycle(&cuts)));
        prop_assert_eq!(told.lines, script.lines);
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn repeated_pieces_change_nothing(
        script in script(), cuts in cuts(), repeats in prop::collection::vec(0..6_usize, 1..30),
    ) {
        let pieces = cut(&script.runs, cycle(&cuts));
        let told = tell(RecordBounds::default(), &repeated(&pieces, &repeats, 0));
        prop_assert_eq!(told.lines, script.lines);
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn pieces_that_overtake_others_change_nothing(
        script in script(), cuts in prop::collection::vec(20..400_usize, 1..40), turns in prop::collection::vec(1..8_usize, 1..30),
    ) {
        let pieces = overtaken(cut(&script.runs, cycle(&cuts)), &turns, 1);
        let told = tell(RecordBounds::default(), &pieces);
        prop_assert_eq!(told.lines, script.lines);
        prop_assert_eq!(told.anomalies, Anomalies::default());
    }

    #[test]
    fn overlapping_pieces_change_nothing(script in script(), cuts in cuts(), overlaps in prop::collection::vec(0..30_usize, 1..9)) {
        let mut pieces = cut(&script.runs, cycle(&cuts));
        for number in 1..pieces.len() {
            let (before, after) = pieces.split_at_mut(number);
            let (last, piece) = (&before[number - 1], &mut after[0]);
            if last.from == piece.from && last.seq.wrapping_add(last.wire_len) == piece.seq {
                let overlap = overlaps[number % overlaps.len()].min(last.bytes.len());
                piece.bytes.splice(0..0, last.bytes[last.bytes.len() - overlap..].iter().copied());
                piece.seq = piece.seq.wrapping_sub(len(overlap));
                piece.wire_len += len(overlap);
            }
        }
        prop_assert_eq!(tell(RecordBounds::default(), &pieces).lines, script.lines);
    }

    #[test]
    fn records_of_longer_batches_are_counted_exactly(script in script(), cuts in cuts(), batch_bytes in 61..2000_usize) {
        let bounds = RecordBounds { batch_bytes, ..RecordBounds::default() };
        let told = tell(bounds, &cut(&script.runs, cycle(&cuts)));
        prop_assert_eq!(told.anomalies, Anomalies::default());
        let mut counted = std::collections::BTreeMap::new();
        for line in &told.lines {
            let unobserved = line.split(" unobserved ").nth(1).map(|count| count.parse().expect("a count"));
            *counted.entry(place(line)).or_insert(0_u64) += unobserved.unwrap_or(1);
        }
        prop_assert_eq!(counted, script.records());
    }

    #[test]
    fn random_pieces_never_panic_and_stay_within_memory(
        script in script(),
        cuts in cuts(),
        changes in changes(),
        strangers in strangers(prop::collection::vec(any::<u8>(), 0..80)),
    ) {
        let pieces = disturbed(cut(&script.runs, cycle(&cuts)), changes, strangers);
        let told = tell(RecordBounds::default(), &pieces);
        prop_assert!(told.held_bytes <= HELD_BYTES_MAX, "{}", told.held_bytes);
    }

    #[test]
    fn batches_of_any_bytes_never_panic_and_stay_within_their_bounds(
        codec in 0..8_u8, payload in prop::collection::vec(any::<u8>(), 0..300), count in 0..1000_u32, long in any::<bool>(),
    ) {
        let start: &[&[u8]] = &[b"", b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd"];
        let payload = [start.get(usize::from(codec)).copied().unwrap_or_default(), &payload].concat();
        let payload = if long { payload.repeat(20) } else { payload };
        check_payload(codec, count, &payload)?;
    }

    #[test]
    fn compressed_batches_with_wrong_bytes_never_panic_and_stay_within_their_bounds(
        codec in 0..CODECS.len(),
        values in prop::collection::vec(0..3000_usize, 1..20),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let text = |len| (0..len).map(|at: usize| b"some text "[at * at % 10]).collect();
        let records: Vec<Record> = values.iter().map(|&len| Record { headers: vec![], value: text(len) }).collect();
        let count = len(records.len());
        let mut payload = Batch { codec, ..Batch::of(records) }.payload();
        for (at, byte) in wrong {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        if is_cut {
            payload.truncate(end.index(payload.len()));
        }
        check_payload(u8::try_from(if codec == 5 { 2 } else { codec }).expect("a codec"), count, &payload)?;
    }
}

/// Checks that as many records are told or not observed as a batch says to hold, whatever bytes stand for them.
fn check_payload(codec: u8, count: u32, payload: &[u8]) -> Result<(), TestCaseError> {
    let topics = vec![("t".to_owned(), vec![(0, raw_batch(codec, count, payload))])];
    let runs =
        [(End::First, fetch(12, 1, None, None, &topics, &|_, _| 0)), (End::Second, fetched(12, 1, &topics, &[]))];
    let told = tell(RecordBounds::default(), &cut(&runs, <[u8]>::len));
    let records = told
        .lines
        .iter()
        .map(|line| line.split(" unobserved ").nth(1).map_or(1, |count| count.parse().expect("a count")));
    let counted: u64 = records.sum();
    let refused = counted == 0 && told.anomalies.malformed == 1;
    prop_assert!(counted == u64::from(count) || refused, "{counted} of {count}");
    Ok(())
}

#[test]
fn an_idle_decoder_is_small() {
    let size = size_of::<observer_core::decode::kafka::Kafka>();
    assert!(size <= 640, "{size}");
}
