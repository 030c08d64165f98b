//! The ring buffer and the counters of what it refused.

use aya_ebpf::Global;
use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use core::arch::asm;
use observer_ebpf::RING_BYTES;
use observer_ebpf::loss::Loss;

#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::ALL.len() as u32, 0);

#[unsafe(no_mangle)]
static WAKE_BYTES: Global<u32> = Global::new(RING_BYTES / 4);
#[unsafe(no_mangle)]
static SOCKET_EVENT_BYTES: Global<u32> = Global::new(RING_BYTES / 2);

/// Counts a loss. Atomic, because an interrupt on this CPU may count too.
#[inline(always)]
pub(crate) fn lose(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: the pointer is into this CPU's value, aligned, and lives as long as the map. Rust has no atomic addition for
        // this target; the instruction without fetch is in every kernel.
        unsafe { asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1u64) };
    }
}

/// Above the mark, how many bytes long each record wakes user space: several of the largest records, so that CPUs which pass
/// the mark at once do not leap over it. Beyond, user space is awake already, and another wakeup would cost the sender some
/// microseconds a record just when the host is busiest.
const WAKE_SPAN: u64 = 64 * 1024;

/// The flags to submit a record with: user space reads on a timer and is woken only where much is waiting.
#[inline(always)]
pub(crate) fn submit_flags() -> u64 {
    let above = RECORDS.query(BPF_RB_AVAIL_DATA as u64).wrapping_sub(u64::from(WAKE_BYTES.load()));
    if above.wrapping_sub(1) < WAKE_SPAN { BPF_RB_FORCE_WAKEUP as u64 } else { BPF_RB_NO_WAKEUP as u64 }
}

/// Whether the ring is so full that socket events must leave what is left to packets.
#[inline(always)]
pub(crate) fn is_pressed() -> bool {
    RECORDS.query(BPF_RB_AVAIL_DATA as u64) > u64::from(SOCKET_EVENT_BYTES.load())
}
