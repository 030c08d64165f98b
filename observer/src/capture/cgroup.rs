//! The cgroup v2 hierarchy: the list of mounts comes in, the directory to attach to goes out.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// The mount point of cgroup v2 according to a list of mounts in the form of `/proc/mounts`. On hybrid hosts it is not
/// `/sys/fs/cgroup`.
pub fn root_of(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, directory, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(unescaped(directory)))
    })
}

/// The mount point of cgroup v2 on this host.
///
/// # Errors
///
/// Where `/proc/mounts` cannot be read, or names no cgroup v2.
pub fn root() -> io::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    root_of(&mounts)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no cgroup v2 hierarchy is mounted (/proc/mounts)"))
}

/// Opens a cgroup directory, to attach programs to it.
///
/// # Errors
///
/// Where it is no directory that can be read.
pub fn open(directory: &Path) -> io::Result<File> {
    let file = File::open(directory)?;
    if file.metadata()?.is_dir() { Ok(file) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) }
}

/// `/proc/mounts` writes space, tab, newline and backslash as three octal digits (`fs/proc_namespace.c`, mangle).
fn unescaped(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, expected: Option<&str>) {
        assert_eq!(root_of(mounts), expected.map(PathBuf::from));
    }

    #[test]
    fn the_mount_point_is_found_on_unified_and_hybrid_hosts_and_missed_where_there_is_none() {
        check("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", Some("/sys/fs/cgroup"));
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs ro 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        check(hybrid, Some("/sys/fs/cgroup/unified"));
        check("c /mnt/my\\040groups cgroup2 rw 0 0\n", Some("/mnt/my groups"));
        check("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", None);
        check("", None);
    }
}
