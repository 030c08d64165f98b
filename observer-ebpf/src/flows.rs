//! The table of flow slots, and whose a packet is.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skb_cgroup_id, bpf_tcp_sock};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, LruHashMap};
use aya_ebpf::programs::SkBuffContext;
use observer_ebpf::flow::{CLOSED, FRAMES, FlowSlot, OPEN, pair, seal, view};
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{TAP_EGRESS, TAP_INGRESS, TAP_WIRE};
use observer_ebpf::{FLOW_SLOTS, PAIR_SLOTS, REDIS_CONNECTIONS_MAX};

use crate::headers::Headers;
use crate::ring::lose;

/// `sk->state` of a listening socket (include/net/tcp_states.h).
const LISTEN: u32 = 10;

#[map]
static FLOWS: Array<FlowSlot> = Array::with_max_entries(FLOW_SLOTS, BPF_F_MMAPABLE);

/// The slot where the flow of this fingerprint is remembered, if it is.
#[inline(always)]
pub(crate) fn slot(fingerprint: u64) -> Option<&'static mut FlowSlot> {
    let slot = FLOWS.get_ptr_mut(fingerprint as u32 & (FLOW_SLOTS - 1))?;
    // SAFETY: the pointer is into the map, which outlives the program; other CPUs and user space may write at the same time,
    // which `FlowSlot::key` detects.
    Some(unsafe { &mut *slot })
}

/// Whether the slot holds this flow.
#[inline(always)]
pub(crate) fn holds(slot: &FlowSlot, fingerprint: u64) -> bool {
    slot.key ^ seal(slot.socket, slot.cgroup) == fingerprint
}

/// Gives the slot to this flow with the identity of its socket.
#[inline(always)]
pub(crate) fn claim<const TAP: u8>(ctx: &SkBuffContext, slot: &mut FlowSlot, fingerprint: u64) {
    // That it was a broker's its pair of ends still tells: its next packet goes on where it was.
    // What has begun with a few capital letters, and no more, is seldom a head.
    let is_head = slot.state == OPEN && slot.opening_len.wrapping_sub(1) >= 7;
    let goes_on = (is_head || slot.state == FRAMES) && slot.marks & CLOSED == 0;
    if slot.key != 0 && goes_on && !holds(slot, fingerprint) {
        lose(Loss::FlowEvicted);
    }
    let (socket, cgroup) = if TAP == TAP_WIRE {
        // Zeros that the compiler does not know: it would call memset.
        (u64::from(slot.zero), u64::from(slot.zero))
    } else {
        identity::<TAP>(ctx)
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

/// Socket cookie and cgroup id. A listening socket is nobody's: data that completes a handshake shows the listener, and the
/// socket that will be accepted has no cookie yet (`TCP_DEFER_ACCEPT`).
#[inline(always)]
pub(crate) fn identity<const TAP: u8>(ctx: &SkBuffContext) -> (u64, u64) {
    // SAFETY: helpers of cgroup_skb programs on their own context; `sk` is checked before it is read.
    unsafe {
        let cgroup = bpf_skb_cgroup_id(ctx.skb.skb);
        if TAP == TAP_INGRESS {
            let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
            if !socket.is_null() && (*socket).state == LISTEN {
                return (0, cgroup);
            }
        }
        (bpf_get_socket_cookie(ctx.skb.skb.cast()), cgroup)
    }
}

/// Whether the socket that this packet reaches has received nothing yet.
#[inline(always)]
pub(crate) fn is_first_received(ctx: &SkBuffContext) -> bool {
    // SAFETY: `sk` and what the helper makes of it are checked before they are read.
    unsafe {
        let socket = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if socket.is_null() {
            return false;
        }
        let tcp = bpf_tcp_sock(socket);
        !tcp.is_null() && (*tcp).bytes_received == 0
    }
}
