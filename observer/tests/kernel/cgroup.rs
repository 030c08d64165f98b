//! Capture at a single cgroup: the sockets of its processes are seen, those of others are not.

use std::fs;
use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use observer::capture::{Options, SocketEvent};
use observer::tls::Bounds;

use crate::ends::{LOOPBACK, REQUEST, RESPONSE};
use crate::openssl::Session;
use crate::seen::{Seen, Side, Tls};

/// A cgroup that is removed with the value.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let root = observer::capture::cgroup::root().expect("cgroup v2 is mounted");
        let path = root.join(format!("observer-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("cgroup v2 is writable");
        Self(path)
    }

    /// A process of this cgroup sends a request to `server` and reads the response; returns its address.
    fn requests(&self, listener: &TcpListener) -> SocketAddr {
        let (server, procs) = (listener.local_addr().unwrap(), self.0.join("cgroup.procs"));
        let exchange = move || -> std::io::Result<()> {
            fs::write(&procs, "0")?;
            let mut client = TcpStream::connect(server)?;
            client.write_all(REQUEST)?;
            let mut response = vec![0; RESPONSE.len()];
            client.read_exact(&mut response)?;
            // The process ends here: there is no program to become.
            Err(Error::from_raw_os_error(libc::ECANCELED))
        };
        let mut command = Command::new("/proc/self/exe");
        // SAFETY: a fork of this process makes some system calls and ends.
        unsafe { command.pre_exec(exchange) };
        std::thread::scope(|scope| {
            let child = scope.spawn(move || command.spawn().map(|_| ()).unwrap_err());
            let (mut accepted, client) = listener.accept().unwrap();
            let mut request = vec![0; REQUEST.len()];
            accepted.read_exact(&mut request).unwrap();
            accepted.write_all(RESPONSE).unwrap();
            assert_eq!(child.join().unwrap().raw_os_error(), Some(libc::ECANCELED), "the exchange succeeded");
            client
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A cgroup can be removed once its last process is reaped.
        while fs::remove_dir(&self.0).is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy) {
            std::thread::yield_now();
        }
    }
}

#[test]
fn at_a_cgroup_its_own_sockets_are_seen_and_no_others() {
    let (own, other) = (Group::new("own"), Group::new("other"));
    let below = Group(own.0.join("below"));
    fs::create_dir(&below.0).unwrap();
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let server = listener.local_addr().unwrap();
    let mut seen = Seen::open(&Options { cgroup_directory: Some(own.0.clone()), ..Options::default() });

    let of_other = other.requests(&listener);
    let of_below = below.requests(&listener);
    let of_own = own.requests(&listener);
    for client in [of_own, of_below] {
        seen.until("the client's sight of the exchange", |seen| {
            seen.stream(client, server, Side::Egress) == REQUEST
                && seen.stream(server, client, Side::Ingress) == RESPONSE
        });
        // The server is this process, which is in neither.
        assert_eq!(seen.flow(client, server, Side::Ingress).len() + seen.flow(server, client, Side::Egress).len(), 0);
    }
    assert!(seen.packets.iter().all(|packet| packet.from != of_other && packet.to != of_other), "{:#?}", seen.packets);
    let connects = seen.sockets.iter().filter(|event| matches!(event, SocketEvent::Connects { .. })).count();
    assert_eq!(connects, 2, "{:?}", seen.sockets);
    drop(below);
}

#[test]
fn of_a_library_that_others_use_too_their_sessions_are_not_told() {
    let _alone = Seen::with_libraries().1;
    let group = Group::new("library");
    let path = group.0.file_name().unwrap().to_str().unwrap().to_owned();
    let options = Options { tls: Some(Bounds::default()), tls_cgroup: Some(path), ..Options::default() };
    let script = format!("echo $$ > {}/cgroup.procs; LD_PRELOAD=libssl.so.3 exec cat", group.0.display());
    let mut user = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut seen = Seen::open(&options);
    let hits = |seen: &Seen| {
        let hits = seen.probe_hits();
        hits.iter().find(|(pid, _)| *pid == std::process::id()).map_or(0, |(_, hits)| *hits)
    };
    let probed = |seen: &Seen| {
        seen.counters()
            .iter()
            .flat_map(|source| &source.tables)
            .any(|table| table.tracked > 0 && table.table == "tls_files")
    };
    seen.until("the library's probes", probed);
    let [client, server] = Session::over_memory();
    client.write(REQUEST);
    assert_eq!(server.read(), REQUEST);
    drop((client, server));
    assert!(hits(&seen) > 0);
    seen.until_now();
    // The end of a session of which nothing was told begins nothing.
    assert!(seen.tls.iter().all(|event| matches!(event, Tls::Ends { .. })), "{:?}", seen.tls);
    assert_eq!(seen.observed, []);
    drop(user.stdin.take());
    user.wait().unwrap();
}
