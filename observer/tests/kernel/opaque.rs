//! Protocols that are recognised and not decoded.

use observer_core::connection::Opaque;

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::seen::{Seen, Side};

fn is_told_once_for_each_end(opening: &[u8], more: &[u8], kind: Opaque) {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(opening);
    ends.to_server(more);
    // Whatever an encrypted stream contains is no request.
    ends.to_server(REQUEST);
    seen.until_now();
    let told: Vec<_> = seen
        .opaque
        .iter()
        .filter(|(from, to, _, _)| (*from, *to) == (client, server))
        .map(|(_, _, tap, kind)| (Side::of(*tap), *kind))
        .collect();
    assert_eq!(told, [(Side::Egress, kind), (Side::Ingress, kind)]);
    assert_eq!(seen.flow(client, server, Side::Egress).len(), 0);
}

#[test]
fn tls_is_told_once_for_each_end() {
    let hello = b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03 and so on";
    is_told_once_for_each_end(hello, b"\x17\x03\x03\x00\x20some encrypted bytes", Opaque::Tls);
}

#[test]
fn fastcgi_is_told_once_for_each_end() {
    // FCGI_BEGIN_REQUEST of a responder whose connection is kept (FastCGI 1.0 section 5.1), then its parameters.
    let begin = b"\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x01\x00\x00\x00\x00\x00";
    let parameters = b"\x01\x04\x00\x01\x00\x11\x07\x00\x0e\x01REQUEST_METHODG";
    is_told_once_for_each_end(begin, parameters, Opaque::FastCgi);
}

#[test]
fn an_unknown_protocol_is_told_once_at_each_receiver_and_may_turn_out_to_be_http() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(b"PING\r\n");
    ends.to_client(b"+PONG\r\n");
    ends.to_server(b"PING\r\n");
    ends.to_client(b"+PONG\r\n");
    ends.to_server(REQUEST);
    seen.until("the request", |seen| seen.stream(client, server, Side::Ingress).ends_with(REQUEST));
    let told: Vec<_> = seen
        .opaque
        .iter()
        .filter(|(from, to, _, _)| [*from, *to] == [client, server] || [*from, *to] == [server, client])
        .map(|(_, to, tap, kind)| (*to == server, Side::of(*tap), *kind))
        .collect();
    assert_eq!(told, [(true, Side::Ingress, Opaque::Unknown), (false, Side::Ingress, Opaque::Unknown)]);
}

#[test]
fn a_connection_that_opens_with_http_is_never_an_unknown_one() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    // Who is behind a proxy; then the first segment is the beginning of a method.
    ends.to_server(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 80\r\n");
    ends.to_server(&REQUEST[..1]);
    ends.to_server(&REQUEST[1..]);
    ends.to_client(RESPONSE);
    ends.to_server(b"PING\r\n");
    ends.to_server(REQUEST);
    seen.until("both requests", |seen| seen.stream(client, server, Side::Ingress).ends_with(REQUEST));
    assert!(seen.opaque.iter().all(|(from, to, _, _)| ![*from, *to].contains(&client)), "{:?}", seen.opaque);
}

#[test]
fn bytes_of_a_body_that_look_like_tls_change_nothing() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    ends.to_server(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
    ends.to_server(b"\x16\x03\x01\x00\x2eabcd");
    ends.to_client(RESPONSE);
    ends.to_server(REQUEST);
    seen.until("the next request", |seen| seen.stream(client, server, Side::Ingress).ends_with(REQUEST));
    assert!(seen.opaque.iter().all(|(from, _, _, _)| *from != client));
}
