//! What the kernel of a host offers: one function a check, each tells a detail or why not and what to do.

use super::host::Host;
use super::{Found, Reason};

/// The oldest kernel that the programs are loaded on in the tests.
const OLDEST: (u32, u32) = (5, 10);
/// Ring buffers came with it (bpf(2), BPF_MAP_TYPE_RINGBUF).
const RING_BUFFER: (u32, u32) = (5, 8);

/// The kernel is new enough.
pub(super) fn kernel(host: &Host) -> Found {
    match host.version() {
        Some(version) if version < OLDEST => {
            Err(Reason::new(format!("{} is older than 5.10", host.release()), "boot a kernel from 5.10 on"))
        }
        _ => Ok(host.release().to_owned()),
    }
}

/// The kernel has ring buffers.
pub(super) fn ring_buffer(host: &Host) -> Found {
    match host.version() {
        Some(version) if version < RING_BUFFER => Err(Reason::new("not before 5.8", "boot a kernel from 5.10 on")),
        _ => Ok("available".to_owned()),
    }
}

/// Programs in user space can be probed, and this program knows their registers.
pub(super) fn uprobes(host: &Host) -> Found {
    if !cfg!(target_arch = "x86_64") {
        return Err(Reason::new(
            "TLS libraries are probed on x86-64 alone",
            "plaintext behind a TLS proxy is observed",
        ));
    }
    if !host.path("sys/bus/event_source/devices/uprobe").exists() {
        return Err(Reason::new("this kernel has no uprobes", "boot a kernel with CONFIG_UPROBE_EVENTS"));
    }
    Ok("available".to_owned())
}

/// cgroup v2 is mounted.
pub(super) fn cgroup(host: &Host) -> Found {
    let Some(mount) = host.cgroup2_mount() else {
        return Err(Reason::new(
            "cgroup v2 is not mounted",
            "mount it (mount -t cgroup2 none /sys/fs/cgroup/unified); without it only the socket filter works",
        ));
    };
    let hybrid = if host.has_cgroup1() { " (hybrid: version 1 is mounted too)" } else { "" };
    Ok(format!("{mount}{hybrid}"))
}

/// Kernel lockdown does not matter to the programs; it explains what other tools cannot do here.
pub(super) fn lockdown(host: &Host) -> Found {
    let text = host.text("sys/kernel/security/lockdown").unwrap_or_default();
    let mode = text.split(['[', ']']).nth(1).unwrap_or("none");
    match mode {
        "none" => Ok(mode.to_owned()),
        "integrity" => Ok(format!("{mode}: does not matter, no kernel memory is written")),
        _ => Err(Reason::new(
            format!("{mode}: no kernel memory can be read: which connection a session of TLS belongs to is not known"),
            "boot with lockdown=integrity where peers of TLS sessions must be told by address",
        )),
    }
}

/// Type information of the kernel: it leads from a session of TLS to its socket, and is needed for nothing else.
pub(super) fn btf(host: &Host) -> Found {
    if host.path("sys/kernel/btf/vmlinux").exists() {
        return Ok("available".to_owned());
    }
    Err(Reason::new(
        "missing: which connection a session of TLS belongs to, and which thread reads what, is not known",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF where peers of TLS sessions must be told by address, or broken hops by threads",
    ))
}

/// Run-time statistics of programs.
pub(super) fn bpf_stats(host: &Host) -> Found {
    match host.text("proc/sys/kernel/bpf_stats_enabled").as_deref().map(str::trim) {
        Some("0") | None => Err(Reason::new(
            "off: observer_kernel_seconds_total stays at zero",
            "sysctl kernel.bpf_stats_enabled=1, where their cost of some 60 ns a packet is fine",
        )),
        Some(_) => Ok("on".to_owned()),
    }
}
