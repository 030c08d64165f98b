//! What two ends sent each other and what is told of it, as in [`crate::golden`]: curl 7.88.1, hypercorn 0.18.0, httpx 0.28.1,
//! nginx 1.22.1, grpcio 1.85.1, Node 20.20.2.

use expect_test::{Expect, expect};
use observer_core::decode::{Anomalies, Fidelity};

use super::walk::thin;
use crate::recording::runs;
use crate::tap::{cut, tell};

/// Checks what is told of a recording: the same of every byte, of single bytes, and of what the kernel is to show.
fn check(recording: &str, expected: &Expect) {
    let runs = runs(recording);
    let whole = cut(&runs, |_| usize::MAX);
    let (lines, anomalies) = tell(Fidelity::Whole, &whole);
    expected.assert_eq(&(lines.join("\n") + "\n"));
    assert_eq!(Anomalies { unpaired: 0, ..anomalies }, Anomalies::default());
    assert_eq!(tell(Fidelity::Whole, &cut(&runs, |_| 1)).0, lines);
    if !recording.contains("Upgrade: h2c") {
        assert_eq!(tell(Fidelity::Heads, &thin(&whole)).0, lines);
    }
}

#[test]
fn an_upgraded_request_is_answered_on_the_first_stream() {
    check(
        include_str!("../../recordings/curl_upgrade_hypercorn.txt"),
        &expect![[r"
        > 0 http/1.1 GET /first | host: 127.0.0.1:19112 | user-agent: curl/7.88.1 | upgrade: h2c | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | x-tenant-id: acme
        < 0 http/2 200 | content-type: text/plain
        > 1 http/2 GET /fail | host: 127.0.0.1:19112 | user-agent: curl/7.88.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 | x-tenant-id: acme
        < 1 http/2 503 | content-type: text/plain
    "]],
    );
}

#[test]
fn httpx_and_nginx_index_what_they_repeat() {
    check(
        include_str!("../../recordings/httpx_nginx.txt"),
        &expect![[r"
        > 0 http/2 GET /a.txt | host: 127.0.0.1:19113 | user-agent: python-httpx/0.28.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-00 | x-tenant-id: acme
        < 0 http/2 200 | content-type: text/plain
        > 1 http/2 GET /missing | host: 127.0.0.1:19113 | user-agent: python-httpx/0.28.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-01 | x-tenant-id: acme
        < 1 http/2 404 | content-type: text/html
        > 2 http/2 GET /big.txt | host: 127.0.0.1:19113 | user-agent: python-httpx/0.28.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000003-00 | x-tenant-id: beta
        < 2 http/2 200 | content-type: text/plain
        > 3 http/2 GET /a.txt | host: 127.0.0.1:19113 | user-agent: python-httpx/0.28.1 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000004-01 | x-tenant-id: acme
        < 3 http/2 200 | content-type: text/plain
    "]],
    );
}

#[test]
fn calls_streams_and_failures_of_grpc() {
    check(
        include_str!("../../recordings/grpcio.txt"),
        &expect![[r"
        > 0 grpc POST /shop.Cart/Get | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01 | x-tenant-id: acme
        < 0 grpc 200 | content-type: application/grpc
        > 1 grpc POST /shop.Cart/Fail | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-00 | x-tenant-id: acme
        < 1 grpc 503 | content-type: application/grpc
        > 2 grpc POST /shop.Cart/Missing | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000003-01 | x-tenant-id: acme
        < 2 grpc 404 | content-type: application/grpc
        > 3 grpc POST /shop.Cart/Watch | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000004-00 | x-tenant-id: acme
        < 3 grpc 200 | content-type: application/grpc
        > 4 grpc POST /shop.Cart/Watch2 | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000005-01 | x-tenant-id: acme
        < 4 grpc 500 | content-type: application/grpc
        > 5 grpc POST /shop.Cart/Get | host: 127.0.0.1:19114 | content-type: application/grpc | user-agent: grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2) | grpc-trace-bin: \x00\x00\x00K\xf9/5w\xb3M\xa6\xa3\xce\x92\x9d\x0e\x0eG6\x01\x00\xf0g\xaa\x0b\xa9\x02\xb7\x02\x01 | x-tenant-id: beta
        < 5 grpc 200 | content-type: application/grpc
    "]],
    );
}

#[test]
fn early_hints_pushes_resets_trailers_and_tables_that_change() {
    check(
        include_str!("../../recordings/node_h2.txt"),
        &expect![[r"
        > 0 http/2 GET /early | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01 | x-tenant-id: acme
        < 0 http/2 200 | content-type: text/plain
        > 1 http/2 GET /push | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-01 | x-tenant-id: acme
        < 1 http/2 200 | content-type: text/plain
        > 2 http/2 GET /fail | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000003-01 | x-tenant-id: acme
        < 2 http/2 500 | content-type: text/plain
        > 3 http/2 GET /trailers | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000004-01 | x-tenant-id: acme
        < 3 http/2 200 | content-type: text/plain
        > 4 http/2 GET /reset | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000005-01 | x-tenant-id: acme
        > 5 http/2 POST /big | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000006-01 | x-tenant-id: acme
        < 5 http/2 200 | content-type: text/plain
        > 6 http/2 GET /par0 | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000010-01 | x-tenant-id: beta
        > 7 http/2 GET /par1 | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000011-01 | x-tenant-id: beta
        > 8 http/2 GET /par2 | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000012-01 | x-tenant-id: beta
        > 9 http/2 GET /par3 | host: 127.0.0.1:19115 | traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000013-01 | x-tenant-id: beta
        < 6 http/2 200 | content-type: text/plain
        < 7 http/2 200 | content-type: text/plain
        < 8 http/2 200 | content-type: text/plain
        < 9 http/2 200 | content-type: text/plain
    "]],
    );
}
