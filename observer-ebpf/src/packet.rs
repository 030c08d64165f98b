//! What happens to a packet, from top to bottom: headers, ports, flow slot, the head that goes on or the head that begins,
//! else what a decoder must know of the rest. The same body for both directions at a socket and for an interface.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::HEAD_BYTES_MAX;
use observer_ebpf::flow::{ENDED, FRESH, FlowSlot, OPAQUE, OPEN, fingerprint, forget};
use observer_ebpf::opening::{Opening, opening};
use observer_ebpf::record::{FLAG_CLOSES, FLAG_LOOPED, Kind, Record, TAP_EGRESS, TAP_INGRESS, TAP_WIRE};

use crate::flows::{claim, holds, slot};
use crate::headers::{self, FIN, Headers, LOOPBACK, RST, SYN};
use crate::piece::{HEAD_TAIL, Stretch, bare, copy, copy_blindly, first_bytes};

#[map]
static PORTS: Array<[u64; 1024]> = Array::with_max_entries(1, 0);
#[unsafe(no_mangle)]
static PORTS_LIMITED: Global<u8> = Global::new(0);

/// Records of 4 KiB that a packet may fill after its first: a head of the longest length.
const PIECES_MAX: u32 = HEAD_BYTES_MAX / 4096;

/// Looks at a packet at one tap.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &SkBuffContext) {
    let Some(mut packet) = headers::read::<TAP>(ctx) else { return };
    let control = packet.flags & (SYN | FIN | RST);
    if packet.payload_len == 0 && control == 0 {
        return;
    }
    if PORTS_LIMITED.load() != 0 && !is_wanted(packet.ports) {
        return;
    }
    // SAFETY: a field of the context.
    let hash = unsafe { (*ctx.skb.skb).hash };
    let flow = fingerprint(packet.source, packet.destination, packet.ports, hash, TAP);
    let Some(slot) = slot(flow) else { return };
    if TAP == TAP_INGRESS && slot.quiet == flow {
        if packet.flags & SYN == 0 {
            return;
        }
        slot.quiet = 0;
    }
    let mut known = holds(slot, flow);
    if packet.flags & SYN != 0 && known {
        slot.key = 0;
        slot.state = FRESH;
        known = false;
    }
    if packet.payload_len == 0 {
        if known && (slot.state == OPEN || slot.state == ENDED) && control & (FIN | RST) != 0 {
            bare(ctx, &template::<TAP>(ctx, &packet, slot, flow, Kind::Packet), None);
        }
        return;
    }
    if known && slot.state == OPAQUE {
        return;
    }
    let part = match goes_on::<TAP>(ctx, &packet, slot, flow, known) {
        Part::Unclaimed => begins::<TAP>(ctx, &packet, slot, flow, known),
        part => part,
    };
    let (tail, is_newest) = match part {
        Part::Newest { tail } => (tail, 1),
        Part::Repeat => (0, 0),
        Part::Unclaimed => return,
    };
    packet.payload_at = forget(packet.payload_at, slot.zero);
    packet.payload_len = forget(packet.payload_len, slot.zero);
    packet.flags = forget(u32::from(packet.flags), slot.zero) as u8;
    let is_newest = forget(is_newest, slot.zero) != 0;
    tell::<TAP>(ctx, &packet, slot, flow, forget(tail, slot.zero), is_newest);
}

/// What a payload is to the heads of its flow.
enum Part {
    /// The newest head, or its continuation; `tail` are the three bytes before it where they are known.
    Newest { tail: u32 },
    /// Something of a finished head once more.
    Repeat,
    /// Nothing.
    Unclaimed,
}

/// What belongs to the newest head of the flow is copied, whatever it looks like.
#[inline(always)]
fn goes_on<const TAP: u8>(ctx: &SkBuffContext, packet: &Headers, slot: &mut FlowSlot, flow: u64, known: bool) -> Part {
    if !known || slot.state == FRESH {
        return Part::Unclaimed;
    }
    let from_start = packet.seq.wrapping_sub(slot.start_seq);
    if slot.state == ENDED {
        // A repeat, or a part that was overtaken.
        let is_repeat = from_start < slot.end_seq.wrapping_sub(slot.start_seq);
        return if is_repeat { Part::Repeat } else { Part::Unclaimed };
    }
    if from_start >= HEAD_BYTES_MAX {
        return Part::Unclaimed;
    }
    if slot.socket == 0 && TAP != TAP_WIRE {
        claim::<TAP>(ctx, slot, flow);
    }
    if packet.seq != slot.next_seq {
        return Part::Newest { tail: 0 };
    }
    if slot.opening_len < 8 && slot.opening_len > 0 {
        // The head may be none after all.
        let Some([low, _]) = first_bytes(ctx, packet.payload_at, packet.payload_len) else { return Part::Unclaimed };
        slot.opening |= low << (slot.opening_len * 8 & 63);
        let len = min(u32::from(slot.opening_len) + min(packet.payload_len, 8), 8);
        slot.opening_len = len as u16;
        if opening(slot.opening, 0, len) != Opening::Head {
            slot.state = FRESH;
            return Part::Unclaimed;
        }
    }
    Part::Newest { tail: slot.tail }
}

/// A payload that no head claims: a new head, an opaque protocol, or something that is left out but for its end.
#[inline(always)]
fn begins<const TAP: u8>(ctx: &SkBuffContext, packet: &Headers, slot: &mut FlowSlot, flow: u64, known: bool) -> Part {
    let Some([low, high]) = first_bytes(ctx, packet.payload_at, packet.payload_len) else { return Part::Unclaimed };
    match opening(low, high, packet.payload_len) {
        Opening::Head => {
            if !known || (slot.socket == 0 && TAP != TAP_WIRE) {
                claim::<TAP>(ctx, slot, flow);
            }
            slot.start_seq = packet.seq;
            slot.opening = low;
            slot.opening_len = min(packet.payload_len, 8) as u16;
            slot.state = OPEN;
            return Part::Newest { tail: 0 };
        }
        // In the middle of HTTP bytes that look like a record are somebody's body.
        kind @ (Opening::Tls | Opening::Http2) if !(known && slot.state == ENDED) => {
            claim::<TAP>(ctx, slot, flow);
            slot.state = OPAQUE;
            let kind = if matches!(kind, Opening::Tls) { Kind::Tls } else { Kind::Http2 };
            bare(ctx, &template::<TAP>(ctx, packet, slot, flow, kind), None);
        }
        _ if known && slot.state == ENDED => {
            let ended = tell_end::<TAP>(ctx, packet, slot, flow);
            if !ended && packet.flags & (FIN | RST) != 0 {
                bare(ctx, &template::<TAP>(ctx, packet, slot, flow, Kind::Packet), None);
            }
        }
        _ => {}
    }
    Part::Unclaimed
}

/// Copies a payload from its first byte to the end of its head, and remembers where the flow stands then.
#[inline(always)]
fn tell<const TAP: u8>(
    ctx: &SkBuffContext,
    packet: &Headers,
    slot: &mut FlowSlot,
    flow: u64,
    tail: u32,
    is_newest: bool,
) {
    let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
    let mut stretch = Stretch { at: packet.payload_at, len: packet.payload_len, tail };
    let first = if stretch.len <= 128 {
        copy::<16>(ctx, &record, stretch, slot.zero)
    } else {
        copy::<64>(ctx, &record, stretch, slot.zero)
    };
    let Some(first) = first else {
        slot.state = FRESH;
        return;
    };
    let mut done = first.len;
    let mut tail = first.tail;
    if first.more {
        // A loop over the words of every piece would be more than verifiers follow (8,192 pending branches).
        let mut pieces = 0;
        while pieces < PIECES_MAX && done < packet.payload_len {
            record.seq = packet.seq.wrapping_add(done);
            stretch = Stretch { at: packet.payload_at + done, len: packet.payload_len - done, tail: 0 };
            let Some(len) = copy_blindly(ctx, &record, stretch, slot.zero) else {
                slot.state = FRESH;
                return;
            };
            done += len;
            pieces += 1;
        }
        tail = last_three(ctx, packet);
    }
    let whole = done >= packet.payload_len;
    if is_newest {
        slot.next_seq = packet.seq.wrapping_add(packet.payload_len);
        slot.tail = tail;
        if whole && tail == HEAD_TAIL {
            slot.state = ENDED;
            slot.end_seq = slot.next_seq;
        } else if first.end != 0 && first.pipelined {
            slot.start_seq = packet.seq.wrapping_add(first.end);
            slot.opening_len = 0;
        } else if first.end != 0 {
            slot.state = ENDED;
            slot.end_seq = packet.seq.wrapping_add(first.end);
        }
    }
    if !whole {
        tell_end::<TAP>(ctx, packet, slot, flow);
    }
}

/// The last three bytes of a payload that has at least three.
#[inline(always)]
fn last_three(ctx: &SkBuffContext, packet: &Headers) -> u32 {
    let at = packet.payload_at + packet.payload_len - 3;
    first_bytes(ctx, at, 3).map_or(0, |[last, _]| (last as u32).swap_bytes() >> 8)
}

/// A payload that is left out may hold the end of a chunked body (RFC 9112 section 7.1): its last five bytes are told where
/// they end in an empty line. Returns whether they were.
#[inline(always)]
fn tell_end<const TAP: u8>(ctx: &SkBuffContext, packet: &Headers, slot: &mut FlowSlot, flow: u64) -> bool {
    let len = min(packet.payload_len, 5);
    let skipped = packet.payload_len - len;
    let Some([last, _]) = first_bytes(ctx, packet.payload_at + skipped, len) else { return false };
    let ends =
        if len == 5 { (last >> 8) as u32 == u32::from_le_bytes(*b"\r\n\r\n") } else { last >> (8 * len - 8) == 10 };
    if ends {
        let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
        record.seq = packet.seq.wrapping_add(skipped);
        record.wire_len = len;
        bare(ctx, &record, Some(Stretch { at: packet.payload_at + skipped, len, tail: 0 }));
    }
    ends
}

/// A record of this packet, without payload.
#[inline(always)]
fn template<const TAP: u8>(ctx: &SkBuffContext, packet: &Headers, slot: &FlowSlot, flow: u64, kind: Kind) -> Record {
    // SAFETY: a field of the context.
    let looped = TAP != TAP_WIRE && unsafe { (*ctx.skb.skb).ifindex } == LOOPBACK;
    let closes = packet.flags & (FIN | RST) != 0;
    Record {
        at_ns: now::<TAP>(ctx),
        socket: slot.socket,
        cgroup: slot.cgroup,
        token: if TAP == TAP_INGRESS && looped { flow } else { 0 },
        source: words(packet.source),
        destination: words(packet.destination),
        source_port: u16::from_be(packet.ports as u16),
        destination_port: u16::from_be((packet.ports >> 16) as u16),
        seq: packet.seq,
        wire_len: packet.payload_len,
        captured: 0,
        kind: kind as u8,
        flags: TAP | if looped { FLAG_LOOPED } else { 0 } | if closes { FLAG_CLOSES } else { 0 },
    }
}

/// Nanoseconds of CLOCK_MONOTONIC. A packet that leaves was stamped by TCP with that clock (`tcp_wstamp_ns`), which is cheaper
/// to read than the clock; other clocks count from 1970 and are far larger.
#[inline(always)]
fn now<const TAP: u8>(ctx: &SkBuffContext) -> u64 {
    if TAP == TAP_EGRESS {
        // SAFETY: a field of the context.
        let stamp = unsafe { (*ctx.skb.skb).tstamp };
        if stamp != 0 && stamp < 1 << 60 {
            return stamp;
        }
    }
    // SAFETY: a helper that all these programs may call.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn is_wanted(ports: u32) -> bool {
    let Some(wanted) = PORTS.get(0) else { return true };
    let has = |port: u16| wanted[usize::from(port >> 6) & 1023] >> (port & 63) & 1 != 0;
    has(u16::from_be(ports as u16)) || has(u16::from_be((ports >> 16) as u16))
}

#[inline(always)]
fn words(words: [u64; 2]) -> [u8; 16] {
    (u128::from(words[0]) | u128::from(words[1]) << 64).to_ne_bytes()
}

#[inline(always)]
const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}
