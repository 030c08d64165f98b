//! What a capture saw, kept to be asked: events come in, the streams of connections go out.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use observer::capture::{Event, GoCall, KernelCapture, Options, Reading, Session, SocketEvent, Source, SourceCounters};
use observer::tls::{Bounds, Library};
use observer_core::connection::{Address, Connections, Opaque, Tap};
use observer_ebpf::flow::LeftOut;

use crate::ends::{Ends, LOOPBACK};
use crate::openssl;

/// How long to wait for what must come: a virtual machine without hardware help is slow.
const PATIENCE: Duration = Duration::from_mins(5);

/// Captures at every socket that no test uses now: loading one takes a verifier seconds in a virtual machine.
static IDLE: Mutex<Vec<Kept>> = Mutex::new(Vec::new());
/// The same of those that see TLS libraries: removing their probes takes seconds there, too.
static IDLE_WITH_LIBRARIES: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

/// A capture, and the TLS libraries of this process that it probes.
struct Kept {
    capture: KernelCapture,
    observed: Vec<(Library, Option<String>)>,
}

/// Held by the test that uses TLS libraries: sessions are told apart by process alone.
static LIBRARIES: Mutex<()> = Mutex::new(());

/// A packet as it was told.
#[derive(Clone, Debug)]
pub struct SeenPacket {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: Option<u32>,
    pub wire_len: u32,
    pub bytes: Vec<u8>,
    pub link: Option<u32>,
    pub tap: Tap,
    pub closes: bool,
    pub token: u64,
    pub at_ns: u64,
    /// The number of its connection.
    pub connection: u64,
    /// The cookies of its sender's socket and of its receiver's, where the connection knows them.
    pub holders: (Option<u64>, Option<u64>),
}

/// What was told of a TLS session of this process, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    Begins { session: u64, socket: Option<u64>, flow: Option<(SocketAddr, SocketAddr)> },
    Bytes { session: u64, sends: bool, seq: usize, ack: usize, wire_len: usize, bytes: Vec<u8> },
    Ends { session: u64 },
}

impl Tls {
    pub fn session(&self) -> u64 {
        match self {
            Self::Begins { session, .. } | Self::Bytes { session, .. } | Self::Ends { session } => *session,
        }
    }

    /// None of what is told of other processes.
    fn of(event: &Event<'_>) -> Option<Self> {
        let ours = |session: &Session| (session.process == std::process::id()).then_some(session.number);
        let end = |end: Address| SocketAddr::new(end.ip, end.port);
        Some(match event {
            Event::SessionBegins { session, socket, flow, .. } => Self::Begins {
                session: ours(session)?,
                socket: socket.map(|socket| socket.0),
                flow: flow.map(|flow| (end(flow.source), end(flow.destination))),
            },
            Event::Plain(plain) => Self::Bytes {
                session: ours(&plain.session)?,
                sends: plain.sends,
                seq: plain.seq as usize,
                ack: plain.ack as usize,
                wire_len: plain.wire_len as usize,
                bytes: plain.bytes.to_vec(),
            },
            Event::SessionEnds { session, .. } => Self::Ends { session: ours(session)? },
            _ => return None,
        })
    }
}

/// A capture and all it told so far.
pub struct Seen {
    capture: Option<KernelCapture>,
    /// Where another test finds the capture after this one, if any may use it.
    kept: Option<&'static Mutex<Vec<Kept>>>,
    lost_before: Vec<(&'static str, u64)>,
    table: Connections<()>,
    pub packets: Vec<SeenPacket>,
    pub opaque: Vec<(SocketAddr, SocketAddr, Tap, Opaque)>,
    /// From whom to whom what was not asked for.
    pub unasked: Vec<(SocketAddr, SocketAddr, Side)>,
    pub sockets: Vec<SocketEvent>,
    pub readings: Vec<Reading>,
    pub go_calls: Vec<GoCall>,
    pub tls: Vec<Tls>,
    /// Sessions of all processes that began.
    pub begun: Vec<Session>,
    /// TLS libraries of this process that are probed.
    pub observed: Vec<(Library, Option<String>)>,
}

impl Seen {
    /// Captures what only this test wants.
    pub fn open(options: &Options) -> Self {
        Self::by(open(options))
    }

    /// What this capture sees.
    pub fn by(capture: KernelCapture) -> Self {
        Self::of(Kept { capture, observed: Vec::new() }, None)
    }

    /// Captures what goes through the TLS libraries of this process, which no other test does as long as the
    /// second value lives.
    pub fn with_libraries() -> (Self, MutexGuard<'static, ()>) {
        let alone = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
        openssl::load();
        let options = Options { tls: Some(Bounds::default()), ..Options::default() };
        let mut seen = Self::shared(&IDLE_WITH_LIBRARIES, &options);
        // Before a test loads one that only says that it is OpenSSL.
        seen.until("OpenSSL's probes", |seen| seen.observed.iter().any(|(library, _)| *library == Library::OpenSsl));
        (seen, alone)
    }

    /// Captures at every socket.
    pub fn everywhere() -> Self {
        Self::shared(&IDLE, &Options::default())
    }

    /// What a capture sees from now on that no other test uses now.
    fn shared(idle: &'static Mutex<Vec<Kept>>, options: &Options) -> Self {
        let kept = idle.lock().unwrap().pop();
        let kept = kept.unwrap_or_else(|| Kept { capture: open(options), observed: Vec::new() });
        let mut seen = Self::of(kept, Some(idle));
        seen.until_now();
        seen.packets.clear();
        seen.opaque.clear();
        seen.unasked.clear();
        seen.sockets.clear();
        seen.tls.clear();
        seen.begun.clear();
        seen.lost_before = seen.all_lost();
        seen
    }

    fn of(Kept { capture, observed }: Kept, kept: Option<&'static Mutex<Vec<Kept>>>) -> Self {
        Self {
            capture: Some(capture),
            kept,
            lost_before: Vec::new(),
            table: Connections::new(65_536),
            packets: Vec::new(),
            opaque: Vec::new(),
            unasked: Vec::new(),
            sockets: Vec::new(),
            readings: Vec::new(),
            go_calls: Vec::new(),
            tls: Vec::new(),
            begun: Vec::new(),
            observed,
        }
    }

    pub fn leave_out(&mut self, token: u64, what: LeftOut) {
        self.capture.as_mut().unwrap().leave_out(token, what);
    }

    pub fn tell_readers(&mut self, processes: &[u32]) {
        self.capture.as_mut().unwrap().tell_readers(processes);
    }

    pub fn probe_hits(&self) -> Vec<(u32, u64)> {
        self.capture.as_ref().unwrap().probe_hits()
    }

    pub fn counters(&self) -> Vec<SourceCounters> {
        self.capture.as_ref().unwrap().counters()
    }

    /// Reads until what passes through a connection made now is seen: what came before it is seen then too.
    pub fn until_now(&mut self) {
        // What passed while nobody looked may leave no room.
        self.look();
        let ends = Ends::on(LOOPBACK);
        ends.to_server(b"GET /now HTTP/1.1\r\n\r\n");
        let (client, server) = ends.addresses();
        self.until("the present", |seen| {
            seen.flow(client, server, Side::Ingress).len() + seen.flow(client, server, Side::Wire).len() > 0
        });
    }

    /// Reads until `done`, and once more for what would be too much.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            self.look();
            assert!(
                Instant::now() < end,
                "never seen: {what}; lost: {:?}; TLS: {:?}; seen: {:?}",
                self.lost(),
                self.tls,
                self.packets
            );
        }
        self.look();
    }

    fn look(&mut self) {
        let Self {
            capture, packets, opaque, unasked, sockets, readings, go_calls, tls, begun, observed, table, ..
        } = self;
        let tell = &mut |event: Event<'_>| match event {
            Event::Packet { packet, .. } => {
                let sight = table.packet(&packet, || (), |_| {}).unwrap();
                let (connection, from) = (sight.connection, sight.from);
                let holder = |end| connection.socket(end).map(|socket| socket.0);
                packets.push(SeenPacket {
                    from: (packet.flow.source.ip, packet.flow.source.port).into(),
                    to: (packet.flow.destination.ip, packet.flow.destination.port).into(),
                    seq: packet.seq,
                    ack: packet.ack,
                    wire_len: packet.wire_len,
                    bytes: packet.bytes.to_vec(),
                    link: packet.link,
                    tap: packet.tap,
                    closes: packet.closes,
                    token: packet.token,
                    at_ns: packet.at.0,
                    connection: connection.id.0,
                    holders: (holder(from), holder(from.other())),
                });
            }
            Event::Opaque { flow, tap, kind, .. } => opaque.push((
                (flow.source.ip, flow.source.port).into(),
                (flow.destination.ip, flow.destination.port).into(),
                tap,
                kind,
            )),
            Event::SessionBegins { session, .. } => {
                begun.push(session);
                tls.extend(Tls::of(&event));
            }
            Event::Plain(_) | Event::SessionEnds { .. } => tls.extend(Tls::of(&event)),
            Event::Unasked { flow, tap, .. } => unasked.push((
                (flow.source.ip, flow.source.port).into(),
                (flow.destination.ip, flow.destination.port).into(),
                Side::of(tap),
            )),
            Event::TlsProcess(process) if process.pid == std::process::id() => *observed = process.observed,
            Event::TlsProcess(_) => {}
            Event::Reads(reading) => readings.push(reading),
            Event::GoCalls(call) => go_calls.push(call),
            Event::Socket(event) => {
                if let SocketEvent::Established { socket, flow, beginnings, .. } = &event {
                    table.established(*socket, flow, *beginnings);
                }
                sockets.push(event);
            }
        };
        capture.as_mut().unwrap().poll(Duration::from_millis(5), tell).unwrap();
    }

    /// The packets from one address to another at one kind of tap.
    pub fn flow(&self, from: SocketAddr, to: SocketAddr, side: Side) -> Vec<&SeenPacket> {
        self.packets
            .iter()
            .filter(|packet| packet.from == from && packet.to == to && Side::of(packet.tap) == side)
            .collect()
    }

    /// The bytes of a flow in order of their sequence numbers, counted from the first packet told; holes are left out.
    pub fn stream(&self, from: SocketAddr, to: SocketAddr, side: Side) -> Vec<u8> {
        let packets = self.flow(from, to, side);
        let Some(first) = packets.first().map(|packet| packet.seq) else { return Vec::new() };
        let mut bytes = Vec::new();
        for packet in packets {
            for (at, byte) in (packet.seq.wrapping_sub(first)..).zip(&packet.bytes) {
                bytes.push((at, *byte));
            }
        }
        bytes.sort_unstable();
        bytes.dedup();
        bytes.into_iter().map(|(_, byte)| byte).collect()
    }

    /// The cookie of the socket where a packet was seen, and whether it was looped.
    pub fn socket(packet: &SeenPacket) -> (u64, bool) {
        match packet.tap {
            Tap::Egress { socket, looped } | Tap::Ingress { socket, looped } => (socket.0, looped),
            Tap::Wire => (0, false),
        }
    }

    /// What was lost since this began, by reason.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let before = |reason| self.lost_before.iter().find(|(each, _)| *each == reason).map_or(0, |(_, count)| *count);
        let now = self.all_lost().into_iter().map(|(reason, count)| (reason, count - before(reason)));
        now.filter(|(_, count)| *count > 0).collect()
    }

    fn all_lost(&self) -> Vec<(&'static str, u64)> {
        self.counters().into_iter().flat_map(|each| each.lost).collect()
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        if let (Some(idle), Some(capture)) = (self.kept, self.capture.take()) {
            idle.lock().unwrap().push(Kept { capture, observed: std::mem::take(&mut self.observed) });
        }
    }
}

fn open(options: &Options) -> KernelCapture {
    assert!(rustix::process::geteuid().is_root(), "these tests load kernel programs: run them as root");
    let capture = KernelCapture::open(options).unwrap_or_else(|error| panic!("{error}"));
    for state in capture.programs() {
        assert_eq!(state.outcome, Ok(()), "{}", state.program);
    }
    capture
}

/// A kind of tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Egress,
    Ingress,
    Wire,
}

impl Side {
    pub fn of(tap: Tap) -> Self {
        match tap {
            Tap::Egress { .. } => Self::Egress,
            Tap::Ingress { .. } => Self::Ingress,
            Tap::Wire => Self::Wire,
        }
    }
}
