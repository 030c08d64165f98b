//! The whole line over events of an interface, where an address is a workload.

mod dropped;
mod paths;
mod tls;
mod weights;

use std::net::IpAddr;

use observer_core::audit::report::{Code, Finding, Hops};
use observer_core::connection::Address;
use observer_core::context::TenantSource;
use observer_core::ids::SocketId;

use super::*;
use crate::attribute::live::{Group, Program, SERVER};
use crate::capture::{CommandName, Plain, Session, SocketEvent};
use crate::config::{External, Pattern};

const START: Timestamp = Timestamp(1_767_225_600_000_000_000);
/// What a client of HTTP/2 sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TRACEPARENT: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
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
        self.opaque_at(Tap::Wire, 0, (source, destination), kind);
    }

    fn opaque_at(&mut self, tap: Tap, cgroup: u64, (source, destination): (&str, &str), kind: Opaque) {
        let flow = flow(source, destination);
        self.pipeline.event(&Event::Opaque { at: self.now, flow, tap, cgroup, kind });
    }

    fn request(&mut self, source: &str, destination: &str, host: &str) {
        self.request_at(Tap::Wire, 0, (source, destination), &format!("host: {host}"));
    }

    fn request_at(&mut self, tap: Tap, cgroup: u64, ends: (&str, &str), header: &str) {
        let head = format!("GET /thing HTTP/1.1\r\n{header}\r\n\r\n");
        self.bytes_at(tap, cgroup, ends, head.as_bytes());
    }

    /// The first bytes that one end sends.
    fn bytes(&mut self, source: &str, destination: &str, bytes: &[u8]) {
        self.bytes_at(Tap::Wire, 0, (source, destination), bytes);
    }

    fn bytes_at(&mut self, tap: Tap, cgroup: u64, (source, destination): (&str, &str), bytes: &[u8]) {
        let packet = Packet {
            at: self.now,
            flow: flow(source, destination),
            seq: 1,
            ack: None,
            wire_len: u32::try_from(bytes.len()).unwrap(),
            bytes,
            link: None,
            tap,
            closes: false,
            resets: false,
            token: 0,
        };
        self.pipeline.event(&Event::Packet { packet, cgroup });
    }

    /// A session of a TLS library of a process sends or receives its first bytes.
    fn plain(&mut self, session: Session, sends: bool, bytes: &[u8]) {
        self.plain_at(session, sends, 1, bytes);
    }

    fn plain_at(&mut self, session: Session, sends: bool, seq: u32, bytes: &[u8]) {
        let plain = Plain {
            at: self.now,
            session,
            sends,
            seq,
            ack: 1,
            wire_len: u32::try_from(bytes.len()).unwrap(),
            bytes,
            link: None,
            token: 0,
            cgroup: 0,
        };
        self.pipeline.event(&Event::Plain(plain));
    }

    fn session_begins(&mut self, session: Session, socket: u64, local: &str, remote: &str) {
        let (socket, flow) = (Some(SocketId(socket)), Some(flow(local, remote)));
        self.pipeline.event(&Event::SessionBegins { at: self.now, session, cgroup: 0, socket, flow });
    }

    /// The process with this id opens a connection by this socket.
    fn learn(&mut self, socket: SocketId, pid: u32) {
        let to = address("192.0.2.7:9090");
        let event = SocketEvent::Connects { socket, pid, cgroup: 0, command: CommandName::default(), to };
        self.pipeline.event(&Event::Socket(event));
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
fn a_trace_that_arrives_in_one_format_goes_on_in_another() {
    let mut interface = Interface::new(&Config::default());
    let arrives = "b3: 0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    interface.request_at(Tap::Wire, 0, ("10.0.0.1:40000", "10.0.0.2:8080"), arrives);
    // The low half of the id, in decimal digits.
    let goes_on = "x-datadog-trace-id: 9532127138774266268\r\nx-datadog-parent-id: 7\r\nx-datadog-sampling-priority: 1";
    interface.request_at(Tap::Wire, 0, ("10.0.0.2:50000", "10.0.0.3:9090"), goes_on);
    let report = interface.report();
    let hops = report.hops.iter().find(|hops| hops.service == "10.0.0.2").unwrap();
    assert_eq!((hops.continued, hops.rooted), (1, 0));
    let requests = |service: &str| report.requests.iter().find(|row| row.service == service).map(|row| row.valid);
    assert_eq!((requests("10.0.0.2"), requests("10.0.0.3")), (Some(1), Some(1)));
}

#[test]
fn a_service_that_is_reached_over_what_is_not_decoded_stays_hidden_for_the_whole_run() {
    for kind in [Opaque::Tls, Opaque::FastCgi] {
        let mut interface = Interface::new(&Config::default());
        // A long connection is told once, when it opens.
        interface.opaque("10.0.0.1:41000", "10.0.0.2:8080", kind);
        interface.wait(LATER);
        let hops = hop_of_cart(&mut interface);
        assert_eq!((hops.unattributed, hops.rooted), (1, 0), "{kind:?}");
    }
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

#[test]
fn the_namespace_of_a_container_is_a_tenant_where_nothing_else_yields() {
    let id = format!("{:064x}", u64::from(std::process::id()) << 32);
    let host = tempfile::tempdir().unwrap();
    let bundle = host.path().join("run/containerd/io.containerd.runtime.v2.task/k8s.io").join(&id);
    std::fs::create_dir_all(&bundle).unwrap();
    let annotations =
        r#"{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
    std::fs::write(bundle.join("config.json"), annotations).unwrap();
    let group = Group::new(&format!("cri-containerd-{id}.scope"));
    let mut server = Program::python(SERVER, &[]);
    let port = server.port();
    group.take(&server);

    let tenant = vec![TenantSource::Header("x-tenant-id".into()), TenantSource::Namespace];
    let config = Config { tenant, ..Config::default() };
    let options = Options { host_root: host.path().to_owned(), ..Options::of_this_host() };
    let parties = Parties::host(&config, options);
    let mut host = Interface { pipeline: Pipeline::among(parties, &config, Mode::Live), now: START };
    let cart = format!("127.0.0.1:{port}");
    let ingress = Tap::Ingress { socket: SocketId(77), looped: false };
    let egress = Tap::Egress { socket: SocketId(78), looped: false };
    host.request_at(ingress, group.id(), ("192.0.2.1:40000", &cart), "host: cart");
    host.request_at(ingress, group.id(), ("192.0.2.1:40001", &cart), "x-tenant-id: acme");
    host.request_at(egress, group.id(), ("127.0.0.1:50000", "192.0.2.7:9090"), TRACEPARENT);
    let report = host.report();
    let requests: Vec<_> =
        report.requests.iter().map(|row| (row.service.as_str(), row.tenant.as_str(), row.missing)).collect();
    assert_eq!(requests, [("cart", "acme", 1), ("cart", "shop", 1)]);
    let ratios: Vec<_> = report.ratios.iter().map(|row| (row.service.as_str(), row.tenant.as_str())).collect();
    assert_eq!(ratios, [("cart", "shop")], "what it sends is its namespace's, too");
}

#[test]
fn an_unknown_protocol_hides_who_serves_it_as_long_as_its_socket_is_open() {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "worker")]);
    let own = format!("127.0.0.1:{}", server.port());
    let config = Config::default();
    let mut host = Interface { pipeline: Pipeline::new(&config, Mode::Live), now: START };
    let outcomes = |host: &mut Interface, port: u16| {
        let egress = Tap::Egress { socket: SocketId(u64::from(port)), looped: false };
        let client = format!("127.0.0.1:{port}");
        host.learn(SocketId(u64::from(port)), server.pid());
        host.request_at(egress, 0, (&client, "192.0.2.7:9090"), "host: stock");
        let hops = host.report().hops.into_iter().find(|hops| hops.service == "worker").unwrap();
        (hops.unattributed, hops.background)
    };
    assert_eq!(outcomes(&mut host, 50_000), (0, 1), "it is reached by nothing");
    // The answer that it receives as a client of something else hides nothing.
    let ingress = |socket| Tap::Ingress { socket: SocketId(socket), looped: false };
    host.learn(SocketId(70), server.pid());
    host.opaque_at(ingress(70), 0, ("192.0.2.9:6379", "127.0.0.1:50070"), Opaque::Unknown);
    assert_eq!(outcomes(&mut host, 50_001), (0, 2));
    host.learn(SocketId(71), server.pid());
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Unknown);
    host.wait(LATER);
    assert_eq!(outcomes(&mut host, 50_002), (1, 2), "as long as the connection lives");
    let finding = host.report().findings.into_iter().find(|finding| finding.code == Code::NotObserved).unwrap();
    assert!(finding.message.contains("1 connection of a protocol that is not known"), "{}", finding.message);
    host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(71) }));
    host.wait(LATER);
    assert_eq!(outcomes(&mut host, 50_003), (1, 3), "until it is closed");
}

#[test]
fn who_serves_records_to_others_passes_on_what_it_sends_to_a_broker_and_what_it_fetches_there() {
    let mut interface = Interface::new(&Config::default());
    let published: &[u8] = b"CONNECT {}\r\nPUB orders 2\r\nhi\r\n";
    let delivered: &[u8] = b"MSG orders 1 2\r\nhi\r\n";
    interface.bytes("10.0.0.1:40000", "10.0.0.2:4222", published);
    interface.bytes("10.0.0.2:50000", "10.0.0.3:4222", published);
    interface.bytes("10.0.0.3:4222", "10.0.0.2:50000", delivered);
    interface.bytes("10.0.0.2:4222", "10.0.0.1:40000", delivered);
    // Another program at the same address is a client of that which serves there.
    interface.bytes("10.0.0.2:50001", "10.0.0.2:4222", published);
    let report = interface.report();
    let hops: Vec<_> = report.hops.iter().map(|hops| (hops.service.as_str(), hops.peer.as_str())).collect();
    assert_eq!(hops, [("10.0.0.1", "nats:orders"), ("10.0.0.2", "nats:orders")]);
    assert!(report.hops.iter().all(|hops| hops.background + hops.rooted + hops.unattributed == 1), "{hops:?}");
    let requests: Vec<_> = report.requests.iter().map(|row| (row.service.as_str(), row.missing)).collect();
    assert_eq!(requests, [("10.0.0.1", 1)]);
}

#[test]
fn what_a_client_had_waited_for_hides_it_for_a_while_and_a_server_is_asked() {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "worker")]);
    let own = format!("127.0.0.1:{}", server.port());
    let mut host = Interface { pipeline: Pipeline::new(&Config::default(), Mode::Live), now: START };
    let outcomes = |host: &mut Interface, port: u16| {
        let egress = Tap::Egress { socket: SocketId(u64::from(port)), looped: false };
        host.learn(SocketId(u64::from(port)), server.pid());
        host.request_at(egress, 0, (&format!("127.0.0.1:{port}"), "192.0.2.7:9090"), TRACEPARENT);
        let hops = host.report().hops.into_iter().find(|hops| hops.service == "worker").unwrap();
        (hops.unattributed, hops.background)
    };
    let unasked = |host: &mut Interface, socket: u64, source: &str, destination: &str| {
        host.learn(SocketId(socket), server.pid());
        let (flow, tap) = (flow(source, destination), Tap::Ingress { socket: SocketId(socket), looped: false });
        host.pipeline.event(&Event::Unasked { at: host.now, flow, tap, cgroup: 0 });
    };
    unasked(&mut host, 70, "192.0.2.1:40000", &own);
    assert_eq!(outcomes(&mut host, 50_000), (0, 1), "what reaches who serves there is a request");
    let flow = flow("127.0.0.1:50071", "192.0.2.9:6379");
    let established = SocketEvent::Established { socket: SocketId(71), flow, passive: false, beginnings: None };
    host.pipeline.event(&Event::Socket(established));
    unasked(&mut host, 71, "192.0.2.9:6379", "127.0.0.1:50071");
    assert_eq!(outcomes(&mut host, 50_001), (0, 2), "all of the connection was seen");
    unasked(&mut host, 72, "192.0.2.9:6379", "127.0.0.1:50072");
    assert_eq!(outcomes(&mut host, 50_002), (1, 2));
    host.wait(LATER);
    assert_eq!(outcomes(&mut host, 50_003), (1, 3));
    // What the kernel takes for a command is told as any packet: MESSAGES is none, and a queue may be called so.
    host.learn(SocketId(73), server.pid());
    let ingress = Tap::Ingress { socket: SocketId(73), looped: false };
    let answer = b"*2\r\n$8\r\nmessages\r\n$2\r\n{}\r\n";
    host.bytes_at(ingress, 0, ("192.0.2.9:6379", "127.0.0.1:50073"), answer);
    assert_eq!(outcomes(&mut host, 50_004), (2, 3));
}

#[test]
fn of_a_looped_connection_the_sight_of_its_receiver_is_left_out_and_nothing_else_whatever_it_carries() {
    let mut host = Interface::new(&Config::default());
    let taps = [
        (Tap::Egress { socket: SocketId(1), looped: true }, 0),
        (Tap::Ingress { socket: SocketId(2), looped: true }, 7),
    ];
    let mut seq = 1;
    for bytes in [b"neither head nor frame".as_slice(), b"the middle of a body", b"GET /thing HTTP/1.1\r\n\r\n"] {
        for (tap, token) in taps {
            let packet = Packet {
                at: host.now,
                flow: flow("127.0.0.1:40000", "127.0.0.1:8080"),
                seq,
                ack: None,
                wire_len: u32::try_from(bytes.len()).unwrap(),
                bytes,
                link: None,
                tap,
                closes: false,
                resets: false,
                token,
            };
            host.pipeline.event(&Event::Packet { packet, cgroup: 0 });
        }
        seq += u32::try_from(bytes.len()).unwrap();
    }
    let left_out: Vec<_> = host.pipeline.left_out().collect();
    assert_eq!(left_out, [(7, LeftOut::All); 3]);
}
