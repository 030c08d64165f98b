//! Kinds of files, and files that are damaged, cut or none.

use expect_test::expect;

use crate::build::*;
use crate::check;

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
            5000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            6 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            500000000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            9000000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
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
            123456789 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
        "]],
    );
}

#[test]
fn what_comes_before_the_end_of_a_truncated_file_is_used() {
    let file = pcap(RAW, &[request(), request()]);
    check(
        &file[..file.len() - 5],
        &expect![[r"
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            lost: truncated 1
        "]],
    );
    let ng = [section(), interface(228, 6), enhanced(0, 1, &request()), enhanced(0, 2, &request())].concat();
    check(
        &ng[..ng.len() - 5],
        &expect![[r"
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
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
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
            lost: truncated 1
        "]],
    );
    let mut ng = [section(), interface(228, 6), enhanced(0, 1, &request())].concat();
    ng.extend(enhanced(9, 2, &request()));
    check(
        &ng,
        &expect![[r"
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
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
            1000 10.0.0.1:40000 > 10.0.0.2:8080 seq 1000 ack 700 len 18 GET / HTTP/1.1\r\n\r\n
        "]],
    );
}
