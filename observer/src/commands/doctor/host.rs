//! What doctor's checks look at: the kernel's release, this process's capabilities, files under a root.

use std::path::PathBuf;

use crate::capture::cgroup;

/// A host, or a picture of one in a directory.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Host {
    root: PathBuf,
    release: String,
    /// Whether maps of the running kernel may be listed.
    live: bool,
}

impl Host {
    /// This host.
    pub(in crate::commands) fn this() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self { root: PathBuf::from("/"), release, live: true }
    }

    /// A host whose files are below `root`.
    #[cfg(test)]
    pub(in crate::commands) fn pictured(root: PathBuf, release: &str) -> Self {
        Self { root, release: release.to_owned(), live: false }
    }

    /// For example `6.12.0-1-amd64`.
    pub(super) fn release(&self) -> &str {
        &self.release
    }

    /// Whether this is the host that the program runs on.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Major and minor version of the kernel.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }

    /// A path on this host, given without its leading slash.
    pub(in crate::commands) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a file; `None` where it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        std::fs::read(self.path(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The effective capabilities of this process, a bit each (linux/capability.h).
    pub(super) fn capabilities(&self) -> u64 {
        let status = self.text("proc/self/status").unwrap_or_default();
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    }

    /// Where cgroup v2 is mounted: on hybrid hosts it is not /sys/fs/cgroup itself.
    pub(in crate::commands) fn cgroup2_mount(&self) -> Option<String> {
        cgroup::root_of(&self.mounts()).map(|mount| mount.to_string_lossy().into_owned())
    }

    /// Whether hierarchies of cgroup v1 are mounted, too.
    pub(super) fn has_cgroup1(&self) -> bool {
        self.mounts().lines().any(|line| line.split(' ').nth(2) == Some("cgroup"))
    }

    fn mounts(&self) -> String {
        self.text("proc/self/mounts").unwrap_or_default()
    }
}
