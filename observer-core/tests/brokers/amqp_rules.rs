//! AMQP 0-9-1, rule by rule.

use observer_core::decode::Anomalies;
use observer_core::decode::amqp::{self, ANNOUNCED_MAX, CONTENT_BYTES_MAX, HEADERS_MAX};
use observer_core::message::{End, Protocol};

use crate::amqp_wire::{
    PROTOCOL_HEADER, body, content, deliver, field, frame, get_ok, heartbeat, message, method, publish, returned, text,
};
use crate::script::amqp_opening;
use crate::tap::{Owned, Runs, Told, cut, lines, tell};

/// What is told of what the ends send on an open connection.
fn told(runs: &[(End, Vec<u8>)]) -> Vec<String> {
    lines(&[&amqp_opening()[..], runs].concat())
}

fn from_client(bytes: Vec<u8>) -> Vec<String> {
    told(&[(End::First, bytes)])
}

/// What is told of a conversation of which run `hole`, counted from behind the opening, is lost.
fn without(runs: &[(End, Vec<u8>)], hole: usize) -> Told {
    let opening = amqp_opening();
    let mut pieces = cut(&[&opening[..], runs].concat(), <[u8]>::len);
    pieces.remove(opening.len() + hole);
    tell(&pieces)
}

/// What is told of pieces of a connection of which the beginning was not seen.
fn joined(runs: &[(End, Vec<u8>)]) -> Told {
    tell(&cut(runs, <[u8]>::len))
}

#[test]
fn a_message_goes_to_its_exchange_or_through_the_default_one_to_its_queue() {
    assert_eq!(from_client(message(publish(1, "shop", "orders.new"), 1, "a")), ["> shop | traceparent: a"]);
    assert_eq!(from_client(message(publish(1, "", "jobs"), 1, "a")), ["> jobs | traceparent: a"]);
    for method in [deliver(1, "shop", "orders.new"), get_ok(1, "shop", "orders.new")] {
        assert_eq!(told(&[(End::Second, message(method, 1, "a"))]), ["< shop | traceparent: a"]);
    }
    assert_eq!(told(&[(End::Second, message(deliver(1, "", "jobs"), 1, "a"))]), ["< jobs | traceparent: a"]);
}

#[test]
fn what_is_no_work_is_not_told() {
    for (exchange, key) in [
        ("", "amq.gen-JzTY20BRgKO-HjmUJj0wLg"),
        ("", "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA"),
        ("amq.rabbitmq.trace", "publish.shop"),
        ("amq.rabbitmq.log", "info"),
        ("amq.rabbitmq.event", "queue.created"),
    ] {
        assert!(from_client(message(publish(1, exchange, key), 1, "a")).is_empty(), "{exchange} {key}");
        assert!(told(&[(End::Second, message(deliver(1, exchange, key), 1, "a"))]).is_empty(), "{exchange} {key}");
    }
    assert!(told(&[(End::Second, message(returned(1, "shop", "nowhere"), 1, "a"))]).is_empty());
    // Exchanges that every broker has, and topics that begin alike.
    assert_eq!(from_client(message(publish(1, "amq.topic", "amq.x"), 1, "a")), ["> amq.topic | traceparent: a"]);
}

#[test]
fn fields_of_every_type_are_passed_over() {
    let nested = [text("traceparent", "never sent"), field("list", b'A', b"S\0\0\0\x01x")].concat();
    let fields: &[(u8, &[u8])] = &[
        (b't', &[1]),
        (b'b', &[1]),
        (b'B', &[1]),
        (b's', &[0, 1]),
        (b'u', &[0, 1]),
        (b'U', &[0, 1]),
        (b'I', &[0; 4]),
        (b'i', &[0; 4]),
        (b'f', &[0; 4]),
        (b'D', &[0; 5]),
        (b'l', &[0; 8]),
        (b'L', &[0; 8]),
        (b'd', &[0; 8]),
        (b'T', &[0; 8]),
        (b'V', &[]),
        (b'S', b"text"),
        (b'x', b"bytes"),
        (b'F', &nested),
        (b'A', b"S\0\0\0\x01x"),
    ];
    for (kind, value) in fields {
        let table = [field("other", *kind, value), text("Traceparent", "a"), text("x-tenant-id", "acme")].concat();
        let bytes = [publish(1, "shop", "k"), content(1, 0, Some(&table))].concat();
        assert_eq!(from_client(bytes), ["> shop | traceparent: a | x-tenant-id: acme"], "{}", char::from(*kind));
    }
}

#[test]
fn a_wanted_header_is_text_or_not_observed() {
    for (kind, value, line) in [
        (b'S', &b"5"[..], "> shop | x-trace-weight: 5"),
        (b'x', b"5", "> shop | x-trace-weight: 5"),
        (b'I', &[0, 0, 0, 5], "> shop | …"),
        (b'F', b"", "> shop | …"),
        (b'V', b"", "> shop"),
    ] {
        let table = field("x-trace-weight", kind, value);
        assert_eq!(from_client([publish(1, "shop", ""), content(1, 0, Some(&table))].concat()), [line]);
    }
}

#[test]
fn of_very_many_wanted_headers_the_first_ones_are_told() {
    let table = text("traceparent", "a").repeat(HEADERS_MAX + 1);
    let told = from_client([publish(1, "shop", ""), content(1, 0, Some(&table))].concat());
    assert_eq!(told, ["> shop".to_owned() + &" | traceparent: a".repeat(HEADERS_MAX) + " | …"]);
}

#[test]
fn a_message_without_headers_has_none() {
    assert_eq!(from_client([publish(1, "shop", "k"), content(1, 0, None)].concat()), ["> shop"]);
    // Without any property.
    let bare = frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(from_client([publish(1, "shop", "k"), bare].concat()), ["> shop"]);
}

#[test]
fn channels_take_turns() {
    let bytes = [
        publish(1, "one", ""),
        publish(2, "two", ""),
        heartbeat(),
        content(2, 6, Some(&text("traceparent", "b"))),
        body(2, b"abc", 3),
        content(1, 0, Some(&text("traceparent", "a"))),
        body(2, b"def", 3),
    ];
    assert_eq!(from_client(bytes.concat()), ["> two | traceparent: b", "> one | traceparent: a"]);
}

#[test]
fn what_is_announced_on_too_many_channels_is_not_observed() {
    let channels = 1..=u16::try_from(ANNOUNCED_MAX).unwrap() + 1;
    let announced = channels.clone().flat_map(|channel| publish(channel, "shop", ""));
    let contents = channels.flat_map(|channel| content(channel, 0, Some(&text("traceparent", "a"))));
    let told = from_client(announced.chain(contents).collect());
    assert_eq!(told[..2], [">  unobserved 1", "> shop | traceparent: a"]);
    assert_eq!(told.len(), ANNOUNCED_MAX + 1);
}

#[test]
fn headers_over_the_bound_are_not_observed_and_need_not_be_shown() {
    let long = "x".repeat(usize::try_from(CONTENT_BYTES_MAX).unwrap());
    let table = [text("other", &long), text("traceparent", "a")].concat();
    let bytes = [publish(1, "shop", ""), content(1, 0, Some(&table)), message(publish(1, "shop", ""), 1, "b")].concat();
    let runs = [&amqp_opening()[..], &[(End::First, bytes)]].concat();
    let told = tell(&cut(&runs, |_| 1448));
    assert_eq!(told.lines, ["> shop unobserved 1", "> shop | traceparent: b"]);
    assert_eq!(told.anomalies, Anomalies::default());
    let needed = crate::tap::tell_needed(&cut(&runs, |_| 1448));
    assert_eq!(needed.lines, told.lines);
    assert!(needed.shown_bytes < 5000, "{}", needed.shown_bytes);
}

#[test]
fn properties_that_contradict_themselves_are_not_observed() {
    let table = [text("traceparent", "a"), b"\x05otherS\0\0\xff\xffshort".to_vec()].concat();
    for wrong in [content(1, 0, Some(&table)), frame(2, 1, &[0; 14]), content(1, 0, Some(b"\x01a?"))] {
        let runs = [&amqp_opening()[..], &[(End::First, [publish(1, "shop", ""), wrong].concat())]].concat();
        let told = tell(&cut(&runs, <[u8]>::len));
        assert_eq!(told.lines, ["> shop unobserved 1"]);
        assert_eq!(told.anomalies.amqp, amqp::Anomalies { malformed: 1, ..Default::default() });
    }
}

#[test]
fn what_is_missing_of_a_message_is_not_observed() {
    let next = || message(publish(1, "shop", ""), 1, "next");
    let next_line = "> shop | traceparent: next";
    let header = || content(1, 4, Some(&text("traceparent", "a")));
    let run = |bytes| (End::First, bytes);
    // Its method, its header, its body.
    let told = without(&[run(publish(1, "shop", "")), run([header(), body(1, b"body", 9)].concat()), run(next())], 0);
    assert_eq!(told.lines, [">  unobserved 1", next_line]);
    let told = without(&[run(publish(1, "shop", "")), run(header()), run(body(1, b"body", 9)), run(next())], 1);
    assert_eq!(told.lines, ["> shop unobserved 1", next_line]);
    assert_eq!(told.anomalies.amqp, amqp::Anomalies { frames_missed: 1, ..Default::default() });
    let told = without(&[run([publish(1, "shop", ""), header()].concat()), run(body(1, b"body", 9)), run(next())], 1);
    assert_eq!(told.lines, ["> shop | traceparent: a", next_line]);
    // Within the header.
    let [start, middle, end] = [&header()[..20], &header()[20..30], &header()[30..]].map(<[u8]>::to_vec);
    let runs = [run([publish(1, "shop", ""), start].concat()), run(middle), run([end, body(1, b"body", 9)].concat())];
    let told = without(&[&runs[..], &[run(next())]].concat(), 1);
    assert_eq!(told.lines, ["> shop unobserved 1", next_line]);
    assert_eq!(told.anomalies, Anomalies::default());
}

#[test]
fn a_header_behind_a_loss_belongs_to_no_method_before_it() {
    let lost = [content(1, 0, None), publish(1, "second", "")].concat();
    let runs = [
        (End::First, publish(1, "first", "")),
        (End::First, lost),
        (End::First, content(1, 0, Some(&text("traceparent", "b")))),
    ];
    assert_eq!(without(&runs, 1).lines, [">  unobserved 1"]);
}

#[test]
fn a_connection_is_recognised_by_content() {
    let start = &amqp_opening()[1].1;
    for (bytes, from, protocol) in [
        (PROTOCOL_HEADER.to_vec(), End::First, Some(Protocol::Amqp)),
        (start.clone(), End::Second, Some(Protocol::Amqp)),
        (publish(1, "shop", "k"), End::First, Some(Protocol::Amqp)),
        (message(deliver(7, "shop", "k"), 7, "a"), End::Second, Some(Protocol::Amqp)),
        (get_ok(7, "shop", "k"), End::Second, Some(Protocol::Amqp)),
        // AMQP 1.0 with and without SASL, 0-8, TLS and what says too little.
        (b"AMQP\0\x01\0\0".to_vec(), End::First, None),
        (b"AMQP\x03\x01\0\0".to_vec(), End::First, None),
        (b"AMQP\x01\x01\x08\0".to_vec(), End::First, None),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), End::First, None),
        (heartbeat(), End::First, None),
        (method(1, 60, 80, &[0; 9]), End::First, None),
        (publish(0, "shop", "k"), End::First, None),
        ([publish(1, "shop", "k"), b"more".to_vec()].concat(), End::First, None),
        (method(1, 60, 40, b"\0\0\x04shop\x09k\0"), End::First, None),
    ] {
        let told = joined(&[(from, bytes.clone())]);
        assert_eq!(told.protocol, protocol, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_connection_that_is_joined_late_tells_what_it_can() {
    let runs: Runs = vec![
        (End::Second, body(1, b"rest of a body", 99)[5..].to_vec()),
        (End::First, method(1, 60, 80, &[0, 0, 0, 0, 0, 0, 0, 1, 0])),
        (End::Second, message(deliver(1, "shop", ""), 1, "a")),
        (End::First, message(publish(1, "", "jobs"), 1, "b")),
        (End::First, b"in the middle".to_vec()),
        (End::Second, message(deliver(1, "shop", ""), 1, "c")),
    ];
    let told = joined(&runs);
    assert_eq!(told.lines[..2], ["< shop | traceparent: a", "> jobs | traceparent: b"]);
    assert_eq!(told.lines[2..], ["< shop | traceparent: c"]);
}

#[test]
fn what_is_no_amqp_after_all_is_recognised_anew() {
    let http = b"GET /cart HTTP/1.1\r\nhost: shop\r\n\r\n".to_vec();
    for wrong in [PROTOCOL_HEADER.to_vec(), publish(1, "shop", "")] {
        let told = joined(&[(End::First, wrong), (End::First, b"anything else".to_vec()), (End::First, http.clone())]);
        assert_eq!(told.lines, ["request /cart"]);
        assert_eq!(told.protocol, Some(Protocol::Http11));
    }
}

#[test]
fn a_proven_connection_stays_one() {
    let mut runs = amqp_opening();
    runs.push((End::First, b"what a tap mixed up".to_vec()));
    runs.push((End::First, message(publish(1, "shop", ""), 1, "a")));
    let told = tell(&cut(&runs, <[u8]>::len));
    assert_eq!((told.lines, told.protocol), (vec!["> shop | traceparent: a".to_owned()], Some(Protocol::Amqp)));
    assert_eq!(told.anomalies.amqp, amqp::Anomalies { not_amqp: 1, ..Default::default() });
}

#[test]
fn what_only_the_other_end_sends_is_no_frame() {
    for (from, bytes) in
        [(End::First, message(deliver(1, "shop", ""), 1, "a")), (End::Second, message(publish(1, "shop", ""), 1, "a"))]
    {
        let told = tell(&cut(&[&amqp_opening()[..], &[(from, bytes)]].concat(), <[u8]>::len));
        assert_eq!(told.lines, Vec::<String>::new());
        assert_eq!(told.anomalies.amqp, amqp::Anomalies { not_amqp: 1, ..Default::default() });
    }
}

#[test]
fn bodies_need_not_be_shown() {
    let message = [publish(1, "shop", ""), content(1, 300_000, None), body(1, &vec![b'x'; 300_000], 131_064)].concat();
    let runs = [&amqp_opening()[..], &[(End::First, message)]].concat();
    let pieces: Vec<Owned> = cut(&runs, |_| 1448);
    let told = crate::tap::tell_needed(&pieces);
    assert_eq!(told.lines, ["> shop"]);
    assert_eq!(told.anomalies, Anomalies::default());
    assert!(told.shown_bytes < 10_000, "{}", told.shown_bytes);
}
