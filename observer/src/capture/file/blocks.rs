//! Blocks of a capture file come in, packets and opaque connections go out. How the file is read is not here.

use observer_core::connection::{Address, Flow, Opaque, Packet, Tap};
use observer_core::time::Timestamp;
use observer_ebpf::broker::is_broker;
use observer_ebpf::opening::{Opening, opening};
use pcap_parser::{Block, PcapBlockOwned};
use rustc_hash::{FxHashMap, FxHashSet};

use super::frame::{self, Link, Segment, Skip};
use super::interface::{Interface, Resolution};
use crate::capture::Event;

/// Opaque connections remembered; past it all are forgotten, and each is told once more.
const OPAQUE_MAX: usize = 1 << 16;
/// Connections remembered that were opened; past it all are forgotten, and nobody is told if they carry what is not known.
const OPENED_MAX: usize = 1 << 16;
/// Bytes by which the kernel tells protocols.
const FIRST_BYTES: usize = 16;
/// Interfaces of one section; a file with more is damaged.
const INTERFACES_MAX: usize = 4096;

/// What the file has told so far and what was left out.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) events: u64,
    pub(super) truncated: u64,
    pub(super) damaged: u64,
    pub(super) cut: u64,
    pub(super) fragments: u64,
    pub(super) link_type: u64,
    pub(super) openings_forgotten: u64,
}

/// What is known of the file from the blocks before.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    interfaces: Vec<Interface>,
    /// The time of the newest packet.
    pub(super) newest: Timestamp,
    opaque: FxHashSet<(Address, Address)>,
    /// Flows of clients that opened a connection and sent nothing yet, with the sequence number of their first byte.
    opened: FxHashMap<Flow, u32>,
    pub(super) tally: Tally,
}

impl Blocks {
    /// Takes a block; false where the file makes no sense from here on.
    pub(super) fn take(&mut self, block: &PcapBlockOwned<'_>, tell: &mut dyn FnMut(Event<'_>)) -> bool {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = Resolution::Decimal(if header.is_nanosecond_precision() { 9 } else { 6 });
                let link = Link::of(header.network.0 & 0xffff);
                self.interfaces.push(Interface { link, resolution, offset_seconds: 0 });
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.interfaces.first().copied() else { return false };
                let fraction = interface.resolution.nanoseconds(u64::from(packet.ts_usec));
                let at = Timestamp(u64::from(packet.ts_sec).saturating_mul(1_000_000_000).saturating_add(fraction));
                self.frame(interface, at, packet.data, packet.origlen, tell);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return false;
                }
                self.interfaces.push(Interface {
                    link: Link::of(description.linktype.0),
                    resolution: Resolution::of(description.if_tsresol),
                    offset_seconds: description.if_tsoffset,
                });
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface =
                    usize::try_from(packet.if_id).ok().and_then(|index| self.interfaces.get(index)).copied();
                let Some(interface) = interface else { return false };
                let units = (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                let at = interface.time(units);
                let captured = usize::try_from(packet.caplen).ok().and_then(|length| packet.data.get(..length));
                self.frame(interface, at, captured.unwrap_or(packet.data), packet.origlen, tell);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let Some(interface) = self.interfaces.first().copied() else { return false };
                // The data is padded to four bytes; it has no time of its own.
                let captured = usize::try_from(packet.origlen).ok().and_then(|length| packet.data.get(..length));
                self.frame(interface, self.newest, captured.unwrap_or(packet.data), packet.origlen, tell);
            }
            PcapBlockOwned::NG(_) => {}
        }
        true
    }

    fn frame(
        &mut self,
        interface: Interface,
        at: Timestamp,
        bytes: &[u8],
        wire_len: u32,
        tell: &mut dyn FnMut(Event<'_>),
    ) {
        self.newest = self.newest.max(at);
        let Some(link) = interface.link else {
            self.tally.link_type += 1;
            return;
        };
        let segment = match frame::segment(link, bytes, wire_len) {
            Ok(segment) => segment,
            Err(Skip::NotTcp) => return,
            Err(Skip::Cut) => {
                self.tally.cut += 1;
                return;
            }
            Err(Skip::Fragment) => {
                self.tally.fragments += 1;
                return;
            }
            Err(Skip::Damaged) => {
                self.tally.damaged += 1;
                return;
            }
        };
        let connection = connection(segment.flow);
        if segment.opens {
            self.opaque.remove(&connection);
        }
        let carries = segment.wire_len > 0;
        let is_first = self.is_first_of_client(&segment);
        let known_opaque = carries && self.opaque.contains(&connection);
        if known_opaque && !segment.closes {
            return;
        }
        if is_first && begins_nothing_known(segment.payload, segment.wire_len) {
            self.tally.events += 1;
            tell(Event::Opaque { at, flow: segment.flow, tap: Tap::Wire, cgroup: 0, kind: Opaque::Unknown });
        }
        if let Some(kind) = opaque(segment.payload).filter(|_| !known_opaque) {
            if self.opaque.len() >= OPAQUE_MAX {
                self.opaque.clear();
            }
            self.opaque.insert(connection);
            self.tally.events += 1;
            tell(Event::Opaque { at, flow: segment.flow, tap: Tap::Wire, cgroup: 0, kind });
            if !segment.closes {
                return;
            }
        }
        if carries || segment.closes {
            self.tally.events += 1;
            let packet = Packet {
                at,
                flow: segment.flow,
                // A SYN takes up one number before its data (RFC 9293 section 3.4).
                seq: segment.seq.wrapping_add(u32::from(segment.opens)),
                ack: segment.ack,
                wire_len: segment.wire_len,
                bytes: if self.opaque.contains(&connection) { &[] } else { segment.payload },
                link: None,
                tap: Tap::Wire,
                closes: segment.closes,
                resets: segment.resets,
                token: 0,
            };
            tell(Event::Packet { packet, cgroup: 0 });
        }
    }

    /// Whether this is the first that the end which opened the connection sends.
    fn is_first_of_client(&mut self, segment: &Segment<'_>) -> bool {
        if segment.opens && segment.ack.is_none() {
            if self.opened.len() >= OPENED_MAX {
                self.tally.openings_forgotten += self.opened.len() as u64;
                self.opened.clear();
            }
            // A SYN takes up one number before its data (RFC 9293 section 3.4).
            self.opened.insert(segment.flow, segment.seq.wrapping_add(1));
            return segment.wire_len > 0;
        }
        segment.wire_len > 0 && self.opened.remove(&segment.flow).is_some_and(|first| first == segment.seq)
    }
}

/// The two ends of a flow, whoever sends.
fn connection(flow: Flow) -> (Address, Address) {
    (flow.source.min(flow.destination), flow.source.max(flow.destination))
}

/// What a payload begins that is not decoded.
fn opaque(payload: &[u8]) -> Option<Opaque> {
    // A handshake record with a client's or server's hello (RFC 8446 sections 4 and 5.1): type, version, length of the record,
    // type and length of the message, version.
    match payload {
        [22, 3, 0..=4, _, _, 1 | 2, 0, _, _, 3, 0..=4, ..] => Some(Opaque::Tls),
        _ => (opening_of(payload) == Opening::FastCgi).then_some(Opaque::FastCgi),
    }
}

/// Whether enough was captured of a connection's first payload to tell that no protocol begins like it.
fn begins_nothing_known(payload: &[u8], wire_len: u32) -> bool {
    let enough = usize::try_from(wire_len).map_or(FIRST_BYTES, |len| len.min(FIRST_BYTES));
    let [low, high] = first_words(payload);
    payload.len() >= enough
        && opening_of(payload) == Opening::Other
        && !is_broker(low, high, u32::try_from(payload.len()).unwrap_or(u32::MAX))
}

fn opening_of(payload: &[u8]) -> Opening {
    let [low, high] = first_words(payload);
    opening(low, high, u32::try_from(payload.len()).unwrap_or(u32::MAX))
}

/// The first sixteen bytes, zeros behind the last.
fn first_words(payload: &[u8]) -> [u64; 2] {
    let mut first = [0; FIRST_BYTES];
    first.iter_mut().zip(payload).for_each(|(to, from)| *to = *from);
    [0, 8].map(|at| first.iter().skip(at).take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte)))
}
