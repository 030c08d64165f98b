//! Frames and capture files of every supported kind, byte by byte.

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// 2026-01-01T00:00:00Z.
pub(crate) const NEW_YEAR: u32 = 1_767_225_600;

pub(crate) const ETHERNET: u32 = 1;
pub(crate) const RAW: u32 = 101;
pub(crate) const LOOP: u32 = 108;
pub(crate) const LINUX_SLL: u32 = 113;
pub(crate) const LINUX_SLL2: u32 = 276;
pub(crate) const NULL: u32 = 0;

pub(crate) fn tcp(flags: u8, seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(40_000_u16.to_be_bytes());
    bytes.extend(8080_u16.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(700_u32.to_be_bytes());
    bytes.extend([8 << 4, flags, 0, 1, 0, 0, 0, 0]);
    // Twelve bytes of options, as every packet with time stamps has.
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) fn ipv4(segment: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + segment.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, 6, 0, 0];
    bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    bytes.extend(segment);
    bytes
}

/// With a hop-by-hop and a first-fragment header in front of TCP.
pub(crate) fn ipv6(segment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(16 + segment.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], 0, 64];
    bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend([44, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([6, 0, 0, 1, 0, 0, 0, 9]);
    bytes.extend(segment);
    bytes
}

pub(crate) fn ethernet(tags: &[[u8; 4]], packet: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend(tags.concat());
    bytes.extend(if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] });
    bytes.extend(packet);
    bytes
}

pub(crate) fn request() -> Vec<u8> {
    ipv4(&tcp(ACK, 1000, REQUEST))
}

/// A pcap file in little endian, with microseconds. Each frame: bytes, and how long it was on the wire.
pub(crate) fn pcap_of(link: u32, frames: &[(Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
    bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
    bytes.extend(link.to_le_bytes());
    for (index, (frame, wire_len)) in frames.iter().enumerate() {
        bytes.extend(NEW_YEAR.to_le_bytes());
        bytes.extend(u32::try_from(index + 1).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
        bytes.extend(u32::try_from(*wire_len).unwrap().to_le_bytes());
        bytes.extend(frame);
    }
    bytes
}

pub(crate) fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    pcap_of(link, &frames.iter().map(|frame| (frame.clone(), frame.len())).collect::<Vec<_>>())
}

pub(crate) fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(12 + body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

pub(crate) fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    body.extend([1, 0, 0, 0]);
    body.extend(u64::MAX.to_le_bytes());
    block(0x0a0d_0d0a, &body)
}

pub(crate) fn interface(link: u16, resolution: u8) -> Vec<u8> {
    let mut body = link.to_le_bytes().to_vec();
    body.extend([0, 0, 0, 0, 0, 0]);
    body.extend([9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0]);
    block(1, &body)
}

pub(crate) fn enhanced(interface: u32, units: u64, frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
    let mut body = interface.to_le_bytes().to_vec();
    let units = units.to_le_bytes();
    body.extend([&units[4..], &units[..4]].concat());
    body.extend([length, length].concat());
    body.extend(frame);
    body.resize(body.len().next_multiple_of(4), 0);
    block(6, &body)
}
