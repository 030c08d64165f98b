//! The protocols of brokers: payloads are told whole, in programs of their own, but for what user space wants left out. They are
//! read there alone; the kernel knows them by their first bytes.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use observer_ebpf::flow::{FRESH, Passage, STREAM, fingerprint, forget, passage};
use observer_ebpf::record::{FLAG_CLOSES, Kind, TAP_EGRESS, TAP_INGRESS, TAP_TLS};

use crate::flows::{claim, keep_paired, left_out, set_paired, slot};
use crate::headers::{FIN, RST};
use crate::payload::Payload;
use crate::piece::{BLIND_BYTES, Stretch, copy_blindly};
use crate::tell::{tell_close, template};

/// Records that a packet may fill: the largest that Linux makes (`GSO_MAX_SIZE`, include/linux/netdevice.h: 524,280 bytes since
/// 6.0, of which loopback uses 64 KiB unless it is told otherwise) may be cut; what is left out of it is a hole to the decoder.
const PIECES_MAX: u32 = 32;

#[map]
static STREAM_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static STREAM_INGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static STREAM_WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static STREAM_TLS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Leaves for the program of this tap; returns only where there is none.
#[inline(always)]
pub(crate) fn go_to<const TAP: u8>(ctx: &impl Payload) {
    let programs = match TAP {
        TAP_EGRESS => &STREAM_EGRESS,
        TAP_INGRESS => &STREAM_INGRESS,
        TAP_TLS => &STREAM_TLS,
        _ => &STREAM_WIRE,
    };
    ctx.leave_for(programs);
}

/// Tells a payload that [`crate::packet`] found to be of a broker's connection.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &impl Payload) {
    let Some(mut packet) = ctx.headers::<TAP>() else { return };
    let flow = fingerprint(packet.source, packet.destination, packet.ports, ctx.hash(), TAP);
    let Some(slot) = slot(flow) else { return };
    if packet.payload_len == 0 || !slot.holds(flow) || slot.state != STREAM {
        return;
    }
    packet.forget(slot.zero);
    if slot.socket == 0 && TAP != observer_ebpf::record::TAP_WIRE {
        claim::<TAP>(ctx, slot, flow);
    }
    let Some(left_out) = left_out(flow) else { return };
    match passage(*left_out, flow, packet.seq.wrapping_add(packet.payload_len)) {
        Passage::Told => {}
        Passage::LeftOut => {
            if packet.flags & (FIN | RST) != 0 {
                tell_close::<TAP>(ctx, &packet, slot, flow);
            }
            return;
        }
        Passage::Ended => {
            *left_out = 0;
            slot.state = FRESH;
            slot.end_seq = 0;
            return set_paired(&packet, false);
        }
    }
    if *left_out != 0 && passage(*left_out, flow, packet.seq) == Passage::Told {
        // It was for bytes that have passed, and sequence numbers wrap.
        *left_out = 0;
    }
    keep_paired(&packet);
    let mut record = template::<TAP>(ctx, &packet, slot, flow, Kind::Packet);
    record.token = flow;
    let flags = record.flags;
    let (mut told, mut pieces) = (0, 0);
    while pieces < PIECES_MAX && told < packet.payload_len {
        let len = packet.payload_len - told;
        record.seq = packet.seq.wrapping_add(told);
        record.flags = if len > BLIND_BYTES { flags & !FLAG_CLOSES } else { flags };
        let stretch = Stretch { at: packet.payload_at + told, len, tail: 0 };
        let copied = if len <= 256 {
            copy_blindly::<32>(ctx, &record, stretch, slot.zero)
        } else {
            copy_blindly::<512>(ctx, &record, stretch, slot.zero)
        };
        let Some(copied) = copied else { return };
        told = forget(told + copied, slot.zero);
        pieces += 1;
    }
    if packet.flags & (FIN | RST) != 0 {
        slot.state = FRESH;
    }
}
