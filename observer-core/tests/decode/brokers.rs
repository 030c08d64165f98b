//! Connections to brokers, recognised by their content among all protocols: what is told is what the client logged.

use observer_core::decode::{Anomalies, Conversation, Fidelity, Shared};
use observer_core::message::End;

use crate::recording::connections;
use crate::tap::{cut, interest, tell_with};

/// What the clients logged, and what is told, each sorted: way, topic and `traceparent`.
fn check(recording: &str, segment: usize) {
    let mut logged: Vec<String> = recording
        .lines()
        .filter_map(|line| line.strip_prefix("= "))
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            format!("{} {} {}", words[0], words[1], words[3])
        })
        .collect();
    let (mut told, mut shared) = (Vec::new(), Shared::default());
    for runs in connections(recording) {
        let lines = tell_with(Fidelity::Heads, &cut(&runs, |_| segment), &mut shared);
        told.extend(lines.iter().map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let traceparent = line.split(" | ").find_map(|header| header.strip_prefix("traceparent: "));
            format!("{} {} {}", words[3].to_lowercase(), words[4], traceparent.unwrap_or("-"))
        }));
    }
    assert_eq!(shared.anomalies, Anomalies::default());
    logged.sort();
    told.sort();
    assert!(!logged.is_empty());
    assert_eq!(told, logged);
}

/// Clients of Kafka.
const KAFKA: &[&str] = &[
    include_str!("../recordings/kafka/aiokafka.txt"),
    include_str!("../recordings/kafka/aiokafka_transactions.txt"),
    include_str!("../recordings/kafka/kafka_go.txt"),
    include_str!("../recordings/kafka/kafka_python.txt"),
    include_str!("../recordings/kafka/kafka_python_0_11.txt"),
    include_str!("../recordings/kafka/kafka_python_newest.txt"),
    include_str!("../recordings/kafka/kafka_python_transactions.txt"),
    include_str!("../recordings/kafka/kafkajs.txt"),
    include_str!("../recordings/kafka/librdkafka.txt"),
    include_str!("../recordings/kafka/librdkafka_transactions.txt"),
    include_str!("../recordings/kafka/platformatic.txt"),
    include_str!("../recordings/kafka/rskafka.txt"),
    include_str!("../recordings/kafka/sarama.txt"),
];

#[test]
fn kafka_is_recognised_whatever_the_client_and_the_segments() {
    for recording in KAFKA {
        for segment in [1, 3, 11, 1448, 65_536] {
            check(recording, segment);
        }
    }
}

#[test]
fn a_connection_to_a_broker_of_kafka_is_whole_where_its_first_request_was_seen() {
    let seen = |runs: &[(End, Vec<u8>)]| {
        let (mut conversation, mut shared) = (Conversation::new(Fidelity::Heads), Shared::default());
        for piece in cut(runs, |_| 65_536) {
            conversation.piece(&piece.borrow(), &interest(), &mut shared, &mut |_| {});
        }
        (conversation.client_of_broker(), conversation.is_whole())
    };
    for recording in KAFKA {
        for runs in connections(recording) {
            assert_eq!(seen(&runs), (Some(End::First), true), "{:?}", runs.first());
            let requests = runs.iter().enumerate().filter(|(_, (from, _))| *from == End::First);
            // Number one is the first of some clients and the second of others.
            let Some((third, _)) = requests.into_iter().nth(2) else { continue };
            assert!(!seen(&runs[third..]).1, "{:?}", runs.get(third));
        }
    }
}
