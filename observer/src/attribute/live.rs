//! Attribution of real processes, sockets, namespaces and cgroups of this host. Needs root.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};

use std::time::Duration;

use observer_core::connection::Flow;

use super::naming::NamedBy;
use super::sock_diag::{TcpSocket, address};
use super::survey::survey;
use super::*;

/// A process that ends with the test.
struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn python(script: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        Self::start(command.args(["-c", script]).envs(environment.iter().copied()))
    }

    /// The numbers of the next line that it prints; waits for it.
    fn numbers(&mut self) -> Vec<u32> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.split_whitespace().map(|number| number.parse().expect("a line of numbers")).collect()
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.numbers()[0]).unwrap()
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its standard input closes first: children that wait for its end go, too.
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listens on a port of its own, prints it, and takes connections until its standard input ends.
const SERVER: &str = "
import socket, sys, threading
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
kept = []
def take():
    while True: kept.append(s.accept()[0])
threading.Thread(target=take, daemon=True).start()
sys.stdin.read()
";

fn attribution() -> Attribution {
    Attribution::new(Options::of_this_host())
}

fn parsed(address: SocketAddr) -> Address {
    super::sock_diag::address(address.ip(), address.port())
}

/// The sockets of the host by namespace, from a survey of its own.
fn sockets() -> Vec<(u64, TcpSocket)> {
    let found = std::thread::spawn(|| survey(&Places::of_this_host(), &FxHashMap::default())).join().unwrap();
    let all = found.namespaces.into_iter();
    all.flat_map(|(network, namespace)| namespace.sockets.into_iter().map(move |socket| (network, socket))).collect()
}

/// The far end, as a socket of this host, of a connection of this process.
fn far_end(near: &TcpStream) -> EndQuery {
    let (local, remote) = (parsed(near.peer_addr().unwrap()), parsed(near.local_addr().unwrap()));
    loop {
        // Until it is accepted it has no inode and is not listed.
        let found = super::sock_diag::dump()
            .unwrap()
            .0
            .into_iter()
            .find(|socket| (socket.local, socket.remote) == (local, remote));
        if let Some(socket) = found {
            return EndQuery { socket: socket.socket, cgroup: 0, local, remote };
        }
        std::thread::yield_now();
    }
}

fn cookie(socket: impl AsFd) -> SocketId {
    SocketId(rustix::net::sockopt::socket_cookie(socket).unwrap())
}

fn workload(attribution: &mut Attribution, end: EndQuery) -> Workload {
    match attribution.owner(&end) {
        Owner::Workload(id) => attribution.workload(id).unwrap().clone(),
        other => panic!("{end:?}: {other:?}"),
    }
}

fn service(attribution: &mut Attribution, end: EndQuery) -> String {
    workload(attribution, end).service
}

fn connects(attribution: &mut Attribution, number: u64, pid: u32) -> EndQuery {
    let to = parsed("192.0.2.1:80".parse().unwrap());
    let socket = SocketId(u64::MAX - number);
    attribution.event(&SocketEvent::Connects { socket, pid, cgroup: 0, to });
    EndQuery { socket: Some(socket), cgroup: 0, local: parsed("192.0.2.2:50000".parse().unwrap()), remote: to }
}

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
    attribution.event(&SocketEvent::Established { socket, flow, passive: true });
    assert_eq!(service(&mut attribution, end), "ledger");
    assert_eq!(attribution.surveys(), 1);
    attribution.event(&SocketEvent::Released { socket });
    assert!(attribution.sockets.owner(socket).is_none());
}

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
fn workers_that_share_a_listener_are_one_workload() {
    let mut master = Program::python(
        "
import os, socket, sys
s = socket.create_server(('127.0.0.1', 0))
pids = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        sys.stdin.read()
        os._exit(0)
    pids.append(pid)
print(s.getsockname()[1], *pids, flush=True)
sys.stdin.read()
",
        &[("OTEL_SERVICE_NAME", "prefork")],
    );
    let numbers = master.numbers();
    let mut before = attribution();
    // Known from their calls alone, without a survey.
    let ends = [1, 2].map(|index| connects(&mut before, u64::from(numbers[index]), numbers[index]));
    let ids = ends.map(|end| before.owner(&end));
    assert_eq!(ids[0], ids[1]);
    let mut after = attribution();
    after.settle();
    let listens = address([127, 0, 0, 1].into(), u16::try_from(numbers[0]).unwrap());
    let found = after.workloads().find(|workload| workload.listens.contains(&listens)).unwrap();
    let pids: Vec<u32> = found.processes.keys().copied().collect();
    let mut expected = vec![master.pid(), numbers[1], numbers[2]];
    expected.sort_unstable();
    assert_eq!((pids, found.service.as_str()), (expected, "prefork"));
}

#[test]
fn programs_that_share_a_listener_across_exec_are_one_workload() {
    let mut parent = Program::python(
        "
import os, socket, subprocess, sys
s = socket.create_server(('127.0.0.1', 0))
child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], pass_fds=[s.fileno()])
print(s.getsockname()[1], child.pid, flush=True)
sys.stdin.read()
",
        &[("OTEL_SERVICE_NAME", "passed")],
    );
    let numbers = parent.numbers();
    let mut attribution = attribution();
    let child = connects(&mut attribution, u64::from(numbers[1]), numbers[1]);
    let own = connects(&mut attribution, u64::from(parent.pid()), parent.pid());
    assert_ne!(attribution.owner(&child), attribution.owner(&own));
    let generation = attribution.generation();
    attribution.settle();
    assert_eq!(attribution.owner(&child), attribution.owner(&own));
    assert_ne!(attribution.generation(), generation);
}

#[test]
fn services_that_one_launcher_forked_stay_apart() {
    let mut launcher = Program::python(
        "
import os, socket, sys
pids = []
for _ in range(2):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        s = socket.create_server(('127.0.0.1', 0))
        os.write(w, str(s.getsockname()[1]).encode())
        sys.stdin.read()
        os._exit(0)
    pids += [pid, os.read(r, 9).decode()]
print(*pids, flush=True)
sys.stdin.read()
",
        &[],
    );
    let numbers = launcher.numbers();
    let mut surveyed = attribution();
    surveyed.settle();
    let mut told = attribution();
    let all = sockets();
    for pair in numbers.chunks(2) {
        let (_, socket) =
            all.iter().find(|(_, socket)| socket.listens && u32::from(socket.local.port) == pair[1]).unwrap();
        told.event(&SocketEvent::Binds { socket: socket.socket.unwrap(), pid: pair[0], cgroup: 0, to: socket.local });
    }
    for mut attribution in [surveyed, told] {
        let ends = [numbers[0], numbers[2]].map(|pid| connects(&mut attribution, u64::from(pid), pid));
        let found = ends.map(|end| workload(&mut attribution, end));
        assert_ne!(found[0].id, found[1].id);
        for (found, pair) in found.iter().zip(numbers.chunks(2)) {
            assert_eq!(found.processes.keys().copied().collect::<Vec<u32>>(), [pair[0]]);
            assert_eq!(found.listens.iter().map(|address| u32::from(address.port)).collect::<Vec<u32>>(), [pair[1]]);
        }
    }
}

#[test]
fn the_workers_of_a_node_cluster_belong_to_the_primary_that_listens() {
    let script = "
const cluster = require('cluster'), net = require('net');
if (cluster.isPrimary) {
  const worker = cluster.fork();
  worker.on('listening', a => console.log(a.port, worker.process.pid));
  process.stdin.on('end', () => process.exit()).resume();
} else { net.createServer(s => s.write('x')).listen(0, '127.0.0.1'); process.on('disconnect', () => process.exit()); }
";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cluster.js");
    std::fs::write(&path, script).unwrap();
    let mut node = Program::start(Command::new("node").arg(path).env("OTEL_SERVICE_NAME", "cluster"));
    let numbers = node.numbers();
    let mut client = TcpStream::connect(("127.0.0.1", u16::try_from(numbers[0]).unwrap())).unwrap();
    client.read_exact(&mut [0]).unwrap();
    let mut attribution = attribution();
    let worker = connects(&mut attribution, u64::from(numbers[1]), numbers[1]);
    attribution.settle();
    let end = far_end(&client);
    assert_eq!(attribution.owner(&end), attribution.owner(&worker));
    assert_eq!(service(&mut attribution, end), "cluster");
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

/// A cgroup that is removed with the test.
struct Group(PathBuf);

impl Group {
    fn new(below: &std::path::Path, name: &str) -> Self {
        let path = below.join(name);
        std::fs::create_dir(&path).expect("cgroup v2 is mounted and writable");
        Self(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A cgroup can be removed once its last process is reaped.
        while std::fs::remove_dir(&self.0).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_container_is_known_by_its_cgroup_even_where_its_process_was_never_seen() {
    let root = Places::of_this_host().cgroup_root.expect("cgroup v2");
    let id = format!("{:064x}", std::process::id());
    let group = Group::new(&root, &format!("docker-{id}.scope"));
    let cgroup = std::os::linux::fs::MetadataExt::st_ino(&std::fs::metadata(&group.0).unwrap());
    let mut server = Program::python(SERVER, &[]);
    let port = server.port();
    std::fs::write(group.0.join("cgroup.procs"), server.pid().to_string()).unwrap();
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
fn a_rule_names_a_service_by_the_port_that_it_comes_to_listen_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = parsed(listener.local_addr().unwrap());
    let rule = ServiceRule { name: "by-port".into(), port: Some(local.port), ..ServiceRule::default() };
    let mut attribution = Attribution::new(Options { services: vec![rule], ..Options::of_this_host() });
    let pid = std::process::id();
    let end = connects(&mut attribution, 1, pid);
    let before = service(&mut attribution, end);
    assert_ne!(before, "by-port");
    attribution.event(&SocketEvent::Binds { socket: cookie(&listener), pid, cgroup: 0, to: local });
    assert_eq!(service(&mut attribution, end), "by-port");
    attribution.reconfigure(Vec::new(), Vec::new());
    assert_eq!(service(&mut attribution, end), before);
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
fn workers_with_a_listener_each_for_one_address_are_one_workload() {
    let script = "
import socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(('127.0.0.1', int(sys.argv[1])))
s.listen()
print(s.getsockname()[1], flush=True)
sys.stdin.read()
";
    let start = |port: u16| Program::start(Command::new("/usr/bin/python3").args(["-c", script, &port.to_string()]));
    let mut first = start(0);
    let port = first.port();
    let mut second = start(port);
    second.port();
    let mut surveyed = attribution();
    surveyed.settle();
    let mut told = attribution();
    let listening: Vec<TcpSocket> = sockets()
        .into_iter()
        .map(|(_, socket)| socket)
        .filter(|socket| socket.listens && socket.local.port == port)
        .collect();
    for (socket, pid) in listening.iter().zip([first.pid(), second.pid()]) {
        told.event(&SocketEvent::Binds { socket: socket.socket.unwrap(), pid, cgroup: 0, to: socket.local });
    }
    for mut attribution in [surveyed, told] {
        let ends = [first.pid(), second.pid()].map(|pid| connects(&mut attribution, u64::from(pid), pid));
        assert_eq!(attribution.owner(&ends[0]), attribution.owner(&ends[1]));
    }
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
