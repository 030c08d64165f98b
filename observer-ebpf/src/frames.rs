//! HTTP/2: payloads of a flow that carries frames, in programs of their own. Header blocks and what ends streams are told, DATA
//! and the like are passed over; the flow's slot remembers where the next frame begins, or what of its header has come.
//!
//! A record begins and ends with a frame that is wanted, or in the middle of one. Its [`Record::link`] says that from there to
//! its first byte there are only frames that nobody needs.

use aya_ebpf::macros::map;
use aya_ebpf::maps::ProgramArray;
use core::hint::black_box;
use observer_ebpf::flow::{ADRIFT, FRAMES, FRESH, FlowSlot, PROVEN, WANTED, fingerprint, forget, reaches};
use observer_ebpf::frame::{Frame, HEADER_BYTES, HEADERS, SETTINGS, frame};
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{Kind, Record, TAP_EGRESS, TAP_INGRESS, TAP_TLS, TAP_WIRE};

use crate::flows::{claim, slot};
use crate::headers::{FIN, Headers, RST};
use crate::payload::Payload;
use crate::piece::{Stretch, copy_blindly, first_bytes, kept, min};
use crate::ring::lose;
use crate::tell::{tell_close, tell_unknown, template};

/// Rounds of one run of a program: frames are passed, a record is told. What is left is for its next run: the kernel allows
/// 32 of them, so some 250 records are told of a packet. Verifiers follow every round.
const ROUNDS_MAX: u32 = 8;
/// Frames that are passed in a round: in all runs some 2,000 of a packet.
const STEPS_MAX: u32 = 16;
/// Frames that are told with what lies between them are one record up to this length; longer ones are cut.
const RUN_BYTES: u32 = 1024;
/// Between two frames of one record there is no more: fewer frames than a run passes, for what it leaves untold the next run
/// tells, and walks from there again.
const GAP_BYTES: u32 = 512;
/// Frames that are looked at where frames are to be recognised.
const CHAIN_MAX: u32 = 4;

#[map]
static FRAMES_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static FRAMES_INGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static FRAMES_WIRE: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static FRAMES_TLS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Leaves for the program of this tap; returns only where there is none, or after too many runs.
#[inline(always)]
pub(crate) fn go_to<const TAP: u8>(ctx: &impl Payload) {
    let programs = match TAP {
        TAP_EGRESS => &FRAMES_EGRESS,
        TAP_INGRESS => &FRAMES_INGRESS,
        TAP_TLS => &FRAMES_TLS,
        _ => &FRAMES_WIRE,
    };
    ctx.leave_for(programs);
    lose(Loss::FrameMissed);
}

/// Walks the frames of a payload that [`crate::packet`] found to have some, or that may have.
#[inline(always)]
pub(crate) fn observe<const TAP: u8>(ctx: &impl Payload) {
    let Some(mut packet) = ctx.headers::<TAP>() else { return };
    let flow = fingerprint(packet.source, packet.destination, packet.ports, ctx.hash(), TAP);
    let Some(slot) = slot(flow) else { return };
    if packet.payload_len == 0 {
        return;
    }
    packet.forget(slot.zero);
    let known = forget(u32::from(slot.holds(flow)), slot.zero) != 0;
    let Some(mut walk) = begin::<TAP>(ctx, &packet, slot, flow, known) else {
        if packet.flags & (FIN | RST) != 0 && slot.holds(flow) && slot.state >= FRAMES {
            tell_close::<TAP>(ctx, &packet, slot, flow);
        }
        return;
    };
    packet.forget(slot.zero);
    walk.forget(slot.zero);
    let mut record = template::<TAP>(ctx, &packet, slot, flow, Kind::Packet);
    record.flags &= !observer_ebpf::record::FLAG_CLOSES;
    let link = slot.end_seq;
    if walk.late != 0 {
        slot.end_seq = packet.seq;
    }
    let mut rounds = 0;
    while rounds < ROUNDS_MAX {
        if !walk.round::<TAP>(ctx, &packet, slot, &mut record) {
            break;
        }
        packet.forget(slot.zero);
        walk.forget(slot.zero);
        rounds += 1;
    }
    let unfinished = forget(u32::from(rounds == ROUNDS_MAX), slot.zero) != 0;
    if walk.late != 0 {
        slot.end_seq = link;
        return;
    }
    settle(ctx, &packet, slot, &walk);
    if unfinished {
        go_to::<TAP>(ctx);
    }
    if packet.flags & (FIN | RST) != 0 {
        tell_close::<TAP>(ctx, &packet, slot, flow);
    }
}

/// Where the walk over a payload stands; places are counted from its first byte.
struct Walk {
    /// The next frame header; past the payload where the frame before it goes on.
    at: u32,
    /// What is to be told: from here
    from: u32,
    /// to here, which may be past the payload; nothing where both are the same.
    to: u32,
    /// Not zero: it must be told before anything is added to it.
    full: u32,
    /// Not zero: what stands at `at` is no frame.
    broken: u32,
    /// Not zero: these are bytes that were missed before. They are told, and the slot stays as it is.
    late: u32,
    /// Not zero: frames were recognised here, not expected.
    joined: u32,
}

impl Walk {
    #[inline(always)]
    fn forget(&mut self, zero: u32) {
        self.at = forget(self.at, zero);
        self.from = forget(self.from, zero);
        self.to = forget(self.to, zero);
        self.full = forget(self.full, zero);
        self.broken = forget(self.broken, zero);
        self.late = forget(self.late, zero);
        self.joined = forget(self.joined, zero);
    }

    /// Passes frames as far as it can or may, then tells what is to be told. Returns whether there is more to do.
    #[inline(always)]
    fn round<const TAP: u8>(
        &mut self,
        ctx: &impl Payload,
        packet: &Headers,
        slot: &mut FlowSlot,
        record: &mut Record,
    ) -> bool {
        let mut steps = 0;
        while steps < STEPS_MAX {
            let untold = below(0, self.from ^ self.to);
            self.full |= untold & below(GAP_BYTES, self.at.wrapping_sub(self.to));
            if self.is_stuck(packet.payload_len) != 0 {
                break;
            }
            self.step(ctx, packet, untold, slot.zero);
            steps += 1;
        }
        self.forget(slot.zero);
        if forget(self.is_stuck(packet.payload_len), slot.zero) == 0 {
            return true;
        }
        let to = min(self.to, packet.payload_len);
        if self.from >= to {
            return false;
        }
        let stretch = Stretch { at: packet.payload_at + self.from, len: forget(to - self.from, slot.zero), tail: 0 };
        record.seq = forget(packet.seq.wrapping_add(self.from), slot.zero);
        record.link = slot.end_seq;
        record.at_ns = ctx.now::<TAP>() ^ u64::from(slot.zero);
        let told = if stretch.len <= 256 {
            copy_blindly::<32>(ctx, record, stretch, slot.zero)
        } else {
            copy_blindly::<128>(ctx, record, stretch, slot.zero)
        };
        // Where it is lost the link of the next record tells so.
        self.from += forget(told.unwrap_or(min(stretch.len, RUN_BYTES)), slot.zero);
        slot.end_seq = packet.seq.wrapping_add(self.from);
        if self.from >= to {
            self.full = 0;
        }
        true
    }

    /// One where no frame can be passed now, else zero.
    #[inline(always)]
    fn is_stuck(&self, len: u32) -> u32 {
        self.full | self.broken | (1 - below(self.at.wrapping_add(HEADER_BYTES - 1), len))
    }

    /// Passes a frame, unless what is to be told would be too long with it. No branch is taken on what it is: each would be
    /// another way that verifiers follow through all later steps.
    #[inline(always)]
    fn step(&mut self, ctx: &impl Payload, packet: &Headers, untold: u32, zero: u32) {
        let Some([low, high]) = first_bytes(ctx, packet.payload_at + self.at, HEADER_BYTES) else {
            self.broken = 1;
            return;
        };
        let Frame { wire_len, wanted, sound, .. } = frame(low, high as u8);
        let (wanted, sound) = (forget(u32::from(wanted), zero), forget(u32::from(sound), zero));
        let end = self.at.wrapping_add(wire_len);
        self.full = sound & wanted & untold & below(RUN_BYTES, end.wrapping_sub(self.from));
        self.broken = 1 - sound;
        let passes = sound & (1 - self.full);
        self.from = pick(self.from, self.at, passes & wanted & (1 - untold));
        self.to = pick(self.to, end, passes & wanted);
        self.at = pick(self.at, end, passes);
    }
}

/// One where `a` is less than `b`, else zero.
#[inline(always)]
fn below(a: u32, b: u32) -> u32 {
    // The compiler would make a branch of what it can see through.
    (black_box(u64::from(a).wrapping_sub(u64::from(b))) >> 63) as u32
}

/// `new` for one, `old` for zero.
#[inline(always)]
fn pick(old: u32, new: u32, one: u32) -> u32 {
    old ^ ((old ^ new) & black_box(one.wrapping_neg()))
}

/// Where the walk begins. `None`: there is nothing to walk.
#[inline(always)]
fn begin<const TAP: u8>(
    ctx: &impl Payload,
    packet: &Headers,
    slot: &mut FlowSlot,
    flow: u64,
    known: bool,
) -> Option<Walk> {
    let len = packet.payload_len;
    let mut walk = Walk { at: 0, from: 0, to: 0, full: 0, broken: 0, late: 0, joined: 0 };
    if known && slot.state == ADRIFT && slot.next_seq.wrapping_sub(packet.seq) < len {
        // What was missed came late, and nothing was recognised since.
        slot.state = FRAMES;
    }
    if known && slot.state == FRAMES {
        if slot.socket == 0 && TAP != TAP_WIRE {
            claim::<TAP>(ctx, slot, flow);
        }
        if reaches(slot.next_seq, packet.seq.wrapping_add(len)) {
            if packet.seq != slot.tail {
                return None;
            }
            slot.tail = packet.seq.wrapping_add(len);
            walk.at = len;
            walk.to = len;
            walk.late = 1;
            return Some(walk);
        }
        if !reaches(slot.next_seq, packet.seq) {
            // Bytes are missing.
            slot.tail = slot.next_seq;
            if slot.marks & WANTED != 0 && !reaches(packet.seq, slot.start_seq) {
                slot.next_seq = packet.seq;
                slot.end_seq = 0;
            } else {
                miss(slot);
            }
        }
    }
    if !known || slot.state != FRAMES {
        if !is_chain::<TAP>(ctx, packet, slot.zero) {
            tell_unknown::<TAP>(ctx, packet, slot, flow, known, false);
            return None;
        }
        let was_adrift = known && slot.state == ADRIFT;
        if !known || (slot.socket == 0 && TAP != TAP_WIRE) {
            claim::<TAP>(ctx, slot, flow);
        }
        slot.marks = if was_adrift { PROVEN } else { 0 };
        if !was_adrift {
            slot.tail = 0;
        }
        slot.state = FRAMES;
        slot.start_seq = packet.seq;
        slot.next_seq = packet.seq;
        slot.end_seq = 0;
        slot.opening_len = 0;
        walk.joined = 1;
        return Some(walk);
    }
    let next = slot.next_seq.wrapping_sub(packet.seq);
    walk.at = slot.start_seq.wrapping_sub(packet.seq);
    if slot.marks & WANTED != 0 {
        walk.from = next;
        walk.to = walk.at;
        return Some(walk);
    }
    if slot.opening_len != 0 {
        return go_on::<TAP>(ctx, packet, slot, flow, walk, next);
    }
    Some(walk)
}

/// The rest of a frame header that was cut begins at `next`.
#[inline(always)]
fn go_on<const TAP: u8>(
    ctx: &impl Payload,
    packet: &Headers,
    slot: &mut FlowSlot,
    flow: u64,
    mut walk: Walk,
    next: u32,
) -> Option<Walk> {
    let had = u32::from(slot.opening_len);
    let missing = HEADER_BYTES - had;
    let available = min(packet.payload_len - next, missing);
    let [low, _] = first_bytes(ctx, packet.payload_at + next, forget(available, slot.zero))?;
    // Eight bytes, which no shift of a word can be, are two of four.
    let shift = had * 4 & 63;
    let word = slot.opening | low << shift << shift;
    if available < missing {
        slot.opening = word;
        slot.opening_len = (had + available) as u16;
        slot.next_seq = slot.next_seq.wrapping_add(available);
        return None;
    }
    // Of at least one byte the first `had` are in the slot: the ninth is the last of those that were missing.
    let ninth = low >> ((missing - 1) * 8 & 63);
    let Frame { wire_len, wanted, sound, .. } = frame(word, ninth as u8);
    if forget(u32::from(sound), slot.zero) == 0 {
        slot.opening_len = 0;
        miss(slot);
        return None;
    }
    walk.at = walk.at.wrapping_add(wire_len);
    if forget(u32::from(wanted), slot.zero) != 0 {
        let mut record = template::<TAP>(ctx, packet, slot, flow, Kind::Packet);
        record.flags &= !observer_ebpf::record::FLAG_CLOSES;
        record.seq = slot.start_seq;
        record.link = slot.end_seq;
        record.wire_len = had;
        record.captured = had as u16;
        kept(&record, slot.opening);
        slot.end_seq = slot.next_seq;
        walk.from = next;
        walk.to = walk.at;
    }
    slot.opening_len = 0;
    Some(walk)
}

/// Remembers where the next frame begins.
#[inline(always)]
fn settle(ctx: &impl Payload, packet: &Headers, slot: &mut FlowSlot, walk: &Walk) {
    let len = packet.payload_len;
    slot.opening_len = 0;
    if walk.broken != 0 {
        slot.start_seq = packet.seq.wrapping_add(walk.at);
        slot.next_seq = slot.start_seq;
        return miss(slot);
    }
    // The rest of a frame that was joined proves nothing.
    let passed = walk.at.wrapping_sub(slot.start_seq.wrapping_sub(packet.seq));
    if walk.joined == 0 && forget(passed, slot.zero) != 0 {
        slot.marks |= PROVEN;
    }
    if walk.from != walk.to {
        slot.start_seq = packet.seq.wrapping_add(walk.to);
        slot.next_seq = packet.seq.wrapping_add(walk.from);
        slot.marks = slot.marks | WANTED;
        return;
    }
    slot.marks &= !WANTED;
    slot.start_seq = packet.seq.wrapping_add(walk.at);
    slot.next_seq = slot.start_seq;
    if walk.at < len && len - walk.at < HEADER_BYTES {
        let had = len - walk.at;
        if let Some([low, _]) = first_bytes(ctx, packet.payload_at + walk.at, forget(had, slot.zero)) {
            slot.opening = low;
            slot.opening_len = had as u16;
            slot.next_seq = slot.start_seq.wrapping_add(had);
        }
    }
}

/// A frame header was not seen. A flow of which it is not certain that it carries frames does not.
#[inline(always)]
fn miss(slot: &mut FlowSlot) {
    if slot.marks & PROVEN == 0 {
        slot.state = FRESH;
        slot.end_seq = 0;
        return;
    }
    slot.marks = PROVEN;
    slot.state = ADRIFT;
    lose(Loss::FrameMissed);
}

/// Whether a payload begins with frames: two of them, or one of those that begin something and fills the payload. Of a session
/// the header of such a one will do, which Go reads by itself (golang.org/x/net/http2, `readFrameHeader`); the next one proves it.
#[inline(always)]
fn is_chain<const TAP: u8>(ctx: &impl Payload, packet: &Headers, zero: u32) -> bool {
    let len = packet.payload_len;
    let (mut at, mut frames, mut opens) = (0, 0, 0);
    while frames < CHAIN_MAX {
        if at >= len || len - at < HEADER_BYTES {
            break;
        }
        let Some([low, high]) = first_bytes(ctx, packet.payload_at + at, HEADER_BYTES) else { return false };
        let Frame { kind, wire_len, wanted, plausible, .. } = frame(low, high as u8);
        if forget(u32::from(plausible), zero) == 0 {
            return false;
        }
        opens = forget(u32::from(wanted && (kind == HEADERS || kind == SETTINGS)), zero);
        at = forget(at + wire_len, zero);
        frames += 1;
    }
    forget(frames, zero) >= 2 || (opens != 0 && (at == len || (TAP == TAP_TLS && len == HEADER_BYTES)))
}
