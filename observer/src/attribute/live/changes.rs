//! Programs that come, change, go and are never found.

use super::*;

#[test]
fn a_service_that_starts_later_is_known_from_its_bind() {
    let mut attribution = attribution();
    attribution.settle();
    let mut server = Program::python(SERVER, &[("OTEL_RESOURCE_ATTRIBUTES", "team=x,service.name=late%20one")]);
    let port = server.port();
    let socket = sockets().iter().find(|(_, socket)| socket.listens && socket.local.port == port).unwrap().1;
    let (pid, to) = (server.pid(), socket.local);
    attribution.event(&SocketEvent::Binds { socket: socket.socket.unwrap(), pid, cgroup: 0, to });
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let end = far_end(&client);
    let found = workload(&mut attribution, end);
    assert_eq!((found.service.as_str(), found.named_by), ("late one", NamedBy::ResourceAttributes));
    assert_eq!(attribution.surveys(), 1);
}

#[test]
fn refresh_finds_in_the_background_what_no_event_told() {
    let mut attribution = attribution();
    attribution.settle();
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "unseen")]);
    let client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let end = far_end(&client);
    assert_eq!(attribution.owner(&end), Owner::Pending);
    while attribution.owner(&end) == Owner::Pending {
        attribution.refresh(Instant::now());
        std::thread::yield_now();
    }
    assert_eq!(service(&mut attribution, end), "unseen");
}

#[test]
fn a_client_that_is_gone_keeps_its_service_and_one_that_was_never_seen_has_none() {
    let mut attribution = attribution();
    attribution.settle();
    let script = "import sys; print(1, flush=True); sys.stdin.read()";
    let mut short = Program::python(script, &[("OTEL_SERVICE_NAME", "brief")]);
    short.numbers();
    let pid = short.pid();
    let first = connects(&mut attribution, 1, pid);
    drop(short);
    let second = connects(&mut attribution, 2, pid);
    assert_eq!(service(&mut attribution, first), "brief");
    assert_eq!(service(&mut attribution, second), "brief");
    // Its pid is free again: whoever asks for it now finds nobody.
    let mut fresh = Attribution::new(Options::of_this_host());
    let unseen = connects(&mut fresh, 3, pid);
    for _ in 0..3 {
        assert_eq!(fresh.owner(&unseen), Owner::Pending);
        fresh.settle();
    }
    assert_eq!(fresh.owner(&unseen), Owner::Unknown);
}

#[test]
fn a_program_that_replaces_itself_is_named_anew() {
    let script = "import os, sys; print(1, flush=True); sys.stdin.readline(); \
                  os.execve('/usr/bin/python3', ['python3', '-c', 'import sys; print(2, flush=True); sys.stdin.read()'], \
                  {'OTEL_SERVICE_NAME': 'second'})";
    let mut program = Program::python(script, &[("OTEL_SERVICE_NAME", "first")]);
    program.numbers();
    let mut attribution = attribution();
    let end = connects(&mut attribution, 1, program.pid());
    assert_eq!(service(&mut attribution, end), "first");
    program.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    program.numbers();
    attribution.refresh(Instant::now() + Duration::from_secs(2));
    connects(&mut attribution, 2, program.pid());
    assert_eq!(service(&mut attribution, end), "second");
}

#[test]
fn a_rule_names_a_service_by_the_port_that_it_comes_to_listen_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = parsed(listener.local_addr().unwrap());
    let rule = ServiceRule { name: "by-port".into(), port: Some(local.port), ..ServiceRule::default() };
    let mut attribution = Attribution::new(Options { services: vec![rule], ..Options::of_this_host() });
    let pid = std::process::id();
    let end = connects(&mut attribution, 1, pid);
    let before = service(&mut attribution, end);
    assert_ne!(before, "by-port");
    attribution.refresh(Instant::now());
    attribution.event(&SocketEvent::Binds { socket: cookie(&listener), pid, cgroup: 0, to: local });
    assert_eq!(service(&mut attribution, end), "by-port");
    assert!(attribution.refresh(Instant::now()), "an answer has changed");
    attribution.reconfigure(Vec::new(), Vec::new());
    assert_eq!(service(&mut attribution, end), before);
}

#[test]
fn events_that_come_faster_than_processes_can_be_read_are_answered_later() {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "patient")]);
    server.port();
    let mut attribution = attribution();
    // Pids that nobody has use up what may be read in a row.
    for number in 0..1000 {
        connects(&mut attribution, number, u32::MAX);
    }
    let end = connects(&mut attribution, 1000, server.pid());
    assert_eq!(attribution.owner(&end), Owner::Pending);
    assert!(attribution.refresh(Instant::now() + Duration::from_secs(1)));
    assert_eq!(service(&mut attribution, end), "patient");
}

#[test]
fn everything_is_forgotten_once_it_is_gone() {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "brief")]);
    let port = server.port();
    let mut attribution = attribution();
    attribution.settle();
    let local = address([127, 0, 0, 1].into(), port);
    let id = attribution.workloads().find(|workload| workload.listens.contains(&local)).unwrap().id;
    drop(server);
    let mut now = Instant::now();
    while attribution.workload(id).is_some() {
        now += Duration::from_secs(1);
        attribution.refresh(now);
    }
    assert_eq!(attribution.peer(None, local, true, None), Peer::Address(format!("127.0.0.1:{port}")));
}

#[test]
fn a_connection_by_address_that_nobody_has_is_given_up_and_looked_for_no_more() {
    let mut attribution = attribution();
    let local = parsed("127.0.0.1:1".parse().unwrap());
    let end = EndQuery { socket: None, cgroup: 0, local, remote: local };
    while attribution.owner(&end) == Owner::Pending {
        attribution.settle();
    }
    assert_eq!(attribution.owner(&end), Owner::Unknown);
    let surveys = attribution.surveys();
    attribution.settle();
    assert_eq!(attribution.surveys(), surveys);
    let elsewhere = EndQuery { local: parsed("192.0.2.1:80".parse().unwrap()), ..end };
    assert_eq!(attribution.owner(&elsewhere), Owner::Unknown);
}
