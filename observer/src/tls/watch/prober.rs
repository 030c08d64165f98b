//! A thread that attaches and detaches: the kernel takes up to a tenth of a second for the removal of one probe, during which it
//! adds none (measured on 6.18, 2026-11-21: 83 ms a probe removed, 0.8 ms a probe added). Neither another order nor many threads, nor
//! the end of the process makes that shorter: one lock is held for each.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rustc_hash::{FxHashMap, FxHashSet};

use super::examiner::path_of;
use super::kick::Kick;
use super::table::FileId;
use crate::tls::{Examined, Library, Point};

/// For which processes a program runs where it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For whoever maps the file, from the first instruction on.
    All,
    /// For those that are added; in the memory of others is no breakpoint.
    Added,
}

/// What attaches programs to files.
pub trait Prober: Send {
    /// An attached program: dropping it detaches it.
    type Link: Send;

    /// Attaches a program to an instruction.
    ///
    /// # Errors
    ///
    /// Why that cannot be.
    fn probe(&mut self, program: &'static str, file: &Path, offset: u64, scope: Scope) -> Result<Self::Link, String>;

    /// Has a program of [`Scope::Added`] run for a process (tgid in the pid namespace of this program).
    ///
    /// # Errors
    ///
    /// Why that cannot be: it is gone, for one.
    fn add(&mut self, link: &mut Self::Link, pid: u32) -> Result<(), String>;

    /// Ends that; nothing where it was not added.
    fn remove(&mut self, link: &mut Self::Link, pid: u32);
}

/// What there is to do.
enum Job {
    Attach { file: FileId, handle: OwnedFd, examined: Arc<Examined> },
    Detach(FileId),
    Add(FileId, u32),
    Remove(FileId, u32),
}

/// What was done.
pub(super) enum Done {
    /// A file was probed, library by library.
    Probed { file: FileId, outcomes: Vec<(Library, Result<(), String>)> },
    /// A process could not be added.
    Refused { file: FileId, pid: u32, why: String },
}

/// The thread's other end. When this is dropped it detaches everything and ends, which is waited for where that is more than the end
/// of this program does.
pub(super) struct Probing {
    /// None while this is dropped.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    links: Arc<AtomicUsize>,
    scope: Scope,
    thread: Option<JoinHandle<()>>,
}

impl Probing {
    /// Starts the thread, which attaches at most `links_max` programs at a time, each process that is added counted; `kick` tells
    /// that something is done.
    pub(super) fn start<P: Prober + 'static>(
        prober: P,
        scope: Scope,
        links_max: usize,
        kick: Kick,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = channel();
        let (tell, done) = channel();
        let links = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&links);
        let mut worker =
            Worker { prober, scope, links_max, links: count, attached: FxHashMap::default(), leaving: VecDeque::new() };
        let work = move || worker.work(&waiting, &tell, &kick);
        let thread = std::thread::Builder::new().name("tls-probes".to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), done, links, scope, thread: Some(thread) })
    }

    /// Has a file probed wherever it was found worth it.
    pub(super) fn attach(&self, file: FileId, handle: OwnedFd, examined: Arc<Examined>) {
        self.ask(Job::Attach { file, handle, examined });
    }

    /// Has a file left alone.
    pub(super) fn detach(&self, file: FileId) {
        self.ask(Job::Detach(file));
    }

    /// Has a file probed for a process too.
    pub(super) fn add(&self, file: FileId, pid: u32) {
        self.ask(Job::Add(file, pid));
    }

    /// Has a file not probed for a process any more.
    pub(super) fn remove(&self, file: FileId, pid: u32) {
        self.ask(Job::Remove(file, pid));
    }

    fn ask(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It fails only where the thread panicked: then nothing is told of the file.
            let _ = jobs.send(job);
        }
    }

    /// Programs that are attached now.
    pub(super) fn links(&self) -> usize {
        self.links.load(Ordering::Relaxed)
    }

    /// Takes the next that is done.
    pub(super) fn next(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // The kernel detaches what a program held that ended, and takes as long for it, but what was defined stays.
        if let (Scope::Added, Some(thread)) = (self.scope, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// What is attached to a file.
struct Attached<L> {
    links: Vec<L>,
    /// Those that were added.
    processes: FxHashSet<u32>,
}

struct Worker<P: Prober> {
    prober: P,
    scope: Scope,
    links_max: usize,
    links: Arc<AtomicUsize>,
    attached: FxHashMap<FileId, Attached<P::Link>>,
    /// What is to be detached when nothing is to be attached.
    leaving: VecDeque<(FileId, VecDeque<P::Link>)>,
}

impl<P: Prober> Worker<P> {
    fn work(&mut self, waiting: &Receiver<Job>, tell: &Sender<Done>, kick: &Kick) {
        loop {
            let job = if self.leaving.is_empty() {
                waiting.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                waiting.try_recv()
            };
            match job {
                Ok(Job::Attach { file, handle, examined }) => {
                    // Both at once would tell everything twice.
                    while self.leaving.iter().any(|(leaving, _)| *leaving == file) {
                        self.leave_one();
                    }
                    let outcomes = self.attach(file, &handle, &examined);
                    if tell.send(Done::Probed { file, outcomes }).is_err() {
                        return;
                    }
                    kick.kick();
                }
                Ok(Job::Detach(file)) => {
                    if let Some(Attached { links, processes }) = self.attached.remove(&file) {
                        self.links.fetch_sub(processes.len() * links.len(), Ordering::Relaxed);
                        self.leaving.push_back((file, links.into()));
                    }
                }
                Ok(Job::Add(file, pid)) => {
                    if let Err(why) = self.add(file, pid) {
                        if tell.send(Done::Refused { file, pid, why }).is_err() {
                            return;
                        }
                        kick.kick();
                    }
                }
                Ok(Job::Remove(file, pid)) => self.remove(file, pid),
                Err(TryRecvError::Empty) => self.leave_one(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    /// The first to go is what begins a call: what ends it then finds nothing.
    fn leave_one(&mut self) {
        let Some((_, links)) = self.leaving.front_mut() else { return };
        if links.pop_front().is_some() {
            self.links.fetch_sub(1, Ordering::Relaxed);
        }
        if links.is_empty() {
            self.leaving.pop_front();
        }
    }

    fn attach(&mut self, file: FileId, handle: &OwnedFd, examined: &Examined) -> Vec<(Library, Result<(), String>)> {
        let path = path_of(handle);
        let mut all = Vec::new();
        let mut outcomes = Vec::new();
        for found in &examined.found {
            let outcome = self.attach_library(Path::new(&path), &found.points).map(|links| all.extend(links));
            outcomes.push((found.library, outcome));
        }
        if !all.is_empty() {
            self.attached.insert(file, Attached { links: all, processes: FxHashSet::default() });
        }
        outcomes
    }

    /// All of the points, or none.
    fn attach_library(&mut self, path: &Path, points: &[Point]) -> Result<Vec<P::Link>, String> {
        self.has_room_for(points.len())?;
        let (prober, scope) = (&mut self.prober, self.scope);
        let links: Result<Vec<_>, _> =
            points.iter().map(|point| prober.probe(point.program, path, point.offset, scope)).collect();
        let links = links?;
        self.links.fetch_add(links.len(), Ordering::Relaxed);
        Ok(links)
    }

    fn has_room_for(&self, links: usize) -> Result<(), String> {
        let attached = self.links.load(Ordering::Relaxed);
        if attached + links > self.links_max {
            return Err(format!("{attached} probes are attached already: no more fit"));
        }
        Ok(())
    }

    /// At all of the links, or at none.
    fn add(&mut self, file: FileId, pid: u32) -> Result<(), String> {
        let room = self.attached.get(&file).map_or(Ok(()), |attached| self.has_room_for(attached.links.len()));
        let Some(Attached { links, processes }) = self.attached.get_mut(&file) else { return Ok(()) };
        if processes.contains(&pid) {
            return Ok(());
        }
        room?;
        let added = links.iter_mut().try_for_each(|link| self.prober.add(link, pid));
        if added.is_err() {
            for link in links {
                self.prober.remove(link, pid);
            }
            return added;
        }
        processes.insert(pid);
        self.links.fetch_add(links.len(), Ordering::Relaxed);
        Ok(())
    }

    fn remove(&mut self, file: FileId, pid: u32) {
        let Some(Attached { links, processes }) = self.attached.get_mut(&file) else { return };
        if processes.remove(&pid) {
            self.links.fetch_sub(links.len(), Ordering::Relaxed);
            for link in links {
                self.prober.remove(link, pid);
            }
        }
    }
}
