//! Real clients and a real broker: what is told of their connections is what they logged themselves. How the recordings were made
//! stands beside them.

use std::collections::BTreeMap;

use observer_core::decode::kafka::{
    Anomalies, Body, Bounds, Kafka, Message, Output, Recognition, Topic, TopicNames, Way, recognise,
};
use observer_core::message::{End, HeaderName};

use crate::tap::{cut, interest};

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

/// What is told of all connections, each read cut into segments of so many bytes, in the words of the clients' logs.
fn tell(reads: &Reads, segment: usize) -> Vec<String> {
    let (interest, mut anomalies, mut topics, mut lines) =
        (interest(), Anomalies::default(), TopicNames::default(), Vec::new());
    let mut connections = BTreeMap::new();
    let mut take = |message: Message<'_>| lines.push(line(&message));
    let mut out = Output { interest: &interest, topics: &mut topics, anomalies: &mut anomalies, tell: &mut take };
    for (number, from, bytes) in reads {
        let (kafka, next) = connections.entry(number).or_insert_with(|| {
            assert_eq!((*from, recognise(bytes)), (End::First, Recognition::Request));
            (Kafka::new(Bounds::default(), End::First), [0_u32; 2])
        });
        let seq = &mut next[usize::from(*from == End::Second)];
        for mut piece in cut(&[(*from, bytes.clone())], |_| segment) {
            piece.seq = *seq;
            *seq += piece.wire_len;
            kafka.piece(&piece.borrow(), &mut out);
        }
    }
    for (kafka, _) in connections.values_mut() {
        assert!(kafka.is_proven() && !kafka.is_refuted());
        kafka.closed(End::First, &mut out);
        kafka.closed(End::Second, &mut out);
    }
    assert_eq!(anomalies, Anomalies::default());
    lines
}

fn line(message: &Message<'_>) -> String {
    let way = if message.way == Way::Produced { "produced" } else { "fetched" };
    let Topic::Name(topic) = message.topic else { panic!("no name of {:?}", message.topic) };
    let Body::Record { headers } = message.body else { panic!("not observed: {message:?}") };
    let trace = headers.iter().find(|header| header.name == HeaderName::TRACEPARENT);
    assert_eq!(headers.len(), if trace.is_some() { 2 } else { 0 }, "trace and tenant, or none: {headers:?}");
    assert!(headers.iter().all(|header| header.name == HeaderName::TRACEPARENT || header.value == b"acme"));
    let trace = trace.map_or("-", |trace| std::str::from_utf8(trace.value).expect("a traceparent"));
    format!("{way} {topic} {} {trace}", message.partition)
}

/// Checks that the records that are told are those that the clients logged, partition by partition in the same order.
fn check(recording: &str, records: usize) {
    let (reads, logged) = parse(recording);
    let by_partition = |lines: &[String]| {
        let mut partitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let (place, trace) = line.rsplit_once(' ').expect("a trace");
            partitions.entry(place.to_owned()).or_default().push(trace.to_owned());
        }
        partitions
    };
    assert_eq!(logged.len(), 2 * records, "each record is produced and fetched");
    for segment in [usize::MAX, 1, 100] {
        assert_eq!(by_partition(&tell(&reads, segment)), by_partition(&logged), "segments of {segment} bytes");
    }
}

#[test]
fn kafka_python() {
    check(include_str!("../recordings/kafka/kafka_python.txt"), 20);
}

#[test]
fn kafka_python_with_the_versions_of_kafka_0_11() {
    check(include_str!("../recordings/kafka/kafka_python_0_11.txt"), 16);
}

#[test]
fn aiokafka() {
    check(include_str!("../recordings/kafka/aiokafka.txt"), 20);
}

#[test]
fn librdkafka() {
    check(include_str!("../recordings/kafka/librdkafka.txt"), 20);
}

#[test]
fn kafkajs() {
    check(include_str!("../recordings/kafka/kafkajs.txt"), 16);
}
