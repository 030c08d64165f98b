//! Recordings of real clients of brokers as capture files: what `observer replay` reports is what the clients logged.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use observer_core::audit::report::Report;
use observer_core::message::End;

#[path = "../../observer-core/tests/decode/recording.rs"]
mod recording;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const BROKER: [u8; 4] = [10, 0, 0, 2];
const SEGMENT: usize = 1400;
/// Link type of bare IP packets (LINKTYPE_RAW).
const RAW: u32 = 101;

/// What a client logged: records sent by topic; and of those received with a context, without, and where it does not know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    produced: BTreeMap<String, u64>,
    fetched: [u64; 3],
}

fn logged(recording: &str) -> Facts {
    let mut facts = Facts::default();
    for line in recording.lines().filter_map(|line| line.strip_prefix("= ")) {
        let mut words = line.split(' ');
        let (way, topic, trace) = (words.next().unwrap(), words.next().unwrap(), words.next_back().unwrap());
        if way == "produced" {
            *facts.produced.entry(topic.to_owned()).or_default() += 1;
        } else {
            facts.fetched[["-", "?"].iter().position(|word| *word == trace).map_or(0, |at| at + 1)] += 1;
        }
    }
    facts
}

fn reported(report: &Report, protocol: &str) -> Facts {
    let mut facts = Facts::default();
    for row in &report.requests {
        assert_eq!((row.service.as_str(), row.protocol.as_str()), ("10.0.0.1", protocol), "nothing of the broker");
        assert_eq!(row.malformed, 0);
        for (count, told) in facts.fetched.iter_mut().zip([row.valid, row.missing, row.unobserved]) {
            *count += told;
        }
    }
    for row in &report.hops {
        assert_eq!(row.service, "10.0.0.1", "nothing of the broker");
        let topic = row.peer.strip_prefix(&format!("{protocol}:")).unwrap().to_owned();
        let counts =
            [row.continued, row.passed_through, row.lost, row.restarted, row.flipped, row.rooted, row.background];
        *facts.produced.entry(topic).or_default() += counts.into_iter().sum::<u64>() + row.ambiguous + row.unattributed;
    }
    facts
}

/// The connections of a recording one after the other, in packets of one capture file.
fn pcap(recording: &str) -> Vec<u8> {
    let mut file: Vec<u8> = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0xffff, RAW].map(u32::to_le_bytes).concat();
    let mut milliseconds = 0_u32;
    let mut frame = |port: u16, from: End, [seq, ack]: [u32; 2], flags: u8, payload: &[u8]| {
        let ends = [(CLIENT, port), (BROKER, 9000)];
        let [(source, source_port), (target, target_port)] = if from == End::First { ends } else { [ends[1], ends[0]] };
        let ports = [source_port, target_port].map(u16::to_be_bytes).concat();
        let numbers = [seq, ack].map(u32::to_be_bytes).concat();
        let segment = [&ports[..], &numbers, &[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0], payload].concat();
        let total = u16::try_from(20 + segment.len()).unwrap().to_be_bytes();
        let ip = [&[0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0], &source[..], &target].concat();
        milliseconds += 1;
        let len = u32::try_from(ip.len() + segment.len()).unwrap();
        let at = [1_767_225_600 + milliseconds / 1000, milliseconds % 1000 * 1000, len, len];
        file.extend([&at.map(u32::to_le_bytes).concat()[..], &ip, &segment].concat());
    };
    for (number, runs) in (0_u16..).zip(recording::connections(recording)) {
        let mut next = [1000_u32, 9_000_000];
        frame(40_000 + number, End::First, [next[0] - 1, 0], 2, b"");
        for (from, bytes) in runs {
            let (own, other) = if from == End::First { (0, 1) } else { (1, 0) };
            for payload in bytes.chunks(SEGMENT) {
                frame(40_000 + number, from, [next[own], next[other]], 0x10, payload);
                next[own] += u32::try_from(payload.len()).unwrap();
            }
        }
    }
    file
}

fn check(protocol: &str, recording: &str, name: &str) {
    let place = tempfile::tempdir().unwrap();
    let capture = place.path().join("capture.pcap");
    std::fs::write(&capture, pcap(recording)).unwrap();
    let report = replay(&capture);
    assert_eq!(reported(&report, protocol), logged(recording), "{name}");
    assert_eq!((report.capture.lost, report.capture.undecodable), (0, 0), "{name}");
}

fn replay(capture: &Path) -> Report {
    let output = Command::new(env!("CARGO_BIN_EXE_observer"))
        .arg("replay")
        .arg(capture)
        .args(["--format", "json", "--fail-on", "never"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

macro_rules! replays {
    ($($test:ident: $protocol:literal, $($name:literal)*;)*) => {$(
        #[test]
        fn $test() {
            $(check($protocol, include_str!(concat!("../../observer-core/tests/recordings/", $protocol, "/", $name)), $name);)*
        }
    )*};
}

replays! {
    what_clients_of_kafka_pass_is_replayed: "kafka",
        "aiokafka.txt" "kafka_go.txt" "kafka_python.txt" "kafka_python_newest.txt" "kafkajs.txt" "librdkafka.txt" "platformatic.txt"
        "rskafka.txt" "sarama.txt";
    transactions_of_kafka_are_replayed: "kafka",
        "aiokafka_transactions.txt" "kafka_python_transactions.txt" "librdkafka_transactions.txt";
    what_clients_of_rabbitmq_pass_is_replayed: "amqp", "aio_pika.txt" "amqp091_go.txt" "amqplib.txt" "kombu.txt" "opentelemetry.txt" "pika.txt";
    what_clients_of_nats_pass_is_replayed: "nats", "nats_go.txt" "nats_js.txt" "nats_py.txt";
    what_passes_through_redis_is_replayed: "redis", "celery.txt" "rq.txt" "redis_py_resp2.txt" "redis_py_resp3.txt" "ioredis.txt" "bullmq.txt";
}
