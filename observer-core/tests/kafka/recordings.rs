//! Real clients and a real broker: what is told of their connections is what they logged themselves. How the recordings were made
//! stands beside them.

use std::collections::{BTreeMap, BTreeSet};

use observer_core::decode::RecordBounds;
use observer_core::decode::kafka::{
    Anomalies, Body, Kafka, Message, Output, Recognition, Topic, TopicNames, Way, recognise,
};
use observer_core::message::{End, HeaderName};

use crate::pieces::cut;
use crate::tap::interest;

/// What passed, in the order of time: the number of the connection, the end and the bytes.
type Reads = Vec<(usize, End, Vec<u8>)>;

/// The reads of a recording, and what the client logged.
fn parse(recording: &str) -> (Reads, Vec<String>) {
    let (mut reads, mut logged) = (Vec::new(), Vec::new());
    for line in recording.lines() {
        if let Some(line) = line.strip_prefix("= ") {
            logged.push(line.to_owned());
            continue;
        }
        let mut words = line.splitn(3, ' ');
        let number = words.next().and_then(|number| number.parse().ok()).expect("the number of a connection");
        let from = if words.next() == Some(">") { End::First } else { End::Second };
        reads.push((number, from, unescape(words.next().expect("bytes"))));
    }
    (reads, logged)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'\\' {
            let digits: String = rest.by_ref().skip(1).take(2).map(char::from).collect();
            u8::from_str_radix(&digits, 16).expect("two hex digits")
        } else {
            byte
        });
    }
    bytes
}

/// What is told of all connections, a line a message in the words of the clients' logs, and what is counted.
struct Told {
    lines: Vec<String>,
    anomalies: Anomalies,
}

/// Takes the pieces of all connections that `passes` lets through, each read cut into segments of so many bytes.
fn tell(reads: &Reads, bounds: RecordBounds, segment: usize, mut passes: impl FnMut() -> bool) -> Told {
    let (interest, mut anomalies, mut topics, mut lines) =
        (interest(), Anomalies::default(), TopicNames::default(), Vec::new());
    let mut connections = BTreeMap::new();
    let mut take = |message: Message<'_>| lines.push(line(&message));
    let mut out = Output { interest: &interest, topics: &mut topics, anomalies: &mut anomalies, tell: &mut take };
    for (number, from, bytes) in reads {
        let (kafka, next) = connections.entry(number).or_insert_with(|| (Kafka::new(bounds, End::First), [0_u32; 2]));
        let seq = &mut next[usize::from(*from == End::Second)];
        for mut piece in cut(&[(*from, bytes.clone())], |_| segment) {
            piece.seq = *seq;
            *seq += piece.wire_len;
            if passes() {
                kafka.piece(&piece.borrow(), &mut out);
            }
        }
    }
    for (kafka, _) in connections.values_mut() {
        kafka.closed(End::First, &mut out);
        kafka.closed(End::Second, &mut out);
    }
    Told { lines, anomalies }
}

fn line(message: &Message<'_>) -> String {
    let way = if message.way == Way::Produced { "produced" } else { "fetched" };
    let topic = match message.topic {
        Topic::Name(topic) => topic,
        Topic::Id(_) => "?",
    };
    let place = format!("{way} {topic} {}", message.partition);
    let headers = match message.body {
        Body::Record { headers } => headers,
        Body::Unobserved { count } => return format!("{place} unobserved:{count}"),
    };
    let trace = headers.iter().find(|header| header.name == HeaderName::TRACEPARENT);
    assert_eq!(headers.len(), if trace.is_some() { 2 } else { 0 }, "trace and tenant, or none: {headers:?}");
    assert!(headers.iter().all(|header| header.name == HeaderName::TRACEPARENT || header.value == b"acme"));
    let trace = trace.map_or("-", |trace| std::str::from_utf8(trace.value).expect("a traceparent"));
    format!("{place} {trace}")
}

/// What stands behind the partition in each line.
fn by_partition(lines: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut partitions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (place, what) = line.rsplit_once(' ').expect("a trace");
        partitions.entry(place).or_default().push(what);
    }
    partitions
}

/// How many records a line tells of.
fn records(what: &str) -> usize {
    what.strip_prefix("unobserved:").map_or(1, |count| count.parse().expect("a count"))
}

/// Checks that the records that are told are those that the clients logged, partition by partition in the same order.
fn check(recording: &str, produced: usize, fetched: usize) {
    let (reads, logged) = parse(recording);
    let counts = ["produced ", "fetched "].map(|way| logged.iter().filter(|line| line.starts_with(way)).count());
    assert_eq!(counts, [produced, fetched], "records that are produced and fetched");
    let mut seen = BTreeSet::new();
    for (number, from, bytes) in &reads {
        if seen.insert(number) {
            assert_eq!((*from, recognise(bytes)), (End::First, Recognition::Request), "connection {number}");
        }
    }
    for segment in [usize::MAX, 1, 100] {
        let told = tell(&reads, RecordBounds::default(), segment, || true);
        assert_eq!(by_partition(&told.lines), by_partition(&logged), "segments of {segment} bytes");
        assert_eq!(told.anomalies, Anomalies::default());
    }
    check_longer_batches(&reads, &logged);
    check_holes(&reads, &logged);
}

/// Checks that of batches that are too long just as many records are not observed as the clients logged.
fn check_longer_batches(reads: &Reads, logged: &[String]) {
    let logged: BTreeMap<&str, usize> =
        by_partition(logged).into_iter().map(|(place, traces)| (place, traces.len())).collect();
    for batch_bytes in [0, 200, 280, 340] {
        let told = tell(reads, RecordBounds { batch_bytes, ..RecordBounds::default() }, usize::MAX, || true);
        let counted = by_partition(&told.lines)
            .into_iter()
            .map(|(place, told)| (place, told.into_iter().map(records).sum::<usize>()));
        assert_eq!(counted.collect::<BTreeMap<_, _>>(), logged, "batches of at most {batch_bytes} bytes");
        assert_eq!(told.anomalies, Anomalies::default());
    }
}

/// Checks that whichever segment is missing, or all before it, no record is told that was not logged, and none twice.
fn check_holes(reads: &Reads, logged: &[String]) {
    const SEGMENT: usize = 150;
    let segments = reads.iter().map(|(_, _, bytes)| bytes.len().div_ceil(SEGMENT)).sum();
    let sent = by_partition(logged);
    for hole in 0..segments {
        for joined in [false, true] {
            let mut number = 0;
            let told = tell(reads, RecordBounds::default(), SEGMENT, || {
                number += 1;
                if joined { number > hole } else { number != hole + 1 }
            });
            for (place, told) in by_partition(&told.lines) {
                // A topic whose name is missing has the records of one that is logged.
                let sent: Vec<&str> = match sent.get(place) {
                    Some(sent) => sent.clone(),
                    None if place.contains('?') => logged.iter().filter_map(|line| line.rsplit(' ').next()).collect(),
                    None => panic!("no records of {place} were sent"),
                };
                assert!(told.iter().copied().map(records).sum::<usize>() <= sent.len(), "{place}: {told:?}");
                for trace in told.into_iter().filter(|what| !what.starts_with("unobserved:")) {
                    assert!(sent.contains(&trace), "{place}: {trace} was not sent");
                }
            }
        }
    }
}

#[test]
fn kafka_python() {
    check(include_str!("../recordings/kafka/kafka_python.txt"), 20, 20);
}

#[test]
fn kafka_python_with_the_versions_of_kafka_0_11() {
    check(include_str!("../recordings/kafka/kafka_python_0_11.txt"), 16, 16);
}

#[test]
fn aiokafka() {
    check(include_str!("../recordings/kafka/aiokafka.txt"), 20, 20);
}

#[test]
fn librdkafka() {
    check(include_str!("../recordings/kafka/librdkafka.txt"), 20, 20);
}

#[test]
fn kafkajs() {
    check(include_str!("../recordings/kafka/kafkajs.txt"), 16, 16);
}

#[test]
fn sarama() {
    check(include_str!("../recordings/kafka/sarama.txt"), 16, 16);
}

#[test]
fn kafka_go() {
    check(include_str!("../recordings/kafka/kafka_go.txt"), 12, 12);
}

#[test]
fn platformatic() {
    check(include_str!("../recordings/kafka/platformatic.txt"), 16, 16);
}

#[test]
fn rskafka() {
    check(include_str!("../recordings/kafka/rskafka.txt"), 20, 20);
}

#[test]
fn topics_by_their_ids_in_the_newest_versions() {
    check(include_str!("../recordings/kafka/kafka_python_newest.txt"), 20, 20);
}

// Of 16 records four are aborted: the consumer of what is committed fetches 12 of them, the other one all.

#[test]
fn transactions_of_librdkafka() {
    check(include_str!("../recordings/kafka/librdkafka_transactions.txt"), 16, 12 + 16);
}

#[test]
fn transactions_of_aiokafka() {
    check(include_str!("../recordings/kafka/aiokafka_transactions.txt"), 16, 12 + 16);
}

#[test]
fn transactions_of_kafka_python() {
    check(include_str!("../recordings/kafka/kafka_python_transactions.txt"), 16, 12 + 16);
}
