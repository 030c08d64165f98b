//! Payloads of more than [`crate::tell::SHORT_BYTES`], in programs of their own. They take a loop over thousands of words, which
//! verifiers follow only where few ways lead to it; and what they cost is little beside what they copy.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use observer_ebpf::flow::{ENDED, OPEN, fingerprint, forget};
use observer_ebpf::record::{TAP_EGRESS, TAP_INGRESS, TAP_TLS};

use crate::flows::slot;
use crate::payload::Payload;
use crate::tell;

#[map]
static LONG_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static LONG_INGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static LONG_WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static LONG_TLS: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[map]
static WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Leaves for the program that looks at packets on an interface.
#[inline(always)]
pub(crate) fn go_to_wire(ctx: &impl Payload) {
    ctx.leave_for(&WIRE);
}

/// Leaves for the program of this tap; returns only where there is none.
#[inline(always)]
pub(crate) fn go_to<const TAP: u8>(ctx: &impl Payload) {
    let programs = match TAP {
        TAP_EGRESS => &LONG_EGRESS,
        TAP_INGRESS => &LONG_INGRESS,
        TAP_TLS => &LONG_TLS,
        _ => &LONG_WIRE,
    };
    ctx.leave_for(programs);
}

/// Tells a payload that [`crate::packet`] found to belong to a head; the flow's slot says how.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &impl Payload) {
    let Some(mut packet) = ctx.headers::<TAP>() else { return };
    let flow = fingerprint(packet.source, packet.destination, packet.ports, ctx.hash(), TAP);
    let Some(slot) = slot(flow) else { return };
    if packet.payload_len == 0 || !slot.holds(flow) || (slot.state != OPEN && slot.state != ENDED) {
        return;
    }
    packet.forget(slot.zero);
    let follows = packet.seq == slot.next_seq && packet.seq != slot.start_seq;
    let tail = if follows { slot.tail } else { 0 };
    let is_newest = forget(u32::from(slot.state == OPEN), slot.zero) != 0;
    tell::long::<TAP>(ctx, &mut packet, slot, flow, forget(tail, slot.zero), is_newest);
}
