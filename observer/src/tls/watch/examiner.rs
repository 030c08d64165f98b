//! A thread that reads files: handles come in, what is in the files goes out. It has a budget of time, and remembers what it read.

use std::fs::{File, FileType};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxHashMap;

use super::kick::Kick;
use super::proc::{Handle, Place};
use super::table::FileId;
use crate::tls::{Examined, examine};

/// Files that were asked for and not taken back yet; each holds a descriptor.
const WAITING_MAX: usize = 256;
/// Files whose contents are remembered.
const REMEMBERED_MAX: usize = 1 << 14;
/// What may be spent on reading at once, and the share of one CPU that it may take in the long run.
const BURST: Duration = Duration::from_secs(4);
const SHARE: f64 = 0.1;
/// The longest sleep while the budget is used up: the thread ends within it.
const NAP: Duration = Duration::from_millis(100);

/// A file, the same under all its names and through all overlays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// Zero of an overlay whose files have times of birth: every container has one of its own above the same file.
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) born: Option<SystemTime>,
}

/// What changes where a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) bytes: u64,
    pub(super) modified: (i64, i64),
}

/// What there is to do.
pub(super) struct Job {
    pub(super) file: FileId,
    pub(super) pid: u32,
    pub(super) place: Place,
    pub(super) handle: Handle,
    pub(super) name: String,
}

/// A file that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) identity: Identity,
    pub(super) content: Content,
    /// None: nothing of TLS is in it.
    pub(super) examined: Option<Arc<Examined>>,
}

/// A job that is done.
pub(super) struct Looked {
    pub(super) file: FileId,
    pub(super) pid: u32,
    pub(super) place: Place,
    pub(super) handle: OwnedFd,
    pub(super) sight: Result<Sight, Miss>,
}

/// Why nothing was seen of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The handle is of another file than the one that was mapped.
    Other,
    /// Reading failed, and may not fail the next time.
    Unread,
}

/// The thread's other end. It ends when this is dropped.
pub(super) struct Examiner {
    jobs: Sender<Job>,
    done: Receiver<Looked>,
    /// How many were asked for and not taken back.
    waiting: usize,
}

impl Examiner {
    /// Starts the thread; `kick` tells that something is done.
    pub(super) fn start(kick: Kick) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let (tell, done) = channel();
        std::thread::Builder::new().name("tls-files".to_owned()).spawn(move || work(&waiting, &tell, &kick))?;
        Ok(Self { jobs, done, waiting: 0 })
    }

    /// Whether another file may be asked for. There is room again when something is done.
    pub(super) fn has_room(&self) -> bool {
        self.waiting < WAITING_MAX
    }

    /// Has a file looked at; false where too many wait.
    pub(super) fn ask(&mut self, job: Job) -> bool {
        if !self.has_room() {
            return false;
        }
        self.waiting += 1;
        // It fails only where the thread panicked: then nothing is told of the file.
        let _ = self.jobs.send(job);
        true
    }

    /// Takes the next that is done.
    pub(super) fn next(&mut self) -> Option<Looked> {
        let looked = self.done.try_recv().ok()?;
        self.waiting -= 1;
        Some(looked)
    }
}

fn work(waiting: &Receiver<Job>, tell: &Sender<Looked>, kick: &Kick) {
    let mut memory: FxHashMap<(Identity, Content), Option<Arc<Examined>>> = FxHashMap::default();
    let mut budget = Budget { left: BURST, at: Instant::now() };
    while let Ok(Job { file, pid, place, handle, name }) = waiting.recv() {
        let sight = numbers(&handle, place).ok_or(Miss::Other).and_then(|(identity, content)| {
            if let Some(examined) = memory.get(&(identity, content)).cloned() {
                return Ok(Sight { identity, content, examined });
            }
            budget.wait();
            let examined = budget.spend(|| read(&handle.file, &name))?;
            if memory.len() >= REMEMBERED_MAX {
                memory.clear();
            }
            memory.insert((identity, content), examined.clone());
            Ok(Sight { identity, content, examined })
        });
        if tell.send(Looked { file, pid, place, handle: handle.file, sight }).is_err() {
            return;
        }
        kick.kick();
    }
}

/// What a file is known by; none where it is not the one that was mapped.
fn numbers(handle: &Handle, place: Place) -> Option<(Identity, Content)> {
    let path = path_of(&handle.file);
    let metadata = std::fs::metadata(&path).ok()?;
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // A file system without a disk (overlay, btrfs) has another number in mappings than elsewhere.
    let same_device = major == 0 || (major, minor) == (place.device.major, place.device.minor);
    let same = same_device && (metadata.ino() == place.inode || (handle.sure && major == 0));
    if !same || !FileType::is_file(&metadata.file_type()) {
        return None;
    }
    let born = metadata.created().ok();
    // The number alone is that of any file below any overlay.
    let shared = major == 0 && born.is_some() && is_overlay(&path);
    let identity = Identity { device: if shared { 0 } else { device }, inode: metadata.ino(), born };
    Some((identity, Content { bytes: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()) }))
}

/// Overlayfs shows the inode numbers and times of the files below.
fn is_overlay(path: &str) -> bool {
    /// `OVERLAYFS_SUPER_MAGIC` (include/uapi/linux/magic.h).
    const OVERLAY: u64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| kind == OVERLAY))
}

/// What of TLS is in a file: nothing where it is no program or library.
pub(super) fn read(handle: &OwnedFd, name: &str) -> Result<Option<Arc<Examined>>, Miss> {
    let file = File::open(path_of(handle)).map_err(|_| Miss::Unread)?;
    match examine(&file, name) {
        Ok(examined) => {
            let matters = !examined.found.is_empty() || !examined.unfit.is_empty();
            Ok(matters.then(|| Arc::new(examined)))
        }
        Err(error) if error.may_pass() => Err(Miss::Unread),
        Err(error) => {
            tracing::debug!("tls: {error}");
            Ok(None)
        }
    }
}

/// A name that leads to this very file as long as the handle is held.
pub(super) fn path_of(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// How much time may be spent.
struct Budget {
    left: Duration,
    at: Instant,
}

impl Budget {
    /// Waits until there is some.
    fn wait(&mut self) {
        loop {
            let now = Instant::now();
            self.left = (self.left + now.duration_since(self.at).mul_f64(SHARE)).min(BURST);
            self.at = now;
            if !self.left.is_zero() {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    /// A file may take more than is left: the next one waits the longer.
    fn spend<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.left = self.left.saturating_sub(start.elapsed());
        result
    }
}
