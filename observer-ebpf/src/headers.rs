//! IP and TCP headers: a packet comes in, addresses, sequence number and the place of the payload go out. What is not TCP is
//! left at the first look; what is malformed or fragmented is counted.

use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::SkBuffContext;
use core::mem::MaybeUninit;
use observer_ebpf::flow::forget;
use observer_ebpf::loss::Loss;
use observer_ebpf::record::TAP_WIRE;

use crate::ring::lose;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

const TCP: u8 = 6;
/// Ethertypes as `skb->protocol` shows them: 802.1Q and 802.1ad.
const VLAN: u32 = 0x8100u16.to_be() as u32;
const PROVIDER_VLAN: u32 = 0x88a8u16.to_be() as u32;
/// `skb->pkt_type` of a packet that leaves (include/uapi/linux/if_packet.h).
const PACKET_OUTGOING: u32 = 4;
/// The loopback device has this index in every network namespace (LOOPBACK_IFINDEX).
pub(crate) const LOOPBACK: u32 = 1;
/// IPv6 extension headers that are skipped before TCP.
const EXTENSIONS_MAX: u32 = 6;

pub(crate) struct Headers {
    /// Addresses in wire order, IPv4 mapped into IPv6, as two words of memory.
    pub(crate) source: [u64; 2],
    pub(crate) destination: [u64; 2],
    /// Both ports in wire order, the source in the low half.
    pub(crate) ports: u32,
    /// Sequence number of the first payload byte.
    pub(crate) seq: u32,
    /// Acknowledgement number; without [`ACK`] it says nothing.
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// Where the payload begins, from the start of the packet.
    pub(crate) payload_at: u32,
    pub(crate) payload_len: u32,
}

impl Headers {
    /// Makes the verifier forget by which way these values came: see [`forget`].
    #[inline(always)]
    pub(crate) fn forget(&mut self, zero: u32) {
        self.payload_at = forget(self.payload_at, zero);
        self.payload_len = forget(self.payload_len, zero);
        self.flags = forget(u32::from(self.flags), zero) as u8;
        self.source[0] ^= u64::from(zero);
        self.destination[0] ^= u64::from(zero);
    }
}

/// Reads the headers of a TCP packet; `None` for everything else.
#[inline(always)]
pub(crate) fn read<const TAP: u8>(ctx: &SkBuffContext) -> Option<Headers> {
    if TAP == TAP_WIRE {
        // SAFETY: fields of the context, which the verifier checks.
        let (kind, interface, protocol) =
            unsafe { ((*ctx.skb.skb).pkt_type, (*ctx.skb.skb).ifindex, (*ctx.skb.skb).protocol) };
        if interface == LOOPBACK && kind == PACKET_OUTGOING {
            return None;
        }
        let tagged = protocol == VLAN || protocol == PROVIDER_VLAN;
        return load(ctx, if tagged && is_tag(ctx, kind)? { 4 } else { 0 });
    }
    // SAFETY: as above; `data` to `data_end` is what the verifier lets a program read directly.
    let (data, end) = unsafe { ((*ctx.skb.skb).data as usize, (*ctx.skb.skb).data_end as usize) };
    if data + 40 > end {
        return load(ctx, 0);
    }
    // SAFETY: forty bytes were checked above.
    let version = unsafe { *(data as *const u8) };
    if version == 0x45 {
        // SAFETY: as above; IPv4 without options takes 20 bytes, TCP without options 20. The kernel aligns the header to four.
        unsafe {
            let words = data as *const u32;
            if *(data as *const u8).add(9) != TCP {
                return None;
            }
            let fragment = u16::from_be(*(data as *const u16).add(3)) & 0x3fff;
            let total = u16::from_be(*(data as *const u16).add(1));
            let mut headers = Headers {
                source: mapped(*words.add(3)),
                destination: mapped(*words.add(4)),
                ports: *words.add(5),
                seq: u32::from_be(*words.add(6)),
                ack: u32::from_be(*words.add(7)),
                flags: *(data as *const u8).add(33),
                payload_at: 20 + u32::from(*(data as *const u8).add(32) >> 4) * 4,
                payload_len: 0,
            };
            if fragment != 0 {
                lose(Loss::Fragment);
                return None;
            }
            return finish(&mut headers, ctx.len(), u32::from(total)).then_some(headers);
        }
    }
    if version >> 4 == 6 && data + 60 <= end {
        // SAFETY: sixty bytes were checked: 40 of IPv6, 20 of TCP. Words are aligned to four.
        unsafe {
            let words = data as *const u32;
            if *(data as *const u8).add(6) == TCP {
                let total = u32::from(u16::from_be(*(data as *const u16).add(2)));
                let mut headers = Headers {
                    source: [pair(words.add(2)), pair(words.add(4))],
                    destination: [pair(words.add(6)), pair(words.add(8))],
                    ports: *words.add(10),
                    seq: u32::from_be(*words.add(11)),
                    ack: u32::from_be(*words.add(12)),
                    flags: *(data as *const u8).add(53),
                    payload_at: 40 + u32::from(*(data as *const u8).add(52) >> 4) * 4,
                    payload_len: 0,
                };
                return finish(&mut headers, ctx.len(), if total == 0 { 0 } else { total + 40 }).then_some(headers);
            }
        }
    }
    load(ctx, 0)
}

/// Whether the packet begins with a VLAN tag. Outer tags are in the metadata, or before the network header. An inner tag of a
/// received packet is not; of one that leaves it is only where a program sent raw bytes.
#[inline(always)]
fn is_tag(ctx: &SkBuffContext, kind: u32) -> Option<bool> {
    let version = load_words::<1>(ctx, 0, 4)?.word(0) as u8 >> 4;
    Some(kind != PACKET_OUTGOING || (version != 4 && version != 6))
}

/// The way for everything unusual: options, extension headers, packets whose headers are not linear, packet sockets.
#[inline(always)]
fn load(ctx: &SkBuffContext, base: u32) -> Option<Headers> {
    let ip = load_words::<10>(ctx, base, 20)?;
    let version = ip.word(0) as u8 >> 4;
    let (source, destination, total, mut transport_at, mut protocol);
    if version == 4 {
        protocol = (ip.word(2) >> 8) as u8;
        if protocol != TCP {
            return None;
        }
        if u16::from_be((ip.word(1) >> 16) as u16) & 0x3fff != 0 {
            lose(Loss::Fragment);
            return None;
        }
        source = mapped(ip.word(3));
        destination = mapped(ip.word(4));
        total = u32::from(u16::from_be((ip.word(0) >> 16) as u16));
        transport_at = (ip.word(0) & 15) * 4;
    } else if version == 6 {
        let ip = load_words::<10>(ctx, base, 40)?;
        protocol = (ip.word(1) >> 16) as u8;
        source = [ip.pair(2), ip.pair(4)];
        destination = [ip.pair(6), ip.pair(8)];
        let stated = u32::from(u16::from_be(ip.word(1) as u16));
        total = if stated == 0 { 0 } else { stated + 40 };
        transport_at = 40;
        let mut skipped = 0;
        while skipped < EXTENSIONS_MAX && protocol != TCP {
            let extension = load_words::<1>(ctx, base + transport_at, 4)?.word(0);
            let len = extension >> 8 & 0xff;
            match protocol {
                // Hop-by-hop, routing, destination options (RFC 8200 section 4).
                0 | 43 | 60 => transport_at += (len + 1) * 8,
                // Fragment: an atomic one (RFC 6946) is whole.
                44 => {
                    if extension >> 16 & 0xf9ff != 0 {
                        if extension as u8 == TCP {
                            lose(Loss::Fragment);
                        }
                        return None;
                    }
                    transport_at += 8;
                }
                // Authentication header (RFC 4302 section 2.2).
                51 => transport_at += (len + 2) * 4,
                _ => return None,
            }
            protocol = extension as u8;
            skipped += 1;
        }
        if protocol != TCP {
            lose(Loss::ExtensionHeaders);
            return None;
        }
    } else {
        return None;
    }
    let Some(tcp) = load_words::<5>(ctx, base + transport_at, 20) else {
        lose(Loss::Malformed);
        return None;
    };
    let mut headers = Headers {
        source,
        destination,
        ports: tcp.word(0),
        seq: u32::from_be(tcp.word(1)),
        ack: u32::from_be(tcp.word(2)),
        flags: (tcp.word(3) >> 8) as u8,
        payload_at: base + transport_at + (tcp.word(3) >> 4 & 15) * 4,
        payload_len: 0,
    };
    finish(&mut headers, ctx.len(), if total == 0 { 0 } else { total + base }).then_some(headers)
}

/// Computes the payload's length, and where the sequence number of its first byte lies. `total` is the length that the IP
/// header states: zero for packets over 64 KiB (BIG TCP), less than the packet's where Ethernet padded it.
#[inline(always)]
fn finish(headers: &mut Headers, len: u32, total: u32) -> bool {
    let end = if total != 0 && total < len { total } else { len };
    if headers.payload_at > end {
        lose(Loss::Malformed);
        return false;
    }
    headers.payload_len = end - headers.payload_at;
    if headers.flags & SYN != 0 {
        headers.seq = headers.seq.wrapping_add(1);
    }
    true
}

/// Words of a packet on the stack. They are not zeroed before: that would be a call of memset, and functions cost verifiers
/// dearly.
struct Words<const N: usize>(MaybeUninit<[u32; N]>);

impl<const N: usize> Words<N> {
    /// A word that was loaded.
    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        // SAFETY: callers read only what `load_words` loaded, which the verifier checks again.
        unsafe { self.0.as_ptr().cast::<u32>().add(at).read() }
    }

    /// Two words as memory has them.
    #[inline(always)]
    fn pair(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 1)) << 32
    }
}

/// Loads the first `len` bytes, at most `4 * N`, of what stands at a place of the packet.
#[inline(always)]
fn load_words<const N: usize>(ctx: &SkBuffContext, at: u32, len: u32) -> Option<Words<N>> {
    let mut words = Words(MaybeUninit::uninit());
    // SAFETY: every caller's `len` is at most the array's size.
    let read = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), at, words.0.as_mut_ptr().cast(), len) };
    (read == 0).then_some(words)
}

/// An IPv4 address in wire order, mapped into IPv6.
#[inline(always)]
const fn mapped(address: u32) -> [u64; 2] {
    [0, (address as u64) << 32 | 0xffff_0000]
}

/// # Safety
///
/// `words` must point to eight readable bytes, aligned to four.
#[inline(always)]
unsafe fn pair(words: *const u32) -> u64 {
    // SAFETY: the caller's.
    unsafe { u64::from(*words) | u64::from(*words.add(1)) << 32 }
}
