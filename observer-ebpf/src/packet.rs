//! What happens to a packet, from top to bottom: headers, ports, flow slot, the head that goes on or the head that begins,
//! else what a decoder must know of the rest. The same body for both directions at a socket and for an interface.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::HEAD_BYTES_MAX;
use observer_ebpf::flow::{ENDED, FRESH, FlowSlot, OPAQUE, OPEN, fingerprint, forget};
use observer_ebpf::opening::{Opening, opening};
use observer_ebpf::record::{Kind, TAP_INGRESS, TAP_WIRE};

use crate::flows::{claim, holds, identity, is_first_received, slot};
use crate::headers::{self, FIN, Headers, RST, SYN};
use crate::long;
use crate::piece::{bare, first_bytes, min};
use crate::tell::{self, SHORT_BYTES, tell_end, template};

#[map]
static PORTS: Array<[u64; 1024]> = Array::with_max_entries(1, 0);
#[unsafe(no_mangle)]
static PORTS_LIMITED: Global<u8> = Global::new(0);

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
    packet.forget(slot.zero);
    if TAP == TAP_INGRESS && slot.quiet == flow {
        if packet.flags & SYN == 0 {
            return;
        }
        slot.quiet = 0;
    }
    let mut known = forget(u32::from(holds(slot, flow)), slot.zero) != 0;
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
    packet.forget(slot.zero);
    if packet.payload_len > SHORT_BYTES {
        long::go_to::<TAP>(ctx);
        // Not reached, unless that program does not run in this kernel: then the first bytes must do.
    }
    let is_newest = forget(is_newest, slot.zero) != 0;
    tell::short::<TAP>(ctx, &mut packet, slot, flow, forget(tail, slot.zero), is_newest);
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
            // What the head before it was followed by goes on.
            slot.state = if slot.end_seq == 0 { FRESH } else { ENDED };
            slot.start_seq = slot.end_seq;
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
            if !known {
                slot.end_seq = 0;
            }
            slot.start_seq = packet.seq;
            slot.opening = low;
            slot.opening_len = min(packet.payload_len, 8) as u16;
            slot.state = OPEN;
            return Part::Newest { tail: 0 };
        }
        // In the middle of HTTP bytes that look like a record are somebody's body.
        kind @ (Opening::Tls | Opening::Http2 | Opening::FastCgi) if !(known && slot.state == ENDED) => {
            claim::<TAP>(ctx, slot, flow);
            slot.state = OPAQUE;
            let kind = match kind {
                Opening::Tls => Kind::Tls,
                Opening::Http2 => Kind::Http2,
                _ => Kind::FastCgi,
            };
            bare(ctx, &template::<TAP>(ctx, packet, slot, flow, kind), None);
        }
        _ if known && slot.state == ENDED => {
            let ended = tell_end::<TAP>(ctx, packet, slot, flow);
            if !ended && packet.flags & (FIN | RST) != 0 {
                bare(ctx, &template::<TAP>(ctx, packet, slot, flow, Kind::Packet), None);
            }
        }
        Opening::Other if TAP == TAP_INGRESS && !known && is_first_received(ctx) => {
            // The slot stays as it is: the flow may still come to carry heads, and most of these never will.
            let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Unknown);
            (record.socket, record.cgroup) = identity::<TAP>(ctx);
            bare(ctx, &record, None);
        }
        _ => {}
    }
    Part::Unclaimed
}

#[inline(always)]
fn is_wanted(ports: u32) -> bool {
    let Some(wanted) = PORTS.get(0) else { return true };
    let has = |port: u16| wanted[usize::from(port >> 6) & 1023] >> (port & 63) & 1 != 0;
    has(u16::from_be(ports as u16)) || has(u16::from_be((ports >> 16) as u16))
}
