//! HTTP/2: frames that a decoder needs are told, however they are cut; what is left out between them is known to be.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::namespaces::{Pair, send_frame};
use crate::seen::{Seen, Side};
use crate::wire::{on, packet};

const BOTH_SIDES: [Side; 2] = [Side::Egress, Side::Ingress];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// A frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
}

fn headers(stream: u32, len: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &vec![b'h'; len])
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, b"pingpong")
}

/// Which bytes of a direction a decoder needs.
fn needed(sent: &[u8]) -> Vec<bool> {
    let mut needed = Vec::new();
    while needed.len() < sent.len() {
        let rest = &sent[needed.len()..];
        let (len, wanted) = if rest.starts_with(PREFACE) {
            (PREFACE.len(), true)
        } else {
            let len = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            (9 + len, matches!(rest[3], 1 | 3 | 5 | 7 | 9) || (rest[3] == SETTINGS && rest[4] == 0))
        };
        needed.extend(std::iter::repeat_n(wanted, len));
    }
    needed
}

/// What is wrong with what was told of a direction of which `sent` was sent since it began to be seen; empty where nothing is.
fn wrong(seen: &Seen, (from, to): (SocketAddr, SocketAddr), side: Side, sent: &[u8]) -> String {
    let packets = seen.flow(from, to, side);
    let Some(first) = packets.iter().map(|packet| packet.seq).min() else { return "nothing was told".into() };
    let (needed, mut told, mut wrong) = (needed(sent), vec![false; sent.len()], String::new());
    let start = needed.iter().position(|needed| *needed).unwrap();
    let mut end = start;
    for packet in packets {
        let at = packet.seq.wrapping_sub(first) as usize + start;
        if packet.bytes != sent[at..][..packet.bytes.len()] {
            writeln!(wrong, "other bytes at {at}").unwrap();
        }
        if at < end {
            writeln!(wrong, "told again: {at} to {end}").unwrap();
        }
        let link = packet.link.map(|link| link.wrapping_sub(first) as usize + start);
        if at > end && packet.wire_len > 0 && link != Some(end) {
            writeln!(wrong, "{link:?} is no link from {end} to {at}").unwrap();
        }
        end = at + packet.wire_len as usize;
        told[at..end].fill(true);
    }
    let missing: Vec<_> = (0..sent.len()).filter(|at| needed[*at] && !told[*at]).collect();
    if !missing.is_empty() {
        writeln!(wrong, "not told: {missing:?}").unwrap();
    }
    wrong
}

/// Waits until all that a decoder needs of a direction was told at both ends, and then that nothing is wrong with it.
fn is_told(seen: &mut Seen, flow: (SocketAddr, SocketAddr), sent: &[u8]) {
    seen.until_now();
    for side in BOTH_SIDES {
        assert_eq!(wrong(seen, flow, side, sent), "", "{side:?}");
    }
    assert_eq!(seen.lost(), []);
}

fn told_bytes(seen: &Seen, (from, to): (SocketAddr, SocketAddr), side: Side) -> usize {
    seen.flow(from, to, side).iter().map(|packet| packet.bytes.len()).sum()
}

/// What a client sends: the preface, frames of two streams that interleave, and a block in three frames.
fn requests() -> Vec<u8> {
    [
        PREFACE,
        &settings(),
        &frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]),
        &headers(1, 40),
        &headers(3, 20),
        &frame(DATA, 0, 1, b"some of the first body"),
        &frame(DATA, 1, 3, b"the second body"),
        &frame(SETTINGS, 1, 0, b""),
        &frame(DATA, 1, 1, b"the rest of the first"),
        &ping(),
        &frame(HEADERS, 0, 5, b"one"),
        &frame(CONTINUATION, 0, 5, b"two"),
        &frame(CONTINUATION, END_HEADERS, 5, b"three"),
        &frame(RESET, 0, 5, &[0, 0, 0, 8]),
        &frame(GO_AWAY, 0, 0, &[0; 8]),
    ]
    .concat()
}

fn responses() -> Vec<u8> {
    [&settings(), &frame(SETTINGS, 1, 0, b"")[..], &headers(1, 30), &frame(DATA, 0, 1, b"body"), &headers(1, 10)]
        .concat()
}

#[test]
fn both_directions_of_a_connection_are_told() {
    for address in [LOOPBACK, "[::1]:0"] {
        let mut seen = Seen::everywhere();
        let ends = Ends::on(address);
        let (client, server) = ends.addresses();
        let (mut sent, mut answered) = (requests(), responses());
        ends.to_server(&sent);
        ends.to_client(&answered);
        for stream in [7, 9, 11] {
            let request = [headers(stream, 50), frame(DATA, 1, stream, b"message")].concat();
            let response = [headers(stream, 9), frame(DATA, 0, stream, b"answer"), headers(stream, 7)].concat();
            ends.to_server(&request);
            ends.to_client(&response);
            sent.extend(request);
            answered.extend(response);
        }
        is_told(&mut seen, (client, server), &sent);
        is_told(&mut seen, (server, client), &answered);
        let packets = seen.flow(server, client, Side::Egress);
        assert_eq!(packets.len(), 4, "a record a packet");
        assert_eq!(Seen::socket(packets[0]), (ends.cookies().1, true));
    }
}

#[test]
fn frames_cut_at_any_place_are_told() {
    let mut seen = Seen::everywhere();
    let sent = requests();
    for cut in 1..sent.len() {
        let ends = Ends::on(LOOPBACK);
        ends.to_server(&sent[..cut]);
        ends.to_server(&sent[cut..]);
        seen.until_now();
        let (client, server) = ends.addresses();
        for side in BOTH_SIDES {
            assert_eq!(wrong(&seen, (client, server), side, &sent), "", "{side:?}, cut at {cut}");
        }
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn connections_that_are_many_do_not_cost_each_other_frames() {
    let mut seen = Seen::everywhere();
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    // 1,200 flows: with one place each among as many slots some eleven pairs would share one.
    let all: Vec<_> = (0..300).map(|_| Ends::through(&listener)).collect();
    let (sent, answered) = (requests(), responses());
    for ends in &all {
        ends.to_server(&sent[..100]);
        ends.to_client(&answered[..50]);
    }
    for ends in &all {
        ends.to_server(&sent[100..]);
        ends.to_client(&answered[50..]);
    }
    seen.until_now();
    for ends in &all {
        let (client, server) = ends.addresses();
        for side in BOTH_SIDES {
            assert_eq!(wrong(&seen, (client, server), side, &sent), "", "{side:?}");
            assert_eq!(wrong(&seen, (server, client), side, &answered), "", "{side:?}");
        }
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn frames_in_segments_of_few_bytes_are_told() {
    let sent = requests();
    for len in [1, 2, 3, 5, 7, 8, 9, 10, 11] {
        let mut seen = Seen::everywhere();
        let ends = Ends::on(LOOPBACK);
        for segment in sent.chunks(len) {
            ends.to_server(segment);
        }
        let (client, server) = ends.addresses();
        is_told(&mut seen, (client, server), &sent);
    }
}

#[test]
fn a_block_in_long_frames_is_told() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let long = vec![b'l'; 16_384];
    let mut sent = [PREFACE, &settings(), &frame(HEADERS, 0, 1, &long)].concat();
    for flags in [0, 0, END_HEADERS] {
        sent.extend(frame(CONTINUATION, flags, 1, &long));
    }
    sent.extend(frame(DATA, 1, 1, b"body"));
    ends.to_server(&sent);
    let next = headers(3, 30);
    ends.to_server(&next);
    sent.extend(next);
    let (client, server) = ends.addresses();
    is_told(&mut seen, (client, server), &sent);
}

#[test]
fn of_a_long_body_nothing_is_told() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let mut sent = [settings(), headers(1, 60)].concat();
    ends.to_client(&sent);
    let (body, whole) = (vec![0; 16_384], vec![0; 1 << 20]);
    for piece in std::iter::repeat_n(&body, 200).chain(std::iter::once(&whole)) {
        let data = frame(DATA, 0, 1, piece);
        ends.to_client(&data);
        sent.extend(data);
    }
    let trailers = headers(1, 20);
    ends.to_client(&trailers);
    sent.extend(trailers);
    is_told(&mut seen, (server, client), &sent);
    for side in BOTH_SIDES {
        assert_eq!(told_bytes(&seen, (server, client), side), 15 + 69 + 29);
    }
}

#[test]
fn thousands_of_frames_in_one_segment_are_walked() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let mut sent = [PREFACE, &settings()].concat();
    ends.to_server(&sent);
    let mut many: Vec<u8> = (0..1200).flat_map(|_| ping()).collect();
    many.extend(headers(1, 33));
    many.extend((0..600).flat_map(|at| if at % 300 == 0 { headers(3 + at, 40) } else { frame(DATA, 0, 1, b"") }));
    many.extend(headers(9001, 33));
    ends.to_server(&many);
    sent.extend(many);
    is_told(&mut seen, (client, server), &sent);
}

#[test]
fn a_connection_that_existed_before_is_joined_where_frames_begin() {
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(&requests());
    ends.to_client(&responses());
    let mut seen = Seen::everywhere();
    ends.to_client(&frame(DATA, 0, 1, b"alone, this may be anything"));
    let unary = [headers(7, 50), frame(DATA, 1, 7, b"message")].concat();
    let alone = headers(7, 40);
    ends.to_server(&unary);
    ends.to_client(&alone);
    ends.to_server(&headers(9, 20));
    is_told(&mut seen, (client, server), &[unary, headers(9, 20)].concat());
    is_told(&mut seen, (server, client), &alone);
}

#[test]
fn an_upgraded_connection_goes_on_as_http2() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let asks = b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    ends.to_server(asks);
    let switches = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    ends.to_client(&[&switches[..], &settings()].concat());
    ends.to_server(&[PREFACE, &settings()].concat());
    let answer = [headers(1, 20), frame(DATA, 1, 1, &[0; 300])].concat();
    ends.to_client(&answer);
    ends.to_client(&headers(3, 20));
    ends.to_server(&headers(3, 25));
    seen.until_now();
    for side in BOTH_SIDES {
        let requests = [asks, PREFACE, &settings(), &headers(3, 25)].concat();
        assert_eq!(seen.stream(client, server, side), requests);
        let responses = [switches, &settings()[..], &headers(1, 20), &headers(3, 20)].concat();
        assert_eq!(seen.stream(server, client, side), responses);
    }
}

#[test]
fn what_looks_like_frames_and_is_none_changes_nothing() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(&[&headers(1, 8)[..], &ping()].concat());
    ends.to_server(b"and then another protocol");
    ends.to_server(REQUEST);
    ends.to_client(b"HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n");
    ends.to_client(&[headers(1, 8), headers(3, 8)].concat());
    ends.to_client(RESPONSE);
    seen.until_now();
    for side in BOTH_SIDES {
        assert!(seen.stream(client, server, side).ends_with(REQUEST));
        assert!(seen.stream(server, client, side).ends_with(RESPONSE));
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn the_end_of_a_direction_is_told_once() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let sent = requests();
    ends.to_server(&sent);
    ends.client.shutdown(std::net::Shutdown::Write).unwrap();
    seen.until("the end at both ends", |seen| {
        BOTH_SIDES.iter().all(|side| seen.flow(client, server, *side).iter().any(|packet| packet.closes))
    });
    is_told(&mut seen, (client, server), &sent);
    let ends = seen.flow(client, server, Side::Egress).iter().filter(|packet| packet.closes).count();
    assert_eq!(ends, 1);
}

/// A record: its place in the stream, its bytes, and the place that its link names.
type Told = (u32, Vec<u8>, Option<u32>);

/// What is told of packets on an interface that carry these places of a stream, and what is counted as lost.
fn told_of(name: &str, packets: &[(u32, &[u8])]) -> (Vec<Told>, Vec<(&'static str, u64)>) {
    // Sequence numbers wrap on the way.
    const FIRST: u32 = u32::MAX - 100;
    let pair = Pair::new(name);
    let mut seen = pair.in_b(|| Seen::open(&on("veth")));
    pair.in_a(|| {
        for (place, payload) in packets {
            send_frame("veth", &packet(&[], FIRST.wrapping_add(*place), payload));
        }
        // The last of all, far behind.
        send_frame("veth", &packet(&[], FIRST.wrapping_add(1 << 20), &[headers(1001, 8), headers(1003, 8)].concat()));
    });
    let (client, server) = ("10.77.0.1:1111".parse().unwrap(), "10.77.0.2:80".parse().unwrap());
    seen.until("the last packet", |seen| {
        seen.flow(client, server, Side::Wire).iter().any(|packet| packet.seq == FIRST.wrapping_add(1 << 20))
    });
    let place = |seq: u32| seq.wrapping_sub(FIRST);
    let mut told: Vec<Told> = seen
        .flow(client, server, Side::Wire)
        .into_iter()
        .map(|packet| (place(packet.seq), packet.bytes.clone(), packet.link.map(place)))
        .collect();
    assert_eq!(told.pop().unwrap().2, None, "nobody knows what lies before the last packet");
    (told, seen.lost())
}

#[test]
fn what_is_repeated_is_told_once_and_what_is_new_in_it_too() {
    let start = [PREFACE, &settings()].concat();
    let at = u32::try_from(start.len()).unwrap();
    let (first, second) = (headers(1, 30), [ping(), headers(3, 20)].concat());
    let both = [&first[..], &second].concat();
    let (told, lost) =
        told_of("repeat", &[(0, &start), (at, &first), (at, &first), (0, &start), (at, &both), (at + 39, &second)]);
    let expected = [(0, start, None), (at, first, Some(at)), (at + 39 + 17, headers(3, 20), Some(at + 39))];
    assert_eq!(told, expected);
    assert_eq!(lost, [("frame_missed", 1)], "that of the last packet");
}

#[test]
fn a_packet_that_overtakes_another_is_told_and_so_is_the_other() {
    let start = [PREFACE, &settings()].concat();
    let at = u32::try_from(start.len()).unwrap();
    let (first, second) = ([headers(1, 30), ping()].concat(), [headers(3, 20), ping()].concat());
    let (told, lost) =
        told_of("overtake", &[(0, &start), (at + 56, &second), (at, &first), (at + 56 + 46, &headers(5, 20))]);
    let expected = [
        (0, start, None),
        (at + 56, headers(3, 20), None),
        (at, first, Some(at)),
        (at + 56 + 46, headers(5, 20), Some(at + 56 + 29)),
    ];
    assert_eq!(told, expected);
    assert_eq!(lost, [("frame_missed", 2)]);
}

#[test]
fn behind_a_missing_packet_frames_are_recognised_where_a_packet_begins_with_them() {
    let start = [PREFACE, &settings()].concat();
    let at = u32::try_from(start.len()).unwrap();
    let body = vec![b'b'; 1000];
    let unary = [headers(7, 30), frame(DATA, 1, 7, b"message")].concat();
    let packets: [(u32, &[u8]); 5] = [
        (0, &start),
        // Where the frame begins that these are of is not seen.
        (at + 1000, &body),
        (at + 2000, REQUEST),
        (at + 3000, &unary),
        (at + 3000 + 55, &headers(9, 10)),
    ];
    let (told, lost) = told_of("behind", &packets);
    let expected =
        [(0, start, None), (at + 3000, headers(7, 30), None), (at + 3055, headers(9, 10), Some(at + 3000 + 39))];
    assert_eq!(told, expected);
    assert_eq!(lost, [("frame_missed", 2)]);
}

#[test]
fn a_packet_that_is_missing_in_a_body_is_no_loss() {
    let start = [PREFACE, &settings(), &headers(1, 20), &frame(DATA, 0, 1, &vec![b'b'; 9000])[..1000]].concat();
    let end = u32::try_from(PREFACE.len() + 15 + 29 + 9009).unwrap();
    let (told, lost) = told_of("body", &[(0, &start), (4000, &[b'b'; 500]), (end, &headers(1, 10))]);
    let known = PREFACE.len() + 15 + 29;
    let link = u32::try_from(known).unwrap();
    assert_eq!(told, [(0, start[..known].to_vec(), None), (end, headers(1, 10), Some(link))]);
    assert_eq!(lost, [("frame_missed", 1)], "that of the last packet");
}
