//! What a capture saw, kept to be asked: events come in, the streams of connections go out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use observer::capture::{Event, KernelCapture, Options, SocketEvent, Source};
use observer_core::connection::{Opaque, Tap};

/// A packet as it was told.
#[derive(Clone, Debug)]
pub struct SeenPacket {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub wire_len: u32,
    pub bytes: Vec<u8>,
    pub tap: Tap,
    pub closes: bool,
    pub token: u64,
    pub at_ns: u64,
}

/// A capture and all it told so far.
pub struct Seen {
    pub capture: KernelCapture,
    pub packets: Vec<SeenPacket>,
    pub opaque: Vec<(SocketAddr, SocketAddr, Tap, Opaque)>,
    pub sockets: Vec<SocketEvent>,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl Seen {
    pub fn open(options: &Options) -> Self {
        assert!(rustix::process::geteuid().is_root(), "these tests load kernel programs: run them as root");
        let capture = KernelCapture::open(options).unwrap_or_else(|error| panic!("{error}"));
        for state in capture.programs() {
            assert_eq!(state.outcome, Ok(()), "{}", state.program);
        }
        Self { capture, packets: Vec::new(), opaque: Vec::new(), sockets: Vec::new() }
    }

    /// Captures at every socket.
    pub fn everywhere() -> Self {
        Self::open(&Options::default())
    }

    /// Reads until `done`, and once more for what would be too much.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "never seen: {what}; lost: {:?}; seen: {:#?}", self.lost(), self.packets);
            self.look();
        }
        self.look();
    }

    fn look(&mut self) {
        let Self { capture, packets, opaque, sockets } = self;
        capture
            .poll(Duration::from_millis(5), &mut |event| match event {
                Event::Packet { packet, .. } => packets.push(SeenPacket {
                    from: (packet.flow.source.ip, packet.flow.source.port).into(),
                    to: (packet.flow.destination.ip, packet.flow.destination.port).into(),
                    seq: packet.seq,
                    wire_len: packet.wire_len,
                    bytes: packet.bytes.to_vec(),
                    tap: packet.tap,
                    closes: packet.closes,
                    token: packet.token,
                    at_ns: packet.at.0,
                }),
                Event::Opaque { flow, tap, kind, .. } => opaque.push((
                    (flow.source.ip, flow.source.port).into(),
                    (flow.destination.ip, flow.destination.port).into(),
                    tap,
                    kind,
                )),
                Event::Socket(event) => sockets.push(event),
            })
            .unwrap();
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

    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        self.capture.counters().into_iter().flat_map(|each| each.lost).filter(|(_, count)| *count > 0).collect()
    }
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
