//! Heads of requests and responses, however they are cut, and bodies that are left out.

use observer_ebpf::opening::{Opening, opening};
use std::io::Write;

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::seen::{Seen, Side};

const BOTH_SIDES: [Side; 2] = [Side::Egress, Side::Ingress];

/// Captured bytes of a flow, repeats counted.
fn captured(seen: &Seen, from: std::net::SocketAddr, to: std::net::SocketAddr, side: Side) -> usize {
    seen.flow(from, to, side).iter().map(|packet| packet.bytes.len()).sum()
}

fn an_exchange_is_seen_at_both_ends(address: &str) {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(address);
    ends.to_server(REQUEST);
    ends.to_client(RESPONSE);
    let (client, server) = ends.addresses();
    seen.until("the exchange at both ends", |seen| {
        BOTH_SIDES
            .iter()
            .all(|side| seen.stream(client, server, *side) == REQUEST && seen.stream(server, client, *side) == RESPONSE)
    });
    let (client_cookie, server_cookie) = ends.cookies();
    for (from, to, side, cookie) in [
        (client, server, Side::Egress, client_cookie),
        (client, server, Side::Ingress, server_cookie),
        (server, client, Side::Egress, server_cookie),
        (server, client, Side::Ingress, client_cookie),
    ] {
        let packets = seen.flow(from, to, side);
        assert_eq!(packets.len(), 1, "{side:?}");
        assert_eq!(Seen::socket(packets[0]), (cookie, true), "{side:?}");
        assert_eq!(packets[0].wire_len as usize, packets[0].bytes.len());
        let other = seen.flow(to, from, side)[0];
        let received = if from == client { other.seq } else { other.seq.wrapping_add(other.wire_len) };
        assert_eq!(packets[0].ack, Some(received), "{side:?}");
        assert_eq!(packets[0].token != 0, side == Side::Ingress);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_nanos().abs_diff(u128::from(packets[0].at_ns));
        assert!(age < 60_000_000_000, "{side:?}: {age} ns ago");
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn an_exchange_over_ipv4_is_seen_at_both_ends() {
    an_exchange_is_seen_at_both_ends(LOOPBACK);
}

#[test]
fn an_exchange_over_ipv6_is_seen_at_both_ends() {
    an_exchange_is_seen_at_both_ends("[::1]:0");
}

#[test]
fn a_connection_that_existed_before_is_seen() {
    let ends = Ends::on(LOOPBACK);
    ends.to_server(REQUEST);
    ends.to_client(RESPONSE);
    let mut seen = Seen::everywhere();
    ends.to_server(REQUEST);
    let (client, server) = ends.addresses();
    seen.until("the second request", |seen| {
        BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side) == REQUEST)
    });
    assert_eq!(Seen::socket(seen.flow(client, server, Side::Egress)[0]), (ends.cookies().0, true));
}

#[test]
fn a_head_in_segments_of_one_byte_is_seen_whole_and_its_body_is_not() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    for at in 0..REQUEST.len() {
        ends.to_server(&REQUEST[at..=at]);
    }
    ends.to_server(b"a body of some length that is nothing like a head");
    ends.to_server(REQUEST);
    let (client, server) = ends.addresses();
    let twice = [REQUEST, REQUEST].concat();
    seen.until("the head twice", |seen| BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side) == twice));
}

#[test]
fn one_byte_that_could_begin_a_head_and_does_not_is_followed_no_further() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(b"S");
    ends.to_server(b"ome other protocol");
    ends.to_server(b"and more of it");
    seen.until_now();
    assert_eq!(seen.stream(client, server, Side::Egress), b"S");
}

#[test]
fn a_head_of_60_kib_is_seen_whole() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let mut head = b"GET / HTTP/1.1\r\nCookie: ".to_vec();
    head.extend((0..60 * 1024u32).map(|at| b'a' + (at % 23) as u8));
    head.extend_from_slice(b"\r\ntraceparent: x\r\n\r\n");
    ends.to_server(&head);
    let (client, server) = ends.addresses();
    seen.until("the whole head", |seen| BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side) == head));
    ends.to_server(b"the body");
    ends.to_server(REQUEST);
    seen.until("the next request", |seen| seen.stream(client, server, Side::Ingress).ends_with(REQUEST));
    assert!(!seen.stream(client, server, Side::Egress).windows(8).any(|window| window == b"the body"));
}

#[test]
fn pipelined_requests_and_their_responses_are_seen() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let requests = REQUEST.repeat(40);
    let responses = RESPONSE.repeat(20);
    ends.to_server(&requests);
    ends.to_client(&responses);
    let (client, server) = ends.addresses();
    seen.until("all requests", |seen| {
        BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side) == requests)
            && BOTH_SIDES.iter().all(|side| seen.stream(server, client, *side) == responses)
    });
}

#[test]
fn a_body_of_a_mebibyte_that_contains_requests_is_left_out() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let head = b"POST /upload HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n";
    let body: Vec<u8> =
        b"some text, GET /not-a-request HTTP/1.1\r\nHost: b\r\n".iter().copied().cycle().take(1 << 20).collect();
    ends.to_server(head);
    ends.to_server(&body);
    ends.to_server(REQUEST);
    let (client, server) = ends.addresses();
    seen.until("the request after the body", |seen| {
        BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side).ends_with(REQUEST))
    });
    for side in BOTH_SIDES {
        assert!(seen.stream(client, server, side).starts_with(head));
        let captured = captured(&seen, client, server, side);
        // A segment that happens to begin like a head is taken for one, and up to 64 KiB behind it for its continuation: the
        // decoder knows better by the length of the body. The packet that passes the bound is copied whole.
        let flow = seen.flow(client, server, side);
        let begins = |bytes: &[u8]| {
            let mut first = [[0; 8]; 2];
            first.as_flattened_mut().iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            let [low, high] = first.map(u64::from_le_bytes);
            opening(low, high, u32::try_from(bytes.len()).unwrap()) == Opening::Head
        };
        let taken_for_heads = flow.iter().filter(|piece| begins(&piece.bytes)).count();
        let most = (1 + 2 * taken_for_heads) * 64 * 1024;
        assert!(captured < most, "{captured} bytes at {side:?}, {taken_for_heads} segments begin like a head");
    }
}

#[test]
fn of_a_response_in_one_large_segment_the_head_is_seen_and_the_rest_is_counted() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n".to_vec();
    let mut response = head.clone();
    response.resize(head.len() + 300_000, b'x');
    ends.to_client(&response);
    let (client, server) = ends.addresses();
    seen.until("the head", |seen| BOTH_SIDES.iter().all(|side| seen.stream(server, client, *side).starts_with(&head)));
    for side in BOTH_SIDES {
        let first = seen.flow(server, client, side)[0];
        assert!(first.wire_len as usize > first.bytes.len(), "a large segment: {} bytes", first.wire_len);
        assert!(captured(&seen, server, client, side) <= 1024);
    }
}

#[test]
fn a_response_head_longer_than_the_first_look_is_seen_whole() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let mut response = b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec();
    response.resize(3000, b'l');
    response.extend_from_slice(b"\r\nContent-Length: 9000\r\n\r\n");
    let head = response.clone();
    response.resize(head.len() + 9000, b'x');
    ends.to_client(&response);
    let (client, server) = ends.addresses();
    seen.until("the whole head", |seen| {
        BOTH_SIDES.iter().all(|side| seen.stream(server, client, *side).starts_with(&head))
    });
}

#[test]
fn an_end_cut_at_any_place_is_found() {
    let mut seen = Seen::everywhere();
    for cut in 1..4 {
        let ends = Ends::on(LOOPBACK);
        let split = REQUEST.len() - cut;
        ends.to_server(&REQUEST[..split]);
        ends.to_server(&[&REQUEST[split..], b"body in the same segment"].concat());
        ends.to_server(b"more body");
        let (client, server) = ends.addresses();
        seen.until("the head", |seen| seen.stream(client, server, Side::Ingress).starts_with(REQUEST));
        seen.until_now();
        let stream = seen.stream(client, server, Side::Ingress);
        assert!(!stream.ends_with(b"more body"), "cut {cut} bytes before the end");
    }
}

#[test]
fn the_end_of_a_chunked_body_is_told() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    ends.to_client(head);
    let mut chunk = b"2000\r\n".to_vec();
    chunk.resize(6 + 0x2000, b'c');
    ends.to_client(&chunk);
    ends.to_client(b"\r\nd\r\nthe last chunk\r\n0\r\n\r\n");
    let (client, server) = ends.addresses();
    let expected = [&head[..], b"0\r\n\r\n"].concat();
    seen.until("the last chunk", |seen| BOTH_SIDES.iter().all(|side| seen.stream(server, client, *side) == expected));
    let packets = seen.flow(server, client, Side::Egress);
    let first = packets[0].seq;
    let sent = head.len() + chunk.len() + b"\r\nd\r\nthe last chunk\r\n".len();
    assert_eq!(packets.last().unwrap().seq.wrapping_sub(first) as usize, sent);
}

#[test]
fn the_end_of_a_chunked_body_is_told_behind_capital_letters_that_might_have_been_a_method() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for packet in [&head[..], b"3\r\nGE", b"T", b"\r\n0\r\n\r\n"] {
        ends.to_client(packet);
    }
    let (client, server) = ends.addresses();
    let expected = [&head[..], b"T0\r\n\r\n"].concat();
    seen.until("the last chunk", |seen| {
        BOTH_SIDES.iter().all(|side| {
            seen.flow(server, client, *side).iter().flat_map(|packet| packet.bytes.clone()).eq(expected.clone())
        })
    });
}

#[test]
fn the_end_of_a_direction_is_told() {
    let mut seen = Seen::everywhere();
    let mut ends = Ends::on(LOOPBACK);
    ends.to_server(REQUEST);
    ends.client.shutdown(std::net::Shutdown::Write).unwrap();
    let (client, server) = ends.addresses();
    seen.until("the end at both ends", |seen| {
        BOTH_SIDES.iter().all(|side| seen.flow(client, server, *side).iter().any(|packet| packet.closes))
    });
    let _ = ends.server.flush();
}

#[test]
fn a_flow_that_never_speaks_http_is_not_told() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(b"\x00\x00\x00\x2aanother protocol");
    ends.to_client(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    drop(ends);
    seen.until_now();
    for (from, to) in [(client, server), (server, client)] {
        for side in BOTH_SIDES {
            assert_eq!(seen.flow(from, to, side).len(), 0);
        }
    }
}
