//! Two network namespaces joined by a pair of virtual interfaces: hosts, or containers, to each other.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;

use crate::ends::{Ends, REQUEST, RESPONSE};
use crate::seen::{Seen, Side};

/// The namespaces, which vanish with the value.
pub struct Pair {
    a: String,
    b: String,
}

impl Pair {
    /// `10.77.0.1`, `fd77::1` and `10.77.0.2`, `fd77::2`, each on an interface `veth`.
    pub fn new(name: &str) -> Self {
        let process = std::process::id();
        let pair = Self { a: format!("obs-{name}-a-{process}"), b: format!("obs-{name}-b-{process}") };
        pair.run("ip netns add {a}");
        pair.run("ip netns add {b}");
        pair.run("ip -n {a} link add veth type veth peer name veth netns {b}");
        for (namespace, host) in [("{a}", 1), ("{b}", 2)] {
            pair.run(&format!("ip -n {namespace} addr add 10.77.0.{host}/24 dev veth"));
            pair.run(&format!("ip -n {namespace} addr add fd77::{host}/64 dev veth nodad"));
            pair.run(&format!("ip -n {namespace} link set lo up"));
            pair.run(&format!("ip -n {namespace} link set veth up"));
        }
        pair
    }

    /// Runs a command in which `{a}` and `{b}` stand for the namespaces.
    pub fn run(&self, command: &str) {
        let command = command.replace("{a}", &self.a).replace("{b}", &self.b);
        let mut words = command.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Does something in the first namespace.
    pub fn in_a<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.a, work)
    }

    /// Does something in the second namespace.
    pub fn in_b<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.b, work)
    }

    /// A connection from the first namespace to an address of the second.
    pub fn connection(&self, to: &str) -> Ends {
        let listener = within(&self.b, || TcpListener::bind(to).unwrap());
        let address = listener.local_addr().unwrap();
        let client = within(&self.a, || TcpStream::connect(address).unwrap());
        let (server, _) = listener.accept().unwrap();
        Ends::of(client, server)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// Sends a frame as it is on an interface of this thread's namespace.
pub fn send_frame(interface: &str, frame: &[u8]) {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let socket = socket(AddressFamily::PACKET, SocketType::RAW, None).unwrap();
    // SAFETY: all zero is a valid value of this plain structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET.try_into().unwrap();
    address.sll_ifindex = netdevice::name_to_index(&socket, interface).unwrap().try_into().unwrap();
    let size = libc::socklen_t::try_from(size_of_val(&address)).unwrap();
    // SAFETY: bytes and address live through the call.
    let sent = unsafe {
        libc::sendto(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, (&raw const address).cast(), size)
    };
    assert_eq!(usize::try_from(sent), Ok(frame.len()), "{}", std::io::Error::last_os_error());
}

/// Runs on a thread of its own, because a thread that has entered a namespace stays there.
fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let inside = scope.spawn(move || {
            // SAFETY: changes the namespace of this thread alone.
            assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
            work()
        });
        inside.join().unwrap()
    })
}

#[test]
fn an_exchange_between_namespaces_is_seen_at_both_ends_over_ipv4_and_ipv6() {
    let pair = Pair::new("ends");
    for address in ["10.77.0.2:0", "[fd77::2]:0"] {
        let mut seen = Seen::everywhere();
        let ends = pair.connection(address);
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
        let (client, server) = ends.addresses();
        seen.until("the exchange at both ends", |seen| {
            [Side::Egress, Side::Ingress].iter().all(|side| {
                seen.stream(client, server, *side) == REQUEST && seen.stream(server, client, *side) == RESPONSE
            })
        });
        let (client_cookie, server_cookie) = ends.cookies();
        assert_eq!(Seen::socket(seen.flow(client, server, Side::Egress)[0]), (client_cookie, false));
        assert_eq!(Seen::socket(seen.flow(client, server, Side::Ingress)[0]), (server_cookie, false));
        assert_eq!(seen.flow(client, server, Side::Ingress)[0].token, 0);
        assert_eq!(seen.lost(), []);
    }
}

#[test]
fn the_same_ports_in_two_namespaces_are_two_connections() {
    let pair = Pair::new("same");
    let mut seen = Seen::everywhere();
    let listen = || TcpListener::bind("127.0.0.1:18088").unwrap();
    let connect = |listener: &TcpListener| {
        let socket =
            rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &"127.0.0.1:18089".parse::<std::net::SocketAddr>().unwrap()).unwrap();
        rustix::net::connect(&socket, &listener.local_addr().unwrap()).unwrap();
        Ends::of(TcpStream::from(socket), listener.accept().unwrap().0)
    };
    let one = within(&pair.a, || connect(&listen()));
    let two = within(&pair.b, || connect(&listen()));
    let (client, server) = one.addresses();
    assert_eq!((client, server), two.addresses());
    for _ in 0..3 {
        one.to_server(REQUEST);
        two.to_server(REQUEST);
    }
    seen.until("all requests", |seen| seen.flow(client, server, Side::Egress).len() == 6);
    for ends in [&one, &two] {
        let cookie = ends.cookies().0;
        let count =
            seen.flow(client, server, Side::Egress).iter().filter(|packet| Seen::socket(packet).0 == cookie).count();
        assert_eq!(count, 3);
    }
}
