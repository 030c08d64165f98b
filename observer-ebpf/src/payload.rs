//! Where a payload is read from, and what else the programs ask for of what carries it: the same body of code looks at packets
//! and at what a TLS library sends and receives.

use aya_ebpf::helpers::generated::{
    bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_tcp_sock,
};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::SkBuffContext;
use core::ffi::c_void;
use observer_ebpf::record::{TAP_EGRESS, TAP_INGRESS, TAP_WIRE};

use crate::headers::{self, Headers, LOOPBACK};

/// `sk->state` of a listening socket (include/net/tcp_states.h).
const LISTEN: u32 = 10;

/// What carries a payload.
pub(crate) trait Payload {
    /// Ends, sequence number and place of the payload; `None` where there is nothing to look at.
    fn headers<const TAP: u8>(&self) -> Option<Headers>;

    /// Copies `len` bytes, counted as [`Headers::payload_at`] is. Returns whether they were there.
    ///
    /// # Safety
    ///
    /// `to` must have room for them, which the verifier checks.
    unsafe fn load(&self, at: u32, to: *mut c_void, len: u32) -> bool;

    /// A number that differs between connections which use the same ends one after the other.
    fn hash(&self) -> u32;

    /// Socket cookie and cgroup id; zero where they are not known.
    fn identity<const TAP: u8>(&self) -> (u64, u64);

    /// Whether the sender is on this host and the receiver sees it too.
    fn is_looped<const TAP: u8>(&self) -> bool;

    /// Whether whoever receives it has received nothing yet.
    fn is_first_received(&self) -> bool;

    /// Nanoseconds of CLOCK_MONOTONIC.
    fn now<const TAP: u8>(&self) -> u64;

    /// Leaves for the only program of an array; returns only where there is none, or after too many of them.
    fn leave_for(&self, programs: &ProgramArray);
}

impl Payload for SkBuffContext {
    #[inline(always)]
    fn headers<const TAP: u8>(&self) -> Option<Headers> {
        headers::read::<TAP>(self)
    }

    #[inline(always)]
    unsafe fn load(&self, at: u32, to: *mut c_void, len: u32) -> bool {
        // SAFETY: the caller's.
        unsafe { bpf_skb_load_bytes(self.skb.skb.cast(), at, to, len) == 0 }
    }

    #[inline(always)]
    fn hash(&self) -> u32 {
        // SAFETY: a field of the context.
        unsafe { (*self.skb.skb).hash }
    }

    /// A listening socket is nobody's: data that completes a handshake shows the listener, and the socket that will be accepted
    /// has no cookie yet (`TCP_DEFER_ACCEPT`).
    #[inline(always)]
    fn identity<const TAP: u8>(&self) -> (u64, u64) {
        // SAFETY: helpers of cgroup_skb programs on their own context; `sk` is checked before it is read.
        unsafe {
            let cgroup = bpf_skb_cgroup_id(self.skb.skb);
            if TAP == TAP_INGRESS {
                let socket = (*self.skb.skb).__bindgen_anon_2.sk;
                if !socket.is_null() && (*socket).state == LISTEN {
                    return (0, cgroup);
                }
            }
            (bpf_get_socket_cookie(self.skb.skb.cast()), cgroup)
        }
    }

    #[inline(always)]
    fn is_looped<const TAP: u8>(&self) -> bool {
        // SAFETY: a field of the context.
        TAP != TAP_WIRE && unsafe { (*self.skb.skb).ifindex } == LOOPBACK
    }

    #[inline(always)]
    fn is_first_received(&self) -> bool {
        // SAFETY: `sk` and what the helper makes of it are checked before they are read.
        unsafe {
            let socket = (*self.skb.skb).__bindgen_anon_2.sk;
            if socket.is_null() {
                return false;
            }
            let tcp = bpf_tcp_sock(socket);
            !tcp.is_null() && (*tcp).bytes_received == 0
        }
    }

    /// A packet that leaves was stamped by TCP with this clock (`tcp_wstamp_ns`), which is cheaper to read than the clock; other
    /// clocks count from 1970 and are far larger.
    #[inline(always)]
    fn now<const TAP: u8>(&self) -> u64 {
        if TAP == TAP_EGRESS {
            // SAFETY: a field of the context.
            let stamp = unsafe { (*self.skb.skb).tstamp };
            if stamp != 0 && stamp < 1 << 60 {
                return stamp;
            }
        }
        // SAFETY: a helper that all these programs may call.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn leave_for(&self, programs: &ProgramArray) {
        // SAFETY: the program is of the same type; nothing is held here that it would leave behind.
        let _ = unsafe { programs.tail_call(self, 0) };
    }
}
