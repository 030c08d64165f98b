//! The kernel object: the committed build, the digest of the sources it was built from, and its loading.

use aya::{Ebpf, EbpfError, EbpfLoader};
use observer_ebpf::{global, map};

/// The built programs. `cargo xtask build-ebpf` writes the file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../observer-ebpf/observer.bpf.o");

/// Creates the maps and prepares the programs, which are loaded one by one afterwards.
pub(super) fn load(ring_bytes: u32, ports_limited: bool, kernel_log: bool) -> Result<Ebpf, EbpfError> {
    let limited = u8::from(ports_limited);
    let (wake, socket_events) = (ring_bytes / 4, ring_bytes / 2);
    // `aya_log::Level::Debug` and, for no line at all, a level below them all; the verifier then removes the code.
    let level: u8 = if kernel_log { 4 } else { 0 };
    EbpfLoader::new()
        .map_max_entries(map::RECORDS, ring_bytes)
        .override_global(global::PORTS_LIMITED, &limited, true)
        .override_global(global::WAKE_BYTES, &wake, true)
        .override_global(global::SOCKET_EVENT_BYTES, &socket_events, true)
        .override_global(aya_log::LEVEL, &level, true)
        .load(OBJECT)
}
