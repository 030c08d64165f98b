//! Which request a goroutine works for that calls: told of Go programs that were asked for.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use observer::capture::{GoCall, SocketEvent};
use testbed::sources;

use crate::ends::{LOOPBACK, RESPONSE};
use crate::seen::Seen;

const PATIENCE: Duration = Duration::from_mins(2);

/// Ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Go program that passes requests on to `to`, and where it listens. Where nothing can be built `GO_SERVER` names it.
fn server(to: SocketAddr) -> (Server, SocketAddr) {
    let built = std::env::var_os("GO_SERVER").map(PathBuf::from);
    let file = built.unwrap_or_else(|| sources::go("observer/tests/tls_points/server.go").unwrap());
    let at = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let server = Server(Command::new(&file).args([at.to_string(), format!("http://{to}")]).spawn().unwrap());
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(at).is_err() {
        assert!(Instant::now() < end, "the server does not listen");
        std::thread::yield_now();
    }
    (server, at)
}

/// A client, and who it reaches through the server.
struct Way {
    client: TcpStream,
    listener: TcpListener,
    server: SocketAddr,
    /// What the server called with last.
    called: Option<TcpStream>,
}

impl Way {
    /// Sends a request and answers it; tells from where the server called.
    fn asks(&mut self, path: &str) -> SocketAddr {
        write!(self.client, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut bytes = [0; 4096];
        let called = self.called.get_or_insert_with(|| self.listener.accept().unwrap().0);
        assert_ne!(called.read(&mut bytes).unwrap(), 0);
        called.write_all(RESPONSE).unwrap();
        let from = called.peer_addr().unwrap();
        assert_ne!(self.client.read(&mut bytes).unwrap(), 0);
        from
    }
}

/// The cookie of the socket of this process' end of a connection.
fn cookie(seen: &Seen, local: SocketAddr, remote: SocketAddr) -> u64 {
    let found = seen.sockets.iter().find_map(|event| match event {
        SocketEvent::Established { socket, flow, .. }
            if (flow.source.port, flow.destination.port) == (local.port(), remote.port()) =>
        {
            Some(socket.0)
        }
        _ => None,
    });
    found.expect("it was established")
}

#[test]
fn the_turn_in_which_a_goroutine_was_born_is_told_with_what_it_calls() {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let peer = listener.local_addr().unwrap();
    let (mut seen, _alone) = Seen::with_libraries();
    let (process, server) = server(peer);
    let client = TcpStream::connect(server).unwrap();
    let mut way = Way { client, listener, server, called: None };
    let called_from = way.asks("/");
    seen.until_now();
    assert_eq!(seen.go_calls, [], "nobody asked");

    seen.tell_readers(&[process.0.id()]);
    let end = Instant::now() + PATIENCE;
    // The goroutine waits for a request when it is first probed: the next one is that of a turn.
    while !seen.go_calls.iter().any(|call| call.work.is_some()) {
        assert!(Instant::now() < end, "nothing was told: {:?}", seen.go_calls);
        assert_eq!(way.asks("/"), called_from);
        seen.until_now();
    }
    seen.go_calls.clear();
    for path in ["/", "/born", "/"] {
        assert_eq!(way.asks(path), called_from);
    }
    seen.until("the calls", |seen| seen.go_calls.len() >= 3);
    let [first, second, third] = seen.go_calls[..] else { panic!("{:?}", seen.go_calls) };
    let (reached, calling) =
        (cookie(&seen, way.server, way.client.local_addr().unwrap()), cookie(&seen, called_from, peer));
    let told = |call: GoCall, births| {
        let work = call.work.unwrap();
        let expected = (process.0.id(), calling, reached, births, 0);
        assert_eq!((call.process, call.socket.0, work.served.0, work.births, work.calls), expected);
        assert!(work.since < call.at);
        work.since
    };
    // Each request is a turn of its own, which begins when the one before is answered.
    let turns = [told(first, 0), told(second, 1), told(third, 0)];
    assert!(first.at < turns[1] && second.at < turns[2]);
    seen.tell_readers(&[]);
}
