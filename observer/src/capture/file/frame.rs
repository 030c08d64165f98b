//! A captured frame and its link type come in, the TCP segment in it goes out. What is in the segment is not here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use observer_core::connection::{Address, Flow};

/// Link types that are read, by their number in capture files (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Four bytes of address family in the byte order of the host that captured.
    Null,
    Ethernet,
    /// The IP packet itself.
    Raw,
    /// As `Null`, in network byte order.
    Loop,
    LinuxSll,
    LinuxSll2,
}

impl Link {
    /// The link type with this number; `None` where it is not read.
    pub(super) fn of(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Null,
            1 => Self::Ethernet,
            // 12 and 14 are what DLT_RAW was called on some systems; 228 and 229 are IPv4 and IPv6 alone.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            _ => return None,
        })
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'f> {
    pub(super) flow: Flow,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    /// Payload bytes on the wire.
    pub(super) wire_len: u32,
    /// Those that were captured.
    pub(super) payload: &'f [u8],
    pub(super) opens: bool,
    pub(super) closes: bool,
    pub(super) resets: bool,
}

/// Why a frame yields no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// Not TCP over IP: nothing is lost.
    NotTcp,
    /// The capture cut it off inside its headers.
    Cut,
    /// A fragment of an IP packet other than the first.
    Fragment,
    /// Its headers contradict themselves.
    Damaged,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad and its predecessor.
const ETHERTYPE_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// More tags than any switch stacks; a frame with more is not followed.
const VLAN_TAGS_MAX: usize = 4;
/// More extension headers than any sound packet has.
const EXTENSIONS_MAX: usize = 8;
const TCP: u8 = 6;

/// The segment in a frame of which `wire_len` bytes were on the wire.
pub(super) fn segment(link: Link, frame: &[u8], wire_len: u32) -> Result<Segment<'_>, Skip> {
    let packet = match link {
        Link::Ethernet => ethernet(frame, 12)?,
        // "Protocol type" of LINKTYPE_LINUX_SLL is at byte 14; a VLAN tag in it is followed like Ethernet's.
        Link::LinuxSll => ethernet(frame, 14)?,
        Link::LinuxSll2 => match be16(frame, 0)? {
            protocol if ETHERTYPE_VLAN.contains(&protocol) => ethernet(frame, 22)?,
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => frame.get(20..).ok_or(Skip::Cut)?,
            _ => return Err(Skip::NotTcp),
        },
        // The address family's number of IPv6 differs between systems; the IP version is what tells.
        Link::Null | Link::Loop => frame.get(4..).ok_or(Skip::Cut)?,
        Link::Raw => frame,
    };
    let before = u32::try_from(frame.len() - packet.len()).unwrap_or(u32::MAX);
    let wire_len = wire_len.saturating_sub(before);
    match packet.first().ok_or(Skip::Cut)? >> 4 {
        4 => ipv4(packet, wire_len),
        6 => ipv6(packet, wire_len),
        _ => Err(Skip::NotTcp),
    }
}

/// Follows the type field at `at` and VLAN tags behind it.
fn ethernet(frame: &[u8], mut at: usize) -> Result<&[u8], Skip> {
    for _ in 0..=VLAN_TAGS_MAX {
        match be16(frame, at)? {
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return frame.get(at + 2..).ok_or(Skip::Cut),
            tag if ETHERTYPE_VLAN.contains(&tag) => at += 4,
            _ => return Err(Skip::NotTcp),
        }
    }
    Err(Skip::NotTcp)
}

/// RFC 791 section 3.1.
fn ipv4(packet: &[u8], wire_len: u32) -> Result<Segment<'_>, Skip> {
    let header_len = usize::from(byte(packet, 0)? & 0x0f) * 4;
    if header_len < 20 {
        return Err(Skip::Damaged);
    }
    if byte(packet, 9)? != TCP {
        return Err(Skip::NotTcp);
    }
    if be16(packet, 6)? & 0x1fff != 0 {
        return Err(Skip::Fragment);
    }
    let source = IpAddr::from(Ipv4Addr::from(array::<4>(packet, 12)?));
    let destination = IpAddr::from(Ipv4Addr::from(array::<4>(packet, 16)?));
    // Zero where the capturing host left the segmentation to its network card.
    let total = match be16(packet, 2)? {
        0 => wire_len,
        total => u32::from(total),
    };
    tcp(packet.get(header_len..).ok_or(Skip::Cut)?, source, destination, total, header_len)
}

/// RFC 8200 sections 3 and 4.
fn ipv6(packet: &[u8], wire_len: u32) -> Result<Segment<'_>, Skip> {
    let source = IpAddr::from(Ipv6Addr::from(array::<16>(packet, 8)?)).to_canonical();
    let destination = IpAddr::from(Ipv6Addr::from(array::<16>(packet, 24)?)).to_canonical();
    let total = match be16(packet, 4)? {
        0 => wire_len,
        payload => u32::from(payload) + 40,
    };
    let mut next = byte(packet, 6)?;
    let mut at = 40;
    for _ in 0..EXTENSIONS_MAX {
        match next {
            TCP => return tcp(packet.get(at..).ok_or(Skip::Cut)?, source, destination, total, at),
            // Hop-by-hop options, routing, destination options: length in units of 8 bytes, the first not counted.
            0 | 43 | 60 => {
                next = byte(packet, at)?;
                at += (usize::from(byte(packet, at + 1)?) + 1) * 8;
            }
            // Fragment: the offset is the upper 13 bits.
            44 => {
                if be16(packet, at + 2)? >> 3 != 0 {
                    return Err(Skip::Fragment);
                }
                next = byte(packet, at)?;
                at += 8;
            }
            _ => return Err(Skip::NotTcp),
        }
    }
    Err(Skip::NotTcp)
}

/// RFC 9293 section 3.1. `total` bytes of IP packet were on the wire, `before` of them in front of `tcp`.
fn tcp(tcp: &[u8], source: IpAddr, destination: IpAddr, total: u32, before: usize) -> Result<Segment<'_>, Skip> {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const ACK: u8 = 0x10;
    let flow = Flow {
        source: Address { ip: source, port: be16(tcp, 0)? },
        destination: Address { ip: destination, port: be16(tcp, 2)? },
    };
    let seq = u32::from_be_bytes(array(tcp, 4)?);
    let header_len = usize::from(byte(tcp, 12)? >> 4) * 4;
    if header_len < 20 {
        return Err(Skip::Damaged);
    }
    let flags = byte(tcp, 13)?;
    let ack = if flags & ACK == 0 { None } else { Some(u32::from_be_bytes(array(tcp, 8)?)) };
    let headers = u32::try_from(before + header_len).unwrap_or(u32::MAX);
    let wire_len = total.checked_sub(headers).ok_or(Skip::Damaged)?;
    // What follows the IP packet's end is padding of the link.
    let captured = tcp.get(header_len..).unwrap_or_default();
    let payload = captured.get(..usize::try_from(wire_len).unwrap_or(usize::MAX)).unwrap_or(captured);
    // A reset may carry a text for people (RFC 9293 section 3.5.2); it is no part of the stream.
    let (wire_len, payload) = if flags & RST == 0 { (wire_len, payload) } else { (0, &[][..]) };
    let (opens, closes, resets) = (flags & SYN != 0, flags & (FIN | RST) != 0, flags & RST != 0);
    Ok(Segment { flow, seq, ack, wire_len, payload, opens, closes, resets })
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Skip> {
    bytes.get(at).copied().ok_or(Skip::Cut)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Skip> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Skip::Cut)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Skip> {
    array(bytes, at).map(u16::from_be_bytes)
}
