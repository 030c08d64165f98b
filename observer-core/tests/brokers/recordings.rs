//! Real clients and real brokers: what is told of their connections is what they logged themselves. How the recordings were made
//! stands beside them.

use std::collections::BTreeMap;

use observer_core::decode::{Anomalies, Conversation, Fidelity, Shared};
use observer_core::message::{End, HeaderName, Interest, Message, MessageBody, Protocol, Way};
use observer_core::time::Timestamp;
use observer_ebpf::broker::is_broker;

use crate::pieces::cut;
use crate::recording::connections;
use crate::tap::{Runs, tell_needed};

/// What the client logged.
fn logged(recording: &str) -> Vec<String> {
    recording.lines().filter_map(|line| line.strip_prefix("= ")).map(str::to_owned).collect()
}

/// What is told of a connection, a line a message in the words of the clients' logs, and what is counted. Each read is cut into
/// segments of so many bytes, and `passes` lets some through.
fn tell(
    runs: &Runs,
    segment: usize,
    protocol: Option<Protocol>,
    mut passes: impl FnMut() -> bool,
) -> (Vec<String>, Anomalies) {
    let (interest, mut shared, mut lines) = (Interest::new(["x-tenant-id"]), Shared::default(), Vec::new());
    let mut conversation = Conversation::new(Fidelity::Heads);
    let mut take = |message: Message<'_>| lines.push(line(&message));
    for piece in cut(runs, |_| segment) {
        if passes() {
            conversation.piece(&piece.borrow(), &interest, &mut shared, &mut take);
        }
    }
    if protocol.is_some() {
        assert_eq!(conversation.protocol(), protocol);
    }
    for from in [End::First, End::Second] {
        conversation.closed(from, Timestamp(0), &interest, &mut shared, &mut take);
    }
    (lines, shared.anomalies)
}

fn line(message: &Message<'_>) -> String {
    let named = |way: Way| if way == Way::Produced { "produced" } else { "fetched" };
    match &message.body {
        MessageBody::Record(record) => {
            assert!(record.complete);
            let trace = record.headers.iter().find(|header| header.name == HeaderName::TRACEPARENT);
            let tenants = record.headers.iter().filter(|header| header.name != HeaderName::TRACEPARENT);
            assert!(tenants.clone().all(|header| header.value == b"acme"), "{:?}", record.headers);
            let trace = trace.map_or("-", |trace| std::str::from_utf8(trace.value).expect("a traceparent"));
            format!("{} {} {trace}", named(record.way), record.topic)
        }
        MessageBody::UnobservedRecords { way, topic, count } => format!("{} {topic} unobserved:{count}", named(*way)),
        other => panic!("{other:?}"),
    }
}

/// What stands behind way and address in each line.
fn by_address(lines: &[String]) -> BTreeMap<&str, Vec<&str>> {
    let mut addresses: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        let (address, what) = line.rsplit_once(' ').expect("a trace");
        addresses.entry(address).or_default().push(what);
    }
    addresses
}

/// Checks that what is told is what the clients logged, in the same order for each address.
fn check(recording: &str, protocol: Protocol, count: usize) {
    let (connections, logged) = (connections(recording), logged(recording));
    assert_eq!(logged.len(), count);
    for segment in [usize::MAX, 1, 100] {
        let mut lines = Vec::new();
        for runs in &connections {
            let (told, anomalies) = tell(runs, segment, Some(protocol), || true);
            assert_eq!(anomalies, Anomalies::default());
            lines.extend(told);
        }
        assert_eq!(by_address(&lines), by_address(&logged), "segments of {segment} bytes");
    }
    for runs in &connections {
        check_needed(runs);
        check_holes(runs, &logged);
    }
    assert!(connections.iter().map(check_waiting).sum::<usize>() > 0, "a client waited");
}

/// Checks that what a client waited for when a tap began is told, where that is the first the tap shows. How often there was such.
fn check_waiting(runs: &Runs) -> usize {
    let told = |from: usize, to: usize| tell(&runs[from..to].to_vec(), usize::MAX, None, || true).0;
    let mut waited = 0;
    for (at, (from, bytes)) in runs.iter().enumerate() {
        let came = &told(0, at + 1)[told(0, at).len()..];
        if *from == End::Second && !came.is_empty() {
            let bytes = behind_consent(bytes);
            let (told, _) = tell(&vec![(End::Second, bytes.to_vec())], usize::MAX, None, || true);
            assert_eq!(told, came, "{}", bytes.escape_ascii());
            assert!(kernel_knows(bytes), "{}", bytes.escape_ascii());
            waited += 1;
        }
    }
    waited
}

/// The bytes behind basic.consume-ok of AMQP, if they begin with it: who waits has had that for long.
fn behind_consent(bytes: &[u8]) -> &[u8] {
    match bytes {
        [1, _, _, 0, 0, 0, size, 0, 60, 0, 21, ..] => &bytes[8 + usize::from(*size)..],
        _ => bytes,
    }
}

/// Whether the kernel takes these bytes for those of a broker.
fn kernel_knows(bytes: &[u8]) -> bool {
    let mut first = [0; 16];
    let len = bytes.len().min(first.len());
    first[..len].copy_from_slice(&bytes[..len]);
    let [low, high] = [&first[..8], &first[8..]].map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    is_broker(low, high, u32::try_from(bytes.len()).unwrap())
}

/// Checks that a tap that leaves out what is not needed loses nothing.
fn check_needed(runs: &Runs) {
    let pieces = cut(runs, |_| 1448);
    let (told, needed) = (crate::tap::tell(&pieces), tell_needed(&pieces));
    assert_eq!(needed.lines, told.lines);
    assert_eq!(needed.anomalies, Anomalies::default());
    assert!(needed.shown_bytes <= told.shown_bytes);
}

/// Checks that whichever segment is missing, or all before it, no message is told that was not logged, and none twice.
fn check_holes(runs: &Runs, logged: &[String]) {
    const SEGMENT: usize = 150;
    let segments: usize = runs.iter().map(|(_, bytes)| bytes.len().div_ceil(SEGMENT)).sum();
    let sent = by_address(logged);
    for hole in 0..segments {
        for joined in [false, true] {
            let mut number = 0;
            let (told, _) = tell(runs, SEGMENT, None, || {
                number += 1;
                if joined { number > hole } else { number != hole + 1 }
            });
            for (address, told) in by_address(&told) {
                let told: Vec<&str> = told.into_iter().filter(|what| !what.starts_with("unobserved:")).collect();
                let sent = sent.get(address).map(Vec::as_slice).unwrap_or_default();
                assert!(told.len() <= sent.len(), "{address}: {told:?} of {sent:?}");
                for trace in told {
                    assert!(sent.contains(&trace), "{address}: {trace} was not sent");
                }
            }
        }
    }
}

#[test]
fn pika() {
    check(include_str!("../recordings/amqp/pika.txt"), Protocol::Amqp, 21);
}

#[test]
fn pika_with_the_instrumentation_of_opentelemetry() {
    check(include_str!("../recordings/amqp/opentelemetry.txt"), Protocol::Amqp, 16);
}

#[test]
fn aio_pika() {
    check(include_str!("../recordings/amqp/aio_pika.txt"), Protocol::Amqp, 16);
}

#[test]
fn kombu() {
    check(include_str!("../recordings/amqp/kombu.txt"), Protocol::Amqp, 16);
}

#[test]
fn amqplib() {
    check(include_str!("../recordings/amqp/amqplib.txt"), Protocol::Amqp, 16);
}

#[test]
fn nats_py() {
    check(include_str!("../recordings/nats/nats_py.txt"), Protocol::Nats, 21);
}

#[test]
fn nats_js() {
    check(include_str!("../recordings/nats/nats_js.txt"), Protocol::Nats, 20);
}

#[test]
fn amqp091_go() {
    check(include_str!("../recordings/amqp/amqp091_go.txt"), Protocol::Amqp, 16);
}

#[test]
fn nats_go() {
    check(include_str!("../recordings/nats/nats_go.txt"), Protocol::Nats, 20);
}

#[test]
fn servers_of_nats_that_speak_to_each_other_tell_nothing_wherever_they_are_joined() {
    let connections = connections(include_str!("../recordings/nats/route.txt"));
    for runs in &connections {
        for segment in [usize::MAX, 1, 100] {
            let (told, anomalies) = tell(runs, segment, None, || true);
            assert_eq!((told, anomalies), (vec![], Anomalies::default()));
        }
        check_holes(runs, &[]);
    }
}
