//! Capture files of every supported kind, built byte by byte, and what is read of them.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fmt::Write as _;
use std::io::Cursor;
use std::time::Duration;

use expect_test::{Expect, expect};
use observer::capture::file::FileCapture;
use observer::capture::{Event, Source};
use proptest::prelude::*;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// 2026-01-01T00:00:00Z.
const NEW_YEAR: u32 = 1_767_225_600;

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const LOOP: u32 = 108;
const LINUX_SLL: u32 = 113;
const LINUX_SLL2: u32 = 276;
const NULL: u32 = 0;

fn tcp(flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(40_000_u16.to_be_bytes());
    bytes.extend(8080_u16.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 8 << 4, flags, 0, 1, 0, 0, 0, 0]);
    // Twelve bytes of options, as every packet with time stamps has.
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

fn ipv4(segment: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + segment.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(segment);
    bytes
}

/// With a hop-by-hop and a first-fragment header in front of TCP.
fn ipv6(segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + segment.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], 0, 64];
    bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    bytes.extend(segment);
    bytes
}

fn ethernet(tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend(tags.concat());
    bytes.extend(if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    bytes.extend(packet);
    bytes
}

fn request() -> Vec<u8> {
    ipv4(&tcp(ACK, 1000, REQUEST))
}

/// A pcap file in little endian, with microseconds. Each frame: bytes, and how long it was on the wire.
fn pcap_of(link: u32, frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend(link.to_le_bytes());
    for (index, (frame, wire_len)) in frames.iter().enumerate() {
        bytes.extend(NEW_YEAR.to_le_bytes());
        bytes.extend(u32::try_from(index + 1).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(*wire_len).unwrap().to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    pcap_of(link, &frames.iter().map(|frame| (frame.clone(), frame.len())).collect::<Vec<_>>())
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    body.extend([1, 0, 0, 0]);
    body.extend(u64::MAX.to_le_bytes());
    block(0x0a0d_0d0a, &body)
}

fn interface(link: u16, resolution: u8) -> Vec<u8> {
    let mut body = link.to_le_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0]);
    body.extend([9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0]);
    block(1, &body)
}

fn enhanced(interface: u32, units: u64, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
    let mut body = interface.to_le_bytes().to_vec();
    let units = units.to_le_bytes();
    body.extend([&units[4..], &units[..4]].concat());
    body.extend([length, length].concat());
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    block(6, &body)
}

/// What is read of a file, a line an event, and what is lost.
fn told(file: &[u8]) -> String {
    let mut text = String::new();
    let mut capture = match FileCapture::read("it".to_owned(), None, Cursor::new(file.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return format!("{error}\n"),
    };
    loop {
        let more = capture.poll(Duration::ZERO, &mut |event| describe(&event, &mut text)).unwrap();
        if !more {
            break;
        }
    }
    for counters in capture.counters() {
        for (reason, count) in counters.lost.iter().filter(|(_, count)| *count > 0) {
            writeln!(text, "lost: {reason} {count}").unwrap();
        }
    }
    text
}

fn describe(event: &Event<'_>, text: &mut String) {
    match event {
        Event::Packet { packet, .. } => {
            let close = if packet.closes { " closes" } else { "" };
            let (from, to) = (packet.flow.source, packet.flow.destination);
            let nanoseconds = packet.at.0 % 1_000_000_000;
            let shown = String::from_utf8_lossy(packet.bytes).escape_debug().to_string();
            let length = packet.wire_len;
            writeln!(
                text,
                "{nanoseconds} {}:{} > {}:{} seq {} len {length} {shown}{close}",
                from.ip, from.port, to.ip, to.port, packet.seq
            )
            .unwrap();
        }
        Event::Opaque { kind, .. } => writeln!(text, "opaque {kind:?}").unwrap(),
        Event::Socket(_) => unreachable!("a file has no sockets"),
    }
}

fn check(file: &[u8], expected: &Expect) {
    expected.assert_eq(&told(file));
}

#[test]
fn a_request_is_read_over_every_link_type() {
    let mut sll = vec![0; 14];
    sll.extend([0x08, 0x00]);
    let mut sll2 = vec![0x08, 0x00];
    sll2.extend([0; 18]);
    let mut sll2_vlan = vec![0x81, 0x00];
    sll2_vlan.extend([0; 18]);
    sll2_vlan.extend([0, 7, 0x08, 0x00]);
    let cases = [
        (ETHERNET, ethernet(&[], &request())),
        (ETHERNET, ethernet(&[[0x81, 0, 0, 5]], &request())),
        (ETHERNET, ethernet(&[[0x88, 0xa8, 0, 5], [0x81, 0, 0, 6]], &request())),
        (RAW, request()),
        (NULL, [vec![2, 0, 0, 0], request()].concat()),
        (LOOP, [vec![0, 0, 0, 2], request()].concat()),
        (LINUX_SLL, [sll, request()].concat()),
        (LINUX_SLL2, [sll2, request()].concat()),
        (LINUX_SLL2, [sll2_vlan, request()].concat()),
    ];
    for (link, frame) in cases {
        assert_eq!(
            told(&pcap(link, &[frame])),
            "1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\\r\\n\\r\\n\n",
            "link type {link}"
        );
    }
}

#[test]
fn extension_headers_of_ipv6_are_stepped_over() {
    check(
        &pcap(ETHERNET, &[ethernet(&[], &ipv6(&tcp(ACK, 7, REQUEST)))]),
        &expect![[r"
        1000 2001:db8::1:40000 > 2001:db8::2:8080 seq 7 len 18 GET / HTTP/1.1\r\n\r\n
    "]],
    );
}

#[test]
fn padding_of_short_frames_is_no_payload() {
    let mut frame = ethernet(&[], &ipv4(&tcp(ACK | FIN, 7, b"")));
    frame.extend([0xee; 20]);
    check(
        &pcap(ETHERNET, &[frame]),
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 7 len 0  closes
    "]],
    );
}

#[test]
fn a_connection_opens_carries_and_closes() {
    let frames = [
        tcp(SYN, 99, b""),
        tcp(ACK, 100, b""),
        tcp(ACK, 100, REQUEST),
        tcp(ACK | FIN, 118, b""),
        tcp(RST, 119, b"go away"),
        tcp(SYN, 4_294_967_295, b"early"),
    ];
    check(
        &pcap(RAW, &frames.map(|segment| ipv4(&segment))),
        &expect![[r"
        3000 10.0.0.1:40000 > 10.0.0.2:8080 seq 100 len 18 GET / HTTP/1.1\r\n\r\n
        4000 10.0.0.1:40000 > 10.0.0.2:8080 seq 118 len 0  closes
        5000 10.0.0.1:40000 > 10.0.0.2:8080 seq 119 len 0  closes
        6000 10.0.0.1:40000 > 10.0.0.2:8080 seq 0 len 5 early
    "]],
    );
}

#[test]
fn a_snapshot_length_shortens_the_bytes_and_not_the_length() {
    let whole = request();
    let frames = [(whole[..60].to_vec(), whole.len()), (whole[..30].to_vec(), whole.len())];
    check(
        &pcap_of(RAW, &frames),
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HT
        lost: header_cut 1
    "]],
    );
}

#[test]
fn a_large_segment_with_length_zero_takes_the_length_of_the_frame() {
    let mut packet = request();
    packet[2..4].fill(0);
    check(
        &pcap(ETHERNET, &[ethernet(&[], &packet)]),
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
    "]],
    );
}

#[test]
fn fragments_are_counted_and_other_protocols_are_not() {
    let mut fragment = request();
    fragment[6..8].copy_from_slice(&[0x20, 0x10]);
    let mut udp = request();
    udp[9] = 17;
    let arp = [vec![2; 12], vec![0x08, 0x06], vec![0; 28]].concat();
    check(
        &pcap(ETHERNET, &[ethernet(&[], &fragment), ethernet(&[], &udp), arp]),
        &expect![[r"
        lost: fragment 1
    "]],
    );
}

#[test]
fn tls_is_told_once_and_a_new_connection_on_the_same_ports_is_read() {
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0];
    let frames = [
        tcp(ACK, 1, &hello),
        tcp(ACK, 13, b"\x17\x03\x03secret"),
        tcp(ACK, 30, &hello),
        tcp(ACK | FIN, 40, b"\x15\x03\x03"),
        tcp(SYN, 99, b""),
        tcp(ACK, 100, REQUEST),
    ];
    check(
        &pcap(RAW, &frames.map(|segment| ipv4(&segment))),
        &expect![[r"
        opaque Tls
        4000 10.0.0.1:40000 > 10.0.0.2:8080 seq 40 len 3  closes
        6000 10.0.0.1:40000 > 10.0.0.2:8080 seq 100 len 18 GET / HTTP/1.1\r\n\r\n
    "]],
    );
}

#[test]
fn pcapng_keeps_the_resolution_of_each_interface() {
    let seconds = u64::from(NEW_YEAR);
    let frame = ethernet(&[], &request());
    let file = [
        section(),
        interface(1, 6),
        interface(1, 9),
        interface(1, 0x8a),
        interface(228, 3),
        enhanced(0, seconds * 1_000_000 + 5, &frame),
        enhanced(1, seconds * 1_000_000_000 + 6, &frame),
        enhanced(2, seconds * 1024 + 512, &frame),
        enhanced(3, seconds * 1000 + 9, &request()),
        block(0x0bad, &[1, 2, 3, 4]),
        section(),
        interface(105, 6),
        enhanced(0, 1, &frame),
    ]
    .concat();
    check(
        &file,
        &expect![[r"
        5000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        6 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        500000000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        9000000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        lost: link_type 1
    "]],
    );
}

#[test]
fn a_big_endian_file_with_nanoseconds_is_read() {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_be_bytes());
    file.extend([0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0]);
    file.extend(RAW.to_be_bytes());
    let frame = request();
    let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
    file.extend([NEW_YEAR.to_be_bytes(), 123_456_789_u32.to_be_bytes(), length, length].concat());
    file.extend(frame);
    check(
        &file,
        &expect![[r"
        123456789 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
    "]],
    );
}

#[test]
fn what_comes_before_the_end_of_a_truncated_file_is_used() {
    let file = pcap(RAW, &[request(), request()]);
    check(
        &file[..file.len() - 5],
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        lost: truncated 1
    "]],
    );
    let ng = [section(), interface(228, 6), enhanced(0, 1, &request()), enhanced(0, 2, &request())].concat();
    check(
        &ng[..ng.len() - 5],
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        lost: truncated 1
    "]],
    );
}

#[test]
fn what_comes_before_damage_is_used() {
    let mut file = pcap(RAW, &[request()]);
    file.extend([0xff; 64]);
    check(
        &file,
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        lost: truncated 1
    "]],
    );
    let mut ng = [section(), interface(228, 6), enhanced(0, 1, &request())].concat();
    ng.extend(enhanced(9, 2, &request()));
    check(
        &ng,
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
        lost: damaged 1
    "]],
    );
}

#[test]
fn what_is_no_capture_file_is_one_line() {
    let mut monitor = pcap(105, &[]);
    check(
        &monitor,
        &expect![[r"
        it: link type 105 is not read; capture on an Ethernet, loopback or `any` interface, without monitor mode
    "]],
    );
    monitor.truncate(20);
    check(
        &monitor,
        &expect![[r"
        it: ends inside its header; the capture was cut off, take it again
    "]],
    );
    check(
        b"",
        &expect![[r"
        it: is empty; a pcap or pcapng file was expected
    "]],
    );
    check(
        b"name: observer\n",
        &expect![[r"
        it: is no pcap or pcapng file; make one with tcpdump -w or dumpcap -w
    "]],
    );
    check(
        b"\x1f\x8b\x08\x00",
        &expect![[r"
        it: is compressed; unpack it first (gunzip or zstd -d)
    "]],
    );
}

#[test]
fn a_frame_larger_than_the_buffer_is_read() {
    // What GRO hands to a capture on Linux at most is 512 KiB; a pcapng comment block may be larger still.
    let comment = block(0x0bad, &vec![0; 3 << 20]);
    let file = [section(), interface(228, 6), comment, enhanced(0, 1, &request())].concat();
    check(
        &file,
        &expect![[r"
        1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 len 18 GET / HTTP/1.1\r\n\r\n
    "]],
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 0..6_usize) {
        let start = [vec![], pcap(ETHERNET, &[]), pcap(RAW, &[]), pcap(LINUX_SLL2, &[]), section(), [section(), interface(1, 6)].concat()];
        told(&[start[kind].clone(), bytes].concat());
    }

    #[test]
    fn no_frame_makes_it_panic(frame in prop::collection::vec(any::<u8>(), 0..120), link in 0..6_usize, wire_len in 0..200_usize) {
        told(&pcap_of([NULL, ETHERNET, RAW, LOOP, LINUX_SLL, LINUX_SLL2][link], &[(frame, wire_len)]));
    }

    #[test]
    fn a_changed_byte_does_not_make_it_panic(at in 0..2000_usize, value: u8, ng: bool) {
        let frames = [ethernet(&[], &request()), ethernet(&[[0x81, 0, 0, 5]], &ipv6(&tcp(ACK, 7, REQUEST)))];
        let mut file = if ng {
            [section(), interface(1, 9), enhanced(0, 5, &frames[0]), enhanced(0, 6, &frames[1])].concat()
        } else {
            pcap(ETHERNET, &frames)
        };
        let at = at % file.len();
        file[at] = value;
        told(&file);
    }

    #[test]
    fn a_file_cut_anywhere_tells_a_beginning_of_what_the_whole_tells(at in 0..2000_usize) {
        let whole = pcap(ETHERNET, &[ethernet(&[], &request()), ethernet(&[], &ipv6(&tcp(ACK, 7, REQUEST)))]);
        let at = 24 + at % (whole.len() - 24);
        let part = told(&whole[..at]);
        let events: Vec<&str> = part.lines().filter(|line| !line.starts_with("lost")).collect();
        prop_assert!(told(&whole).starts_with(&events.join("\n")));
    }
}
