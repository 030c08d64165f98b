//! The kernel object: the committed build, the digest of the sources it was built from, and its loading.

use std::fs;

use aya::{Ebpf, EbpfError, EbpfLoader};
use observer_ebpf::layout::Member;
use observer_ebpf::{global, map};

use super::btf;

/// The built programs. `cargo xtask build-ebpf` writes the file.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../observer-ebpf/observer.bpf.o");

/// The maps and the programs, which are loaded one by one afterwards.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    /// Why the programs do not know how this kernel lays out its structures, where they do not.
    pub(super) members: Result<(), String>,
}

/// Creates the maps and prepares the programs; `tls`: those for TLS libraries too.
pub(super) fn load(ring_bytes: u32, ports_limited: bool, tls: bool, kernel_log: bool) -> Result<Loaded, EbpfError> {
    let limited = u8::from(ports_limited);
    let (wake, socket_events) = (ring_bytes / 4, ring_bytes / 2);
    // `aya_log::Level::Debug` and, for no line at all, a level below them all; the verifier then removes the code.
    let level: u8 = if kernel_log { 4 } else { 0 };
    let (known, members, why) = match members() {
        Ok(members) => (1u8, members, Ok(())),
        Err(why) => {
            tracing::info!("which connections TLS sessions use, and which threads read, is not known: {why}");
            (0, [0; Member::COUNT], Err(why))
        }
    };
    let mut loader = EbpfLoader::new();
    if !tls {
        for name in map::OF_TLS {
            loader.map_max_entries(name, 1);
        }
    }
    let ebpf = loader
        .map_max_entries(map::RECORDS, ring_bytes)
        .override_global(global::PORTS_LIMITED, &limited, true)
        .override_global(global::WAKE_BYTES, &wake, true)
        .override_global(global::SOCKET_EVENT_BYTES, &socket_events, true)
        .override_global(global::MEMBERS_KNOWN, &known, true)
        .override_global(global::MEMBERS, &members, true)
        .override_global(aya_log::LEVEL, &level, true)
        .load(OBJECT)?;
    Ok(Loaded { ebpf, members: why })
}

/// Where this kernel's structures have what leads from a file descriptor to a socket; or why that cannot be known or read.
fn members() -> Result<[u32; Member::COUNT], String> {
    const TYPES: &str = "/sys/kernel/btf/vmlinux";
    const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
    if fs::read_to_string(LOCKDOWN).is_ok_and(|state| state.contains("[confidentiality]")) {
        return Err(format!("this host keeps programs from reading the kernel's memory ({LOCKDOWN})"));
    }
    let bytes = fs::read(TYPES).map_err(|error| format!("{TYPES}: {error}"))?;
    btf::offsets(&bytes, &Member::NAMES).map_err(|fault| format!("{TYPES}: {fault}"))
}
