//! What is read of one frame or of the frames of one connection.

use expect_test::expect;

use crate::build::*;
use crate::{check, told};

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
            "1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\\r\\n\\r\\n\n",
            "link type {link}"
        );
    }
}

#[test]
fn extension_headers_of_ipv6_are_stepped_over() {
    check(
        &pcap(ETHERNET, &[ethernet(&[], &ipv6(&tcp(ACK, 7, REQUEST)))]),
        &expect![[r"
            1000 2001:db8::1:40000 > 2001:db8::2:8080 seq 7 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
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
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 7 ack 700 len 0  closes
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
            3000 10.0.0.1:40000 > 10.0.0.2:8080 seq 100 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            4000 10.0.0.1:40000 > 10.0.0.2:8080 seq 118 ack 700 len 0  closes
            5000 10.0.0.1:40000 > 10.0.0.2:8080 seq 119 len 0  closes
            opaque Unknown
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
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HT
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
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
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
            4000 10.0.0.1:40000 > 10.0.0.2:8080 seq 40 ack 700 len 3  closes
            6000 10.0.0.1:40000 > 10.0.0.2:8080 seq 100 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
        "]],
    );
}

#[test]
fn what_a_client_opens_with_tells_fastcgi_and_what_is_not_known() {
    let begin = [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0];
    let frames = [
        tcp(ACK, 1, &begin),
        tcp(ACK, 17, b"\x01\x04\x00\x01parameters"),
        tcp(SYN, 99, b""),
        tcp(ACK, 100, b"PING\r\n"),
        tcp(ACK, 106, b"PING\r\n"),
        tcp(SYN, 199, b""),
        tcp(ACK, 200, REQUEST),
    ];
    check(
        &pcap(RAW, &frames.map(|segment| ipv4(&segment))),
        &expect![[r"
            opaque FastCgi
            opaque Unknown
            4000 10.0.0.1:40000 > 10.0.0.2:8080 seq 100 ack 700 len 6 PING\r\n
            5000 10.0.0.1:40000 > 10.0.0.2:8080 seq 106 ack 700 len 6 PING\r\n
            7000 10.0.0.1:40000 > 10.0.0.2:8080 seq 200 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
        "]],
    );
}
