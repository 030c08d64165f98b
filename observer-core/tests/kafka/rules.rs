//! What is told of which message, one rule a test.

use observer_core::decode::RecordBounds;
use observer_core::decode::kafka::{Anomalies, Recognition, TopicNames, recognise};
use observer_core::message::End;

use crate::tap::{cut, lines, tell, tell_with};
use crate::wire::{
    Batch, CODECS, Record, Topics, Wire, fetch, fetched, heartbeat, metadata, produce, produced, topic_id,
};

const CLIENT: Option<&str> = Some("orders");
const FROM_START: &dyn Fn(&str, i32) -> i64 = &|_, _| 0;

fn one(topic: &str, partition: i32, batches: &[u8]) -> Topics {
    vec![(topic.into(), vec![(partition, batches.to_vec())])]
}

fn traced(traces: &[&str]) -> Vec<u8> {
    Batch::of(traces.iter().map(|trace| Record::traced(trace)).collect()).bytes()
}

/// A connection that was proven with a heartbeat, then these bytes.
fn proven(runs: &[(End, Vec<u8>)]) -> Vec<(End, Vec<u8>)> {
    let (ask, answer) = heartbeat(1, CLIENT);
    [&[(End::First, ask), (End::Second, answer)], runs].concat()
}

/// A fetch of topic `t`, with partition 0 from the offset `from` on.
fn fetching(version: i16, from: i64, batches: &[u8], aborted: &[(i64, i64)]) -> Vec<(End, Vec<u8>)> {
    vec![
        (End::First, fetch(version, 2, CLIENT, None, &one("t", 0, &[]), &|_, _| from)),
        (End::Second, fetched(version, 2, &one("t", 0, batches), aborted)),
    ]
}

#[test]
fn records_are_produced_in_every_version() {
    for version in 3..=12 {
        let request = produce(version, 2, CLIENT, &one("orders.new", 3, &traced(&["a", "b"])));
        let told = lines(&proven(&[(End::First, request), (End::Second, produced(version, 2))]));
        assert_eq!(told, ["> orders.new 3 | traceparent: a", "> orders.new 3 | traceparent: b"], "version {version}");
    }
}

#[test]
fn records_are_fetched_in_every_version() {
    for version in 4..=12 {
        let told = lines(&fetching(version, 0, &traced(&["a"]), &[]));
        assert_eq!(told, ["< t 0 | traceparent: a"], "version {version}");
    }
}

#[test]
fn topics_that_come_by_id_have_the_names_that_metadata_told_on_any_connection() {
    let id = format!("{:032x}", topic_id("t"));
    for (versions, produced_in) in [(10..=10, 13), (11..=11, 13), (12..=12, 13), (13..=13, 13)] {
        for version in versions {
            let mut names = TopicNames::default();
            let runs = [
                (End::First, produce(produced_in, 3, CLIENT, &one("t", 0, &traced(&["a"])))),
                (End::Second, produced(produced_in, 3)),
            ];
            let pieces = cut(&runs, <[u8]>::len);
            let told = tell_with(RecordBounds::default(), &pieces, &mut names);
            assert_eq!(told.lines, [format!("> {id} 0 | traceparent: a")]);
            let (ask, answer) = metadata(version, 2, CLIENT, &["s", "t", "u"]);
            let runs = [(End::First, ask), (End::Second, answer)];
            assert_eq!(
                tell_with(RecordBounds::default(), &cut(&runs, <[u8]>::len), &mut names).anomalies,
                Anomalies::default()
            );
            assert_eq!(names.len(), 3);
            assert_eq!(tell_with(RecordBounds::default(), &pieces, &mut names).lines, ["> t 0 | traceparent: a"]);
            for version in 13..=18 {
                let runs = fetching(version, 0, &traced(&["b"]), &[]);
                let told = tell_with(RecordBounds::default(), &cut(&runs, <[u8]>::len), &mut names);
                assert_eq!((told.lines, told.anomalies), (vec!["< t 0 | traceparent: b".into()], Anomalies::default()));
            }
        }
    }
}

#[test]
fn every_codec_is_read() {
    let traces: Vec<String> = (0..50).map(|number| format!("trace-{number}")).collect();
    let expected: Vec<String> = traces.iter().map(|trace| format!("< t 0 | traceparent: {trace}")).collect();
    for (codec, name) in CODECS.iter().enumerate() {
        let records = traces.iter().map(|trace| Record::traced(trace)).collect();
        let batch = Batch { codec, ..Batch::of(records) }.bytes();
        assert_eq!(lines(&fetching(12, 0, &batch, &[])), expected, "{name}");
    }
}

#[test]
fn only_wanted_headers_are_told_in_any_case_and_repeatedly() {
    let header = |key: &str, value: Option<&str>| (key.to_owned(), value.map(|value| value.as_bytes().to_vec()));
    let record = Record {
        headers: vec![
            header("authorization", Some("secret")),
            header("TraceParent", Some("one")),
            header("b3", None),
            header("traceparent", Some("two")),
            header("X-Tenant-Id", Some("acme \u{e9}")),
            header("", None),
        ],
        value: b"traceparent".to_vec(),
    };
    let told = lines(&fetching(4, 0, &Batch::of(vec![record]).bytes(), &[]));
    assert_eq!(told, [r"< t 0 | traceparent: one | b3:  | traceparent: two | x-tenant-id: acme \xc3\xa9"]);
}

#[test]
fn records_without_wanted_headers_are_told_as_well() {
    let record = Record { headers: vec![], value: vec![] };
    assert_eq!(lines(&fetching(11, 0, &Batch::of(vec![record]).bytes(), &[])), ["< t 0"]);
}

#[test]
fn several_topics_partitions_and_batches_are_told_in_the_order_of_the_wire() {
    let two = [traced(&["a"]), traced(&["b", "c"])].concat();
    let topics: Topics =
        vec![("s".into(), vec![(7, two), (8, vec![])]), ("t".into(), vec![(0, traced(&["d"])), (1, traced(&["e"]))])];
    for version in [4, 12] {
        let runs = [
            (End::First, fetch(version, 2, CLIENT, None, &topics, FROM_START)),
            (End::Second, fetched(version, 2, &topics, &[])),
        ];
        let told = lines(&runs);
        let expected = ["s 7 a", "s 7 b", "s 7 c", "t 0 d", "t 1 e"];
        let told: Vec<String> = told.iter().map(|line| line.replace("< ", "").replace("| traceparent: ", "")).collect();
        assert_eq!(told, expected);
    }
}

#[test]
fn control_batches_are_not_told() {
    let control = Batch { control: true, transactional: true, ..Batch::of(vec![Record::traced("never")]) }.bytes();
    let batches = [traced(&["a"]), control, traced(&["b"])].concat();
    assert_eq!(lines(&fetching(12, 0, &batches, &[])), ["< t 0 | traceparent: a", "< t 0 | traceparent: b"]);
}

#[test]
fn aborted_transactions_are_not_told_where_the_broker_lists_them() {
    let batch = |base_offset, producer, control, trace: &str| {
        let records = vec![Record::traced(trace)];
        Batch { base_offset, producer, transactional: true, control, ..Batch::of(records) }.bytes()
    };
    let batches = [
        batch(0, 7, false, "committed before"),
        batch(1, 8, false, "of another"),
        batch(2, 7, false, "aborted"),
        batch(3, 7, true, "marker"),
        batch(4, 7, false, "committed after"),
    ]
    .concat();
    for version in [4, 12] {
        let told = lines(&fetching(version, 0, &batches, &[(7, 2)]));
        let told: Vec<&str> = told.iter().map(|line| line.split(": ").nth(1).expect("a header")).collect();
        assert_eq!(told, ["committed before", "of another", "committed after"]);
        assert_eq!(lines(&fetching(version, 0, &batches, &[])).len(), 4);
    }
}

#[test]
fn records_before_the_wanted_offset_are_not_told() {
    let traces = ["a", "b", "c", "d"].map(Record::traced).to_vec();
    let batch = Batch { base_offset: 10, ..Batch::of(traces) }.bytes();
    assert_eq!(lines(&fetching(12, 12, &batch, &[])), ["< t 0 | traceparent: c", "< t 0 | traceparent: d"]);
    assert_eq!(lines(&fetching(12, 14, &batch, &[])), [""; 0]);
    let told = tell(
        RecordBounds { batch_bytes: 100, ..RecordBounds::default() },
        &cut(&fetching(12, 13, &batch, &[]), <[u8]>::len),
    );
    assert_eq!(told.lines, ["< t 0 unobserved 1"]);
}

#[test]
fn a_fetch_session_names_only_what_has_changed() {
    let traces = ["a", "b", "c", "d"].map(Record::traced).to_vec();
    let batch = Batch { base_offset: 10, ..Batch::of(traces) }.bytes();
    let mut runs = fetching(12, 13, &[], &[]);
    runs.push((End::First, fetch(12, 3, CLIENT, None, &vec![], FROM_START)));
    runs.push((End::Second, fetched(12, 3, &one("t", 0, &batch), &[])));
    assert_eq!(lines(&runs), ["< t 0 | traceparent: d"]);
}

#[test]
fn what_brokers_fetch_from_one_another_is_not_told() {
    for version in [4, 11, 12, 15, 17] {
        let topics = one("t", 0, &traced(&["a"]));
        let runs = [
            (End::First, fetch(version, 2, CLIENT, Some(3), &topics, FROM_START)),
            (End::Second, fetched(version, 2, &topics, &[])),
        ];
        assert_eq!(lines(&runs), [""; 0], "version {version}");
    }
}

#[test]
fn of_a_longer_batch_the_header_tells_how_many_records_are_not_observed() {
    let batches = [traced(&["a", "b", "c"]), traced(&["d"])].concat();
    let bounds = RecordBounds { batch_bytes: traced(&["d"]).len(), ..RecordBounds::default() };
    let request = produce(9, 2, CLIENT, &one("t", 0, &batches));
    let runs = proven(&[(End::First, request), (End::Second, produced(9, 2))]);
    for segment in [1, 7, 10_000] {
        let told = tell(bounds, &cut(&runs, |_| segment));
        assert_eq!(told.lines, ["> t 0 unobserved 3", "> t 0 | traceparent: d"]);
        assert_eq!(told.anomalies, Anomalies::default());
    }
}

#[test]
fn of_a_batch_that_swells_the_records_beyond_the_bound_are_not_observed() {
    for (codec, &name) in CODECS.iter().enumerate().skip(1) {
        let records = (0..100).map(|_| Record { value: vec![b'x'; 1000], ..Record::traced("a") }).collect();
        let batch = Batch { codec, ..Batch::of(records) }.bytes();
        let bounds = RecordBounds { records_bytes: 50_000, ..RecordBounds::default() };
        let told = tell(bounds, &cut(&fetching(12, 0, &batch, &[]), <[u8]>::len));
        let read = told.lines.iter().filter(|line| line.ends_with(" | traceparent: a")).count();
        if name == "snappy" {
            // A single block is read whole or not at all.
            assert_eq!(read, 0);
        } else {
            assert!((40..50).contains(&read), "{name}: {read}");
        }
        assert_eq!(told.lines.last(), Some(&format!("< t 0 unobserved {}", 100 - read)));
    }
}

#[test]
fn a_missing_part_of_a_batch_leaves_its_records_not_observed_and_all_others_told() {
    let batches = [traced(&["a", "b", "c"]), traced(&["d"])].concat();
    let topics = vec![("t".to_owned(), vec![(0, batches), (1, traced(&["e"]))])];
    let response = fetched(12, 2, &topics, &[]);
    let value = response.windows(5).position(|bytes| bytes == b"value").expect("a value");
    let runs = [(End::First, fetch(12, 2, CLIENT, None, &topics, FROM_START)), (End::Second, response)];
    let mut lengths = [usize::MAX, value, 5, usize::MAX].into_iter();
    let mut pieces = cut(&runs, |_| lengths.next().expect("four pieces"));
    assert_eq!(pieces.remove(2).bytes, b"value");
    let told = tell(RecordBounds::default(), &pieces);
    assert_eq!(told.lines, ["< t 0 unobserved 3", "< t 0 | traceparent: d", "< t 1 | traceparent: e"]);
    assert_eq!(told.anomalies, Anomalies::default());
}

#[test]
fn batches_whose_headers_are_missing_are_hidden_and_the_next_partition_is_told() {
    let batches = [traced(&["a"]), traced(&["b"]), traced(&["c"])].concat();
    let batch = traced(&["a"]).len();
    let topics = vec![("t".to_owned(), vec![(0, batches), (1, traced(&["e"]))])];
    let runs =
        [(End::First, fetch(12, 2, CLIENT, None, &topics, FROM_START)), (End::Second, fetched(12, 2, &topics, &[]))];
    let mut pieces = cut(&runs, |_| 20);
    // The second batch begins some 130 bytes behind the beginning of the response.
    let first = pieces.iter().position(|piece| piece.from == End::Second).expect("a response");
    pieces.drain(first + (60 + batch) / 20..first + (100 + batch) / 20);
    let told = tell(RecordBounds::default(), &pieces);
    assert_eq!(told.lines.last().map(String::as_str), Some("< t 1 | traceparent: e"));
    assert_eq!(told.anomalies, Anomalies { batches_hidden: 1, ..Anomalies::default() });
}

#[test]
fn a_batch_that_the_broker_cuts_is_not_told_for_it_will_be_asked_for_again() {
    let whole = traced(&["b", "c"]);
    for len in 1..whole.len() {
        let batches = [&traced(&["a"]), &whole[..len]].concat();
        assert_eq!(lines(&fetching(4, 0, &batches, &[])), ["< t 0 | traceparent: a"], "{len}");
    }
}

#[test]
fn a_batch_with_a_wrong_checksum_is_not_observed() {
    let mut batch = traced(&["abcdef"]);
    let at = batch.windows(6).position(|bytes| bytes == b"abcdef").expect("the trace");
    batch[at] ^= 1;
    let told = tell(RecordBounds::default(), &cut(&fetching(12, 0, &batch, &[]), <[u8]>::len));
    assert_eq!(told.lines, ["< t 0 unobserved 1"]);
    assert_eq!(told.anomalies.malformed, 1);
}

#[test]
fn the_old_formats_are_counted_and_passed_over() {
    // Offset, size, checksum, magic 1, attributes, time, key, value.
    let old = [&[0; 8][..], &[0, 0, 0, 26], &[1, 2, 3, 4, 1, 0], &[0; 8], &[255; 4], &[0, 0, 0, 4], b"abcd"].concat();
    let runs = fetching(4, 0, &[&old[..], &traced(&["a"])].concat(), &[]);
    let told = tell(RecordBounds::default(), &cut(&runs, <[u8]>::len));
    assert_eq!(told.lines, ["< t 0 | traceparent: a"]);
    assert_eq!(told.anomalies, Anomalies { old_formats: 1, ..Anomalies::default() });
}

#[test]
fn versions_that_are_not_known_are_counted_and_passed_over() {
    let unknown = Wire::request(0, 14, true, 2, CLIENT).raw(b"who knows").done();
    let old = Wire::request(0, 2, false, 3, CLIENT).raw(b"not read").done();
    let shared = Wire::request(78, 1, true, 4, CLIENT).raw(b"not read").done();
    let request = produce(9, 5, CLIENT, &one("t", 0, &traced(&["a"])));
    let runs = proven(&[(End::First, [unknown, old, shared, request].concat())]);
    let told = tell(RecordBounds::default(), &cut(&runs, <[u8]>::len));
    assert_eq!(told.lines, ["> t 0 | traceparent: a"]);
    assert_eq!(told.anomalies, Anomalies { unknown_versions: 2, old_formats: 1, ..Anomalies::default() });
}

#[test]
fn without_acks_no_response_comes_and_others_still_find_their_requests() {
    let requests: Vec<u8> =
        (2..9).flat_map(|number| produce(9, number, CLIENT, &one("t", 0, &traced(&["a"])))).collect();
    let topics = one("t", 0, &traced(&["b"]));
    let mut runs = proven(&[(End::First, requests)]);
    runs.push((End::First, fetch(12, 9, CLIENT, None, &topics, FROM_START)));
    runs.push((End::Second, fetched(12, 9, &topics, &[])));
    let told = lines(&runs);
    assert_eq!((told.len(), told.last().map(String::as_str)), (8, Some("< t 0 | traceparent: b")));
}

#[test]
fn bytes_that_are_no_response_do_not_end_the_wait_for_a_request() {
    let request = produce(9, 2, CLIENT, &one("t", 0, &traced(&["a"])));
    let garbage = [&[0, 0, 0, 40, 0x7f][..], &[9; 40]].concat();
    let runs = [(End::Second, vec![0xff; 20]), (End::First, request), (End::Second, garbage)];
    let mut lengths = [usize::MAX; 3].into_iter().chain([20]).chain([usize::MAX; 2]);
    let mut pieces = cut(&proven(&runs), |_| lengths.next().expect("six pieces"));
    // The beginning of the request is overtaken by all else.
    let beginning = pieces.remove(3);
    pieces.push(beginning);
    assert_eq!((pieces.len(), pieces[5].from, pieces[5].bytes.len()), (6, End::First, 20));
    let told = tell(RecordBounds::default(), &pieces);
    assert_eq!(told.lines, ["> t 0 | traceparent: a"]);
    assert_eq!(told.anomalies, Anomalies { not_kafka: 1, ..Anomalies::default() });
}

#[test]
fn records_are_held_back_until_a_response_proves_the_connection() {
    let request = produce(9, 1, CLIENT, &one("t", 0, &traced(&["a"])));
    let told = tell(RecordBounds::default(), &cut(&[(End::First, request.clone())], <[u8]>::len));
    assert_eq!((told.lines.len(), told.proven, told.refuted), (0, false, false));
    assert_eq!(told.anomalies, Anomalies { unproven: 1, ..Anomalies::default() });
    assert_eq!(lines(&[(End::First, request), (End::Second, produced(9, 1))]), ["> t 0 | traceparent: a"]);
}

#[test]
fn requests_that_follow_one_another_prove_the_connection_too() {
    let requests: Vec<u8> =
        (0..8).flat_map(|number| produce(9, number, CLIENT, &one("t", 0, &traced(&["a"])))).collect();
    assert_eq!(lines(&[(End::First, requests)]).len(), 8);
}

#[test]
fn what_is_held_back_is_bounded_and_counted() {
    let records = (0..2000).map(|_| Record::traced("a")).collect();
    let request = produce(9, 1, CLIENT, &one("t", 0, &Batch::of(records).bytes()));
    let told = tell(RecordBounds::default(), &cut(&[(End::First, request), (End::Second, produced(9, 1))], |_| 1000));
    assert!(told.held_bytes < 256 * 1024, "{}", told.held_bytes);
    assert!(told.anomalies.unproven > 0);
    assert_eq!(told.lines.len() as u64 + told.anomalies.unproven, 2000);
}

#[test]
fn bytes_that_are_no_request_refute_a_wrong_guess() {
    let request = heartbeat(1, CLIENT).0;
    let told = tell(RecordBounds::default(), &cut(&[(End::First, [&request[..], &[7; 40]].concat())], <[u8]>::len));
    assert!(told.refuted && !told.proven);
    let runs = proven(&[(End::First, vec![7; 40])]);
    let told = tell(RecordBounds::default(), &cut(&runs, <[u8]>::len));
    assert!(told.proven && !told.refuted);
    assert_eq!(told.anomalies, Anomalies { not_kafka: 1, ..Anomalies::default() });
}

#[test]
fn a_connection_that_is_joined_in_the_middle_is_right_from_the_first_request_on() {
    let topics = one("t", 0, &traced(&["a"]));
    let late = [
        (End::Second, fetched(12, 40, &topics, &[])),
        (End::First, fetch(12, 41, CLIENT, None, &topics, FROM_START)),
        (End::Second, fetched(12, 41, &topics, &[])),
    ];
    assert_eq!(lines(&late), ["< t 0 | traceparent: a"]);
}

#[test]
fn raw_tokens_of_authentication_are_passed_over() {
    let token = [&[0, 0, 0, 12][..], b"\0user\0secret"].concat();
    let request = produce(9, 2, CLIENT, &one("t", 0, &traced(&["a"])));
    let runs = proven(&[(End::First, token), (End::First, request), (End::Second, produced(9, 2))]);
    assert_eq!(tell(RecordBounds::default(), &cut(&runs, <[u8]>::len)).lines, ["> t 0 | traceparent: a"]);
}

#[test]
fn a_request_is_recognised_by_content() {
    let whole = heartbeat(1, CLIENT).0;
    assert_eq!(recognise(&whole), Recognition::Request);
    assert_eq!(recognise(&[whole.clone(), heartbeat(2, CLIENT).0].concat()), Recognition::Request);
    let large = produce(3, 1, CLIENT, &one("t", 0, &traced(&["a"; 100])));
    assert_eq!(recognise(&large[..1000]), Recognition::Request);
    for len in 1..20 {
        assert_eq!(recognise(&whole[..len]), Recognition::Perhaps, "{len}");
    }
    let nameless = heartbeat(1, None).0;
    assert_eq!(recognise(&nameless), Recognition::Request);
    for len in 1..nameless.len() {
        assert_eq!(recognise(&nameless[..len]), Recognition::Perhaps, "{len}");
    }
}

#[test]
fn other_protocols_are_not_recognised() {
    let startup =
        b"\0\0\0\x54\0\x03\0\0user\0postgres\0database\0orders\0application_name\0psql\0client_encoding\0UTF8\0\0";
    let others: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"*3\r\n$3\r\nSET\r\n",
        b"AMQP\0\0\x09\x01",
        b"\x4a\0\0\0\x0a8.0.36\0\x08\0\0\0",
        startup,
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for other in others {
        assert_eq!(recognise(other), Recognition::No, "{}", other.escape_ascii());
    }
}
