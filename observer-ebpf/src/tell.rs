//! Telling: a payload that belongs to a head is copied, and the flow's slot remembers where the head stands then.

use observer_ebpf::HEAD_BYTES_MAX;
use observer_ebpf::flow::{CLOSED, ENDED, FRAMES, FRESH, FlowSlot, forget};
use observer_ebpf::record::{
    FLAG_ACKNOWLEDGES, FLAG_CLOSES, FLAG_LOOPED, FLAG_RESETS, Kind, Record, TAP_EGRESS, TAP_INGRESS, TAP_TLS, TAP_WIRE,
};

use crate::flows::is_first_of_redis;
use crate::headers::{ACK, FIN, Headers, RST};
use crate::payload::Payload;
use crate::piece::{BLIND_BYTES, Copied, HEAD_TAIL, Stretch, bare, copy, copy_blindly, first_bytes, min};

/// Payloads up to this length are one record.
pub(crate) const SHORT_BYTES: u32 = 1024;
/// Records that a packet may fill after its first: a head of the longest length.
const PIECES_MAX: u32 = HEAD_BYTES_MAX / BLIND_BYTES;

/// Tells a payload of at most [`SHORT_BYTES`], or the first bytes of a longer one.
#[inline(always)]
pub(crate) fn short<const TAP: u8>(
    ctx: &impl Payload,
    packet: &mut Headers,
    slot: &mut FlowSlot,
    flow: u64,
    tail: u32,
    is_newest: bool,
) {
    let record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
    let stretch = Stretch { at: packet.payload_at, len: packet.payload_len, tail };
    let copied = if stretch.len <= 128 {
        copy::<16>(ctx, &record, stretch, slot.zero)
    } else if stretch.len <= 512 {
        copy::<64>(ctx, &record, stretch, slot.zero)
    } else {
        copy::<128>(ctx, &record, stretch, slot.zero)
    };
    let Some(copied) = copied else {
        slot.state = FRESH;
        return;
    };
    if is_newest {
        settle(packet, slot, &copied);
    }
}

/// Tells a payload of any length.
#[inline(always)]
pub(crate) fn long<const TAP: u8>(
    ctx: &impl Payload,
    packet: &mut Headers,
    slot: &mut FlowSlot,
    flow: u64,
    tail: u32,
    is_newest: bool,
) {
    let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
    let stretch = Stretch { at: packet.payload_at, len: packet.payload_len, tail };
    let is_response = slot.opening as u32 == u32::from_le_bytes(*b"HTTP");
    let copied = if is_response {
        copy::<64>(ctx, &record, stretch, slot.zero)
    } else {
        copy::<512>(ctx, &record, stretch, slot.zero)
    };
    let Some(mut copied) = copied else {
        slot.state = FRESH;
        return;
    };
    // From here on the verifier must not know by which of the ways it came.
    packet.payload_len = forget(packet.payload_len, slot.zero);
    if copied.more {
        let flags = record.flags;
        let mut pieces = 0;
        while pieces < PIECES_MAX && copied.len < packet.payload_len {
            let rest = packet.payload_len - copied.len;
            record.seq = packet.seq.wrapping_add(copied.len);
            record.flags = if rest > BLIND_BYTES { flags & !FLAG_CLOSES } else { flags };
            let stretch = Stretch { at: packet.payload_at + copied.len, len: rest, tail: 0 };
            let Some(len) = copy_blindly::<512>(ctx, &record, stretch, slot.zero) else {
                slot.state = FRESH;
                return;
            };
            copied.len = forget(copied.len + len, slot.zero);
            pieces += 1;
        }
        copied.tail = last_three(ctx, packet);
    }
    if is_newest {
        settle(packet, slot, &copied);
    }
    if copied.len < packet.payload_len {
        tell_end::<TAP>(ctx, packet, slot, flow);
    }
}

/// Remembers where the newest head stands after what was copied of this payload.
#[inline(always)]
fn settle(packet: &Headers, slot: &mut FlowSlot, copied: &Copied) {
    slot.next_seq = packet.seq.wrapping_add(packet.payload_len);
    slot.tail = copied.tail;
    if copied.tail == HEAD_TAIL && copied.len >= packet.payload_len {
        slot.state = ENDED;
        slot.end_seq = slot.next_seq;
    } else if copied.end != 0 && copied.pipelined {
        slot.start_seq = packet.seq.wrapping_add(copied.end);
        slot.opening_len = 0;
    } else if copied.end != 0 {
        slot.state = ENDED;
        slot.end_seq = packet.seq.wrapping_add(copied.end);
    }
}

/// The last three bytes of a payload that has at least three.
#[inline(always)]
fn last_three(ctx: &impl Payload, packet: &Headers) -> u32 {
    let at = packet.payload_at + packet.payload_len - 3;
    first_bytes(ctx, at, 3).map_or(0, |[last, _]| (last as u32).swap_bytes() >> 8)
}

/// A payload that is left out may hold the end of a chunked body (RFC 9112 section 7.1): its last five bytes are told where
/// they end in an empty line. Returns whether they were.
#[inline(always)]
pub(crate) fn tell_end<const TAP: u8>(ctx: &impl Payload, packet: &Headers, slot: &mut FlowSlot, flow: u64) -> bool {
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

/// Tells the end of a direction, which `packet` brings, and nothing of what it carries.
#[inline(always)]
pub(crate) fn tell_close<const TAP: u8>(ctx: &impl Payload, packet: &Headers, slot: &mut FlowSlot, flow: u64) {
    let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
    record.seq = packet.seq.wrapping_add(packet.payload_len);
    record.wire_len = 0;
    bare(ctx, &record, None);
    if slot.state >= FRAMES {
        slot.state = FRESH;
    } else {
        slot.marks |= CLOSED;
    }
}

/// What begins nothing that is known is told where it is the first that a socket receives; of Redis on a connection that is older,
/// where its receiver was not seen to send anything.
#[inline(always)]
pub(crate) fn tell_unknown<const TAP: u8>(
    ctx: &impl Payload,
    packet: &Headers,
    slot: &FlowSlot,
    flow: u64,
    known: bool,
    is_of_redis: bool,
) {
    let kind = if TAP == TAP_INGRESS && !known && ctx.is_first_received() {
        Kind::Unknown
    } else if TAP != TAP_TLS && is_of_redis && is_first_of_redis::<TAP>(packet) && TAP != TAP_EGRESS {
        Kind::Unasked
    } else {
        return;
    };
    // The slot stays as it is: the flow may still come to carry heads, and most of these never will.
    let mut record = template::<TAP>(ctx, packet, slot, flow, kind);
    (record.socket, record.cgroup) =
        if TAP == TAP_WIRE { (u64::from(slot.zero), u64::from(slot.zero)) } else { ctx.identity::<TAP>() };
    bare(ctx, &record, None);
}

/// A record of this packet, without payload.
#[inline(always)]
pub(crate) fn template<const TAP: u8>(
    ctx: &impl Payload,
    packet: &Headers,
    slot: &FlowSlot,
    flow: u64,
    kind: Kind,
) -> Record {
    let looped = ctx.is_looped::<TAP>();
    let closes = packet.flags & (FIN | RST) != 0;
    let resets = (packet.flags & RST) * (FLAG_RESETS / RST);
    let acknowledges = (packet.flags & ACK) * (FLAG_ACKNOWLEDGES / ACK);
    let flags =
        TAP | resets | acknowledges | if looped { FLAG_LOOPED } else { 0 } | if closes { FLAG_CLOSES } else { 0 };
    Record {
        at_ns: ctx.now::<TAP>(),
        socket: slot.socket,
        cgroup: slot.cgroup,
        token: if TAP == TAP_INGRESS && looped { flow } else { u64::from(slot.zero) },
        source: words(packet.source),
        destination: words(packet.destination),
        source_port: u16::from_be(packet.ports as u16),
        destination_port: u16::from_be((packet.ports >> 16) as u16),
        seq: packet.seq,
        wire_len: packet.payload_len,
        captured: 0,
        kind: kind as u8,
        flags: forget(u32::from(flags), slot.zero) as u8,
        ack: packet.ack,
        link: slot.zero,
    }
}

#[inline(always)]
fn words(words: [u64; 2]) -> [u8; 16] {
    (u128::from(words[0]) | u128::from(words[1]) << 64).to_ne_bytes()
}
