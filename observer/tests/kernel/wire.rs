//! The socket filter on an interface: every packet once, with and without VLAN tags.

use observer::capture::{KernelSource, Options};

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::namespaces::Pair;
use crate::seen::{Seen, Side};

fn on(interface: &str) -> Options {
    Options { source: KernelSource::SocketFilter, interface: Some(interface.into()), ..Options::default() }
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

#[test]
fn an_exchange_over_a_vlan_is_seen_on_the_interface_below_and_on_all() {
    let pair = Pair::new("vlan");
    pair.run("ip -n {a} link add link veth name veth.7 type vlan id 7");
    pair.run("ip -n {b} link add link veth name veth.7 type vlan id 7");
    pair.run("ip -n {a} addr add 10.77.7.1/24 dev veth.7");
    pair.run("ip -n {b} addr add 10.77.7.2/24 dev veth.7");
    pair.run("ip -n {a} link set veth.7 up");
    pair.run("ip -n {b} link set veth.7 up");
    for interface in ["veth", "veth.7"] {
        let (mut seen, ends) = pair.in_a(|| {
            let seen = Seen::open(&on(interface));
            (seen, pair.connection("10.77.7.2:0"))
        });
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        let (client, server) = ends.addresses();
        seen.until("the exchange", |seen| {
            seen.stream(client, server, Side::Wire) == REQUEST && seen.stream(server, client, Side::Wire) == RESPONSE
        });
        assert_eq!(seen.flow(client, server, Side::Wire).len(), 1, "{interface}");
        assert_eq!(seen.lost(), []);
    }
}

#[test]
fn an_interface_that_does_not_exist_is_named() {
    let error = observer::capture::KernelCapture::open(&on("nosuch0")).err().unwrap().to_string();
    assert!(error.contains("nosuch0"), "{error}");
}
