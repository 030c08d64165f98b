//! Sessions of TLS libraries and the connections that carry them, over events of the kernel.

use super::*;

/// What a session of the worker carries: a request that it takes, or one that it sends.
const TAKEN: &[u8] = b"GET /thing HTTP/1.1\r\nhost: worker\r\n\r\n";
const SENT: &[u8] = b"GET /thing HTTP/1.1\r\nhost: stock.internal:8443\r\n\r\n";

fn live(config: &Config) -> Interface {
    let mut pipeline = Pipeline::new(config, Mode::Live);
    pipeline.tls_is_read(true);
    Interface { pipeline, now: START }
}

/// A host with one service that listens, and its address.
fn worker() -> (Interface, Program, String) {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "worker")]);
    let own = format!("127.0.0.1:{}", server.port());
    (live(&Config::default()), server, own)
}

/// What became of the hops of the worker: unattributed, in the background, rooted.
fn hops_of(host: &mut Interface, service: &str) -> Vec<(String, u64, u64, u64)> {
    let hops = host.report().hops.into_iter().filter(|hops| hops.service == service);
    hops.map(|hops| (hops.peer, hops.unattributed, hops.background, hops.rooted)).collect()
}

#[test]
fn a_session_shows_the_end_of_its_process_and_no_other() {
    let (mut host, server, own) = worker();
    let number = |number| Session { process: server.pid(), number };
    host.session_begins(number(1), 71, &own, "127.0.0.1:40000");
    host.plain(number(1), false, TAKEN);
    host.plain(number(2), true, SENT);
    // A client on this host of a server that no probe shows: its own address as the far end of the worker's.
    let client = Session { process: std::process::id(), number: 3 };
    host.session_begins(client, 72, "127.0.0.1:40001", &own);
    host.plain(client, true, TAKEN);
    let report = host.report();
    let requests: Vec<_> = report.requests.iter().map(|row| (row.service.as_str(), row.missing)).collect();
    assert_eq!(requests, [("worker", 1)], "what a client sends is not what a server received");
    assert_eq!(hops_of(&mut host, "worker"), [("stock.internal".to_owned(), 0, 0, 1)]);
}

#[test]
fn a_connection_of_tls_hides_its_workload_until_its_session_is_seen() {
    let (mut host, server, own) = worker();
    let pid = server.pid();
    host.pipeline.stages.reads_tls(pid, Some(Vec::new()));
    let mut number = 0;
    let mut sends = |host: &mut Interface| {
        number += 1;
        host.plain(Session { process: pid, number: 1000 + number }, true, SENT);
        let [(_, unattributed, background, rooted)] = hops_of(host, "worker").try_into().unwrap();
        (unattributed, background, rooted)
    };
    assert_eq!(sends(&mut host), (0, 1, 0), "it is reached by nothing");
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    assert_eq!(sends(&mut host), (1, 1, 0), "nothing shows yet that its sessions are seen");
    let first = Session { process: pid, number: 1 };
    host.session_begins(first, 71, &own, "192.0.2.1:40000");
    assert_eq!(sends(&mut host), (2, 1, 0), "it may carry anything");
    host.plain(first, false, TAKEN);
    assert_eq!(sends(&mut host), (2, 1, 1), "the one connection is seen");
    host.opaque_at(ingress(72), 0, ("192.0.2.1:40001", &own), Opaque::Tls);
    assert_eq!(sends(&mut host), (2, 1, 2), "so the next one will be");
    host.wait(Duration::from_secs(4));
    assert_eq!(sends(&mut host), (3, 1, 2), "and this one was not");
    let finding = host.report().findings.into_iter().find(|finding| finding.code == Code::NotObserved).unwrap();
    assert!(finding.message.contains("1 connection of TLS"), "{}", finding.message);
    // A session that serves, and whose socket is not known, is that one.
    host.plain(Session { process: pid, number: 2 }, false, TAKEN);
    assert_eq!(sends(&mut host), (3, 1, 3));
    host.opaque_at(Tap::Egress { socket: SocketId(72), looped: false }, 0, (&own, "192.0.2.1:40001"), Opaque::Tls);
    host.wait(Duration::from_secs(4));
    assert_eq!(sends(&mut host), (3, 1, 4), "the other direction of a connection that is seen");
    // With another library in the process a connection may be of that.
    host.pipeline.stages.reads_tls(pid, Some(vec!["worker: stripped".into()]));
    host.opaque_at(ingress(73), 0, ("192.0.2.1:40002", &own), Opaque::Tls);
    assert_eq!(sends(&mut host), (4, 1, 4));
    host.plain(Session { process: pid, number: 3 }, false, TAKEN);
    assert_eq!(sends(&mut host), (4, 1, 5));
}

fn ingress(socket: u64) -> Tap {
    Tap::Ingress { socket: SocketId(socket), looped: false }
}

/// What the report says of connections of TLS that are not read.
fn unread(host: &mut Interface) -> String {
    let findings = host.report().findings.into_iter().filter(|finding| finding.code == Code::NotObserved);
    findings.map(|finding| finding.message).filter(|message| message.contains(" of TLS")).collect()
}

fn hidden(host: &Interface) -> usize {
    host.pipeline.stages.hidden_by.len() + host.pipeline.stages.hidden.len()
}

#[test]
fn a_connection_that_closes_unread_hides_its_workload_for_a_while_and_no_longer() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(71) }));
    host.wait(Duration::from_secs(4));
    assert!(unread(&mut host).contains("1 connection of TLS"));
    assert_eq!(hidden(&host), 0, "its socket is gone");
    host.plain(Session { process: server.pid(), number: 9 }, true, SENT);
    assert_eq!(hops_of(&mut host, "worker"), [("stock.internal".to_owned(), 1, 0, 0)]);
    host.wait(LATER);
    host.plain(Session { process: server.pid(), number: 10 }, true, SENT);
    assert_eq!(hops_of(&mut host, "worker"), [("stock.internal".to_owned(), 1, 1, 0)]);
}

#[test]
fn of_a_workload_that_is_read_a_connection_without_a_request_is_none_that_is_not() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    host.plain(Session { process: server.pid(), number: 1 }, false, TAKEN);
    host.opaque_at(ingress(72), 0, ("192.0.2.1:40001", &own), Opaque::Tls);
    host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(72) }));
    host.wait(LATER);
    assert_eq!((unread(&mut host).as_str(), hidden(&host)), ("", 0));
    // Nor one whose end is told before what it carried.
    host.opaque_at(ingress(73), 0, ("192.0.2.1:40002", &own), Opaque::Tls);
    host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(73) }));
    host.plain(Session { process: server.pid(), number: 2 }, false, TAKEN);
    host.wait(LATER);
    assert_eq!((unread(&mut host).as_str(), hidden(&host)), ("", 0));
}

#[test]
fn a_connection_that_waits_long_for_its_first_request_is_read_from_then_on() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    let client = Tap::Egress { socket: SocketId(72), looped: false };
    host.learn(SocketId(72), server.pid());
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    host.opaque_at(client, 0, ("127.0.0.1:50000", "192.0.2.7:443"), Opaque::Tls);
    host.wait(Duration::from_secs(4));
    assert!(unread(&mut host).contains("1 connection of TLS"));
    host.plain(Session { process: server.pid(), number: 1 }, false, TAKEN);
    host.plain(Session { process: server.pid(), number: 2 }, true, SENT);
    assert_eq!((unread(&mut host).as_str(), hidden(&host)), ("", 0));
}

#[test]
fn a_session_whose_end_nobody_tells_is_sought_anew_when_its_connection_is_gone() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    let mut seq = 1;
    for socket in [71, 72, 73] {
        host.opaque_at(ingress(socket), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
        host.plain_at(Session { process: server.pid(), number: 1 }, false, seq, TAKEN);
        seq += u32::try_from(TAKEN.len()).unwrap();
        host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(socket) }));
    }
    host.wait(LATER);
    assert_eq!((unread(&mut host).as_str(), hidden(&host)), ("", 0));
}

#[test]
fn on_an_interface_a_session_shows_its_connection_where_its_addresses_are_known() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    host.opaque(&own, "127.0.0.1:65000", Opaque::Tls);
    let session = Session { process: server.pid(), number: 1 };
    host.session_begins(session, 71, &own, "127.0.0.1:65000");
    host.plain(session, false, TAKEN);
    host.wait(LATER);
    assert_eq!((unread(&mut host).as_str(), hidden(&host)), ("", 0));
}

#[test]
fn what_was_not_read_at_the_end_of_the_observation_is_told() {
    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    assert_eq!(unread(&mut host), "");
    host.pipeline.conclude(host.now);
    assert!(unread(&mut host).contains("1 connection of TLS"));

    let (mut host, server, own) = worker();
    host.pipeline.stages.reads_tls(server.pid(), Some(Vec::new()));
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    host.plain(Session { process: server.pid(), number: 1 }, false, TAKEN);
    host.opaque_at(ingress(72), 0, ("192.0.2.1:40001", &own), Opaque::Tls);
    host.pipeline.conclude(host.now);
    assert_eq!(unread(&mut host), "", "others of it were read");
}

#[test]
fn where_no_library_is_probed_a_connection_hides_its_workload_as_long_as_it_is_open() {
    let (mut host, _server, own) = worker();
    host.pipeline.tls_is_read(false);
    host.opaque_at(ingress(71), 0, ("192.0.2.1:40000", &own), Opaque::Tls);
    assert_eq!(hidden(&host), 1);
    assert!(unread(&mut host).contains("1 connection of TLS"));
    host.pipeline.event(&Event::Socket(SocketEvent::Released { socket: SocketId(71) }));
    assert_eq!(hidden(&host), 0);
}

#[test]
fn a_far_end_of_which_a_request_tells_the_name_alone_is_external_by_it() {
    let external =
        vec![External::Host(Pattern::new("*.partner.example")), External::Network("0.0.0.0/0".parse().unwrap())];
    let mut host = live(&Config { external, ..Config::default() });
    let server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "worker")]);
    for (number, name) in [(1, "API.partner.example"), (2, "stock.internal")] {
        let request = format!("GET /thing HTTP/1.1\r\nhost: {name}\r\n\r\n");
        host.plain(Session { process: server.pid(), number }, true, request.as_bytes());
    }
    let peers: Vec<_> = hops_of(&mut host, "worker").into_iter().map(|hops| hops.0).collect();
    assert_eq!(peers, ["external:API.partner.example", "stock.internal"]);
}

#[test]
fn a_session_that_ends_leaves_nothing_behind() {
    let (mut host, server, own) = worker();
    let session = Session { process: server.pid(), number: 1 };
    host.session_begins(session, 71, &own, "192.0.2.1:40000");
    host.plain(session, false, TAKEN);
    assert_eq!(host.pipeline.connections.counters().tracked, 1);
    host.pipeline.event(&Event::SessionEnds { at: host.now, session, sent: 1, received: 43 });
    host.wait(Duration::from_secs(3));
    assert_eq!(host.pipeline.connections.counters().tracked, 0);
    assert_eq!(host.pipeline.sessions.of(session).flow, None);
    host.pipeline.event(&Event::SessionEnds { at: host.now, session, sent: 1, received: 43 });
    assert_eq!(host.pipeline.connections.counters().tracked, 0, "a session of which nothing was told begins nothing");
}
