//! Connections to brokers, recognised by their content among all protocols: what is told is what the client logged.

use observer_core::decode::{Anomalies, Fidelity, Shared};

use crate::recording::connections;
use crate::tap::{cut, tell_with};

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

#[test]
fn kafka_is_recognised_whatever_the_client_and_the_segments() {
    for recording in [
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
    ] {
        for segment in [1, 3, 11, 1448, 65_536] {
            check(recording, segment);
        }
    }
}
