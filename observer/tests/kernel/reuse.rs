//! The same addresses and ports used again at once, while an interface is watched: each use is a connection of its own.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use observer::capture::SocketEvent;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::ends::{Ends, REQUEST, RESPONSE};
use crate::seen::{Seen, SeenPacket, Side};
use crate::wire::{on, with_least_privileges};

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The server closes, then the client.
    Closed,
    /// The client resets it.
    ClientResets,
    /// The server resets it.
    ServerResets,
}

const ENDINGS: [Ending; 3] = [Ending::Closed, Ending::ClientResets, Ending::ServerResets];
const USES: usize = 30;

/// A connection from `from` to a listener.
pub fn connection(from: SocketAddr, listener: &TcpListener, to: SocketAddr) -> Ends {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let started = Instant::now();
    let socket = loop {
        let socket = rustix::net::socket(family, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        rustix::net::bind(&socket, &from).unwrap();
        match rustix::net::connect(&socket, &to) {
            Ok(()) => break socket,
            // The last acknowledgement of the connection before is still on its way.
            Err(Errno::ADDRNOTAVAIL) if started.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            Err(error) => panic!("{from} to {to}: {error}"),
        }
    };
    Ends::of(TcpStream::from(socket), listener.accept().unwrap().0)
}

fn end(ends: Ends, ending: Ending) {
    let Ends { client, server } = ends;
    let reset = |stream: &TcpStream| sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
    match ending {
        Ending::Closed => {
            drop(server);
            assert_eq!(client.peek(&mut [0]).unwrap(), 0, "the server has closed");
        }
        Ending::ClientResets => {
            reset(&client);
            drop(client);
            assert!(server.peek(&mut [0]).is_err(), "the client has reset it");
        }
        Ending::ServerResets => {
            reset(&server);
            drop(server);
            assert!(client.peek(&mut [0]).is_err(), "the server has reset it");
        }
    }
}

/// Returns the cookies of both ends of every use.
fn each_use_is_a_connection(seen: &mut Seen, listens: &str, to: &str, from: &str) -> Vec<(u64, u64)> {
    let listener = TcpListener::bind(listens).unwrap();
    let server = SocketAddr::new(to.parse().unwrap(), listener.local_addr().unwrap().port());
    let from: SocketAddr = from.parse().unwrap();
    let mut cookies = Vec::new();
    for ending in ENDINGS.into_iter().cycle().take(USES) {
        let ends = connection(from, &listener, server);
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        cookies.push(ends.cookies());
        end(ends, ending);
    }
    let heads = |seen: &Seen, from, to, head: &[u8]| -> Vec<u64> {
        seen.flow(from, to, Side::Wire).iter().filter(|each| each.bytes == head).map(|each| each.connection).collect()
    };
    seen.until("every request and response", |seen| {
        heads(seen, from, server, REQUEST).len() >= USES && heads(seen, server, from, RESPONSE).len() >= USES
    });
    let mut requests = heads(seen, from, server, REQUEST);
    assert_eq!(requests, heads(seen, server, from, RESPONSE), "a response belongs to the connection of its request");
    requests.dedup();
    assert_eq!(requests.len(), USES, "each use is a connection of its own: {requests:?}");
    assert_eq!(seen.lost(), []);
    cookies
}

/// Where the kernel says that a connection begins, its first bytes are seen, and they are joined with its sockets.
fn joins_are_true(seen: &Seen, client: &str, cookies: &[(u64, u64)]) {
    let client: SocketAddr = client.parse().unwrap();
    let is_request = |packet: &&SeenPacket| packet.from == client && packet.bytes == REQUEST;
    let requests: Vec<_> = seen.packets.iter().filter(is_request).collect();
    assert_eq!(requests.len(), cookies.len());
    for (index, (client_cookie, server_cookie)) in cookies.iter().enumerate() {
        assert_eq!(requests[index].holders, (Some(*client_cookie), Some(*server_cookie)));
        let begins = |cookie: u64| {
            let told = seen.sockets.iter().find_map(|event| match event {
                SocketEvent::Established { socket, flow, beginnings, .. } if socket.0 == cookie => {
                    Some((*flow, (*beginnings)?))
                }
                _ => None,
            });
            told.unwrap_or_else(|| panic!("connection {index} was not told of"))
        };
        let ((flow, client), (_, accepted)) = (begins(*client_cookie), begins(*server_cookie));
        assert_eq!((client.sent, client.received), (accepted.received, accepted.sent));
        let [from, to] = [flow.source, flow.destination].map(|end| SocketAddr::new(end.ip, end.port));
        let is_seen = |from, to, seq| seen.flow(from, to, Side::Wire).iter().any(|packet| packet.seq == seq);
        assert!(is_seen(from, to, client.sent) && is_seen(to, from, accepted.sent));
    }
}

#[test]
fn each_use_of_a_pair_of_ports_is_a_connection() {
    let cases = [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.1:21104"),
        ("[::1]:0", "::1", "[::1]:21106"),
        // A server of both families.
        ("[::]:0", "127.0.0.1", "127.0.0.1:21146"),
    ];
    for (listens, to, from) in cases {
        let mut seen = Seen::open(&on("lo"));
        let cookies = each_use_is_a_connection(&mut seen, listens, to, from);
        joins_are_true(&seen, from, &cookies);
    }
}

#[test]
fn each_use_of_a_pair_of_ports_is_a_connection_without_the_socket_hooks() {
    let mut seen = with_least_privileges(&on("lo"));
    each_use_is_a_connection(&mut seen, "127.0.0.1:0", "127.0.0.1", "127.0.0.1:21156");
    assert_eq!(seen.sockets, []);
}
