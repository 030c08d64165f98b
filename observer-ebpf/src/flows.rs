//! The table of flow slots, whose a packet is, and what user space wants left out.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use observer_ebpf::flow::{FlowSlot, Worth, forget, pair, seal, view};
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{TAP_EGRESS, TAP_INGRESS, TAP_WIRE};
use observer_ebpf::{FLOW_SLOTS, FLOW_WAYS, PAIR_SLOTS, REDIS_CONNECTIONS_MAX};

use crate::headers::Headers;
use crate::payload::Payload;
use crate::ring::lose;

const SETS: u32 = FLOW_SLOTS / FLOW_WAYS;

#[map]
static FLOWS: Array<[FlowSlot; FLOW_WAYS as usize]> = Array::with_max_entries(SETS, 0);
#[map]
static LEFT_OUT: Array<u64> = Array::with_max_entries(FLOW_SLOTS, BPF_F_MMAPABLE);

/// The slot that holds the flow of this fingerprint, else the one that it would take.
#[inline(always)]
pub(crate) fn slot(fingerprint: u64) -> Option<&'static mut FlowSlot> {
    let set = FLOWS.get_ptr_mut(fingerprint as u32 & (SETS - 1))?;
    // SAFETY: the pointer is into the map, which outlives the program; other CPUs may write at the same time, which `FlowSlot::key`
    // detects.
    let set = unsafe { &mut *set };
    // Flows of a set begin to look at different slots, so that most find their own at once.
    let first = (fingerprint >> SETS.ilog2()) as u32;
    let (mut found, mut worth) = (0, Worth::Live);
    let mut step = 0;
    while step < FLOW_WAYS {
        let slot = &set[way(first, step)];
        if slot.holds(fingerprint) {
            found = step;
            break;
        }
        let its = slot.worth();
        if its > worth {
            (found, worth) = (step, its);
        }
        step += 1;
    }
    let found = forget(found, set[0].zero);
    Some(&mut set[way(first, found)])
}

#[inline(always)]
fn way(first: u32, step: u32) -> usize {
    (first.wrapping_add(step) & (FLOW_WAYS - 1)) as usize
}

/// What user space wants left out of the flow of this fingerprint, unless another flow's wish stands there.
#[inline(always)]
pub(crate) fn left_out(fingerprint: u64) -> Option<&'static mut u64> {
    let word = LEFT_OUT.get_ptr_mut(fingerprint as u32 & (FLOW_SLOTS - 1))?;
    // SAFETY: the pointer is into the map, which outlives the program; a word is read and written whole.
    Some(unsafe { &mut *word })
}

/// Gives the slot to this flow with the identity of its socket.
#[inline(always)]
pub(crate) fn claim<const TAP: u8>(ctx: &impl Payload, slot: &mut FlowSlot, fingerprint: u64) {
    if !slot.holds(fingerprint) && slot.worth() == Worth::Live {
        lose(Loss::FlowEvicted);
    }
    let (socket, cgroup) = if TAP == TAP_WIRE {
        // Zeros that the compiler does not know: it would call memset.
        (u64::from(slot.zero), u64::from(slot.zero))
    } else {
        ctx.identity::<TAP>()
    };
    slot.socket = socket;
    slot.cgroup = cgroup;
    slot.key = fingerprint ^ seal(socket, cgroup);
}

/// The connections to brokers: their [`pair`]s, each at its place.
#[map]
static PAIRS: Array<u64> = Array::with_max_entries(PAIR_SLOTS, 0);

/// Whether a direction of this connection was found to carry the protocol of a broker.
#[inline(always)]
pub(crate) fn is_paired(packet: &Headers) -> bool {
    let pair = pair(packet.source, packet.destination, packet.ports);
    PAIRS.get(pair as u32 & (PAIR_SLOTS - 1)).is_some_and(|place| *place == pair)
}

/// Remembers once more that this connection carries the protocol of a broker if another one has taken its place. The pair is needed
/// for a direction that no slot knows, from the first request to the first answer: that is told from the next request on. What was
/// forgotten on purpose stays so.
#[inline(always)]
pub(crate) fn keep_paired(packet: &Headers) {
    let pair = pair(packet.source, packet.destination, packet.ports);
    if PAIRS.get(pair as u32 & (PAIR_SLOTS - 1)).is_some_and(|place| *place != pair && *place != 0) {
        set_paired(packet, true);
    }
}

/// Remembers that this connection carries the protocol of a broker, or forgets it. The newest takes the place of an older one.
#[inline(always)]
pub(crate) fn set_paired(packet: &Headers, paired: bool) {
    let pair = pair(packet.source, packet.destination, packet.ports);
    if let Some(place) = PAIRS.get_ptr_mut(pair as u32 & (PAIR_SLOTS - 1)) {
        // SAFETY: the pointer is into the map, which outlives the program; other CPUs may write the word at the same time, whole.
        unsafe {
            if paired {
                *place = pair;
            } else if *place == pair {
                *place = 0;
            }
        }
    }
}

/// The connections that something like Redis passed over, as the end sees them where it did; on an interface as both do.
#[map]
static REDIS: LruHashMap<u64, u8> = LruHashMap::with_max_entries(REDIS_CONNECTIONS_MAX, 0);

/// Whether this is the first of its connection that this end sends or receives which looks like Redis, of what is remembered.
#[inline(always)]
pub(crate) fn is_first_of_redis<const TAP: u8>(packet: &Headers) -> bool {
    let source = (packet.source, packet.ports & 0xffff);
    let destination = (packet.destination, packet.ports >> 16);
    let connection = match TAP {
        TAP_EGRESS => view(source, destination),
        TAP_INGRESS => view(destination, source),
        _ => pair(packet.source, packet.destination, packet.ports),
    };
    // A look says that it is in use.
    REDIS.get_ptr(&connection).is_none() && REDIS.insert(&connection, &1, 0).is_ok()
}
