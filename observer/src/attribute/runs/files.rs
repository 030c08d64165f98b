//! Files as a process sees them: a path in its file system comes in, bytes or names go out. Within bounds of number, bytes and time,
//! and never out of the root of the process, whatever its symbolic links say. Nothing is opened that is no regular file.

use std::cell::Cell;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

/// Files and directories that are opened for one process: some hundred packages, and where they may be.
const OPENED_MAX: u32 = 2048;
/// Bytes that are read for one process, its program not counted.
const BYTES_MAX: u64 = 8 << 20;
/// Names that are read of one directory: the packages of a large environment are some thousands.
const NAMES_MAX: usize = 16_384;
/// How long one process may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The file system of a process.
#[derive(Debug)]
pub(super) struct Files {
    root: OwnedFd,
    opened: Cell<u32>,
    bytes: Cell<u64>,
    end: Instant,
}

impl Files {
    /// `None` where the process is gone or its root may not be read.
    pub(super) fn of(process: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, process.join("root"), flags, Mode::empty()).ok()?;
        Some(Self { root, opened: Cell::new(0), bytes: Cell::new(0), end: Instant::now() + PATIENCE })
    }

    /// Whether something was left out because there was too much of it.
    pub(super) fn is_exhausted(&self) -> bool {
        self.opened.get() >= OPENED_MAX || self.bytes.get() >= BYTES_MAX || Instant::now() >= self.end
    }

    fn at(&self, path: &Path, flags: OFlags) -> Option<OwnedFd> {
        if self.is_exhausted() {
            return None;
        }
        self.opened.set(self.opened.get() + 1);
        // With O_PATH the kernel refuses what is about reading (openat2(2)).
        let reading = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NONBLOCK | OFlags::NOCTTY };
        let flags = flags | OFlags::CLOEXEC | reading;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, path, flags, Mode::empty(), within).ok()
    }

    /// A regular file, to be read. What else it may be is found out before it is opened for reading, for that may wait or have effects.
    pub(super) fn open(&self, path: &Path) -> Option<File> {
        let place = self.at(path, OFlags::PATH)?;
        if FileType::from_raw_mode(fstat(&place).ok()?.st_mode) != FileType::RegularFile {
            return None;
        }
        self.at(path, OFlags::RDONLY).map(File::from).filter(|file| file.metadata().is_ok_and(|file| file.is_file()))
    }

    /// A file's first `limit` bytes.
    pub(super) fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(limit).read_to_end(&mut bytes).ok()?;
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        Some(bytes)
    }

    /// The same as text; what is no UTF-8 is replaced.
    pub(super) fn text(&self, path: &Path, limit: u64) -> Option<String> {
        self.read(path, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a directory, and whether these are all; `None` where there is none, or it may not be read.
    pub(super) fn names(&self, path: &Path) -> Option<(Vec<String>, bool)> {
        let directory = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let entries = Dir::read_from(directory).ok()?;
        let mut names = Vec::new();
        for entry in entries {
            if names.len() >= NAMES_MAX || Instant::now() >= self.end {
                return Some((names, false));
            }
            let Ok(entry) = entry else { return Some((names, false)) };
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Some((names, true))
    }

    /// Whether something of this name is there.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.at(path, OFlags::PATH).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A process whose root is a directory.
    fn rooted() -> (tempfile::TempDir, Files) {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("root/etc")).unwrap();
        let files = Files::of(place.path()).unwrap();
        (place, files)
    }

    #[test]
    fn links_lead_nowhere_outside_of_the_root() {
        let (place, files) = rooted();
        let root = place.path().join("root");
        std::fs::write(place.path().join("secret"), "outside").unwrap();
        std::fs::write(root.join("etc/inside"), "inside").unwrap();
        symlink("../../../../../../secret", root.join("up")).unwrap();
        symlink(place.path().join("secret"), root.join("absolute")).unwrap();
        symlink("/etc/inside", root.join("sound")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for name in ["up", "absolute", "magic", "loop", "../secret", "/../secret"] {
            assert_eq!(files.text(Path::new(name), 100), None, "{name}");
        }
        assert_eq!(files.text(Path::new("/sound"), 100).as_deref(), Some("inside"));
        assert_eq!(files.text(Path::new("/sound"), 2).as_deref(), Some("in"));
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let (place, files) = rooted();
        let pipe = place.path().join("root/pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(files.read(Path::new("/pipe"), 100), None);
        assert_eq!(files.read(Path::new("/etc"), 100), None);
        assert_eq!(files.names(Path::new("/pipe")), None);
        assert_eq!(files.names(Path::new("/etc")), Some((Vec::new(), true)));
    }

    #[test]
    fn so_many_files_and_no_more_are_opened() {
        let (place, files) = rooted();
        std::fs::write(place.path().join("root/etc/file"), "text").unwrap();
        let path = PathBuf::from("/etc/file");
        let read = (0..OPENED_MAX).filter(|_| files.read(&path, 100).is_some()).count();
        assert_eq!(u32::try_from(read).unwrap(), OPENED_MAX / 2);
        assert!(files.is_exhausted());
        assert_eq!(files.names(Path::new("/etc")), None);
    }
}
