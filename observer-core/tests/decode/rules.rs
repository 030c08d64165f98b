//! The rules by which a head is believed, each by an example.
//!
//! A line is a piece: who sends it (`>` or `<`), where it begins, how many bytes are on the wire (as many as are shown where
//! nothing is said), and the bytes.

use expect_test::{Expect, expect};
use observer_core::decode::Fidelity;
use observer_core::message::End;

use crate::tap::{Owned, tell};

const GET: &str = "GET /a HTTP/1.1\r\n\r\n";
const POST: &str = "POST /p HTTP/1.1\r\nContent-Length: 100\r\n\r\n";
const CHUNKED: &str = "POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
const FAKE: &str = "GET /fake HTTP/1.1\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n";

fn len(text: &str) -> u32 {
    u32::try_from(text.len()).expect("a piece")
}

/// A request when the server has answered as many requests of the length of [`GET`] as precede it.
fn request(seq: u32, text: &str) -> Owned {
    long_request(seq, len(text), text)
}

fn long_request(seq: u32, wire_len: u32, text: &str) -> Owned {
    let ack = Some(seq / len(GET) * len(OK));
    Owned { at: 0, from: End::First, seq, ack, wire_len, bytes: text.into(), link: None }
}

/// A response of a server that has as many requests of the length of [`GET`].
fn response(number: u32) -> Owned {
    let ack = Some((number + 1) * len(GET));
    Owned { at: 0, from: End::Second, seq: number * len(OK), ack, wire_len: len(OK), bytes: OK.into(), link: None }
}

/// The piece, of a sender that has received what comes before the `number`th response, or before `ack`.
fn after(number: u32, piece: Owned) -> Owned {
    Owned { ack: Some(number * len(OK)), ..piece }
}

fn answer(number: u32, ack: u32) -> Owned {
    Owned { ack: Some(ack), ..response(number) }
}

fn check(fidelity: Fidelity, pieces: &[Owned], expected: &Expect) {
    let (mut lines, anomalies) = tell(fidelity, pieces);
    lines.push(format!(
        "cut {}, not http {}, unpaired {}, doubtful {}",
        anomalies.heads_cut, anomalies.not_http, anomalies.unpaired, anomalies.doubtful_heads
    ));
    expected.assert_eq(&(lines.join("\n") + "\n"));
}

#[test]
fn text_within_a_sized_body_is_no_request_and_the_next_head_is_where_the_body_ends() {
    let body = len(POST);
    let end = body + 100;
    let pieces = [
        request(0, POST),
        after(0, request(body + 10, FAKE)),
        answer(0, end),
        after(1, request(end, GET)),
        answer(1, end + len(GET)),
    ];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
        > 0 http/1.1 POST /p
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 0, not http 0, unpaired 0, doubtful 0
    "]],
    );
}

#[test]
fn a_body_of_more_than_the_sequence_numbers_count_is_passed_over() {
    let head = "POST /huge HTTP/1.1\r\nContent-Length: 5000000000\r\n\r\n";
    let next = len(head).wrapping_add(705_032_704);
    let pieces = [
        request(0, head),
        after(0, request(next - 1000, FAKE)),
        answer(0, next),
        after(1, request(next, GET)),
        answer(1, next + len(GET)),
    ];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
        > 0 http/1.1 POST /huge
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 0, not http 0, unpaired 0, doubtful 0
    "]],
    );
}

#[test]
fn a_head_in_bytes_that_were_not_captured_is_not_observed() {
    let end = len(POST) + 300;
    let pieces = [
        long_request(0, end, POST),
        answer(0, end),
        answer(1, end),
        after(2, request(end, GET)),
        answer(2, end + len(GET)),
    ];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
            > 0 http/1.1 POST /p
            > - http/1.1 unobserved 1
            < 0 http/1.1 200
            < - http/1.1 200
            > 1 http/1.1 GET /a
            < - http/1.1 200
            cut 1, not http 0, unpaired 2, doubtful 0
        "]],
    );
}

#[test]
fn a_lost_request_is_not_observed_once_however_it_is_found_out() {
    let lost = len(GET);
    let pieces = [request(0, GET), response(0), response(1), request(lost * 2, GET), response(2)];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        < - http/1.1 200
        > - http/1.1 unobserved 1
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 1, not http 0, unpaired 1, doubtful 0
    "]],
    );
    check(
        Fidelity::Whole,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        < - http/1.1 200
        > - http/1.1 unobserved 1
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 1, not http 0, unpaired 1, doubtful 0
    "]],
    );
}

#[test]
fn a_lost_exchange_costs_the_next_request_and_no_other() {
    let lost = len(GET);
    let pieces =
        [request(0, GET), response(0), request(lost * 2, GET), response(2), request(lost * 3, GET), response(3)];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
            > 0 http/1.1 GET /a
            < 0 http/1.1 200
            > - http/1.1 unobserved 1
            < - http/1.1 200
            > 1 http/1.1 GET /a
            < 1 http/1.1 200
            cut 2, not http 0, unpaired 1, doubtful 1
        "]],
    );
}

#[test]
fn a_lost_response_is_no_other_requests() {
    let pieces = [request(0, GET), response(0), request(len(GET), GET), request(len(GET) * 2, GET), response(2)];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        > 2 http/1.1 GET /a
        < 2 http/1.1 200
        cut 1, not http 0, unpaired 1, doubtful 0
    "]],
    );
    check(
        Fidelity::Whole,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        > 2 http/1.1 GET /a
        < 2 http/1.1 200
        cut 1, not http 0, unpaired 1, doubtful 0
    "]],
    );
}

#[test]
fn behind_a_chunked_body_a_request_is_believed_where_the_body_ends_or_once_it_is_answered() {
    let end = len(CHUNKED) + 500;
    let mark = after(0, request(end - 5, "0\r\n\r\n"));
    let text = after(0, request(len(CHUNKED) + 100, FAKE));
    let both = end + len(GET);
    check(
        Fidelity::Heads,
        &[request(0, CHUNKED), text.clone(), mark, after(0, request(end, GET)), answer(0, both), answer(1, both)],
        &expect![[r"
            > 0 http/1.1 POST /c
            > 1 http/1.1 GET /a
            < 0 http/1.1 200
            < 1 http/1.1 200
            cut 0, not http 0, unpaired 0, doubtful 1
        "]],
    );
    check(
        Fidelity::Heads,
        &[request(0, CHUNKED), text, answer(0, end), after(1, request(end, GET)), answer(1, both)],
        &expect![[r"
        > 0 http/1.1 POST /c
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 0, not http 0, unpaired 0, doubtful 1
    "]],
    );
}

#[test]
fn a_head_that_is_cut_is_told_as_far_as_it_was_seen() {
    let head = "GET /cut HTTP/1.1\r\nHost: a\r\nX-Tenant-Id: acme\r\nTraceparent: 00-4bf9";
    let end = 900 + len(GET);
    let pieces = [long_request(0, 900, head), answer(0, 900), after(1, request(900, GET)), answer(1, end)];
    check(
        Fidelity::Heads,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /cut incomplete | host: a | x-tenant-id: acme
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        < 1 http/1.1 200
        cut 1, not http 0, unpaired 0, doubtful 0
    "]],
    );
}

#[test]
fn a_stream_joined_in_the_middle_begins_with_its_first_head() {
    let pieces = [request(0, "rest of a body"), answer(0, 14), after(1, request(14, GET)), answer(1, 14 + len(GET))];
    check(
        Fidelity::Whole,
        &pieces,
        &expect![[r"
        < - http/1.1 200
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        cut 0, not http 0, unpaired 1, doubtful 0
    "]],
    );
}

#[test]
fn garbage_where_a_head_must_begin_is_counted() {
    let pieces =
        [request(0, GET), response(0), request(len(GET), "\x00\x01garbage\r\n"), after(1, request(len(GET) + 11, GET))];
    check(
        Fidelity::Whole,
        &pieces,
        &expect![[r"
        > 0 http/1.1 GET /a
        < 0 http/1.1 200
        > 1 http/1.1 GET /a
        cut 0, not http 1, unpaired 1, doubtful 0
    "]],
    );
}
