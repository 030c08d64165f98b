//! What happens to a packet, from top to bottom: headers, ports, flow slot, the head that goes on or the head that begins,
//! else what a decoder must know of the rest. The same body for both directions at a socket and for an interface.

use aya_ebpf::Global;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use observer_ebpf::HEAD_BYTES_MAX;
use observer_ebpf::broker::{is_broker, is_of_redis};
use observer_ebpf::flow::{
    ENDED, FRAMES, FRESH, FlowSlot, OPAQUE, OPEN, PROVEN, STREAM, SWITCHES, WANTED, fingerprint, forget, heeded,
    reaches,
};
use observer_ebpf::frame::PREFACE_BYTES;
use observer_ebpf::opening::{Opening, opening};
use observer_ebpf::record::{Kind, TAP_INGRESS, TAP_TLS, TAP_WIRE};

use crate::flows::{claim, is_paired, left_out, set_paired, slot};
use crate::headers::{FIN, Headers, RST, SYN};
use crate::payload::Payload;
use crate::piece::{bare, first_bytes, min};
use crate::tell::{self, SHORT_BYTES, tell_close, tell_end, tell_unknown, template};
use crate::{frames, long, stream};

#[map]
static PORTS: Array<[u64; 1024]> = Array::with_max_entries(1, 0);
#[unsafe(no_mangle)]
static PORTS_LIMITED: Global<u8> = Global::new(0);

/// Looks at a packet at one tap.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &impl Payload) {
    let Some(mut packet) = ctx.headers::<TAP>() else { return };
    let control = packet.flags & (SYN | FIN | RST);
    if packet.payload_len == 0 && control == 0 {
        return;
    }
    // Which ports a session uses is not known here.
    if TAP != TAP_TLS && PORTS_LIMITED.load() != 0 && !is_wanted(packet.ports) {
        return;
    }
    let flow = fingerprint(packet.source, packet.destination, packet.ports, ctx.hash(), TAP);
    if TAP == TAP_INGRESS && is_left_out(flow, packet.flags & SYN != 0) {
        return;
    }
    let Some(slot) = slot(flow) else { return };
    packet.forget(slot.zero);
    let mut known = forget(u32::from(slot.holds(flow)), slot.zero) != 0;
    if packet.flags & SYN != 0 {
        set_paired(&packet, false);
        if known {
            slot.key = 0;
            slot.state = FRESH;
            known = false;
        }
    }
    if packet.payload_len == 0 {
        if known && slot.state != FRESH && slot.state != OPAQUE && control & (FIN | RST) != 0 {
            tell_close::<TAP>(ctx, &packet, slot, flow);
        }
        return;
    }
    if known && slot.state == OPAQUE {
        return;
    }
    if known && slot.state == STREAM {
        return stream::go_to::<TAP>(ctx);
    }
    if known && slot.state >= FRAMES {
        if has_frames(ctx, &packet, slot) {
            frames::go_to::<TAP>(ctx);
        }
        if control & (FIN | RST) != 0 {
            tell_close::<TAP>(ctx, &packet, slot, flow);
        }
        return;
    }
    let part = match goes_on::<TAP>(ctx, &packet, slot, flow, known) {
        Part::Unclaimed => begins::<TAP>(ctx, &packet, slot, flow, known),
        part => part,
    };
    let (tail, is_newest) = match part {
        Part::Newest { tail } => (tail, 1),
        Part::Repeat => (0, 0),
        Part::Frames => return frames::go_to::<TAP>(ctx),
        Part::Stream => return stream::go_to::<TAP>(ctx),
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

/// Whether user space wants nothing of a flow, which then needs no slot. With a SYN another connection begins.
#[inline(always)]
fn is_left_out(flow: u64, begins: bool) -> bool {
    let Some(wish) = left_out(flow) else { return false };
    if *wish != heeded(flow) && *wish != flow {
        return false;
    }
    if begins {
        *wish = 0;
        return false;
    }
    if *wish == flow {
        *wish = heeded(flow);
        if let Some(slot) = slot(flow).filter(|slot| slot.holds(flow)) {
            slot.key = 0;
            slot.state = FRESH;
        }
    }
    true
}

/// What a payload is to the heads of its flow.
enum Part {
    /// The newest head, or its continuation; `tail` are the three bytes before it where they are known.
    Newest { tail: u32 },
    /// Something of a finished head once more.
    Repeat,
    /// Frames of HTTP/2.
    Frames,
    /// The protocol of a broker.
    Stream,
    /// Nothing.
    Unclaimed,
}

/// Whether a payload of HTTP/2 is more than the middle of a frame that is left out, or repeated. This is all that becomes of
/// most packets that carry a body.
#[inline(always)]
fn has_frames(ctx: &impl Payload, packet: &Headers, slot: &FlowSlot) -> bool {
    if slot.state == FRAMES {
        return !reaches(slot.next_seq, packet.seq.wrapping_add(packet.payload_len)) || packet.seq == slot.tail;
    }
    // What is missing, late; or frames that can be recognised.
    slot.next_seq.wrapping_sub(packet.seq) < packet.payload_len
        || first_bytes(ctx, packet.payload_at, packet.payload_len)
            .is_some_and(|[low, high]| opening(low, high, packet.payload_len) == Opening::Frame)
}

/// What belongs to the newest head of the flow is copied, whatever it looks like.
#[inline(always)]
fn goes_on<const TAP: u8>(ctx: &impl Payload, packet: &Headers, slot: &mut FlowSlot, flow: u64, known: bool) -> Part {
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
        match opening(slot.opening, 0, len) {
            Opening::Head => {}
            Opening::Http2 => {
                slot.start_seq = slot.start_seq.wrapping_add(PREFACE_BYTES);
                slot.end_seq = slot.next_seq;
                enter(slot, PROVEN | WANTED);
                return Part::Frames;
            }
            _ => {
                // What the head before it was followed by goes on.
                slot.state = if slot.end_seq == 0 { FRESH } else { ENDED };
                slot.start_seq = slot.end_seq;
                return Part::Unclaimed;
            }
        }
    }
    Part::Newest { tail: slot.tail }
}

/// A payload that no head claims: a new head, an opaque protocol, or something that is left out but for its end.
#[inline(always)]
fn begins<const TAP: u8>(ctx: &impl Payload, packet: &Headers, slot: &mut FlowSlot, flow: u64, known: bool) -> Part {
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
            let switches = low as u32 == u32::from_le_bytes(*b"HTTP") && high as u32 == u32::from_le_bytes(*b" 101");
            slot.marks = if switches { SWITCHES } else { 0 };
            slot.state = OPEN;
            return Part::Newest { tail: 0 };
        }
        Opening::Http2 => {
            if !known || (slot.socket == 0 && TAP != TAP_WIRE) {
                claim::<TAP>(ctx, slot, flow);
            }
            slot.start_seq = packet.seq;
            slot.next_seq = packet.seq;
            slot.end_seq = 0;
            enter(slot, PROVEN);
            return Part::Frames;
        }
        _ if (!known || slot.state == FRESH) && (is_broker(low, high, packet.payload_len) || is_paired(packet)) => {
            claim::<TAP>(ctx, slot, flow);
            slot.state = STREAM;
            if let Some(left_out) = left_out(flow) {
                *left_out = 0;
            }
            set_paired(packet, true);
            return Part::Stream;
        }
        // In the middle of HTTP/1 bytes that look like a frame or a record are somebody's body.
        Opening::Frame if !(known && slot.state == ENDED && slot.marks & SWITCHES == 0) => return Part::Frames,
        kind @ (Opening::Tls | Opening::FastCgi) if !(known && slot.state == ENDED) => {
            claim::<TAP>(ctx, slot, flow);
            slot.state = OPAQUE;
            let kind = if matches!(kind, Opening::Tls) { Kind::Tls } else { Kind::FastCgi };
            bare(ctx, &template::<TAP>(ctx, packet, slot, flow, kind), None);
        }
        _ if known && slot.state == ENDED => {
            let ended = tell_end::<TAP>(ctx, packet, slot, flow);
            if !ended && packet.flags & (FIN | RST) != 0 {
                bare(ctx, &template::<TAP>(ctx, packet, slot, flow, Kind::Packet), None);
            }
        }
        Opening::Other => {
            let is_of_redis = (!known || slot.state == FRESH) && is_of_redis(low, packet.payload_len);
            tell_unknown::<TAP>(ctx, packet, slot, flow, known, is_of_redis);
        }
        _ => {}
    }
    Part::Unclaimed
}

/// The flow carries frames; where the next one begins has been written.
#[inline(always)]
fn enter(slot: &mut FlowSlot, marks: u8) {
    slot.state = FRAMES;
    slot.marks = marks;
    slot.opening_len = 0;
    slot.tail = 0;
}

#[inline(always)]
fn is_wanted(ports: u32) -> bool {
    let Some(wanted) = PORTS.get(0) else { return true };
    let has = |port: u16| wanted[usize::from(port >> 6) & 1023] >> (port & 63) & 1 != 0;
    has(u16::from_be(ports as u16)) || has(u16::from_be((ports >> 16) as u16))
}
