//! Records of the kernel come in, events go out.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use observer_core::connection::{Address, Beginnings, Flow, Opaque, Packet, Tap};
use observer_core::ids::SocketId;
use observer_ebpf::record::{
    FLAG_ACKNOWLEDGES, FLAG_AWAITED, FLAG_CLOSES, FLAG_LOOPED, FLAG_RESETS, Kind, Record, TAP_EGRESS, TAP_INGRESS,
    TAP_MASK, TAP_TLS,
};

use super::clock::Clock;
use super::kernel::KernelSource;
use super::releases::Releases;
use super::selection::Selection;
use super::unnamed::Unnamed;
use super::{CommandName, Event, GoCall, Plain, Reading, Session, SocketEvent, Work};

/// Turns records into events.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) clock: Clock,
    unnamed: Unnamed,
    /// Where packets are seen on an interface: they come without their sockets, and later than those are released.
    releases: Option<Releases>,
    selection: Selection,
    /// Events told so far.
    pub(super) told: u64,
    /// Of these, what TLS libraries carry.
    pub(super) told_of_tls: u64,
    /// Of these, what threads read.
    pub(super) told_of_readers: u64,
    /// Records that could not be read: a kernel object that is not of this build.
    pub(super) unreadable: u64,
}

impl Records {
    /// None was read yet of this source.
    pub(super) fn of(source: KernelSource, selection: Selection) -> Self {
        Self {
            clock: Clock::default(),
            unnamed: Unnamed::default(),
            releases: (source == KernelSource::SocketFilter).then(Releases::default),
            selection,
            told: 0,
            told_of_tls: 0,
            told_of_readers: 0,
            unreadable: 0,
        }
    }

    /// Tells the event of a record, at once or when its socket is known.
    pub(super) fn take(&mut self, bytes: &[u8], tell: &mut dyn FnMut(Event<'_>)) {
        let Some((record, captured)) = Record::read(bytes) else {
            self.unreadable += 1;
            return;
        };
        let Some(kind) = Kind::of(record.kind) else {
            self.unreadable += 1;
            return;
        };
        let (clock, told) = (&self.clock, &mut self.told);
        let mut tell_packet = |record: &Record, captured: &[u8]| {
            *told += 1;
            tell(packet(clock, record, captured));
        };
        match kind {
            Kind::Packet if record.socket == 0 && record.flags & TAP_MASK == TAP_INGRESS => {
                self.unnamed.keep(record, captured, tell_packet);
            }
            Kind::Packet if record.flags & TAP_MASK == TAP_TLS => {
                if self.selection.takes(session(&record).0, record.cgroup) {
                    self.told += 1;
                    self.told_of_tls += 1;
                    tell(Event::Plain(plain(&self.clock, &record, captured)));
                }
            }
            Kind::Packet => tell_packet(&record, captured),
            Kind::SessionBegins => {
                let session = Session { process: record.seq, number: record.token };
                let flow = (record.destination_port != 0).then(|| flow(&record));
                if !self.selection.begins(session, record.cgroup, flow) {
                    return;
                }
                self.told += 1;
                self.told_of_tls += 1;
                let socket = (record.socket != 0).then_some(SocketId(record.socket));
                let at = self.clock.moment(record.at_ns);
                tell(Event::SessionBegins { at, session, cgroup: record.cgroup, socket, flow });
            }
            Kind::SessionEnds => {
                let (session, _) = session(&record);
                if !self.selection.ends(session) {
                    return;
                }
                self.told += 1;
                self.told_of_tls += 1;
                let at = self.clock.moment(record.at_ns);
                tell(Event::SessionEnds { at, session, sent: record.seq, received: record.ack });
            }
            // TLS or FastCGI within TLS: of what a session carries, what is not decoded is not told.
            Kind::Tls | Kind::FastCgi | Kind::Unknown if record.flags & TAP_MASK == TAP_TLS => {}
            Kind::Tls => self.tell_opaque(&record, Opaque::Tls, tell),
            Kind::FastCgi => self.tell_opaque(&record, Opaque::FastCgi, tell),
            Kind::Unknown => self.tell_opaque(&record, Opaque::Unknown, tell),
            Kind::Unasked => {
                self.told += 1;
                let (at, flow, tap) = (self.clock.moment(record.at_ns), flow(&record), tap(&record));
                tell(Event::Unasked { at, flow, tap, cgroup: record.cgroup });
            }
            Kind::Reads => {
                self.told += 1;
                self.told_of_readers += 1;
                let half = |shift: u32| u32::try_from(record.token >> shift & u64::from(u32::MAX)).unwrap_or(0);
                tell(Event::Reads(Reading {
                    at: self.clock.moment(record.at_ns),
                    socket: SocketId(record.socket),
                    process: half(32),
                    thread: half(0),
                    up_to: record.seq,
                    is_awaited: record.flags & FLAG_AWAITED != 0,
                }));
            }
            Kind::GoCalls => {
                self.told += 1;
                tell(Event::GoCalls(go_call(&self.clock, &record)));
            }
            Kind::Accepted => {
                self.told += 1;
                tell(self.socket_event(kind, &record, captured));
                let (clock, told) = (&self.clock, &mut self.told);
                self.unnamed.named(&record, |record, captured| {
                    *told += 1;
                    tell(packet(clock, record, captured));
                });
            }
            Kind::Released => {
                let mut tell_release = |socket| {
                    *told += 1;
                    tell(Event::Socket(SocketEvent::Released { socket }));
                };
                match &mut self.releases {
                    Some(releases) => releases.keep(SocketId(record.socket), Instant::now(), tell_release),
                    None => tell_release(SocketId(record.socket)),
                }
            }
            Kind::Connects | Kind::Binds | Kind::Connected => {
                self.told += 1;
                tell(self.socket_event(kind, &record, captured));
            }
        }
    }

    fn tell_opaque(&mut self, record: &Record, kind: Opaque, tell: &mut dyn FnMut(Event<'_>)) {
        self.told += 1;
        let (at, flow, tap) = (self.clock.moment(record.at_ns), flow(record), tap(record));
        tell(Event::Opaque { at, flow, tap, cgroup: record.cgroup, kind });
    }

    /// Tells what has waited too long for its socket, and releases that have waited for their packets.
    pub(super) fn expire(&mut self, tell: &mut dyn FnMut(Event<'_>)) {
        let (now, clock, told) = (Instant::now(), &self.clock, &mut self.told);
        self.unnamed.expire(now, |record, captured| {
            *told += 1;
            tell(packet(clock, record, captured));
        });
        if let Some(releases) = &mut self.releases {
            releases.expire(now, |socket| {
                *told += 1;
                tell(Event::Socket(SocketEvent::Released { socket }));
            });
        }
    }

    fn socket_event(&self, kind: Kind, record: &Record, captured: &[u8]) -> Event<'static> {
        let socket = SocketId(record.socket);
        let pid = u32::try_from(record.token).unwrap_or(0);
        let beginnings = self.releases.is_some().then_some(Beginnings { sent: record.seq, received: record.wire_len });
        Event::Socket(match kind {
            Kind::Connects => {
                let command = captured.first_chunk().map_or(CommandName::default(), |bytes| CommandName(*bytes));
                SocketEvent::Connects { socket, pid, cgroup: record.cgroup, command, to: flow(record).destination }
            }
            Kind::Binds => SocketEvent::Binds { socket, pid, cgroup: record.cgroup, to: flow(record).source },
            kind => {
                SocketEvent::Established { socket, flow: flow(record), passive: kind == Kind::Accepted, beginnings }
            }
        })
    }
}

fn packet<'a>(clock: &Clock, record: &Record, captured: &'a [u8]) -> Event<'a> {
    Event::Packet {
        packet: Packet {
            at: clock.moment(record.at_ns),
            flow: flow(record),
            seq: record.seq,
            ack: (record.flags & FLAG_ACKNOWLEDGES != 0).then_some(record.ack),
            wire_len: record.wire_len,
            bytes: captured,
            link: (record.link != 0).then_some(record.link),
            tap: tap(record),
            closes: record.flags & FLAG_CLOSES != 0,
            resets: record.flags & FLAG_RESETS != 0,
            token: record.token,
        },
        cgroup: record.cgroup,
    }
}

fn plain<'a>(clock: &Clock, record: &Record, captured: &'a [u8]) -> Plain<'a> {
    let (session, sends) = session(record);
    Plain {
        at: clock.moment(record.at_ns),
        session,
        sends,
        seq: record.seq,
        ack: record.ack,
        wire_len: record.wire_len,
        bytes: captured,
        link: (record.link != 0).then_some(record.link),
        token: record.token,
        cgroup: record.cgroup,
    }
}

fn go_call(clock: &Clock, record: &Record) -> GoCall {
    let source = u128::from_ne_bytes(record.source);
    let half = |shift: u32| u64::try_from(source >> shift & u128::from(u64::MAX)).unwrap_or(0);
    let (served, turn_ns) = (half(0), half(64));
    let work =
        Work { served: SocketId(served), since: clock.moment(turn_ns), births: record.seq, calls: record.wire_len };
    GoCall {
        at: clock.moment(record.at_ns),
        socket: SocketId(record.socket),
        process: u32::try_from(record.token).unwrap_or(0),
        work: (served != 0).then_some(work),
    }
}

/// The session of a record, and whether its program sends.
fn session(record: &Record) -> (Session, bool) {
    let process = |end: [u8; 16]| u32::try_from(u128::from_ne_bytes(end) >> 64).unwrap_or(0);
    let sends = process(record.source) != 0;
    let process = process(if sends { record.source } else { record.destination });
    (Session { process, number: record.socket }, sends)
}

fn tap(record: &Record) -> Tap {
    let (socket, looped) = (SocketId(record.socket), record.flags & FLAG_LOOPED != 0);
    match record.flags & TAP_MASK {
        TAP_EGRESS => Tap::Egress { socket, looped },
        TAP_INGRESS => Tap::Ingress { socket, looped },
        _ => Tap::Wire,
    }
}

fn flow(record: &Record) -> Flow {
    Flow {
        source: address(record.source, record.source_port),
        destination: address(record.destination, record.destination_port),
    }
}

fn address(bytes: [u8; 16], port: u16) -> Address {
    let ip = Ipv6Addr::from(bytes);
    Address { ip: ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), port }
}
