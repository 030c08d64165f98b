//! Which thread reads what: the tracepoint comes in, a record goes out for processes that were asked for.
//!
//! `tcp_rcv_space_adjust` is told for each buffer that `tcp_recvmsg` has copied to user space, in the thread that reads and after
//! `copied_seq` was moved on (net/ipv4/tcp.c, 5.10 to 7.2). A reader that only peeks is told as well, and moves nothing. What reads in
//! the kernel's own name (kTLS, sockmap) runs wherever an interrupt came; such connections are not decoded.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use aya_ebpf::macros::map;
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::RawTracePointContext;
use observer_ebpf::READERS_MAX;
use observer_ebpf::loss::Loss;
use observer_ebpf::record::{FLAG_AWAITED, Kind, Record};

use crate::connection;
use crate::ring::{RECORDS, is_pressed, lose, submit_flags};

#[map]
static READERS: HashMap<u32, u8> = HashMap::with_max_entries(READERS_MAX, 0);

#[inline(always)]
pub(crate) fn observe(ctx: &RawTracePointContext) {
    let reader = bpf_get_current_pid_tgid();
    if READERS.get_ptr((reader >> 32) as u32).is_none() {
        return;
    }
    let Some(read) = connection::of_reader(ctx.arg::<u64>(0)) else { return };
    if is_pressed() {
        lose(Loss::SocketEventRingFull);
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<Record>(0) else {
        lose(Loss::SocketEventRingFull);
        return;
    };
    entry.write(Record {
        // SAFETY: a helper that all programs may call.
        at_ns: unsafe { bpf_ktime_get_ns() },
        socket: read.cookie,
        cgroup: 0,
        token: reader,
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        seq: read.up_to,
        wire_len: 0,
        captured: 0,
        kind: Kind::Reads as u8,
        flags: if read.is_awaited { FLAG_AWAITED } else { 0 },
        ack: 0,
        link: 0,
    });
    entry.submit(submit_flags());
}
