//! One rule a test: conversations written frame by frame, and what is told of them.

use expect_test::{Expect, expect};
use httlib_hpack::Encoder;
use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared};
use observer_core::message::End;
use observer_core::time::Timestamp;

use super::script::frame;
use crate::tap::{cut, interest, tell};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const INDEXED: u8 = Encoder::WITH_INDEXING | Encoder::BEST_FORMAT;
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Two ends with their encoders.
struct Ends<'a> {
    encoders: [Encoder<'a>; 2],
    runs: Vec<(End, Vec<u8>)>,
}

impl Ends<'_> {
    fn new() -> Self {
        let mut ends =
            Self { encoders: [Encoder::with_dynamic_size(4096), Encoder::with_dynamic_size(4096)], runs: Vec::new() };
        ends.send(End::First, [PREFACE, &frame(4, 0, 0, &[])].concat());
        ends.send(End::Second, frame(4, 0, 0, &[]));
        ends
    }

    fn send(&mut self, from: End, bytes: Vec<u8>) {
        self.runs.push((from, bytes));
    }

    fn block(&mut self, from: End, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let field = (name.as_bytes().to_vec(), value.as_bytes().to_vec(), INDEXED);
            self.encoders[usize::from(from == End::Second)].encode(field, &mut block).expect("a field");
        }
        block
    }

    fn headers(&mut self, from: End, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        let block = self.block(from, fields);
        self.send(from, frame(1, flags | END_HEADERS, stream, &block));
    }

    fn request(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) {
        let fields =
            [&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "shop")], more].concat();
        self.headers(End::First, stream, END_STREAM, &fields);
    }

    fn call(&mut self, stream: u32) {
        let fields =
            [(":method", "POST"), (":scheme", "http"), (":path", "/s/M"), ("content-type", "application/grpc")];
        self.headers(End::First, stream, END_STREAM, &fields);
    }

    fn data(&mut self, from: End, stream: u32, flags: u8) {
        self.send(from, frame(0, flags, stream, b"some data"));
    }

    /// Checks what is told of everything but the runs of these numbers, and what is counted.
    fn check_without(&self, lost: &[usize], expected: &Expect) -> Anomalies {
        let pieces = cut(&self.runs, |_| usize::MAX);
        let left = pieces.into_iter().enumerate().filter(|(number, _)| !lost.contains(number));
        let (lines, anomalies) = tell(Fidelity::Whole, &left.map(|(_, piece)| piece).collect::<Vec<_>>());
        expected.assert_eq(&(lines.join("\n") + "\n"));
        anomalies
    }
}

#[test]
fn joined_late_what_was_named_before_is_hidden_and_what_is_named_again_is_known() {
    let mut ends = Ends::new();
    ends.request(1, "/a", &[("x-tenant-id", "acme"), ("traceparent", TRACEPARENT), ("user-agent", "x")]);
    let other = TRACEPARENT.replace("-00f0", "-11f0");
    // Now every name is in the table, and but for the trace context every value.
    ends.request(3, "/a", &[("x-tenant-id", "acme"), ("traceparent", &other), ("user-agent", "x")]);
    ends.request(5, "/b", &[("x-tenant-id", "acme"), ("user-agent", "y")]);
    // It is named again, and referred to as the newest entry but one.
    let named = frame(1, 5, 7, &[&[0x82, 0x86, 0x84, 0x40, 11][..], b"x-tenant-id\x04beta"].concat());
    ends.send(End::First, named);
    ends.send(End::First, frame(1, 5, 9, &[0x82, 0x86, 0x84, 0x40, 1, b'a', 1, b'b', 0xbf]));
    let anomalies = ends.check_without(
        &[0, 1, 2],
        &expect![[r"
        > 0 http/2 GET  incomplete | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-11f067aa0ba902b7-00
        > 1 http/2 GET /b incomplete | user-agent: y
        > 2 http/2 GET / | x-tenant-id: beta
        > 3 http/2 GET / | x-tenant-id: beta
    "]],
    );
    assert_eq!(anomalies, Anomalies { unpaired: 4, ..Anomalies::default() });
}

#[test]
fn what_looks_like_the_header_of_a_frame_hides_nothing_that_follows() {
    let header = frame(1, 5, 1, &[0; 8])[..9].to_vec();
    let runs =
        [&header[..], b"some text", b"GET /a HTTP/1.1\r\nhost: a\r\n\r\n"].map(|bytes| (End::First, bytes.to_vec()));
    let behind = [runs[0].clone(), runs[2].clone()];
    let mut missing = cut(&runs, |_| usize::MAX);
    missing.remove(1);
    for pieces in [cut(&runs, |_| usize::MAX), cut(&behind, |_| usize::MAX), missing] {
        let (lines, anomalies) = tell(Fidelity::Heads, &pieces);
        assert_eq!(lines, ["> 0 http/1.1 GET /a | host: a"], "{pieces:?}");
        assert_eq!(anomalies, Anomalies { unpaired: 1, ..Anomalies::default() });
    }
}

#[test]
fn a_lost_request_is_counted_and_the_next_one_is_told_with_what_is_known() {
    let mut ends = Ends::new();
    ends.request(1, "/a", &[("x-tenant-id", "acme")]);
    ends.headers(End::Second, 1, END_STREAM, &[(":status", "200")]);
    ends.request(3, "/b", &[("x-tenant-id", "beta")]);
    ends.request(5, "/c", &[("x-tenant-id", "beta")]);
    ends.headers(End::Second, 5, END_STREAM, &[(":status", "503")]);
    ends.headers(End::Second, 3, END_STREAM, &[(":status", "200")]);
    let anomalies = ends.check_without(
        &[4],
        &expect![[r"
        > 0 http/2 GET /a | host: shop | x-tenant-id: acme
        < 0 http/2 200
        > - http/2 unobserved 1
        > 1 http/2 GET /c incomplete
        < 1 http/2 503
        < - http/2 200
    "]],
    );
    assert_eq!(anomalies, Anomalies { heads_cut: 1, unpaired: 1, ..Anomalies::default() });
}

#[test]
fn a_server_that_does_not_wait_for_the_preface_is_understood() {
    let mut ends = Ends::new();
    ends.runs.swap(0, 1);
    ends.request(1, "/a", &[]);
    ends.headers(End::Second, 1, END_STREAM, &[(":status", "404"), ("x-tenant-id", "acme")]);
    // The end that is seen first is the server here.
    let pieces = cut(&ends.runs, |_| usize::MAX);
    let (lines, anomalies) = tell(Fidelity::Whole, &pieces);
    assert_eq!(lines, ["> 0 http/2 GET /a | host: shop", "< 0 http/2 404 | x-tenant-id: acme"]);
    assert_eq!(anomalies, Anomalies::default());
}

#[test]
fn resets_and_going_away_leave_requests_without_a_response() {
    let mut ends = Ends::new();
    for stream in [1, 3, 5, 7] {
        ends.request(stream, "/a", &[]);
    }
    ends.send(End::First, frame(3, 0, 1, &[0, 0, 0, 8]));
    ends.send(End::Second, frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    ends.headers(End::Second, 3, END_STREAM, &[(":status", "204")]);
    let anomalies = ends.check_without(
        &[],
        &expect![[r"
        > 0 http/2 GET /a | host: shop
        > 1 http/2 GET /a | host: shop
        > 2 http/2 GET /a | host: shop
        > 3 http/2 GET /a | host: shop
        < 1 http/2 204
    "]],
    );
    assert_eq!(anomalies, Anomalies { unpaired: 3, ..Anomalies::default() });
}

#[test]
fn a_block_that_is_too_long_is_counted_and_makes_the_table_unknown() {
    let mut ends = Ends::new();
    ends.request(1, "/a", &[("x-tenant-id", "acme")]);
    let long = "z".repeat(70_000);
    let block = ends.block(End::First, &[(":method", "GET"), (":path", "/b"), ("cookie", &long)]);
    let mut parts = block.chunks(16_384).peekable();
    let mut frames = frame(1, END_STREAM, 3, parts.next().expect("a part"));
    while let Some(part) = parts.next() {
        frames.extend(frame(9, if parts.peek().is_none() { END_HEADERS } else { 0 }, 3, part));
    }
    ends.send(End::First, frames);
    ends.request(5, "/a", &[("x-tenant-id", "acme"), ("x-other", "1")]);
    let anomalies = ends.check_without(
        &[],
        &expect![[r"
        > 0 http/2 GET /a | host: shop | x-tenant-id: acme
        > - http/2 unobserved 1
        > 1 http/2 GET /a | host: shop | x-tenant-id: acme
    "]],
    );
    assert_eq!(anomalies, Anomalies { heads_too_long: 1, unpaired: 2, ..Anomalies::default() });
}

#[test]
fn a_response_of_grpc_is_told_with_its_trailers() {
    let mut ends = Ends::new();
    for stream in [1, 3, 5, 7, 9] {
        ends.call(stream);
    }
    let head = [(":status", "200"), ("content-type", "application/grpc")];
    ends.headers(End::Second, 1, 0, &head);
    ends.headers(End::Second, 3, 0, &[&head[..], &[("x-tenant-id", "head")]].concat());
    ends.headers(End::Second, 5, END_STREAM, &[&head[..], &[("grpc-status", "13")]].concat());
    ends.data(End::Second, 1, 0);
    ends.headers(End::Second, 3, END_STREAM, &[("grpc-status", "5")]);
    // What the trailers say counts.
    ends.headers(End::Second, 9, 0, &[&head[..], &[("x-tenant-id", "head")]].concat());
    ends.headers(End::Second, 9, END_STREAM, &[("grpc-status", "2"), ("x-tenant-id", "trailers")]);
    ends.headers(End::Second, 1, END_STREAM, &[("grpc-status", "0")]);
    // A proxy answers for the server.
    ends.headers(End::Second, 7, 0, &[(":status", "502"), ("content-type", "text/html")]);
    ends.data(End::Second, 7, END_STREAM);
    let anomalies = ends.check_without(
        &[],
        &expect![[r"
        > 0 grpc POST /s/M | content-type: application/grpc
        > 1 grpc POST /s/M | content-type: application/grpc
        > 2 grpc POST /s/M | content-type: application/grpc
        > 3 grpc POST /s/M | content-type: application/grpc
        > 4 grpc POST /s/M | content-type: application/grpc
        < 2 grpc 500 | content-type: application/grpc
        < 1 grpc 404 | content-type: application/grpc | x-tenant-id: head
        < 4 grpc 500 | x-tenant-id: trailers | content-type: application/grpc
        < 0 grpc 200 | content-type: application/grpc
        < 3 http/2 502 | content-type: text/html
    "]],
    );
    assert_eq!(anomalies, Anomalies::default());
}

#[test]
fn a_stream_that_goes_on_for_long_is_told_once_its_head_is_old_and_once_more_when_it_fails() {
    let mut ends = Ends::new();
    ends.call(1);
    ends.headers(End::Second, 1, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
    ends.data(End::Second, 1, 0);
    ends.headers(End::Second, 1, END_STREAM, &[("grpc-status", "14")]);
    let mut pieces = cut(&ends.runs, |_| usize::MAX);
    for (piece, seconds) in pieces.iter_mut().skip(4).zip([3, 90]) {
        piece.at = seconds * 1_000_000_000;
    }
    let (lines, _) = tell(Fidelity::Heads, &pieces);
    assert_eq!(
        lines,
        [
            "> 0 grpc POST /s/M | content-type: application/grpc",
            "< 0 grpc ? | content-type: application/grpc",
            "< 0 grpc 503 incomplete"
        ]
    );
}

#[test]
fn a_gap_in_data_is_no_loss_and_frames_behind_lost_ones_are_found_again() {
    let mut ends = Ends::new();
    ends.request(1, "/a", &[]);
    ends.headers(End::Second, 1, 0, &[(":status", "200"), ("content-type", "text/plain")]);
    ends.send(End::Second, frame(0, 0, 1, &b"data ".repeat(9000)));
    ends.data(End::Second, 1, END_STREAM);
    ends.request(3, "/b", &[("x-tenant-id", "acme")]);
    ends.headers(End::Second, 3, END_STREAM, &[(":status", "503"), ("x-tenant-id", "acme")]);
    let pieces = cut(&ends.runs, |_| 1448);
    let data = |bytes: &[u8]| bytes.starts_with(b"ata ") || bytes.starts_with(b"a d");
    let without: Vec<_> = pieces.iter().filter(|piece| !data(&piece.bytes)).cloned().collect();
    assert!(without.len() < pieces.len());
    let (lines, anomalies) = tell(Fidelity::Whole, &without);
    assert_eq!((lines, anomalies), tell(Fidelity::Whole, &pieces));
    // The header of the long frame is lost: what follows it is found again.
    let without: Vec<_> = pieces.iter().filter(|piece| !piece.bytes.starts_with(&[0, 0xaf, 0xc8])).cloned().collect();
    assert_eq!(without.len() + 1, pieces.len());
    let (lines, anomalies) = tell(Fidelity::Whole, &without);
    assert_eq!(lines.last().map(String::as_str), Some("< 1 http/2 503 | x-tenant-id: acme"));
    assert_eq!(anomalies.heads_cut, 1);
}

#[test]
fn streams_without_an_end_are_bounded() {
    let (interest, mut shared, mut told) = (interest(), Shared::default(), 0);
    let mut conversation = Conversation::new(Fidelity::Whole);
    let mut seq = 0_u32;
    let requests = (1..20_000_u32).step_by(2).map(|stream| frame(1, 5, stream, &[0x82, 0x86, 0x84]));
    for bytes in std::iter::once(PREFACE.to_vec()).chain(requests) {
        let wire_len = u32::try_from(bytes.len()).expect("a piece");
        let (at, from) = (Timestamp(1), End::First);
        let piece = Piece { at, from, seq, ack: None, wire_len, bytes: &bytes, link: None };
        conversation.piece(&piece, &interest, &mut shared, &mut |_| told += 1);
        seq += wire_len;
        assert!(conversation.buffered_bytes() < 100 * 1024, "{}", conversation.buffered_bytes());
    }
    assert_eq!((told, shared.anomalies.unpaired), (10_000, 10_000 - 1024));
}
