//! The instruction that safe Rust does not have: an address comes in, its cache line is loaded beside other work.

/// Begins to load the cache line at `address`. Nothing is read for the program, so any address will do.
#[inline]
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(unused_variables, reason = "it is a hint")
)]
pub(super) fn line(address: *const u8) {
    // SAFETY: a hint that never faults (Intel SDM volume 2, PREFETCHh).
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    // SAFETY: a hint that never faults (Arm ARM, PRFM).
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
}
