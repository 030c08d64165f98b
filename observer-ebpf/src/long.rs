//! Payloads of more than [`crate::tell::SHORT_BYTES`], in programs of their own. They take a loop over thousands of words, which
//! verifiers follow only where few ways lead to it; and what they cost is little beside what they copy.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::flow::{ENDED, OPEN, fingerprint, forget};
use observer_ebpf::record::{TAP_EGRESS, TAP_INGRESS};

use crate::flows::{holds, slot};
use crate::{headers, tell};

#[map]
static LONG_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static LONG_INGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static LONG_WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
static WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Leaves for the program that looks at packets on an interface.
#[inline(always)]
pub(crate) fn go_to_wire(ctx: &SkBuffContext) {
    // SAFETY: as below.
    let _ = unsafe { WIRE.tail_call(ctx, 0) };
}

/// Leaves for the program of this tap; returns only where there is none.
#[inline(always)]
pub(crate) fn go_to<const TAP: u8>(ctx: &SkBuffContext) {
    let programs = match TAP {
        TAP_EGRESS => &LONG_EGRESS,
        TAP_INGRESS => &LONG_INGRESS,
        _ => &LONG_WIRE,
    };
    // SAFETY: the program is of the same type; nothing is held here that it would leave behind.
    let _ = unsafe { programs.tail_call(ctx, 0) };
}

/// Tells a payload that [`crate::packet`] found to belong to a head; the flow's slot says how.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &SkBuffContext) {
    let Some(mut packet) = headers::read::<TAP>(ctx) else { return };
    // SAFETY: a field of the context.
    let hash = unsafe { (*ctx.skb.skb).hash };
    let flow = fingerprint(packet.source, packet.destination, packet.ports, hash, TAP);
    let Some(slot) = slot(flow) else { return };
    if packet.payload_len == 0 || !holds(slot, flow) || (slot.state != OPEN && slot.state != ENDED) {
        return;
    }
    packet.forget(slot.zero);
    let follows = packet.seq == slot.next_seq && packet.seq != slot.start_seq;
    let tail = if follows { slot.tail } else { 0 };
    let is_newest = forget(u32::from(slot.state == OPEN), slot.zero) != 0;
    tell::long::<TAP>(ctx, &mut packet, slot, flow, forget(tail, slot.zero), is_newest);
}
