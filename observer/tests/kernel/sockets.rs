//! Whose a socket is: events of the socket hooks, and requests that come before their socket.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use observer::capture::SocketEvent;
use observer_core::ids::SocketId;
use rustix::net::sockopt::socket_cookie;

use crate::ends::{Ends, LOOPBACK, REQUEST};
use crate::seen::{Seen, Side};

#[test]
fn binding_connecting_establishing_and_closing_are_told_with_their_process() {
    for address in [LOOPBACK, "[::1]:0"] {
        let mut seen = Seen::everywhere();
        let listener = TcpListener::bind(address).unwrap();
        let listener_cookie = SocketId(socket_cookie(&listener).unwrap());
        let ends = Ends::through(&listener);
        let (client, server) = ends.addresses();
        let (client_cookie, server_cookie) = (SocketId(ends.cookies().0), SocketId(ends.cookies().1));
        drop(ends);
        seen.until("the end of both sockets", |seen| {
            [client_cookie, server_cookie]
                .iter()
                .all(|cookie| seen.sockets.contains(&SocketEvent::Released { socket: *cookie }))
        });
        let process = std::process::id();
        let own_name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        let told = |wanted: &dyn Fn(&SocketEvent) -> bool| seen.sockets.iter().filter(|event| wanted(event)).count();
        assert_eq!(
            told(&|event| matches!(event, SocketEvent::Binds { socket, pid, to, .. }
                if *socket == listener_cookie && *pid == process && (to.ip, to.port) == (server.ip(), server.port()))),
            1,
            "{:?}",
            seen.sockets
        );
        assert_eq!(
            told(&|event| matches!(event, SocketEvent::Connects { socket, pid, to, cgroup, command }
                if *socket == client_cookie && command.name() == own_name.trim_end() && *pid == process && *cgroup != 0 && (to.ip, to.port) == (server.ip(), server.port()))),
            1,
            "{:?}",
            seen.sockets
        );
        for (cookie, local, remote, accepted) in
            [(client_cookie, client, server, false), (server_cookie, server, client, true)]
        {
            assert_eq!(
                told(&|event| matches!(event, SocketEvent::Established { socket, flow, passive, .. }
                    if *socket == cookie && *passive == accepted
                        && (flow.source.ip, flow.source.port) == (local.ip(), local.port())
                        && (flow.destination.ip, flow.destination.port) == (remote.ip(), remote.port()))),
                1,
                "{:?}",
                seen.sockets
            );
        }
    }
}

#[test]
fn the_first_request_of_a_deferred_accept_names_the_accepted_socket() {
    let mut seen = Seen::everywhere();
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let seconds: libc::c_int = 30;
    let size = libc::socklen_t::try_from(size_of_val(&seconds)).unwrap();
    // SAFETY: the option's value is an int that lives through the call.
    let set = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size,
        )
    };
    assert_eq!(set, 0);
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(REQUEST).unwrap();
    let (server, _) = listener.accept().unwrap();
    let ends = Ends::of(client, server);
    let (client, address) = ends.addresses();
    seen.until("the request", |seen| seen.stream(client, address, Side::Ingress) == REQUEST);
    assert_eq!(Seen::socket(seen.flow(client, address, Side::Ingress)[0]), (ends.cookies().1, true));
    ends.to_client(b"HTTP/1.1 200 OK\r\n\r\n");
    (&ends.client).write_all(REQUEST).unwrap();
    seen.until("the next request", |seen| seen.flow(client, address, Side::Ingress).len() == 2);
    assert_eq!(Seen::socket(seen.flow(client, address, Side::Ingress)[1]), (ends.cookies().1, true));
}
