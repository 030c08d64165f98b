//! What /proc tells of processes: the files that they have mapped as code, and a handle on one of these.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustc_hash::FxHashSet;
use rustix::fs::{Mode, OFlags};

/// Mappings of one process that are looked at: what databases that map their files are told to raise `vm.max_map_count` to.
const MAPPINGS_MAX: usize = 1 << 18;

/// Where a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Device {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// A file as the kernel names it in mappings. Of an overlay this may be the file below (before 6.18) or that of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) device: Device,
    pub(crate) inode: u64,
}

/// A file that a process has mapped as code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) place: Place,
    /// Tells files apart that had the same inode number one after the other; /proc does not tell it.
    pub(crate) generation: Option<u64>,
    /// Addresses.
    pub(crate) range: Range<u64>,
    /// As the process sees it.
    pub(crate) path: OsString,
}

/// A file that can be asked for, read and probed, whatever its names are by now. It is not open for reading: opening what lies on
/// a network could wait.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) file: OwnedFd,
    /// Whether it is what was mapped for sure; otherwise its numbers must be compared.
    pub(crate) sure: bool,
}

/// The processes of this pid namespace.
pub(crate) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What a process has mapped as code, each file once; nothing where it is gone or may not be looked at.
pub(crate) fn mappings(pid: u32) -> Vec<Mapping> {
    let Ok(maps) = fs::File::open(format!("/proc/{pid}/maps")) else { return Vec::new() };
    let lines = BufReader::new(maps).split(b'\n').map_while(Result::ok).take(MAPPINGS_MAX);
    let mut met = FxHashSet::default();
    lines.filter_map(|line| mapping(&line)).filter(|mapping| met.insert(mapping.place)).collect()
}

/// `7f00-7f01 r-xp 00001000 fe:01 4711     /usr/lib/x.so` (proc_pid_maps(5)); none of what is no code of a file.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (range, access) = (fields.next()?, fields.next()?);
    if access.get(2) != Some(&b'x') {
        return None;
    }
    let _offset = fields.next()?;
    let (device, inode) = (fields.next()?, fields.next()?);
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    if inode == 0 {
        return None;
    }
    let path = fields.next()?.trim_ascii_start();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = std::str::from_utf8(range).ok()?.split_once('-')?;
    let (major, minor) = std::str::from_utf8(device).ok()?.split_once(':')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    let device = Device { major: number(major)?, minor: number(minor)? };
    let place = Place { device, inode };
    Some(Mapping { place, generation: None, range: hex(start)?..hex(end)?, path: OsString::from_vec(path.to_vec()) })
}

/// A handle on a mapped file, also where it was deleted or has another name in another mount namespace; none where the process
/// is gone and the file has not the same name here.
pub(crate) fn open(pid: u32, mapping: &Mapping) -> Option<Handle> {
    let handle = |path: &Path| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
    let Range { start, end } = mapping.range;
    if let Some(file) = handle(Path::new(&format!("/proc/{pid}/map_files/{start:x}-{end:x}"))) {
        return Some(Handle { file, sure: true });
    }
    // The kernel may have joined the mapping with its neighbour since.
    let again = mappings(pid).into_iter().find(|other| other.place == mapping.place);
    let again =
        again.map(|Mapping { range: Range { start, end }, .. }| format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
    if let Some(file) = again.and_then(|path| handle(Path::new(&path))) {
        return Some(Handle { file, sure: true });
    }
    let relative = mapping.path.as_bytes().strip_prefix(b"/")?;
    let of_process = PathBuf::from(format!("/proc/{pid}/root")).join(std::ffi::OsStr::from_bytes(relative));
    let file = handle(&of_process).or_else(|| handle(Path::new(&mapping.path)))?;
    Some(Handle { file, sure: false })
}

/// The command name of a process; empty where it is gone.
pub(crate) fn command(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

/// Whether a process is in this cgroup or below it, by the path under the mount of cgroup v2.
pub(crate) fn is_within(pid: u32, cgroup: &str) -> bool {
    cgroup_of(pid).is_some_and(|path| is_below(&path, cgroup))
}

/// The path of the cgroup v2 of a process; none where it is gone.
pub(crate) fn cgroup_of(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn is_below(path: &str, cgroup: &str) -> bool {
    let cgroup = cgroup.trim_matches('/');
    let below = path.trim_start_matches('/').strip_prefix(cgroup);
    below.is_some_and(|below| cgroup.is_empty() || below.is_empty() || below.starts_with('/'))
}

/// Whether any thread of a process still has memory, which one that ends gives up first.
pub(crate) fn runs(pid: u32) -> bool {
    let has_memory = |of: &Path| fs::read(of.join("statm")).is_ok_and(|pages| !pages.starts_with(b"0 "));
    let process = PathBuf::from(format!("/proc/{pid}"));
    let threads = || fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    has_memory(&process) || threads().any(|thread| has_memory(&thread.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_file_that_is_mapped_as_code() {
        let line = b"7f31c0-7f31d0 r-xp 00001000 fe:01 4711                       /a b/x.so (deleted)";
        let place = Place { device: Device { major: 0xfe, minor: 1 }, inode: 4711 };
        let path = "/a b/x.so (deleted)".into();
        assert_eq!(mapping(line), Some(Mapping { place, generation: None, range: 0x7f_31c0..0x7f_31d0, path }));
        for line in [
            &b"7f31c0-7f31d0 r--p 00001000 fe:01 4711                       /a.so"[..],
            b"7f31c0-7f31d0 r-xp 00000000 00:00 0                          [vdso]",
            b"7f31c0-7f31d0 r-xp 00000000 00:00 0",
            b"nonsense",
            b"",
        ] {
            assert_eq!(mapping(line), None);
        }
    }

    #[test]
    fn what_is_below_a_cgroup_begins_with_its_whole_path() {
        for (path, below) in
            [("/shop", true), ("/shop/cart", true), ("/shop-2", false), ("/", false), ("/a/shop", false)]
        {
            assert_eq!((is_below(path, "/shop"), is_below(path, "shop/")), (below, below), "{path}");
        }
        assert!(is_below("/shop", "/") && is_below("/", "/"));
        assert!(is_within(std::process::id(), &cgroup_of(std::process::id()).unwrap()));
    }

    #[test]
    fn this_process_runs_and_its_program_can_be_opened() {
        let pid = std::process::id();
        assert!(runs(pid));
        assert!(processes().contains(&pid));
        let program = std::env::current_exe().unwrap();
        let mapped = mappings(pid).into_iter().find(|mapping| mapping.path == program.as_os_str()).unwrap();
        assert!(open(pid, &mapped).is_some());
        assert_eq!(mapped.generation, None);
    }
}
