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
use crate::capture::CommandName;

mod changes;
mod owners;
mod sharing;

/// A process that ends with the test.
pub(crate) struct Program {
    pub(super) child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    pub(super) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    pub(crate) fn python(script: &str, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        Self::start(command.args(["-c", script]).envs(environment.iter().copied()))
    }

    /// The numbers of the next line that it prints; waits for it.
    pub(super) fn numbers(&mut self) -> Vec<u32> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.split_whitespace().map(|number| number.parse().expect("a line of numbers")).collect()
    }

    pub(crate) fn port(&mut self) -> u16 {
        u16::try_from(self.numbers()[0]).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
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

/// A cgroup that is removed with the test.
pub(crate) struct Group(PathBuf);

impl Group {
    /// Below the root of the hierarchy.
    pub(crate) fn new(name: &str) -> Self {
        let path = Places::of_this_host().cgroup_root.expect("cgroup v2 is mounted").join(name);
        std::fs::create_dir(&path).expect("cgroup v2 is mounted and writable");
        Self(path)
    }

    /// Its id, as sockets name it.
    pub(crate) fn id(&self) -> u64 {
        std::os::linux::fs::MetadataExt::st_ino(&std::fs::metadata(&self.0).unwrap())
    }

    /// Moves a program into it.
    pub(crate) fn take(&self, program: &Program) {
        std::fs::write(self.0.join("cgroup.procs"), program.pid().to_string()).unwrap();
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

/// Listens on a port of its own, prints it, and takes connections until its standard input ends.
pub(crate) const SERVER: &str = "
import socket, sys, threading
s = socket.create_server(('127.0.0.1', 0))
print(s.getsockname()[1], flush=True)
kept = []
def take():
    while True: kept.append(s.accept()[0])
threading.Thread(target=take, daemon=True).start()
sys.stdin.read()
";

pub(super) fn attribution() -> Attribution {
    Attribution::new(Options::of_this_host())
}

pub(super) fn parsed(address: SocketAddr) -> Address {
    super::sock_diag::address(address.ip(), address.port())
}

/// The sockets of the host by namespace, from a survey of its own.
pub(super) fn sockets() -> Vec<(u64, TcpSocket)> {
    let found = std::thread::spawn(|| survey(&Places::of_this_host(), &FxHashMap::default())).join().unwrap();
    let all = found.namespaces.into_iter();
    all.flat_map(|(network, namespace)| namespace.sockets.into_iter().map(move |socket| (network, socket))).collect()
}

/// The far end, as a socket of this host, of a connection of this process.
pub(super) fn far_end(near: &TcpStream) -> EndQuery {
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

pub(super) fn cookie(socket: impl AsFd) -> SocketId {
    SocketId(rustix::net::sockopt::socket_cookie(socket).unwrap())
}

pub(super) fn workload(attribution: &mut Attribution, end: EndQuery) -> Workload {
    match attribution.owner(&end) {
        Owner::Workload(id) => attribution.workload(id).unwrap().clone(),
        other => panic!("{end:?}: {other:?}"),
    }
}

pub(super) fn service(attribution: &mut Attribution, end: EndQuery) -> String {
    workload(attribution, end).service
}

pub(super) fn connects(attribution: &mut Attribution, number: u64, pid: u32) -> EndQuery {
    let to = parsed("192.0.2.1:80".parse().unwrap());
    let socket = SocketId(u64::MAX - number);
    attribution.event(&SocketEvent::Connects { socket, pid, cgroup: 0, command: CommandName::default(), to });
    EndQuery { socket: Some(socket), cgroup: 0, local: parsed("192.0.2.2:50000".parse().unwrap()), remote: to }
}
