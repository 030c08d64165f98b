//! Sockets in every place where a service can run.

use super::*;

#[test]
fn connections_that_existed_before_belong_to_their_services() {
    let mut server =
        Program::python(SERVER, &[("OTEL_SERVICE_NAME", "checkout"), ("OTEL_TRACES_SAMPLER", "always_on")]);
    let client = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    let end = far_end(&client);
    let mut attribution = attribution();
    assert_eq!(attribution.owner(&end), Owner::Pending);
    attribution.settle();
    let found = workload(&mut attribution, end);
    assert_eq!((found.service.as_str(), found.named_by), ("checkout", NamedBy::ServiceName));
    assert_eq!(found.lead().unwrap().pid, server.pid());
    assert_eq!(&*found.lead().unwrap().environment.otel["OTEL_TRACES_SAMPLER"], "always_on");
    // The same by addresses alone, and this process at the other end.
    assert_eq!(service(&mut attribution, EndQuery { socket: None, ..end }), "checkout");
    let near = EndQuery { socket: Some(cookie(&client)), cgroup: 0, local: end.remote, remote: end.local };
    assert_eq!(workload(&mut attribution, near).lead().unwrap().pid, std::process::id());
    let Peer::Local(peer) = attribution.peer(None, end.local, true, None) else { panic!("the server is on this host") };
    assert_eq!(attribution.workload(peer).unwrap().service, "checkout");
}

#[test]
fn an_accepted_socket_belongs_to_whoever_listens_without_another_survey() {
    let mut server = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "ledger")]);
    let port = server.port();
    let mut attribution = attribution();
    attribution.settle();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let end = far_end(&client);
    let flow = Flow { source: end.local, destination: end.remote };
    let socket = end.socket.unwrap();
    attribution.event(&SocketEvent::Established { socket, flow, passive: true, beginnings: None });
    assert_eq!(service(&mut attribution, end), "ledger");
    assert_eq!(attribution.surveys(), 1);
    attribution.event(&SocketEvent::Released { socket });
    assert!(attribution.sockets.owner(socket).is_none());
}

#[test]
fn the_same_address_in_two_network_namespaces_is_two_services() {
    let mut outside = Program::python(SERVER, &[("OTEL_SERVICE_NAME", "outside")]);
    let port = outside.port();
    let script = format!(
        "
import socket, sys
s = socket.create_server(('127.0.0.1', {port}))
c = socket.create_connection(('127.0.0.1', {port}))
a = s.accept()
print(c.getsockname()[1], flush=True)
sys.stdin.read()
"
    );
    let mut inside = Program::start(
        Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec /usr/bin/python3 -c \"$0\"", &script])
            .env("OTEL_SERVICE_NAME", "inside"),
    );
    let client_port = inside.port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let end = far_end(&client);
    let own = Places::of_this_host().own_network();
    let (_, accepted) = sockets()
        .into_iter()
        .find(|(network, socket)| *network != own && socket.local.port == port && socket.remote.port == client_port)
        .expect("the other namespace was entered");
    let other = EndQuery { socket: accepted.socket, cgroup: 0, local: accepted.local, remote: accepted.remote };
    let mut attribution = attribution();
    attribution.settle();
    assert_eq!(service(&mut attribution, end), "outside");
    assert_eq!(service(&mut attribution, other), "inside");
    let client = EndQuery { socket: None, cgroup: 0, local: other.remote, remote: other.local };
    assert_eq!(attribution.owner(&client), Owner::Pending);
    attribution.settle();
    let near = workload(&mut attribution, client);
    assert_eq!(attribution.peer(Some(near.id), other.local, true, None), Peer::Local(near.id));
    assert_eq!(attribution.refused().namespaces, 0);
}

#[test]
fn a_container_is_known_by_its_cgroup_even_where_its_process_was_never_seen() {
    let id = format!("{:064x}", std::process::id());
    let group = Group::new(&format!("docker-{id}.scope"));
    let cgroup = group.id();
    let mut server = Program::python(SERVER, &[]);
    let port = server.port();
    group.take(&server);
    let mut attribution = attribution();
    attribution.settle();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let found = workload(&mut attribution, far_end(&client));
    assert_eq!((found.container_id(), found.service.as_str()), (Some(id.as_str()), &id[..12]));
    // A process of it that came and went between two looks.
    let unseen = SocketEvent::Connects {
        socket: SocketId(9),
        pid: u32::MAX,
        cgroup,
        command: CommandName::default(),
        to: parsed("192.0.2.1:80".parse().unwrap()),
    };
    attribution.event(&unseen);
    let end = EndQuery { socket: Some(SocketId(9)), cgroup, ..far_end(&client) };
    assert_eq!(workload(&mut attribution, end).id, found.id);
    attribution.label(&id, KubernetesName { service: "cart".into(), namespace: "shop".into() });
    let named = attribution.workload(found.id).unwrap();
    assert_eq!((named.service.as_str(), named.namespace.as_deref()), ("cart", Some("shop")));
    drop(server);
}

#[test]
fn listening_on_a_unix_socket_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut attribution = attribution();
    attribution.settle();
    let local = parsed(tcp.local_addr().unwrap());
    let found = attribution.workloads().find(|workload| workload.listens.contains(&local)).unwrap();
    assert!(found.processes.contains_key(&std::process::id()));
    assert!(found.hidden.contains(path.to_str().unwrap()), "{:?}", found.hidden);
}

#[test]
fn without_the_right_to_enter_namespaces_their_listeners_are_found_all_the_same() {
    let script = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); \
                  sys.stdin.read()";
    let mut inside = Program::start(Command::new("unshare").args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up && exec /usr/bin/python3 -c \"$0\"",
        script,
    ]));
    let port = inside.port();
    let found = std::thread::spawn(|| {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective.remove(rustix::thread::CapabilitySet::SYS_ADMIN);
        rustix::thread::set_capabilities(None, sets).unwrap();
        survey(&Places::of_this_host(), &FxHashMap::default())
    });
    let found = found.join().unwrap();
    assert!(found.refused.namespaces > 0);
    let network = Places::of_this_host().network(inside.pid());
    let own = Places::of_this_host().own_network();
    let listener = found.namespaces[&network].sockets.iter().find(|socket| socket.local.port == port).unwrap();
    assert_eq!((listener.socket, listener.listens), (None, true));
    assert_eq!(found.holders[&listener.inode], [inside.pid()]);
    assert!(found.namespaces[&own].sockets.iter().all(|socket| socket.socket.is_some()));
}

#[test]
fn a_process_that_ended_before_it_was_looked_at_is_called_by_its_command_name() {
    let mut attribution = attribution();
    let to = parsed("192.0.2.1:80".parse().unwrap());
    let command = CommandName(*b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
    let socket = SocketId(9);
    attribution.event(&SocketEvent::Connects { socket, pid: u32::MAX, cgroup: 0, command, to });
    let end =
        EndQuery { socket: Some(socket), cgroup: 0, local: parsed("192.0.2.2:50000".parse().unwrap()), remote: to };
    assert_eq!(service(&mut attribution, end), "curl");
}

#[test]
fn of_a_crowd_of_new_processes_those_not_looked_at_are_called_by_their_command_names_until_they_are() {
    let mut crowd: Vec<_> = (0..80).map(|_| std::process::Command::new("sleep").arg("30").spawn().unwrap()).collect();
    let mut attribution = attribution();
    attribution.refresh(Instant::now());
    let to = parsed("192.0.2.1:80".parse().unwrap());
    let command = CommandName(*b"worker thread\0\0\0");
    let ends: Vec<EndQuery> = (0..)
        .zip(&crowd)
        .map(|(number, process)| {
            let socket = SocketId(number + 1);
            attribution.event(&SocketEvent::Connects { socket, pid: process.id(), cgroup: 0, command, to });
            let local = parsed(format!("192.0.2.2:{}", 50000 + number).parse().unwrap());
            EndQuery { socket: Some(socket), cgroup: 0, local, remote: to }
        })
        .collect();
    let named = |attribution: &mut Attribution, name: &str| {
        ends.iter().filter(|end| service(attribution, **end) == name).count()
    };
    let unseen = named(&mut attribution, "worker thread");
    assert!(unseen > 0 && unseen + named(&mut attribution, "sleep") == 80, "{unseen}");
    let mut now = Instant::now();
    while named(&mut attribution, "sleep") < 80 {
        now += Duration::from_millis(200);
        assert!(now < Instant::now() + Duration::from_mins(1), "never looked at");
        attribution.refresh(now);
    }
    for process in &mut crowd {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
