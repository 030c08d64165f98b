//! Brokers: once a direction begins like a request to one, both are told whole, but for what user space wants left out.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};

use observer_core::connection::Opaque;
use observer_ebpf::PAIR_SLOTS;
use observer_ebpf::flow::{LeftOut, pair};

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::reuse::connection;
use crate::seen::{Seen, SeenPacket, Side};
use crate::wire::on;

/// What a client of Redis waits for a record with, and what brings it one.
const WAITS: &[u8] = b"*4\r\n$5\r\nXREAD\r\n$7\r\nSTREAMS\r\n$6\r\norders\r\n$1\r\n$\r\n";
const BRINGS: [&[u8]; 4] = [
    b"*1\r\n*2\r\n$6\r\norders\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"%1\r\n$6\r\norders\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"*2\r\n$6\r\norders\r\n$2\r\n{}\r\n",
    b"$2\r\n{}\r\n",
];
/// A command that has nothing to do with work, and its answer.
const GETS: &[u8] = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
const GOT: &[u8] = b"$1\r\nb\r\n";

const BOTH_SIDES: [Side; 2] = [Side::Egress, Side::Ingress];
/// ApiVersions of Kafka: it is what every client asks first.
const ASKS: &[u8] = b"\0\0\0\x11\0\x12\0\x03\0\0\0\x01\0\x04shop\0\x01x";
/// What answers it is the number and whatever: nothing tells by itself that it is of Kafka.
const ANSWERS: &[u8] = b"\0\0\0\x0a\0\0\0\x01\0\0abcd";

/// A message of Kafka: a length of four bytes, and so many.
fn message(len: usize) -> Vec<u8> {
    let mut message = u32::try_from(len).unwrap().to_be_bytes().to_vec();
    message.extend((0..len).map(|at| u8::try_from(at % 251).unwrap()));
    message
}

fn told(seen: &Seen, (from, to): (SocketAddr, SocketAddr), side: Side) -> usize {
    seen.flow(from, to, side).iter().map(|packet| packet.bytes.len()).sum()
}

fn is_told(seen: &mut Seen, (from, to): (SocketAddr, SocketAddr), sent: &[u8], sides: &[Side]) {
    // TCP may have sent some of it twice.
    seen.until("all that was sent", |seen| sides.iter().all(|side| seen.stream(from, to, *side).len() == sent.len()));
    for side in sides {
        assert!(seen.stream(from, to, *side) == sent, "{side:?}");
    }
    assert_eq!(seen.lost(), []);
}

#[test]
fn both_directions_are_told_whole_whatever_the_length() {
    for address in [LOOPBACK, "[::1]:0"] {
        let mut seen = Seen::everywhere();
        let ends = Ends::on(address);
        let (client, server) = ends.addresses();
        let (mut asked, mut answered) = (ASKS.to_vec(), ANSWERS.to_vec());
        ends.to_server(ASKS);
        ends.to_client(ANSWERS);
        for len in [1, 255, 256, 257, 4095, 4096, 4097, 60_000, 300_000] {
            let message = message(len);
            ends.to_server(&message);
            ends.to_client(&message);
            asked.extend(&message);
            answered.extend(&message);
        }
        is_told(&mut seen, (client, server), &asked, &BOTH_SIDES);
        is_told(&mut seen, (server, client), &answered, &BOTH_SIDES);
        let packet = seen.flow(client, server, Side::Ingress)[0];
        assert_eq!(Seen::socket(packet), (ends.cookies().1, true));
        assert!(packet.token != 0);
    }
}

#[test]
fn an_interface_shows_them_too() {
    let mut seen = Seen::open(&on("lo"));
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let (asked, answered) = ([ASKS, &message(9000)].concat(), [ANSWERS, &message(9000)].concat());
    ends.to_server(&asked);
    ends.to_client(&answered);
    is_told(&mut seen, (client, server), &asked, &[Side::Wire]);
    is_told(&mut seen, (server, client), &answered, &[Side::Wire]);
}

#[test]
fn a_connection_is_joined_at_its_next_request() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let ends = Ends::through(&listener);
    ends.to_server(ASKS);
    ends.to_client(ANSWERS);
    let mut seen = Seen::open(&observer::capture::Options::default());
    let (client, server) = ends.addresses();
    let unknown = message(2000);
    ends.to_client(&unknown);
    ends.to_server(ASKS);
    ends.to_client(ANSWERS);
    is_told(&mut seen, (client, server), ASKS, &BOTH_SIDES);
    is_told(&mut seen, (server, client), ANSWERS, &BOTH_SIDES);
}

#[test]
fn what_a_client_of_redis_waited_for_is_told_of_at_its_receiver_and_no_other_answer() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let server = listener.local_addr().unwrap();
    let (waiting, asking) = (BRINGS.map(|_| Ends::through(&listener)), Ends::through(&listener));
    for ends in waiting.iter().chain([&asking]) {
        ends.to_server(GETS);
        ends.to_client(GOT);
    }
    for ends in &waiting {
        ends.to_server(WAITS);
    }
    let mut everywhere = Seen::open(&observer::capture::Options::default());
    let mut interface = Seen::open(&on("lo"));
    let new = Ends::through(&listener);
    for _ in 0..3 {
        for (ends, brings) in waiting.iter().zip(BRINGS) {
            ends.to_client(brings);
        }
        for ends in [&asking, &new] {
            ends.to_server(GETS);
            ends.to_client(GOT);
        }
    }
    let client = |ends: &Ends| ends.addresses().0;
    // Of a connection that begins before its eyes a socket knows that nothing was missed; an interface does not.
    for (seen, side, requests) in
        [(&mut everywhere, Side::Ingress, &[&asking][..]), (&mut interface, Side::Wire, &[&asking, &new])]
    {
        seen.until_now();
        let answers = waiting.iter().map(|ends| (server, client(ends), side));
        let expected: Vec<_> = answers.chain(requests.iter().map(|ends| (client(ends), server, side))).collect();
        let told = seen.unasked.iter().copied().filter(|(from, to, _)| [*from, *to].contains(&server));
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(seen.lost(), []);
    }
}

#[test]
fn a_connection_of_which_the_pair_is_forgotten_goes_on() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let server = listener.local_addr().unwrap();
    let [one, other] = two_of_one_place(server);
    let mut seen = Seen::everywhere();
    let [one, other] = [one, other].map(|client| connection(client, &listener, server));
    one.to_server(ASKS);
    other.to_server(ASKS);
    // The other has taken its place before anything came from the server: only that is not recognised.
    one.to_client(b"not told");
    let mut sent = [ASKS.to_vec(), ASKS.to_vec()];
    let mut answered = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (at, ends) in [&one, &other].into_iter().enumerate() {
            ends.to_server(ASKS);
            ends.to_client(ANSWERS);
            sent[at].extend(ASKS);
            answered[at].extend(ANSWERS);
        }
    }
    for (at, ends) in [&one, &other].into_iter().enumerate() {
        let (client, server) = ends.addresses();
        is_told(&mut seen, (client, server), &sent[at], &BOTH_SIDES);
        is_told(&mut seen, (server, client), &answered[at], &BOTH_SIDES);
    }
}

/// Two addresses of clients of which the connections to a server are remembered at the same place.
fn two_of_one_place(server: SocketAddr) -> [SocketAddr; 2] {
    let mut holders = HashMap::new();
    let mapped = u64::from_ne_bytes([0, 0, 0xff, 0xff, 127, 0, 0, 1]);
    for port in 10_000_u16..30_000 {
        let ports = u32::from(port.to_be()) | u32::from(server.port().to_be()) << 16;
        let place = pair([0, mapped], [0, mapped], ports) % u64::from(PAIR_SLOTS);
        let here = SocketAddr::from(([127, 0, 0, 1], port));
        if let Some(holder) = holders.insert(place, here) {
            return [holder, here];
        }
    }
    unreachable!("more ports than places")
}

#[test]
fn every_broker_is_known_by_its_first_bytes() {
    let from_client: [&[u8]; 7] = [
        b"*3\r\n$5\r\nLPUSH\r\n$6\r\norders\r\n$2\r\n{}\r\n",
        b"AMQP\0\0\x09\x01",
        b"CONNECT {\"verbose\":false,\"headers\":true}\r\n",
        b"PUB orders 5\r\nhello\r\n",
        b"HPUB orders 12 17\r\n",
        b"\x01\0\x01\0\0\0\x0e\0\x3c\0\x28\0\0\0\x06orders\0\0\xce",
        ASKS,
    ];
    for first in from_client {
        let mut seen = Seen::everywhere();
        let ends = Ends::on(LOOPBACK);
        let (client, server) = ends.addresses();
        let sent = [first, &b"whatever comes behind it"[..]].concat();
        ends.to_server(first);
        ends.to_server(b"whatever comes behind it");
        ends.to_client(b"\x05and this");
        is_told(&mut seen, (client, server), &sent, &BOTH_SIDES);
        is_told(&mut seen, (server, client), b"\x05and this", &BOTH_SIDES);
        let unknown = seen.opaque.iter().filter(|(from, to, _, _)| (*from, *to) == (client, server)).count();
        assert_eq!(unknown, 0, "{}", first.escape_ascii());
    }
}

#[test]
fn what_is_wanted_left_out_is_and_nothing_else() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(ASKS);
    seen.until("the first request", |seen| told(seen, (client, server), Side::Ingress) == ASKS.len());
    let first: Vec<SeenPacket> = seen.packets.iter().filter(|packet| packet.from == client).cloned().collect();
    let body = vec![7; 1 << 20];
    let until = first[0].seq.wrapping_add(u32::try_from(ASKS.len() + body.len()).unwrap());
    for packet in &first {
        seen.leave_out(packet.token, LeftOut::Until(until));
    }
    ends.to_server(&body);
    ends.to_server(ASKS);
    seen.until("the second request", |seen| {
        BOTH_SIDES.iter().all(|side| seen.flow(client, server, *side).last().unwrap().bytes.ends_with(ASKS))
    });
    for side in BOTH_SIDES {
        assert!(seen.stream(client, server, side) == [ASKS, ASKS].concat(), "{side:?}");
    }
    ends.to_server(&body[..1000]);
    seen.until("what comes behind it", |seen| {
        BOTH_SIDES.iter().all(|side| seen.stream(client, server, *side).len() == 2 * ASKS.len() + 1000)
    });
}

#[test]
fn what_is_no_broker_after_all_is_recognised_anew() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(ASKS);
    ends.to_client(ANSWERS);
    seen.until("both directions", |seen| {
        BOTH_SIDES.iter().all(|side| told(seen, (server, client), *side) == ANSWERS.len())
    });
    for packet in seen.packets.clone() {
        seen.leave_out(packet.token, LeftOut::Stream);
    }
    // What finds the wish is left out itself.
    ends.to_server(b"left out");
    ends.to_client(b"left out");
    ends.to_server(REQUEST);
    ends.to_client(RESPONSE);
    ends.to_server(b"not told");
    seen.until_now();
    for side in BOTH_SIDES {
        assert!(seen.stream(client, server, side) == [ASKS, REQUEST].concat(), "{side:?}");
        assert!(seen.stream(server, client, side).starts_with(&[ANSWERS, RESPONSE].concat()[..40]), "{side:?}");
    }
}

#[test]
fn the_next_connection_of_the_same_ports_is_another_one() {
    let mut seen = Seen::everywhere();
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let ends = Ends::through(&listener);
    let (client, server) = ends.addresses();
    ends.to_server(ASKS);
    ends.to_client(ANSWERS);
    // Reset, so that the ports are free at once.
    rustix::net::sockopt::set_socket_linger(&ends.client, Some(std::time::Duration::ZERO)).unwrap();
    drop(ends);
    let ends = connection(client, &listener, server);
    ends.to_server(b"\x05first");
    ends.to_client(b"\x05second");
    seen.until("an unknown protocol", |seen| {
        seen.opaque.iter().any(|(from, _, _, kind)| *from == client && *kind == Opaque::Unknown)
    });
    assert!(seen.stream(client, server, Side::Egress) == ASKS);
}
