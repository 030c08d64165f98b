//! The socket filter on an interface: every packet once, with and without VLAN tags.

use std::net::TcpListener;

use observer::capture::{KernelCapture, KernelSource, Options};
use observer_ebpf::program::{Gives, PROGRAMS};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::namespaces::Pair;
use crate::reuse::connection;
use crate::seen::{Seen, Side};

/// The socket filter on an interface.
pub fn on(interface: &str) -> Options {
    Options { source: KernelSource::SocketFilter, interface: Some(interface.into()), ..Options::default() }
}

/// The same with the least privileges that it takes: the socket hooks, which take CAP_NET_ADMIN, are refused.
pub fn with_least_privileges(options: &Options) -> Seen {
    // Lifts the limit on locked memory of this process, which older kernels count maps as.
    drop(Seen::everywhere());
    let capture = std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective = CapabilitySet::BPF | CapabilitySet::NET_RAW | CapabilitySet::PERFMON;
            set_capabilities(None, sets).unwrap();
            KernelCapture::open(options).unwrap_or_else(|error| panic!("{error}"))
        });
        opening.join().unwrap()
    });
    for state in capture.programs() {
        let program = PROGRAMS.iter().find(|program| program.name == state.program).unwrap();
        assert_eq!(state.outcome.is_err(), program.gives == Gives::Owners, "{state:?}");
    }
    Seen::by(capture)
}

#[test]
fn each_packet_over_loopback_is_seen_once() {
    for address in [LOOPBACK, "[::1]:0"] {
        let mut seen = Seen::open(&on("lo"));
        let ends = Ends::on(address);
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        let (client, server) = ends.addresses();
        seen.until("the exchange", |seen| {
            seen.stream(client, server, Side::Wire) == REQUEST && seen.stream(server, client, Side::Wire) == RESPONSE
        });
        assert_eq!(seen.flow(client, server, Side::Wire).len(), 1);
        assert_eq!(seen.flow(server, client, Side::Wire).len(), 1);
        assert_eq!(seen.lost(), []);
    }
}

/// An Ethernet frame to everyone: the tags, and a TCP packet from 10.77.0.1:1111 to 10.77.0.2:80.
pub fn packet(tags: &[[u8; 4]], seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(tags.concat());
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend(u16::try_from(40 + payload.len()).unwrap().to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
    frame.extend([0x04, 0x57, 0, 80]);
    frame.extend(seq.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
    // Ethernet pads what is shorter than 60 bytes; padding is no payload.
    frame.resize(frame.len().max(60), 0);
    frame
}

#[test]
fn packets_with_vlan_tags_are_seen_where_they_leave_and_where_they_arrive() {
    let pair = Pair::new("vlan");
    let (client, server) = ("10.77.0.1:1111".parse().unwrap(), "10.77.0.2:80".parse().unwrap());
    let tag = |kind: u16, id: u16| {
        let (kind, id) = (kind.to_be_bytes(), id.to_be_bytes());
        [kind[0], kind[1], id[0], id[1]]
    };
    // 802.1Q; 802.1ad with 802.1Q inside; none.
    for tags in [&[tag(0x8100, 7)][..], &[tag(0x88a8, 5), tag(0x8100, 7)], &[]] {
        for payload in [REQUEST, b"G"] {
            let mut leaving = pair.in_a(|| Seen::open(&on("veth")));
            let mut arriving = pair.in_b(|| Seen::open(&on("veth")));
            pair.in_a(|| crate::namespaces::send_frame("veth", &packet(tags, 9, payload)));
            for seen in [&mut leaving, &mut arriving] {
                seen.until("the packet", |seen| seen.stream(client, server, Side::Wire) == payload);
                let packets = seen.flow(client, server, Side::Wire);
                assert_eq!((packets.len(), packets[0].wire_len as usize), (1, payload.len()));
                assert_eq!(seen.lost(), []);
            }
        }
    }
}

#[test]
fn an_exchange_between_namespaces_is_seen_once_on_one_interface() {
    let pair = Pair::new("wire");
    for (interface, address) in [(Some("veth"), "10.77.0.2:0"), (None, "[fd77::2]:0")] {
        let options = Options { interface: interface.map(String::from), ..on("") };
        let mut seen = pair.in_a(|| Seen::open(&options));
        let ends = pair.connection(address);
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        let (client, server) = ends.addresses();
        seen.until("the exchange", |seen| {
            seen.stream(client, server, Side::Wire) == REQUEST && seen.stream(server, client, Side::Wire) == RESPONSE
        });
        assert_eq!(seen.flow(client, server, Side::Wire).len(), 1);
        assert_eq!(seen.lost(), []);
    }
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let error = observer::capture::KernelCapture::open(&on("nosuch0")).err().unwrap().to_string();
    assert!(error.contains("nosuch0"), "{error}");
}

#[test]
fn with_the_least_privileges_packets_are_seen_without_the_socket_hooks() {
    let mut seen = with_least_privileges(&on("lo"));
    let ends = Ends::on(LOOPBACK);
    ends.to_server(REQUEST);
    ends.to_client(RESPONSE);
    let (client, server) = ends.addresses();
    seen.until("the exchange", |seen| {
        seen.stream(client, server, Side::Wire) == REQUEST && seen.stream(server, client, Side::Wire) == RESPONSE
    });
    assert_eq!((seen.sockets.as_slice(), seen.lost()), (&[][..], vec![]));
}

#[test]
fn sockets_with_the_same_ports_in_another_namespace_are_not_taken_for_the_ends() {
    let pair = Pair::new("joined");
    let mut seen = pair.in_a(|| Seen::open(&on("lo")));
    let connect = || {
        let listener = TcpListener::bind("127.0.0.1:18090").unwrap();
        let ends = connection("127.0.0.1:18091".parse().unwrap(), &listener, listener.local_addr().unwrap());
        ends.to_server(REQUEST);
        ends
    };
    // Whichever comes last is the newest.
    let before = pair.in_b(connect);
    let ours = pair.in_a(connect);
    drop(before);
    let after = pair.in_b(connect);
    ours.to_client(RESPONSE);
    let ((client, server), (client_cookie, server_cookie)) = (ours.addresses(), ours.cookies());
    assert_eq!((client, server), after.addresses());
    seen.until("the response", |seen| seen.stream(server, client, Side::Wire) == RESPONSE);
    let holders = |from, to| -> Vec<_> { seen.flow(from, to, Side::Wire).iter().map(|each| each.holders).collect() };
    assert_eq!(holders(client, server), [(Some(client_cookie), Some(server_cookie))]);
    assert_eq!(holders(server, client), [(Some(server_cookie), Some(client_cookie))]);
}
