//! Real bytes of real programs: what two ends sent each other, a line a read, and what is told of it.
//!
//! The recordings were made by a TCP proxy between the programs that the file names name: curl 7.88.1, nginx 1.22.1,
//! Node 20.20.2, Python 3.11 (http.server) and requests 2.34.2. `> ` is the client, `< ` the server, `.` the end.

use expect_test::{Expect, expect};
use observer_core::decode::{Anomalies, Fidelity};

use crate::kernel::thin;
use crate::recording::runs;
use crate::tap::{cut, tell};

/// Checks what is told of a recording: the same of every byte, of single bytes, and of what the kernel shows of
/// large and small packets.
fn check(recording: &str, expected: &Expect) {
    let runs = runs(recording);
    let whole = cut(&runs, |_| usize::MAX);
    let (lines, anomalies) = tell(Fidelity::Whole, &whole);
    expected.assert_eq(&(lines.join("\n") + "\n"));
    assert_eq!(anomalies, Anomalies::default());
    let single_bytes = cut(&runs, |_| 1);
    assert_eq!(tell(Fidelity::Whole, &single_bytes).0, lines);
    assert_eq!(tell(Fidelity::Heads, &thin(&whole)).0, lines);
    assert_eq!(tell(Fidelity::Heads, &thin(&single_bytes)).0, lines);
}

#[test]
fn curl_and_nginx_on_one_connection() {
    check(
        include_str!("../recordings/curl_nginx.txt"),
        &expect![[r"
        > 0 http/1.1 GET /a.txt | host: 127.0.0.1:19001 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | x-tenant-id: acme
        < 0 http/1.1 200 | content-type: text/plain
        > 1 http/1.1 GET /missing | host: 127.0.0.1:19001 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | x-tenant-id: acme
        < 1 http/1.1 404 | content-type: text/html
        > 2 http/1.1 GET /a.txt | host: 127.0.0.1:19001 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | x-tenant-id: acme
        < 2 http/1.1 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn answers_to_head_have_no_body() {
    check(
        include_str!("../recordings/curl_head_nginx.txt"),
        &expect![[r"
        > 0 http/1.1 HEAD /big.txt | host: 127.0.0.1:19002 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        < 0 http/1.1 200 | content-type: text/plain
        > 1 http/1.1 HEAD /a.txt | host: 127.0.0.1:19002 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        < 1 http/1.1 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn bodies_that_look_like_requests_are_sent_after_100_continue() {
    check(
        include_str!("../recordings/curl_continue_node.txt"),
        &expect![[r"
        > 0 http/1.1 POST /up | host: 127.0.0.1:19003 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | content-type: application/x-www-form-urlencoded
        < 0 http/1.1 200 | content-type: text/plain
        > 1 http/1.1 POST /up | host: 127.0.0.1:19003 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | content-type: application/x-www-form-urlencoded
        < 1 http/1.1 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn chunks_trailers_and_no_content_between_two_nodes() {
    check(
        include_str!("../recordings/node_node.txt"),
        &expect![[r"
        > 0 http/1.1 GET /chunks | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | host: localhost:19004
        < 0 http/1.1 200
        > 1 http/1.1 POST /up | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | tracestate: a=1 | host: localhost:19004
        < 1 http/1.1 200 | content-type: text/plain
        > 2 http/1.1 PUT /none | x-tenant-id: acme | host: localhost:19004
        < 2 http/1.1 204 | content-type: text/plain
        > 3 http/1.1 HEAD /up | host: localhost:19004
        < 3 http/1.1 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn http_1_0_closes() {
    check(
        include_str!("../recordings/requests_python.txt"),
        &expect![[r"
        > 0 http/1.1 GET /a.txt | host: 127.0.0.1:19005 | user-agent: python-requests/2.34.2 | baggage: tenant.id=acme | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00
        < 0 http/1.0 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn after_an_upgrade_nothing_is_read() {
    check(
        include_str!("../recordings/upgrade_node.txt"),
        &expect![[r"
        > 0 http/1.1 GET /ws | host: a | upgrade: websocket | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        < 0 http/1.1 101 upgraded | upgrade: websocket
    "]],
    );
}

#[test]
fn inside_a_tunnel_nothing_is_read() {
    check(
        include_str!("../recordings/curl_connect_node.txt"),
        &expect![[r"
        > 0 http/1.1 CONNECT 127.0.0.1:18082 | host: 127.0.0.1:18082 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
        < 0 http/1.1 200 upgraded
    "]],
    );
}
