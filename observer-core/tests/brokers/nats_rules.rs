//! NATS, rule by rule.

use observer_core::decode::Anomalies;
use observer_core::decode::nats::{self, HEADERS_BYTES_MAX, HEADERS_MAX};
use observer_core::message::{End, Protocol};

use crate::nats_wire::{CONNECT, INFO, block, message};
use crate::script::nats_opening;
use crate::tap::{Told, cut, lines, tell, tell_needed};

const TRACE: Option<&[(&str, &str)]> = Some(&[("authorization", "secret"), ("traceparent", "a")]);

/// What is told of what an end sends on an open connection.
fn told(from: End, bytes: &[u8]) -> Vec<String> {
    lines(&[&nats_opening()[..], &[(from, bytes.to_vec())]].concat())
}

fn joined(runs: &[(End, &[u8])]) -> Told {
    let runs: Vec<_> = runs.iter().map(|(from, bytes)| (*from, bytes.to_vec())).collect();
    tell(&cut(&runs, <[u8]>::len))
}

#[test]
fn messages_go_to_subjects() {
    for (words, headers) in [("orders.new", None), ("orders.new _INBOX.a.b", None)] {
        assert_eq!(told(End::First, &message("PUB", words, headers, b"body")), ["> orders.new"]);
        assert_eq!(told(End::First, &message("PUB", words, TRACE, b"")), ["> orders.new | traceparent: a"]);
    }
    for words in ["orders.new 7", "orders.new 7 _INBOX.a.b", "orders.new abc"] {
        assert_eq!(told(End::Second, &message("MSG", words, None, b"")), ["< orders.new"]);
        assert_eq!(told(End::Second, &message("MSG", words, TRACE, b"body")), ["< orders.new | traceparent: a"]);
    }
}

#[test]
fn verbs_are_of_any_case_and_spaces_of_any_number() {
    assert_eq!(told(End::First, b"pub  orders.new\t 4 \r\nbody\r\nPuB a 0\r\n\r\n"), ["> orders.new", "> a"]);
    assert_eq!(told(End::Second, b"+ok\r\nMsg a 1 0\r\n\r\nping\r\n-err 'Stale Connection'\r\n"), ["< a"]);
}

#[test]
fn what_is_no_work_is_not_told() {
    for subject in [
        "_INBOX.Xy.1",
        "$JS.API.CONSUMER.MSG.NEXT.jobs.worker",
        "$JS.ACK.jobs.worker.1.1.1.1.0",
        "$SYS.REQ.SERVER.PING",
        "$KV.settings.color",
        "$O.files.C.abc",
        "$SRV.PING",
        "_R_.abc",
        "_GR_.abc.def",
    ] {
        assert!(told(End::First, &message("PUB", subject, TRACE, b"body")).is_empty(), "{subject}");
        assert!(told(End::Second, &message("MSG", &format!("{subject} 1"), TRACE, b"body")).is_empty(), "{subject}");
    }
    assert_eq!(told(End::First, &message("PUB", "INBOX.a", None, b"")), ["> INBOX.a"]);
}

#[test]
fn what_a_server_says_of_how_things_are_is_no_message() {
    for status in ["NATS/1.0 503\r\n\r\n", "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\r\n"] {
        assert!(told(End::Second, &block("MSG", "orders.new 1", status.as_bytes(), b"")).is_empty());
    }
}

#[test]
fn headers_are_found_by_name() {
    for (headers, line) in [
        ("traceparent: a\r\n", "> s | traceparent: a"),
        ("Traceparent:a\r\nother:\r\nX-Tenant-Id:  acme \r\n", "> s | traceparent: a | x-tenant-id: acme"),
        (
            "baggage: a:b\r\ntraceparent: a\r\ntraceparent: b\r\n",
            "> s | baggage: a:b | traceparent: a | traceparent: b",
        ),
        ("traceparents: a\r\nx: traceparent: a\r\n", "> s"),
        ("", "> s"),
    ] {
        let bytes = block("PUB", "s", format!("NATS/1.0\r\n{headers}\r\n").as_bytes(), b"body");
        assert_eq!(told(End::First, &bytes), [line]);
    }
    // nats.js announces headers of no length.
    assert_eq!(told(End::First, b"HPUB s 0 4\r\nbody\r\n"), ["> s"]);
    let many = "traceparent: a\r\n".repeat(HEADERS_MAX + 1);
    let bytes = block("PUB", "s", format!("NATS/1.0\r\n{many}\r\n").as_bytes(), b"");
    assert_eq!(told(End::First, &bytes), ["> s".to_owned() + &" | traceparent: a".repeat(HEADERS_MAX) + " | …"]);
}

#[test]
fn headers_that_are_none_are_not_observed() {
    for headers in
        ["NATS/1.0", "NATS/2.0\r\ntraceparent: a\r\n\r\n", "NATS/1.0\r\ntraceparent\r\n\r\n", "NATS/1.0\r\na: b\r\n"]
    {
        let runs = [&nats_opening()[..], &[(End::First, block("PUB", "s", headers.as_bytes(), b""))]].concat();
        let told = tell(&cut(&runs, <[u8]>::len));
        assert_eq!(told.lines, ["> s unobserved 1"], "{headers}");
        assert_eq!(told.anomalies.nats, nats::Anomalies { malformed: 1, ..Default::default() });
    }
}

#[test]
fn headers_over_the_bound_are_not_observed_and_need_not_be_shown() {
    let long = format!("NATS/1.0\r\nother: {}\r\ntraceparent: a\r\n\r\n", "x".repeat(HEADERS_BYTES_MAX));
    let bytes = [block("PUB", "s", long.as_bytes(), b"body"), message("PUB", "t", TRACE, b"")].concat();
    let runs = [&nats_opening()[..], &[(End::First, bytes)]].concat();
    let told = tell_needed(&cut(&runs, |_| 1448));
    assert_eq!(told.lines, ["> s unobserved 1", "> t | traceparent: a"]);
    assert_eq!(told.anomalies, Anomalies::default());
    assert!(told.shown_bytes < 5000, "{}", told.shown_bytes);
}

#[test]
fn payloads_need_not_be_shown() {
    let bytes = [message("PUB", "s", None, &vec![b'x'; 500_000]), message("PUB", "t", TRACE, b"")].concat();
    let runs = [&nats_opening()[..], &[(End::First, bytes)]].concat();
    let told = tell_needed(&cut(&runs, |_| 1448));
    assert_eq!(told.lines, ["> s", "> t | traceparent: a"]);
    assert!(told.shown_bytes < 5000, "{}", told.shown_bytes);
}

#[test]
fn long_lines_are_passed_over() {
    let info = format!("INFO {{\"server_id\":\"N\",\"connect_urls\":[\"{}\"]}}\r\n", "x".repeat(70_000));
    let runs = [(End::Second, [info.as_bytes(), b"PING\r\n", b"MSG s 1 0\r\n\r\n"].concat())];
    for segment in [1000, usize::MAX] {
        let mut runs = runs.to_vec();
        runs.push((End::First, message("PUB", "t", TRACE, b"")));
        let told = tell(&cut(&runs, |_| segment));
        assert_eq!(told.lines, ["< s", "> t | traceparent: a"]);
        assert!(told.held_bytes < 20_000, "{}", told.held_bytes);
    }
}

#[test]
fn a_connection_is_recognised_by_content() {
    for (bytes, from, protocol) in [
        (INFO, End::Second, Some(Protocol::Nats)),
        (CONNECT, End::First, Some(Protocol::Nats)),
        (b"PUB orders.new 4\r\nbody\r\n", End::First, Some(Protocol::Nats)),
        (b"PUB orders.new 400\r\nbody", End::First, Some(Protocol::Nats)),
        (b"PUB orders.new 4\r\nbody\r\nPUB ord", End::First, Some(Protocol::Nats)),
        (b"HPUB s 12 12\r\nNATS/1.0\r\n\r\n\r\n", End::First, Some(Protocol::Nats)),
        (b"MSG orders.new 7 _INBOX.a 4\r\nbody\r\n+OK\r\n", End::Second, Some(Protocol::Nats)),
        (b"HMSG s 1 12 12\r\nNATS/1.0\r\n\r\n\r\n", End::Second, Some(Protocol::Nats)),
        // Others that begin alike.
        (b"CONNECT shop.example:443 HTTP/1.1\r\nhost: shop.example\r\n\r\n", End::First, Some(Protocol::Http11)),
        (b"INFO\r\n", End::First, None),
        (b"PUB topic\n\0\0\0\x04body", End::First, None),
        (b"PUB orders.new 4\r\nbodies\r\n", End::First, None),
        (b"PUB orders.new four\r\nbody\r\n", End::First, None),
        (b"PUB orders.new 4\r\nbody\r\nand more", End::First, None),
        (b"MSG orders.new q 4\r\nbody\r\n", End::Second, None),
        (b"HPUB s 12 12\r\nno headers\r\n\r\n", End::First, None),
        // Lines with headers of which the first byte is missing.
        (b"PUB s 12 12\r\nNATS/1.0\r\n\r\n\r\n", End::First, None),
        (b"MSG s 1 12 12\r\nNATS/1.0\r\n\r\n\r\n", End::Second, None),
        // Routes and leaf nodes.
        (b"RMSG $G orders.new 4\r\nbody\r\n", End::First, None),
        (b"HMSG ACC orders.new 12 12\r\nNATS/1.0\r\n\r\n\r\n", End::First, None),
        (b"LMSG orders.new 4\r\nbody\r\n", End::First, None),
        (b"RS+ $G orders.new\r\n", End::First, None),
    ] {
        assert_eq!(joined(&[(from, bytes)]).protocol, protocol, "{}", bytes.escape_ascii());
    }
}

#[test]
fn servers_that_speak_to_each_other_tell_nothing() {
    let told = joined(&[
        (End::Second, INFO),
        (End::First, b"CONNECT {\"echo\":true,\"cluster\":\"shop\"}\r\nPING\r\n"),
        (End::Second, b"PONG\r\nRS+ ACC orders.new billing 1\r\n"),
        (End::First, b"RMSG ACC orders.new 4\r\nbody\r\nHMSG ACC orders.new 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
    ]);
    assert_eq!((told.lines, told.protocol), (vec![], None));
    assert_eq!(told.anomalies, Anomalies::default());
}

#[test]
fn what_goes_on_in_tls_is_no_anomaly() {
    let told = joined(&[(End::Second, INFO), (End::First, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")]);
    assert_eq!((told.lines, told.protocol), (vec![], None));
    assert_eq!(told.anomalies, Anomalies::default());
}

#[test]
fn a_line_that_is_too_long_announces_nothing_however_it_is_cut() {
    let bytes = [CONNECT, b"PING\r\nPING\r\nPING\r\n", &message("PUB", &"s".repeat(5000), None, b"")].concat();
    for segment in [1, 1448, usize::MAX] {
        let told = tell(&cut(&[(End::First, bytes.clone())], |_| segment));
        assert_eq!(told.lines, Vec::<String>::new());
        assert_eq!(told.anomalies.nats, nats::Anomalies { not_nats: 1, ..Default::default() });
    }
}

#[test]
fn a_connection_that_is_joined_late_tells_what_it_can() {
    let told = joined(&[
        (End::Second, b"rest of a payload\r\n"),
        (End::First, b"PING\r\n"),
        (End::First, b"PUB jobs 4\r\nbody\r\n"),
        (End::Second, b"rest of another one\r\nMSG orders 1 0\r\n\r\n"),
        (End::Second, b"PONG\r\nMSG orders 1 0\r\n\r\n"),
    ]);
    assert_eq!(told.lines, ["> jobs", "< orders"]);
    assert_eq!(told.anomalies, Anomalies::default());
}

#[test]
fn what_is_missing_of_a_message_is_not_observed() {
    let sent = message("PUB", "s", TRACE, b"some more text");
    let runs = [&nats_opening()[..], &[(End::First, sent.clone()), (End::First, sent)]].concat();
    let (opening, first) = (nats_opening().len(), "> s unobserved 1");
    for (at, len, expected) in [
        (0, 5, vec!["> s | traceparent: a"]),
        (30, 5, vec![first, "> s | traceparent: a"]),
        (70, 5, vec!["> s | traceparent: a"; 2]),
    ] {
        let mut pieces = cut(&runs, <[u8]>::len);
        let (before, behind) = (pieces[opening].bytes[..at].to_vec(), pieces[opening].bytes[at + len..].to_vec());
        let mut rest = pieces[opening].clone();
        rest.seq = rest.seq.wrapping_add(u32::try_from(at + len).unwrap());
        rest.wire_len -= u32::try_from(at + len).unwrap();
        rest.bytes = behind;
        pieces[opening].wire_len = u32::try_from(at).unwrap();
        pieces[opening].bytes = before;
        pieces.insert(opening + 1, rest);
        assert_eq!(tell(&pieces).lines, expected, "{len} bytes at {at}");
    }
}

#[test]
fn what_is_no_nats_after_all_is_recognised_anew() {
    let told = joined(&[
        (End::First, b"PUB orders.new 4\r\nbody\r\n"),
        (End::First, b"anything else\r\n"),
        (End::First, b"GET /cart HTTP/1.1\r\nhost: shop\r\n\r\n"),
    ]);
    assert_eq!(told.lines, ["> orders.new", "request /cart"]);
    assert_eq!(told.protocol, Some(Protocol::Http11));
}
