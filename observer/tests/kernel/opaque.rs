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
