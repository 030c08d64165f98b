//! Processes that share sockets are one workload, those that do not are several.

use super::*;

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
