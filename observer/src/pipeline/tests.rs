//! The whole line over events of an interface, where an address is a workload.

use std::net::IpAddr;

use observer_core::audit::report::{Code, Finding, Hops};
use observer_core::connection::Address;

use super::*;
use crate::config::{External, Pattern};

const START: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// Longer than anything that was seen can have caused a hop.
const LATER: Duration = Duration::from_mins(2);

fn address(text: &str) -> Address {
    let (ip, port) = text.rsplit_once(':').unwrap();
    Address { ip: ip.parse::<IpAddr>().unwrap(), port: port.parse().unwrap() }
}

fn flow(source: &str, destination: &str) -> Flow {
    Flow { source: address(source), destination: address(destination) }
}

struct Interface {
    pipeline: Pipeline,
    now: Timestamp,
}

impl Interface {
    fn new(config: &Config) -> Self {
        Self { pipeline: Pipeline::new(config, Mode::File), now: START }
    }

    /// Time passes as it does in a replay, tick by tick.
    fn wait(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while self.now < end {
            self.now = self.now.after(Duration::from_millis(250));
            self.pipeline.tick(self.now, &[]);
        }
    }

    fn opaque(&mut self, source: &str, destination: &str, kind: Opaque) {
        let flow = flow(source, destination);
        self.pipeline.event(&Event::Opaque { at: self.now, flow, tap: Tap::Wire, cgroup: 0, kind });
    }

    fn request(&mut self, source: &str, destination: &str, host: &str) {
        let head = format!("GET /thing HTTP/1.1\r\nhost: {host}\r\n\r\n");
        self.bytes(source, destination, head.as_bytes());
    }

    /// The first bytes that one end sends.
    fn bytes(&mut self, source: &str, destination: &str, bytes: &[u8]) {
        let packet = Packet {
            at: self.now,
            flow: flow(source, destination),
            seq: 1,
            ack: None,
            wire_len: u32::try_from(bytes.len()).unwrap(),
            bytes,
            link: None,
            tap: Tap::Wire,
            closes: false,
            resets: false,
            token: 0,
        };
        self.pipeline.event(&Event::Packet { packet, cgroup: 0 });
    }

    fn report(&mut self) -> Report {
        self.pipeline.report(self.now, &[])
    }
}

/// A request reaches the cart, which calls the stock while it serves it; the hop of that.
fn hop_of_cart(interface: &mut Interface) -> Hops {
    interface.request("10.0.0.1:40000", "10.0.0.2:8080", "cart");
    interface.request("10.0.0.2:50000", "10.0.0.3:9090", "stock");
    interface.report().hops.into_iter().find(|hops| hops.service == "10.0.0.2").unwrap()
}

#[test]
fn a_service_that_is_reached_over_what_is_not_decoded_stays_hidden_for_the_whole_run() {
    let mut interface = Interface::new(&Config::default());
    // A long connection is told once, when it opens.
    interface.opaque("10.0.0.1:41000", "10.0.0.2:8080", Opaque::Tls);
    interface.wait(LATER);
    let hops = hop_of_cart(&mut interface);
    assert_eq!((hops.unattributed, hops.rooted), (1, 0));
    let mut interface = Interface::new(&Config::default());
    interface.wait(LATER);
    let hops = hop_of_cart(&mut interface);
    assert_eq!((hops.unattributed, hops.rooted), (0, 1), "nothing is hidden without such a connection");
}

#[test]
fn on_an_interface_either_end_of_what_is_not_decoded_may_serve() {
    for (source, destination) in [("10.0.0.1:41000", "10.0.0.2:443"), ("10.0.0.2:443", "10.0.0.1:41000")] {
        let mut interface = Interface::new(&Config::default());
        interface.opaque(source, destination, Opaque::Tls);
        let findings = interface.report().findings;
        let unseen: Vec<&Finding> = findings.iter().filter(|finding| finding.code == Code::NotObserved).collect();
        assert_eq!(unseen.len(), 1, "{findings:?}");
        assert_eq!(unseen[0].service.as_deref(), Some("10.0.0.2"), "{source} to {destination}");
    }
}

#[test]
fn a_host_name_that_is_external_is_so_in_a_capture_file_too() {
    let external = vec![External::Host(Pattern::new("*.partner.example"))];
    let mut interface = Interface::new(&Config { external, ..Config::default() });
    interface.request("10.0.0.1:40000", "10.0.0.2:8080", "cart");
    interface.request("10.0.0.2:50000", "10.9.9.9:80", "API.partner.example");
    let report = interface.report();
    let hops: Vec<_> = report.hops.iter().map(|hops| (hops.service.as_str(), hops.peer.as_str())).collect();
    assert_eq!(hops, [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "external:API.partner.example")]);
    assert!(report.requests.iter().all(|row| row.service == "10.0.0.2"), "{:?}", report.requests);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header block in one frame that ends its stream (RFC 9113 section 6.2).
fn headers(stream: u8, block: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, stream];
    frame.extend(block);
    frame
}

/// GET of a path, which is no entry of the table (RFC 7541 appendix A).
fn get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path.as_bytes());
    block
}

#[test]
fn of_streams_that_interleave_those_that_are_ignored_make_no_errors() {
    let mut interface = Interface::new(&Config { ignore: vec![Pattern::new("/probe*")], ..Config::default() });
    let (client, server) = ("10.0.0.1:40000", "10.0.0.2:8080");
    let paths = ["/probe/a", "/work", "/probe/b", "/work"];
    let ask = |(at, path): (u8, &&str)| headers(1 + 2 * at, &get(path));
    let asked = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0], &(0..).zip(&paths).flat_map(ask).collect::<Vec<_>>()].concat();
    interface.bytes(client, server, &asked);
    // :status 500
    let answers = [5, 1, 3, 7].map(|stream| headers(stream, &[0x8e])).concat();
    interface.bytes(server, client, &[&[0, 0, 0, 4, 0, 0, 0, 0, 0], &answers[..]].concat());
    let errors: u64 = interface.pipeline.stages.errors().iter().map(|row| row.count).sum();
    assert_eq!((interface.pipeline.progress().messages, errors), (8, 2));
}

#[test]
fn what_connections_hold_together_is_bounded() {
    let limits = Limits { memory_bytes: 4 << 20, ..Limits::default() };
    let mut interface = Interface::new(&Config { limits, ..Config::default() });
    let indexed: Vec<u8> = [0x40, 1, b'a', 60].into_iter().chain([b'v'; 60]).collect();
    let block = [get("/"), indexed].concat();
    let sent: Vec<u8> = (0..20).flat_map(|at| headers(1 + 2 * at, &block)).collect();
    let sent = [PREFACE, &sent].concat();
    for client in 0..3000 {
        interface.bytes(&format!("10.0.{}.{}:40000", client / 250, client % 250), "10.1.0.2:8080", &sent);
        let Pipeline { buffered_bytes, buffered_bytes_max, .. } = interface.pipeline;
        assert!(buffered_bytes <= buffered_bytes_max, "{buffered_bytes} for {client}");
    }
    let counters = interface.pipeline.connections.counters();
    assert!(counters.tracked > 10 && counters.evicted > 0, "{counters:?}");
    interface.wait(IDLE + LATER);
    assert_eq!(interface.pipeline.buffered_bytes, 0);
}
