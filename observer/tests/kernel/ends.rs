//! Connections to observe: both ends in this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::net::sockopt::socket_cookie;

pub const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
pub const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const LOOPBACK: &str = "127.0.0.1:0";

/// Both ends of a connection.
pub struct Ends {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Ends {
    /// A connection to a fresh port of this address.
    pub fn on(address: &str) -> Self {
        Self::through(&TcpListener::bind(address).unwrap())
    }

    /// A connection that this listener accepts.
    pub fn through(listener: &TcpListener) -> Self {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        Self::of(client, server)
    }

    pub fn of(client: TcpStream, server: TcpStream) -> Self {
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        Self { client, server }
    }

    /// The client's address and the server's.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.client.local_addr().unwrap(), self.server.local_addr().unwrap())
    }

    /// The cookies of the client's socket and of the server's.
    pub fn cookies(&self) -> (u64, u64) {
        (socket_cookie(&self.client).unwrap(), socket_cookie(&self.server).unwrap())
    }

    pub fn to_server(&self, bytes: &[u8]) {
        deliver(&self.client, &self.server, bytes);
    }

    pub fn to_client(&self, bytes: &[u8]) {
        deliver(&self.server, &self.client, bytes);
    }
}

/// Sends at one end and receives at the other, whatever the size.
pub fn deliver(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    std::thread::scope(|scope| {
        scope.spawn(move || from.write_all(bytes).unwrap());
        let mut received = vec![0; bytes.len()];
        to.read_exact(&mut received).unwrap();
        assert!(received == bytes, "what arrives is what was sent");
    });
}
