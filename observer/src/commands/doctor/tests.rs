//! Doctor on pictures of hosts.

use std::fs;

use expect_test::{Expect, expect};

use super::host::Host;
use super::{examine, show};
use crate::config::Config;
use crate::output::table::Style;

fn check(release: &str, files: &[(&str, &str)], plaintext: bool, expected: &Expect) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let examination = examine(&Host::pictured(root.path().to_owned(), release), &Config::default());
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
        ],
        true,
        &expect![[]],
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
        &expect![[]],
    );
}

#[test]
fn a_kernel_that_is_too_old_without_cgroup_v2() {
    check("4.19.0", &[("proc/self/status", "CapEff:\t000001ffffffffff\n")], false, &expect![[]]);
}
