//! Real clients and a real server: what is told of their connections is what they logged themselves. How the recordings were made
//! stands beside them.

use std::collections::BTreeMap;

use observer_core::decode::{Anomalies, Fidelity, Shared};

use observer_core::message::End;

use crate::recording::connections;
use crate::tap::{Owned, cut, tell_with};

const RECORDINGS: [(&str, &str); 6] = [
    ("bullmq", include_str!("../../recordings/redis/bullmq.txt")),
    ("celery", include_str!("../../recordings/redis/celery.txt")),
    ("ioredis", include_str!("../../recordings/redis/ioredis.txt")),
    ("redis-py, RESP2", include_str!("../../recordings/redis/redis_py_resp2.txt")),
    ("redis-py, RESP3", include_str!("../../recordings/redis/redis_py_resp3.txt")),
    ("rq", include_str!("../../recordings/redis/rq.txt")),
];

/// What the clients logged, sorted: way, place and trace; `-` for none, `?` where the client cannot tell.
fn logged(recording: &str) -> Vec<String> {
    let mut logged: Vec<String> =
        recording.lines().filter_map(|line| line.strip_prefix("= ")).map(str::to_owned).collect();
    logged.sort();
    logged
}

/// What is told of all connections, in the words of the log, sorted.
fn told(recording: &str, segment: usize, pieces: impl Fn(Vec<Owned>) -> Vec<Owned>) -> (Vec<String>, Anomalies) {
    let (mut told, mut shared) = (Vec::new(), Shared::default());
    for runs in connections(recording) {
        let lines = tell_with(Fidelity::Heads, &pieces(cut(&runs, |_| segment)), &mut shared);
        told.extend(lines.iter().map(|line| in_words_of_the_log(line)));
    }
    told.sort();
    (told, shared.anomalies)
}

fn in_words_of_the_log(line: &str) -> String {
    let words: Vec<&str> = line.split(" | ").next().expect("a head").split(' ').collect();
    assert_eq!(words[1..3], ["-", "redis"], "{line}");
    let headers: BTreeMap<&str, &str> =
        line.split(" | ").skip(1).map(|header| header.split_once(": ").expect("a value")).collect();
    assert!(headers.keys().all(|name| ["traceparent", "x-tenant-id"].contains(name)), "{line}");
    assert!(headers.get("x-tenant-id").is_none_or(|tenant| *tenant == "acme"), "{line}");
    let trace = match words.get(5) {
        None => headers.get("traceparent").copied().unwrap_or("-"),
        Some(&"incomplete") => "?",
        Some(_) => panic!("{line}"),
    };
    format!("{} {} {trace}", words[3].to_lowercase(), words[4])
}

#[test]
fn what_is_told_is_what_the_clients_logged() {
    for (name, recording) in RECORDINGS {
        let logged = logged(recording);
        assert!(!logged.is_empty());
        for segment in [1, 3, 7, 100, 1448, 65_536] {
            let (told, anomalies) = told(recording, segment, |pieces| pieces);
            assert_eq!(told, logged, "{name}, segments of {segment}");
            assert_eq!(anomalies, Anomalies::default(), "{name}, segments of {segment}");
        }
    }
}

/// The commands with which a tap that looks for them alone begins to show a connection, for each recording.
const WORTH_A_LOOK: [(&str, &[&str]); 6] = [
    ("bullmq", &["EVAL", "EVALSHA"]),
    ("celery", &["BRPOP", "LPUSH"]),
    ("ioredis", &["PUBLISH", "SUBSCRIBE", "XADD", "XREADGROUP"]),
    ("redis-py, RESP2", &["BLPOP", "PUBLISH", "SUBSCRIBE", "XADD", "XREADGROUP"]),
    ("redis-py, RESP3", &["BLPOP", "PUBLISH", "SUBSCRIBE", "XADD", "XREADGROUP"]),
    ("rq", &["BLMOVE", "BLPOP", "LPOP", "MULTI"]),
];

/// Whether the first 16 bytes of a piece begin a request by one of these names, in any case.
fn begins_with(bytes: &[u8], names: &[&str]) -> bool {
    let first = String::from_utf8_lossy(&bytes[..bytes.len().min(16)]).to_uppercase();
    let mut lines = first.splitn(3, "\r\n");
    let (Some(count), Some(len), Some(name)) = (lines.next(), lines.next(), lines.next()) else { return false };
    let name = name.split("\r\n").next().unwrap_or_default();
    let len = len.strip_prefix('$').and_then(|len| len.parse().ok());
    count.starts_with('*')
        && names.iter().any(|wanted| Some(wanted.len()) == len && !name.is_empty() && wanted.starts_with(name))
}

#[test]
fn all_work_is_told_of_connections_that_are_joined_at_a_request_worth_a_look() {
    for ((name, recording), (same, names)) in RECORDINGS.iter().zip(WORTH_A_LOOK) {
        assert_eq!(*name, same);
        let joined = |pieces: Vec<Owned>| {
            let first = pieces.iter().position(|piece| piece.from == End::First && begins_with(&piece.bytes, names));
            pieces.into_iter().skip(first.unwrap_or(usize::MAX)).collect()
        };
        let (told, anomalies) = told(recording, usize::MAX, joined);
        assert_eq!(told, logged(recording), "{name}");
        assert_eq!(anomalies, Anomalies::default(), "{name}");
    }
}

#[test]
fn a_tenant_is_read_where_one_was_sent() {
    let celery = RECORDINGS[1].1;
    let mut shared = Shared::default();
    let lines: Vec<String> = connections(celery)
        .iter()
        .flat_map(|runs| tell_with(Fidelity::Whole, &cut(runs, |_| 1448), &mut shared))
        .collect();
    let tenants = lines.iter().filter(|line| line.contains("| x-tenant-id: acme"));
    assert_eq!(tenants.count(), 2, "one that is sent and one that arrives: {lines:#?}");
}
