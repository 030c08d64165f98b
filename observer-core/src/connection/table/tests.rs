//! What the table makes of packets, told as one line a packet.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write as _;

use expect_test::{Expect, expect};

use super::super::Address;
use super::*;

/// Seconds, a tap, a flow (`a>b`, ports or letters) and a sequence number, one packet a line:
/// `0 egress:7:lo a>b 100`, `0 ingress:8:lo a>b 100`, `0 egress:7 a>b 100`, `0 wire a>b 100 closes`; without payload
/// `0 wire a>b 100 ends`, `0 wire a>b 100 resets`; or
/// `0 established 9 b>a`, the same with its beginnings `0 established 9 b>a 900 100`, `0 released 7`, `0 expire 60`.
fn check(limit: usize, script: &str, expected: &Expect) {
    let mut table = Connections::new(limit);
    let mut told = String::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = Timestamp(words[0].parse::<u64>().unwrap() * 1_000_000_000);
        let mut gone = Vec::new();
        match words[1] {
            "released" => table.released(SocketId(words[2].parse().unwrap()), at),
            "established" => {
                let number = |at: usize| words.get(at).map(|word: &&str| word.parse().unwrap());
                let beginnings = number(4).zip(number(5)).map(|(sent, received)| Beginnings { sent, received });
                table.established(SocketId(words[2].parse().unwrap()), &flow(words[3]), beginnings);
            }
            "expire" => {
                let idle = Duration::from_secs(words[2].parse().unwrap());
                table.expire(at, idle, |connection| gone.push(connection.id.0));
            }
            tap => {
                let packet = Packet {
                    at,
                    flow: flow(words[2]),
                    seq: words[3].parse().unwrap(),
                    ack: None,
                    wire_len: u32::from(!matches!(words.get(4), Some(&("ends" | "resets")))),
                    bytes: b"",
                    link: None,
                    tap: parse_tap(tap),
                    closes: matches!(words.get(4), Some(&("closes" | "ends" | "resets"))),
                    resets: words.get(4) == Some(&"resets"),
                    token: 0,
                };
                let sight = table.packet(&packet, || (), |connection| gone.push(connection.id.0)).unwrap();
                let number = sight.connection.id.0;
                write!(told, "{line:<32} → {number} from {:?}", sight.from).unwrap();
                for (holds, word) in [(sight.new, " new"), (sight.paired, " paired")] {
                    told.push_str(if holds { word } else { "" });
                }
                told.push('\n');
            }
        }
        if !gone.is_empty() {
            writeln!(told, "    gone: {gone:?}").unwrap();
        }
    }
    writeln!(told, "{:?}", table.counters()).unwrap();
    expected.assert_eq(&told);
}

fn flow(text: &str) -> Flow {
    let (source, destination) = text.split_once('>').unwrap();
    let address = |name: &str| Address { ip: [127, 0, 0, 1].into(), port: u16::from(name.as_bytes()[0]) };
    Flow { source: address(source), destination: address(destination) }
}

fn parse_tap(text: &str) -> Tap {
    let parts: Vec<&str> = text.split(':').collect();
    let looped = parts.get(2) == Some(&"lo");
    let socket = SocketId(parts.get(1).map_or(0, |number| number.parse().unwrap()));
    match parts[0] {
        "egress" => Tap::Egress { socket, looped },
        "ingress" => Tap::Ingress { socket, looped },
        _ => Tap::Wire,
    }
}

#[test]
fn both_sights_of_a_looped_packet_are_one_connection() {
    check(
        9,
        "0 egress:7:lo a>b 100
         0 ingress:8:lo a>b 100
         0 egress:8:lo b>a 900
         0 ingress:7:lo b>a 900",
        &expect![[r#"
            0 egress:7:lo a>b 100            → 0 from First new
            0 ingress:8:lo a>b 100           → 0 from First paired
            0 egress:8:lo b>a 900            → 0 from Second
            0 ingress:7:lo b>a 900           → 0 from Second paired
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn the_receiver_may_be_seen_first() {
    check(
        9,
        "0 ingress:8:lo a>b 100
         0 egress:7:lo a>b 100
         0 ingress:8:lo a>b 200
         0 egress:8:lo b>a 900",
        &expect![[r#"
            0 ingress:8:lo a>b 100           → 0 from First new
            0 egress:7:lo a>b 100            → 0 from First
            0 ingress:8:lo a>b 200           → 0 from First paired
            0 egress:8:lo b>a 900            → 0 from Second
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn the_same_ports_in_two_network_namespaces_are_two_connections() {
    check(
        9,
        "0 egress:1:lo a>b 100
         0 egress:3:lo a>b 2000000000
         0 ingress:4:lo a>b 2000000000
         0 ingress:2:lo a>b 100
         0 egress:2:lo b>a 500
         0 egress:4:lo b>a 600",
        &expect![[r#"
            0 egress:1:lo a>b 100            → 0 from First new
            0 egress:3:lo a>b 2000000000     → 1 from First new
            0 ingress:4:lo a>b 2000000000    → 1 from First paired
            0 ingress:2:lo a>b 100           → 0 from First paired
            0 egress:2:lo b>a 500            → 0 from Second
            0 egress:4:lo b>a 600            → 1 from Second
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}

#[test]
fn a_sender_several_packets_ahead_of_its_receiver_is_still_its_peer() {
    check(
        9,
        "0 egress:1:lo a>b 100
         0 egress:1:lo a>b 65300
         0 ingress:2:lo a>b 100",
        &expect![[r#"
            0 egress:1:lo a>b 100            → 0 from First new
            0 egress:1:lo a>b 65300          → 0 from First
            0 ingress:2:lo a>b 100           → 0 from First paired
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn ports_used_again_by_new_sockets_are_a_new_connection() {
    check(
        9,
        "0 ingress:1 a>b 100
         0 egress:1 b>a 900
         1 released 1
         1 ingress:2 a>b 120
         1 egress:2 b>a 930
         5 expire 60",
        &expect![[r#"
            0 ingress:1 a>b 100              → 0 from First new
            0 egress:1 b>a 900               → 0 from Second
            1 ingress:2 a>b 120              → 1 from First new
            1 egress:2 b>a 930               → 1 from Second
                gone: [0]
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn what_is_sent_after_close_belongs_to_the_connection_that_was_closed() {
    check(
        9,
        "0 ingress:1 a>b 100
         1 released 1
         1 egress:1 b>a 900
         2 expire 60
         3 expire 60",
        &expect![[r#"
            0 ingress:1 a>b 100              → 0 from First new
            1 egress:1 b>a 900               → 0 from Second
                gone: [0]
            ConnectionCounters { tracked: 0, evicted: 0 }
        "#]],
    );
}

#[test]
fn a_looped_connection_lives_as_long_as_one_of_its_sockets() {
    check(
        9,
        "0 egress:1:lo a>b 100
         0 ingress:2:lo a>b 100
         1 released 1
         9 expire 60
         9 egress:2:lo b>a 900
         9 released 2
         12 expire 60",
        &expect![[r#"
            0 egress:1:lo a>b 100            → 0 from First new
            0 ingress:2:lo a>b 100           → 0 from First paired
            9 egress:2:lo b>a 900            → 0 from Second
                gone: [0]
            ConnectionCounters { tracked: 0, evicted: 0 }
        "#]],
    );
}

#[test]
fn a_first_request_under_the_name_of_the_listener_finds_its_response() {
    // 5 is the listener; 6 and 7 are accepted. Without the news of the accepted socket its first answer tells.
    check(
        9,
        "0 ingress:5 a>b 100
         0 established 6 b>a
         0 ingress:6 a>b 200
         0 egress:6 b>a 900
         1 ingress:5 c>b 5000
         1 egress:7 b>c 7000
         1 ingress:7 c>b 5100",
        &expect![[r#"
            0 ingress:5 a>b 100              → 0 from First new
            0 ingress:6 a>b 200              → 0 from First
            0 egress:6 b>a 900               → 0 from Second
            1 ingress:5 c>b 5000             → 1 from First new
            1 egress:7 b>c 7000              → 1 from Second
            1 ingress:7 c>b 5100             → 1 from First
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}

#[test]
fn a_listener_that_names_two_connections_names_none() {
    check(
        9,
        "0 ingress:5 a>b 100
         0 ingress:5 c>b 5000
         0 egress:6 b>a 900
         0 egress:7 b>c 7000",
        &expect![[r#"
            0 ingress:5 a>b 100              → 0 from First new
            0 ingress:5 c>b 5000             → 1 from First new
            0 egress:6 b>a 900               → 0 from Second
            0 egress:7 b>c 7000              → 1 from Second
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}

#[test]
fn packets_without_a_socket_are_found_by_their_flow() {
    check(
        9,
        "0 wire a>b 100
         0 wire b>a 900
         0 egress:0 a>b 100
         0 ingress:0 b>a 900
         0 wire a>b 200",
        &expect![[r#"
            0 wire a>b 100                   → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 egress:0 a>b 100               → 1 from First new
            0 ingress:0 b>a 900              → 1 from Second
            0 wire a>b 200                   → 0 from First
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}

#[test]
fn on_the_wire_a_closed_connection_ends_where_the_sequence_numbers_leap() {
    // The client that closed its direction still gets its answer; the next one with its ports is another.
    check(
        9,
        "0 wire a>b 100 closes
         0 wire b>a 900
         0 wire b>a 70000 closes
         1 wire a>b 3000000000
         1 wire b>a 1500000000
         1 wire a>b 3000000100",
        &expect![[r#"
            0 wire a>b 100 closes            → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 wire b>a 70000 closes          → 0 from Second
            1 wire a>b 3000000000            → 1 from First new
            1 wire b>a 1500000000            → 1 from Second
            1 wire a>b 3000000100            → 1 from First
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}

#[test]
fn on_the_wire_what_follows_the_end_of_a_direction_is_another_connection() {
    // The numbers of Linux where ports are used again within a second: the client's by the clock, the server's 65,537 past
    // its last one in TIME_WAIT. A FIN and a RST behind it belong to the connection that they close.
    check(
        9,
        "0 wire a>b 100
         0 wire b>a 900
         0 wire b>a 901 closes
         0 wire a>b 101 closes
         0 wire a>b 101 closes
         0 wire a>b 102 closes
         1 wire a>b 9000000
         1 wire b>a 66440
         1 wire b>a 66441 closes
         1 wire a>b 9000001 closes
         1 wire b>a 901
         2 wire a>b 18000000",
        &expect![[r#"
            0 wire a>b 100                   → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 wire b>a 901 closes            → 0 from Second
            0 wire a>b 101 closes            → 0 from First
            0 wire a>b 101 closes            → 0 from First
            0 wire a>b 102 closes            → 0 from First
            1 wire a>b 9000000               → 1 from First new
            1 wire b>a 66440                 → 1 from Second
            1 wire b>a 66441 closes          → 1 from Second
            1 wire a>b 9000001 closes        → 1 from First
            1 wire b>a 901                   → 0 from Second
            2 wire a>b 18000000              → 2 from First new
            ConnectionCounters { tracked: 3, evicted: 0 }
        "#]],
    );
}

#[test]
fn a_connection_that_both_ends_closed_may_go_without_a_count() {
    check(
        1,
        "0 wire a>x 100 closes
         0 wire x>a 900 closes
         1 wire b>x 100 closes
         2 wire c>x 100",
        &expect![[r#"
            0 wire a>x 100 closes            → 0 from First new
            0 wire x>a 900 closes            → 0 from Second
            1 wire b>x 100 closes            → 1 from First new
                gone: [0]
            2 wire c>x 100                   → 2 from First new
                gone: [1]
            ConnectionCounters { tracked: 1, evicted: 1 }
        "#]],
    );
}

#[test]
fn the_least_recently_used_connection_goes_first() {
    check(
        2,
        "0 egress:1 a>x 1
         0 egress:2 b>x 1
         5 egress:1 a>x 2
         6 egress:3 c>x 1
         6 egress:1 a>x 3
         7 egress:2 b>x 2",
        &expect![[r#"
            0 egress:1 a>x 1                 → 0 from First new
            0 egress:2 b>x 1                 → 1 from First new
            5 egress:1 a>x 2                 → 0 from First
            6 egress:3 c>x 1                 → 2 from First new
                gone: [1]
            6 egress:1 a>x 3                 → 0 from First
            7 egress:2 b>x 2                 → 3 from First new
                gone: [2]
            ConnectionCounters { tracked: 2, evicted: 2 }
        "#]],
    );
}

#[test]
fn idle_connections_expire_and_leave_nothing_behind() {
    let mut table = Connections::new(1000);
    for number in 0..500_u16 {
        let source = Address { ip: [10, 0, 0, 1].into(), port: number / 4 };
        let packet = Packet {
            at: Timestamp(u64::from(number)),
            flow: Flow { source, destination: Address { ip: [10, 0, 0, 2].into(), port: 80 } },
            seq: 1,
            ack: None,
            wire_len: 1,
            bytes: b"",
            link: None,
            tap: Tap::Egress { socket: SocketId(u64::from(number) + 1), looped: false },
            closes: false,
            resets: false,
            token: 0,
        };
        assert!(table.packet(&packet, || (), |_| ()).unwrap().new);
    }
    let mut gone = 0;
    table.expire(Timestamp(200).after(Duration::from_mins(1)), Duration::from_mins(1), |_| gone += 1);
    assert_eq!(gone, 201);
    table.expire(Timestamp(500).after(Duration::from_mins(1)), Duration::from_mins(1), |_| gone += 1);
    assert_eq!((gone, table.sockets.len(), table.flows.len(), table.arena.len()), (500, 0, 0, 0));
}

#[test]
fn a_peer_that_makes_up_sequence_numbers_cannot_make_the_search_long() {
    let mut table = Connections::new(1000);
    for number in 0..500_u32 {
        let packet = Packet {
            at: Timestamp(0),
            flow: flow("a>b"),
            seq: number.wrapping_mul(0x9E37_79B9),
            ack: None,
            wire_len: 1,
            bytes: b"",
            link: None,
            tap: Tap::Wire,
            closes: true,
            resets: false,
            token: 0,
        };
        table.packet(&packet, || (), |_| ()).unwrap();
    }
    assert!(table.counters().tracked <= SAME_FLOW_MAX);
    assert!(table.counters().evicted > 400);
}

#[test]
fn on_the_wire_ports_used_again_are_told_apart_by_where_their_connections_begin() {
    check(
        9,
        "0 established 1 a>b 100 900
         0 established 2 b>a 900 100
         0 wire a>b 100
         0 wire b>a 900
         0 established 3 a>b 5000 7000
         0 wire a>b 5000
         0 established 4 b>a 7000 5000
         0 wire b>a 7000
         0 wire a>b 150
         0 wire b>a 950
         1 released 3
         1 released 4
         4 expire 60
         4 wire a>b 200",
        &expect![[r#"
            0 wire a>b 100                   → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 wire a>b 5000                  → 1 from First new
            0 wire b>a 7000                  → 1 from Second
            0 wire a>b 150                   → 0 from First
            0 wire b>a 950                   → 0 from Second
                gone: [1]
            4 wire a>b 200                   → 0 from First
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn on_the_wire_a_connection_that_is_told_of_late_is_not_the_one_before_it() {
    check(
        9,
        "0 established 2 b>a 900 100
         0 wire a>b 100
         0 wire b>a 900
         0 wire a>b 101 closes
         0 wire a>b 5000
         0 established 4 b>a 7000 5000
         0 wire b>a 7000
         0 wire a>b 5100
         0 released 2
         3 expire 60",
        &expect![[r#"
            0 wire a>b 100                   → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 wire a>b 101 closes            → 0 from First
            0 wire a>b 5000                  → 1 from First new
            0 wire b>a 7000                  → 1 from Second
            0 wire a>b 5100                  → 1 from First
                gone: [0]
            ConnectionCounters { tracked: 1, evicted: 0 }
        "#]],
    );
}

#[test]
fn on_the_wire_what_follows_a_reset_is_another_connection() {
    check(
        9,
        "0 wire a>b 100
         0 wire b>a 900
         0 wire b>a 930 resets
         0 wire a>b 100
         0 wire a>b 130 ends
         0 wire a>b 5000
         0 wire b>a 7000
         0 wire b>a 900",
        &expect![[r#"
            0 wire a>b 100                   → 0 from First new
            0 wire b>a 900                   → 0 from Second
            0 wire b>a 930 resets            → 0 from Second
            0 wire a>b 100                   → 0 from First
            0 wire a>b 130 ends              → 0 from First
            0 wire a>b 5000                  → 1 from First new
            0 wire b>a 7000                  → 1 from Second
            0 wire b>a 900                   → 0 from Second
            ConnectionCounters { tracked: 2, evicted: 0 }
        "#]],
    );
}
