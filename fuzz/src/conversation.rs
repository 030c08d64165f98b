//! Both directions of a connection, as a tap with losses shows them.
//!
//! The input is a row of steps: a byte of flags, a length in two bytes, big-endian, and as many bytes of payload as there are.
//! Whatever it is, decoding never panics, holds no more than its limit, and gives everything back at the end.

use std::time::Duration;

use observer_core::context::Extractors;
use observer_core::decode::{Conversation, Fidelity, Piece, Shared};
use observer_core::message::{End, Interest, MessageBody};
use observer_core::time::Timestamp;

use crate::recording::{connections, runs};

/// The server sends.
const SERVER: u8 = 1;
/// The payload is lost.
const LOST: u8 = 2;
/// Only its first half is captured.
const CUT: u8 = 4;
/// It comes once more.
const REPEATED: u8 = 8;
/// The sender closes its direction behind it.
const CLOSES: u8 = 16;
/// It acknowledges nothing.
const SILENT: u8 = 32;
/// A long time passes before it.
const LATE: u8 = 64;
/// In the first step: every byte is shown, not only heads.
const WHOLE: u8 = 128;
/// What a conversation may hold. One of HTTP/2 may hold more than this, but not of inputs as short as these.
const BUFFERED_BYTES_MAX: usize = 600 * 1024;

/// Plays an input.
///
/// # Panics
///
/// A decoder broke a promise.
pub fn run(input: &[u8]) {
    let interest = Interest::new(["x-tenant-id", "x-trace-weight"]);
    let extractors = Extractors::new(Vec::new(), Vec::new());
    let fidelity =
        if input.first().is_some_and(|flags| flags & WHOLE != 0) { Fidelity::Whole } else { Fidelity::Heads };
    let mut conversation = Conversation::new(fidelity);
    let mut shared = Shared::default();
    let mut tell = |message: observer_core::message::Message<'_>| {
        if let MessageBody::Request(head) = &message.body {
            let _ = extractors.extract(head);
        }
    };
    let mut sent = [1_u32; 2];
    let mut at = Timestamp(0);
    let mut rest = input;
    while let [flags, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (payload, after) = after.split_at(len);
        rest = after;
        at = at.after(if flags & LATE != 0 { Duration::from_mins(2) } else { Duration::from_millis(1) });
        if flags & LATE != 0 {
            conversation.overdue(at, &interest, &mut shared, &mut tell);
        }
        let (from, place) = if flags & SERVER != 0 { (End::Second, 1) } else { (End::First, 0) };
        let wire_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let seq = sent[place];
        sent[place] = seq.wrapping_add(wire_len);
        let captured = if flags & CUT != 0 { &payload[..payload.len() / 2] } else { payload };
        let ack = (flags & SILENT == 0).then_some(sent[1 - place]);
        let piece = Piece { at, from, seq, ack, wire_len, bytes: captured, link: None };
        if flags & LOST == 0 {
            conversation.piece(&piece, &interest, &mut shared, &mut tell);
        }
        if flags & REPEATED != 0 {
            conversation.piece(&piece, &interest, &mut shared, &mut tell);
        }
        if flags & CLOSES != 0 {
            conversation.closed(from, at, &interest, &mut shared, &mut tell);
        }
        assert!(conversation.buffered_bytes() <= BUFFERED_BYTES_MAX, "{}", conversation.buffered_bytes());
    }
    for end in [End::First, End::Second] {
        conversation.closed(end, at, &interest, &mut shared, &mut tell);
    }
    assert_eq!(conversation.buffered_bytes(), 0, "buffers are freed when a conversation ends");
}

/// Connections between real programs, by name.
pub fn seeds() -> crate::Seeds {
    let recordings = [
        ("continue", include_str!("../../observer-core/tests/recordings/curl_continue_node.txt")),
        ("head", include_str!("../../observer-core/tests/recordings/curl_head_nginx.txt")),
        ("keep-alive", include_str!("../../observer-core/tests/recordings/curl_nginx.txt")),
        ("h2c-upgrade", include_str!("../../observer-core/tests/recordings/curl_upgrade_hypercorn.txt")),
        ("grpc", include_str!("../../observer-core/tests/recordings/grpcio.txt")),
        ("h2-python", include_str!("../../observer-core/tests/recordings/httpx_nginx.txt")),
        ("h2-node", include_str!("../../observer-core/tests/recordings/node_h2.txt")),
        ("chunks", include_str!("../../observer-core/tests/recordings/node_node.txt")),
        ("requests", include_str!("../../observer-core/tests/recordings/requests_python.txt")),
        ("websocket", include_str!("../../observer-core/tests/recordings/upgrade_node.txt")),
    ];
    let brokers = [
        ("kafka-python", include_str!("../../observer-core/tests/recordings/kafka/kafka_python.txt")),
        ("kafka-rdkafka", include_str!("../../observer-core/tests/recordings/kafka/librdkafka.txt")),
        ("kafka-go", include_str!("../../observer-core/tests/recordings/kafka/sarama.txt")),
        ("kafka-js", include_str!("../../observer-core/tests/recordings/kafka/kafkajs.txt")),
        ("kafka-newest", include_str!("../../observer-core/tests/recordings/kafka/kafka_python_newest.txt")),
        ("kafka-transactions", include_str!("../../observer-core/tests/recordings/kafka/librdkafka_transactions.txt")),
        ("redis-celery", include_str!("../../observer-core/tests/recordings/redis/celery.txt")),
        ("redis-ioredis", include_str!("../../observer-core/tests/recordings/redis/ioredis.txt")),
        ("redis-python-resp2", include_str!("../../observer-core/tests/recordings/redis/redis_py_resp2.txt")),
        ("redis-python-resp3", include_str!("../../observer-core/tests/recordings/redis/redis_py_resp3.txt")),
        ("redis-rq", include_str!("../../observer-core/tests/recordings/redis/rq.txt")),
        ("amqp-pika", include_str!("../../observer-core/tests/recordings/amqp/pika.txt")),
        ("amqp-js", include_str!("../../observer-core/tests/recordings/amqp/amqplib.txt")),
        ("nats-python", include_str!("../../observer-core/tests/recordings/nats/nats_py.txt")),
        ("nats-js", include_str!("../../observer-core/tests/recordings/nats/nats_js.txt")),
    ];
    let mut seeds = Vec::new();
    for (name, recording) in recordings {
        let runs = runs(recording);
        for (fidelity, flags) in [("heads", 0), ("whole", WHOLE)] {
            seeds.push((format!("{name}-{fidelity}"), input(flags, &runs)));
        }
    }
    for (name, recording) in brokers {
        let connections = connections(recording).into_iter().enumerate();
        seeds.extend(connections.map(|(number, runs)| (format!("{name}-{number}"), input(WHOLE, &runs))));
    }
    seeds
}

/// What an input is that plays these runs of bytes.
fn input(flags: u8, runs: &[(End, Vec<u8>)]) -> Vec<u8> {
    let mut input = Vec::new();
    for (from, bytes) in runs {
        for part in bytes.chunks(usize::from(u16::MAX)) {
            input.push(flags | if *from == End::Second { SERVER } else { 0 });
            input.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            input.extend(part);
        }
    }
    input
}
