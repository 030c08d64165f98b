//! Doctor on pictures of hosts.
#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use std::fs;

use expect_test::{Expect, expect};

use super::host::Host;
use super::{examine, show};
use crate::config::{Capture, Config};
use crate::output::table::Style;

fn pictured(release: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let host = Host::pictured(root.path().to_owned(), release);
    (root, host)
}

fn check(release: &str, files: &[(&str, &str)], plaintext: bool, expected: &Expect) {
    let (_root, host) = pictured(release, files);
    let examination = examine(&host, &Config::default());
    assert_eq!(examination.plaintext, plaintext);
    expected.assert_eq(&show::table(&examination, Style { width: 100, color: false }));
}

#[test]
fn a_host_that_allows_everything() {
    check(
        "6.12.0",
        &[
            ("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n"),
            ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            ("proc/sys/kernel/bpf_stats_enabled", "1\n"),
            ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ("sys/kernel/btf/vmlinux", ""),
            ("sys/bus/event_source/devices/uprobe/type", "9\n"),
        ],
        true,
        &expect![[r#"
            THIS HOST
             kernel               ok  6.12.0
             privileges           ok  CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_NET_RAW
             ring buffer          ok  available
             cgroup v2            ok  /sys/fs/cgroup
             lockdown             ok  integrity: does not matter, no kernel memory is written
             BTF                  ok  available
             run-time statistics  ok  on

            SOURCES
             cgroup         ok  plaintext of every container and network namespace, by /sys/fs/cgroup
             socket-filter  ok  plaintext of this network namespace; used where cgroup cannot be
             tls            ok  what OpenSSL, BoringSSL, GnuTLS, Go and rustls carry, in clear, where they can
                                be probed

            WHAT WILL NOT BE SEEN
             QUIC          ok  nothing listens on UDP 443
             Unix sockets  ok  nothing listens on one
             sockmap       ok  not looked at

            Plaintext HTTP can be observed here: observer diagnose
        "#]],
    );
}

#[test]
fn a_user_without_privileges_on_a_hybrid_host_with_things_that_cannot_be_seen() {
    check(
        "5.10.0-33-amd64",
        &[
            ("proc/self/status", "CapEff:\t0000000000000000\n"),
            ("proc/self/mounts", "a /sys/fs/cgroup/cpu cgroup rw 0 0\nb /sys/fs/cgroup/unified cgroup2 rw 0 0\n"),
            (
                "proc/net/tcp",
                "  sl  local_address rem_address   st\n   0: 00000000:01BB 00000000:0000 0A 0\n   1: 00000000:0050 00000000:0000 0A 0\n",
            ),
            (
                "proc/net/udp6",
                "  sl  local_address rem_address   st\n   0: 00000000000000000000000000000000:01BB 0:0 07 0\n",
            ),
            (
                "proc/net/unix",
                "Num RefCount Protocol Flags Type St Inode Path\n0: 00000002 00000000 00010000 0001 01 77 /run/app.sock\n",
            ),
        ],
        false,
        &expect![[r#"
            THIS HOST
             kernel               ok    5.10.0-33-amd64
             privileges           NO    this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
                                        → run as root, or give the program CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
                                        (setcap, systemd AmbientCapabilities, or the pod's securityContext)
             ring buffer          ok    available
             cgroup v2            ok    /sys/fs/cgroup/unified (hybrid: version 1 is mounted too)
             lockdown             ok    none
             BTF                  note  missing: which connection a session of TLS belongs to, and which thread
                                        reads what, is not known
                                        → boot a kernel with CONFIG_DEBUG_INFO_BTF where peers of TLS sessions
                                        must be told by address, or broken hops by threads
             run-time statistics  note  off: observer_kernel_seconds_total stays at zero
                                        → sysctl kernel.bpf_stats_enabled=1, where their cost of some 60 ns a
                                        packet is fine

            SOURCES
             cgroup         NO    this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
                                  → run as root, or give the program CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
                                  (setcap, systemd AmbientCapabilities, or the pod's securityContext)
             socket-filter  NO    this process lacks CAP_BPF, CAP_NET_RAW, CAP_PERFMON
                                  → run as root, or give the program CAP_BPF, CAP_NET_RAW, CAP_PERFMON (setcap,
                                  systemd AmbientCapabilities, or the pod's securityContext)
             tls            note  this kernel has no uprobes
                                  → boot a kernel with CONFIG_UPROBE_EVENTS

            WHAT WILL NOT BE SEEN
             QUIC          note  a process listens on UDP 443: HTTP/3 is not observed
                                 → what the proxy sends on over TCP is observed
             Unix sockets  note  processes listen on Unix sockets (1: processes of other users): requests over
                                 them are not observed
                                 → let services that you want observed listen on TCP
             sockmap       ok    not looked at

            Plaintext HTTP cannot be observed live here; observer replay works on capture files all the same.
        "#]],
    );
}

#[test]
fn the_least_that_the_socket_filter_takes() {
    // CAP_NET_RAW, CAP_PERFMON, CAP_BPF (linux/capability.h: 13, 38, 39).
    check(
        "6.12.0",
        &[
            ("proc/self/status", "CapEff:\t000000c000002000\n"),
            ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
        ],
        true,
        &expect![[r#"
            THIS HOST
             kernel               ok    6.12.0
             privileges           ok    CAP_BPF, CAP_NET_RAW, CAP_PERFMON
             ring buffer          ok    available
             cgroup v2            ok    /sys/fs/cgroup
             lockdown             ok    none
             BTF                  note  missing: which connection a session of TLS belongs to, and which thread
                                        reads what, is not known
                                        → boot a kernel with CONFIG_DEBUG_INFO_BTF where peers of TLS sessions
                                        must be told by address, or broken hops by threads
             run-time statistics  note  off: observer_kernel_seconds_total stays at zero
                                        → sysctl kernel.bpf_stats_enabled=1, where their cost of some 60 ns a
                                        packet is fine

            SOURCES
             cgroup         NO    this process lacks CAP_NET_ADMIN
                                  → run as root, or give the program CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
                                  (setcap, systemd AmbientCapabilities, or the pod's securityContext)
             socket-filter  ok    plaintext of this network namespace, without the owners of short connections:
                                  this process lacks CAP_NET_ADMIN
             tls            note  this kernel has no uprobes
                                  → boot a kernel with CONFIG_UPROBE_EVENTS

            WHAT WILL NOT BE SEEN
             QUIC          ok  nothing listens on UDP 443
             Unix sockets  ok  nothing listens on one
             sockmap       ok  not looked at

            Plaintext HTTP can be observed here: observer diagnose
        "#]],
    );
}

#[test]
fn a_kernel_that_is_too_old_without_cgroup_v2() {
    check(
        "4.19.0",
        &[("proc/self/status", "CapEff:\t000001ffffffffff\n")],
        false,
        &expect![[r#"
            THIS HOST
             kernel               NO    4.19.0 is older than 5.10
                                        → boot a kernel from 5.10 on
             privileges           ok    CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN, CAP_NET_RAW
             ring buffer          NO    not before 5.8
                                        → boot a kernel from 5.10 on
             cgroup v2            note  cgroup v2 is not mounted
                                        → mount it (mount -t cgroup2 none /sys/fs/cgroup/unified); without it
                                        only the socket filter works
             lockdown             ok    none
             BTF                  note  missing: which connection a session of TLS belongs to, and which thread
                                        reads what, is not known
                                        → boot a kernel with CONFIG_DEBUG_INFO_BTF where peers of TLS sessions
                                        must be told by address, or broken hops by threads
             run-time statistics  note  off: observer_kernel_seconds_total stays at zero
                                        → sysctl kernel.bpf_stats_enabled=1, where their cost of some 60 ns a
                                        packet is fine

            SOURCES
             cgroup         NO    4.19.0 is older than 5.10
                                  → boot a kernel from 5.10 on
             socket-filter  NO    4.19.0 is older than 5.10
                                  → boot a kernel from 5.10 on
             tls            note  4.19.0 is older than 5.10
                                  → boot a kernel from 5.10 on

            WHAT WILL NOT BE SEEN
             QUIC          ok  nothing listens on UDP 443
             Unix sockets  ok  nothing listens on one
             sockmap       ok  not looked at

            Plaintext HTTP cannot be observed live here; observer replay works on capture files all the same.
        "#]],
    );
}

#[test]
fn a_cgroup_that_is_configured_must_exist_and_needs_the_source_that_tells_cgroups_apart() {
    let (_root, host) = pictured(
        "6.12.0",
        &[
            ("proc/self/status", "CapEff:\t000001ffffffffff\n"),
            ("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
            ("sys/fs/cgroup/shop.slice/cgroup.procs", ""),
        ],
    );
    let only = |cgroup: &str| {
        let capture = Capture { cgroup: Some(cgroup.to_owned()), ..Capture::default() };
        let examination = examine(&host, &Config { capture, ..Config::default() });
        let details: Vec<String> = examination.sources.into_iter().take(2).map(|source| source.detail).collect();
        (examination.plaintext, details.join("\n"))
    };
    let (plaintext, details) = only("/shop.slice");
    assert!(plaintext);
    expect![[r"
        plaintext of every container and network namespace, by /sys/fs/cgroup; only /shop.slice
        it cannot tell one cgroup from another"]]
    .assert_eq(&details);
    let (plaintext, details) = only("/none.slice");
    assert!(!plaintext);
    expect![[r"
        capture.cgroup /none.slice does not exist
        it cannot tell one cgroup from another"]]
    .assert_eq(&details);
}
