//! Which thread reads what: told of processes that were asked for, and only as long as they are.

use std::io::Read;
use std::net::TcpStream;

use observer::capture::Reading;
use rustix::event::epoll;

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE, deliver};
use crate::seen::{Seen, Side};

/// The raw tracepoints of this host that a program is attached to through a link.
fn attached() -> usize {
    let links = aya::programs::loaded_links().filter_map(Result::ok);
    links
        .filter(|link| link.link_type().is_ok_and(|kind| kind == aya::programs::links::LinkType::RawTracePoint))
        .count()
}

/// Reads so many bytes on a thread of its own; returns the thread.
fn read_elsewhere(mut from: &TcpStream, len: usize) -> u32 {
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            from.read_exact(&mut vec![0; len]).unwrap();
            rustix::thread::gettid().as_raw_nonzero().get()
        });
        u32::try_from(reader.join().unwrap()).unwrap()
    })
}

fn readings(seen: &Seen, socket: u64) -> Vec<Reading> {
    seen.readings.iter().filter(|reading| reading.socket.0 == socket).copied().collect()
}

#[test]
fn the_thread_that_reads_is_told_with_the_socket_and_how_far_it_read() {
    let mut seen = Seen::everywhere();
    let before = attached();
    let process = std::process::id();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    let (client_socket, server_socket) = ends.cookies();

    ends.to_server(REQUEST);
    seen.until_now();
    assert_eq!(seen.readings, [], "nobody asked");

    seen.tell_readers(&[process]);
    assert_eq!(attached(), before + 1);
    std::io::Write::write_all(&mut &ends.client, REQUEST).unwrap();
    let reader = read_elsewhere(&ends.server, REQUEST.len());
    std::io::Write::write_all(&mut &ends.server, RESPONSE).unwrap();
    let waiter = read_elsewhere(&ends.client, RESPONSE.len());
    assert_ne!((reader, waiter), (process, process));
    seen.until("both readings", |seen| {
        readings(seen, server_socket).len() == 1 && readings(seen, client_socket).len() == 1
    });
    let end_of = |from, to| {
        let packets = seen.flow(from, to, Side::Egress);
        packets.iter().rfind(|packet| packet.wire_len > 0).map(|packet| packet.seq + packet.wire_len)
    };
    for (socket, thread, up_to) in
        [(server_socket, reader, end_of(client, server)), (client_socket, waiter, end_of(server, client))]
    {
        let [reading] = readings(&seen, socket)[..] else { panic!("{:?}", seen.readings) };
        let told = (reading.process, reading.thread, Some(reading.up_to), reading.is_awaited);
        assert_eq!(told, (process, thread, up_to, false));
    }

    // A set of descriptors waits at a socket for as long as it has it.
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&set, &ends.server, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    ends.to_server(REQUEST);
    seen.until("a reading from a socket in a set", |seen| readings(seen, server_socket).len() == 2);
    assert!(readings(&seen, server_socket)[1].is_awaited);
    epoll::delete(&set, &ends.server).unwrap();
    ends.to_server(REQUEST);
    seen.until("a reading from a socket that left it", |seen| readings(seen, server_socket).len() == 3);
    assert!(!readings(&seen, server_socket)[2].is_awaited);

    // Another process alone is asked for: the first one, which is not this.
    seen.tell_readers(&[1]);
    deliver(&ends.client, &ends.server, REQUEST);
    seen.until_now();
    assert_eq!(readings(&seen, server_socket).len(), 3);

    seen.tell_readers(&[]);
    assert_eq!(attached(), before);
}
