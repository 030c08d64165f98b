//! The cgroup v2 hierarchy: the list of mounts comes in, the directory to attach to goes out.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

/// Cgroups that are known to be in or out; a host has some hundreds.
const KNOWN_MAX: usize = 1 << 16;

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

/// A cgroup and all below it, by their ids.
#[derive(Debug)]
pub(super) struct Below {
    directory: PathBuf,
    known: FxHashMap<u64, bool>,
}

impl Below {
    /// The cgroup of this directory.
    pub(super) fn of(directory: PathBuf) -> Self {
        Self { directory, known: FxHashMap::default() }
    }

    /// Whether the cgroup of this id is among them; one that was gone before it was asked for is not. Directories are read only for
    /// an id that is new.
    pub(super) fn holds(&mut self, id: u64) -> bool {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.look();
        *self.known.entry(id).or_insert(false)
    }

    /// The id of a cgroup is the inode number of its directory.
    fn look(&mut self) {
        self.known.extend(std::fs::metadata(&self.directory).map(|metadata| (metadata.ino(), true)));
        let mut unread = vec![self.directory.clone()];
        while let Some(directory) = unread.pop()
            && self.known.len() < KNOWN_MAX
        {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    self.known.insert(entry.ino(), true);
                    unread.push(entry.path());
                }
            }
        }
    }
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
    fn a_cgroup_holds_what_is_below_it_also_what_is_new_there() {
        let root = tempfile::tempdir().unwrap();
        let made = |path: &str| {
            std::fs::create_dir(root.path().join(path)).unwrap();
            std::fs::metadata(root.path().join(path)).unwrap().ino()
        };
        let (shop, other, cart) = (made("shop"), made("other"), made("shop/cart"));
        let mut below = Below::of(root.path().join("shop"));
        assert_eq!([shop, cart, other].map(|id| below.holds(id)), [true, true, false]);
        let (deep, beside) = (made("shop/cart/deep"), made("other/deep"));
        assert_eq!([deep, beside, other].map(|id| below.holds(id)), [true, false, false]);
        assert!(!Below::of(root.path().join("none")).holds(shop));
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
