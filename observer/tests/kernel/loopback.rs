//! Requests and responses over the loopback device.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::seen::{Seen, Side};

const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection over loopback: the client's end and the server's.
pub fn connection(address: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// Sends at one end and receives at the other, whatever the size.
pub fn deliver(from: &TcpStream, to: &TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(|| (&*from).write_all(bytes).unwrap());
        let mut received = vec![0; bytes.len()];
        (&*to).read_exact(&mut received).unwrap();
        assert!(received == bytes, "what arrives is what was sent");
    });
}

fn ends(client: &TcpStream) -> (SocketAddr, SocketAddr) {
    (client.local_addr().unwrap(), client.peer_addr().unwrap())
}

fn an_exchange_is_seen_at_both_ends(address: &str) {
    let mut seen = Seen::everywhere();
    let (client, server) = connection(address);
    deliver(&client, &server, REQUEST);
    deliver(&server, &client, RESPONSE);
    let (c, s) = ends(&client);
    seen.until("the exchange at both ends", |seen| {
        [Side::Egress, Side::Ingress]
            .iter()
            .all(|side| seen.stream(c, s, *side) == REQUEST && seen.stream(s, c, *side) == RESPONSE)
    });
    assert_eq!(seen.lost(), []);
}

#[test]
fn an_exchange_over_ipv4_is_seen_at_both_ends() {
    an_exchange_is_seen_at_both_ends("127.0.0.1:0");
}

#[test]
fn an_exchange_over_ipv6_is_seen_at_both_ends() {
    an_exchange_is_seen_at_both_ends("[::1]:0");
}
