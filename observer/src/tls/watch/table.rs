//! Which processes use which files: what happened to processes and what was seen in files comes in, what is to be looked at, probed
//! and left alone goes out, and what is known of each process. Nothing is read, opened or attached here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::examiner::{Content, Identity, Sight};
use super::proc::{Mapping, Place};
use super::{Bounds, Scope, TlsProcess};
use crate::pattern::Pattern;
use crate::tls::{Examined, Library, Machine};

/// How long a file is still probed that no process uses: programs that run again and again do not cost a removal each time.
pub(super) const LINGER: Duration = Duration::from_secs(5);
/// How often a file that is probed is compared with what was probed, where processes begin to use it.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// How often a file is read that cannot be, before it counts as missed.
const READS_MAX: u8 = 3;

/// Why nothing is told of a process that is to be left alone.
pub(super) const LEFT_ALONE: &str = "left alone by capture.tls_leave";

/// A file that was met, by a number of this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// What is to be done about a file.
#[derive(Debug)]
pub(super) enum Order {
    /// It is to be probed, by the handle that came with what was seen.
    Probe(FileId, Arc<Examined>),
    /// It is not to be probed any more.
    Leave(FileId),
}

/// What is known of a place.
struct Known {
    generation: Option<u64>,
    /// None: nothing of TLS is in the file.
    file: Option<FileId>,
}

struct Entry {
    users: FxHashSet<u32>,
    /// Processes that use it too, and for which it is not probed.
    left: FxHashSet<u32>,
    /// Users for which it could not be probed, and why.
    refused: FxHashMap<u32, String>,
    /// None: it was not looked at yet.
    sight: Option<Seen>,
    probing: Probing,
    /// Whether it is being looked at.
    asked: bool,
    /// How often it could not be read.
    failures: u8,
    checked: Instant,
    /// Since when no process uses it for which it is probed.
    idle: Option<Instant>,
}

struct Seen {
    identity: Identity,
    content: Content,
    examined: Arc<Examined>,
}

enum Probing {
    No,
    Ordered,
    Done(Vec<(Library, Result<(), String>)>),
}

#[derive(Default)]
struct Process {
    command: String,
    /// Whether it is to be left alone.
    left: bool,
    files: Vec<FileId>,
    /// Its first thread ended, others may go on.
    headless: bool,
    /// What was told of it last.
    told: Option<TlsProcess>,
}

/// The table.
pub(super) struct Table {
    bounds: Bounds,
    /// Command names of the processes that are to be left alone.
    leave: Vec<Pattern>,
    scope: Scope,
    /// Which processes began (or ceased) to use which files that are probed for those alone that are added.
    uses: Vec<(FileId, u32, bool)>,
    places: FxHashMap<Place, Known>,
    files: FxHashMap<FileId, Entry>,
    identities: FxHashMap<Identity, FileId>,
    processes: FxHashMap<u32, Process>,
    changed: BTreeSet<u32>,
    /// Processes through which a file is to be looked at that could not be so far.
    again: BTreeSet<u32>,
    /// What was told of processes that ended, and that they did.
    gone: Vec<TlsProcess>,
    next: u64,
    /// Files that found no room.
    pub(super) refused: u64,
    /// Processes that found none.
    pub(super) refused_processes: u64,
}

impl Table {
    pub(super) fn new(bounds: Bounds, leave: Vec<Pattern>, scope: Scope) -> Self {
        Self {
            bounds,
            leave,
            scope,
            uses: Vec::new(),
            places: FxHashMap::default(),
            files: FxHashMap::default(),
            identities: FxHashMap::default(),
            processes: FxHashMap::default(),
            changed: BTreeSet::new(),
            again: BTreeSet::new(),
            gone: Vec::new(),
            next: 0,
            refused: 0,
            refused_processes: 0,
        }
    }

    /// A process mapped a file as code. Tells the file where it must be looked at.
    pub(super) fn mapped(
        &mut self,
        pid: u32,
        mapping: &Mapping,
        command: impl FnOnce() -> String,
        now: Instant,
    ) -> Option<FileId> {
        if let Some(known) = self.places.get_mut(&mapping.place) {
            // What /proc told without a generation is looked at again: the number may be another file's by now.
            let confirmed = mapping.generation.is_none() || known.generation == mapping.generation;
            let unsure = known.generation.is_none() && mapping.generation.is_some();
            match known.file {
                None if confirmed => return None,
                Some(id) if confirmed || unsure => {
                    if let Some(entry) = self.files.get_mut(&id) {
                        if unsure {
                            known.generation = mapping.generation;
                        }
                        let look = !entry.asked && (unsure || entry.wants_look(now));
                        entry.asked |= look;
                        self.add_user(pid, id, command);
                        return look.then_some(id);
                    }
                }
                _ => {}
            }
        }
        let id = self.new_file(now)?;
        self.make_room_for_places();
        self.places.insert(mapping.place, Known { generation: mapping.generation, file: Some(id) });
        self.add_user(pid, id, command);
        Some(id)
    }

    /// A file could not be opened through this process, or is another than was mapped: another process that has mapped it, now or
    /// later, brings another chance.
    pub(super) fn missed(&mut self, id: FileId, pid: u32, place: Place) {
        let Some(entry) = self.files.get_mut(&id) else { return };
        entry.asked = false;
        if entry.sight.is_none() {
            self.move_user(pid, id, None);
            self.look_again(id);
            if self.users(id).is_empty() {
                self.places.remove(&place);
                self.forget(id);
            }
        }
    }

    /// A file cannot be looked at now: this process is to be read again.
    pub(super) fn postpone(&mut self, id: FileId, pid: u32) {
        if let Some(entry) = self.files.get_mut(&id) {
            entry.asked = false;
            self.again.insert(pid);
        }
    }

    /// A file could not be read. Tells whether to try again, which the next process that maps it does, or the next pass through /proc.
    pub(super) fn fails(&mut self, id: FileId) -> bool {
        let Some(entry) = self.files.get_mut(&id).filter(|entry| entry.failures + 1 < READS_MAX) else { return false };
        entry.failures += 1;
        entry.asked = false;
        true
    }

    /// The processes that are to be read again.
    pub(super) fn again(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.again)
    }

    /// A file that was not seen yet and is not being looked at is looked at through one of its users.
    fn look_again(&mut self, id: FileId) {
        if let Some(entry) = self.files.get(&id).filter(|entry| entry.sight.is_none() && !entry.asked) {
            self.again.extend(entry.users.iter().chain(&entry.left).next());
        }
    }

    /// A file was looked at, which this process had mapped at this place.
    pub(super) fn seen(&mut self, id: FileId, pid: u32, place: Place, seen: Sight, now: Instant) -> Vec<Order> {
        let Some(entry) = self.files.get_mut(&id) else { return Vec::new() };
        entry.asked = false;
        entry.checked = now;
        match &entry.sight {
            None => self.settle(id, place, seen),
            Some(before) if before.identity == seen.identity => self.compare(id, seen),
            Some(_) => {
                // Another file is at this place now; who had mapped the one before still has.
                let Some(new) = self.new_file(now) else { return Vec::new() };
                if let Some(known) = self.places.get_mut(&place) {
                    known.file = Some(new);
                }
                self.move_user(pid, id, Some(new));
                if let Some(entry) = self.files.get_mut(&id) {
                    entry.leaves(pid, now);
                }
                self.settle(new, place, seen)
            }
        }
    }

    /// A new file was seen for the first time: perhaps it is one that was met at another place.
    fn settle(&mut self, id: FileId, place: Place, seen: Sight) -> Vec<Order> {
        let Some(examined) = seen.examined.clone() else {
            self.set_place(place, None);
            self.forget(id);
            return Vec::new();
        };
        let known = self.identities.get(&seen.identity).copied().filter(|other| self.files.contains_key(other));
        if let Some(other) = known {
            self.set_place(place, Some(other));
            for pid in self.users(id) {
                self.move_user(pid, id, Some(other));
            }
            self.forget(id);
            return self.compare(other, seen);
        }
        self.identities.insert(seen.identity, id);
        if let Some(entry) = self.files.get_mut(&id) {
            entry.sight = Some(Seen { identity: seen.identity, content: seen.content, examined });
        }
        self.tell_users(id);
        self.order(id).into_iter().collect()
    }

    /// A known file was looked at again: where it was written to, what was probed is not there any more.
    fn compare(&mut self, id: FileId, seen: Sight) -> Vec<Order> {
        let Some(entry) = self.files.get_mut(&id) else { return Vec::new() };
        let mut orders = Vec::new();
        let rewritten = entry.sight.as_ref().is_some_and(|before| before.content != seen.content);
        if rewritten {
            if !matches!(std::mem::replace(&mut entry.probing, Probing::No), Probing::No) {
                orders.push(Order::Leave(id));
            }
            match seen.examined {
                Some(examined) => {
                    entry.sight = Some(Seen { identity: seen.identity, content: seen.content, examined });
                    self.tell_users(id);
                }
                None => self.forget(id),
            }
        }
        orders.extend(self.order(id));
        orders
    }

    /// The order to probe a file, if it can be and is not yet.
    fn order(&mut self, id: FileId) -> Option<Order> {
        let entry = self.files.get_mut(&id)?;
        let examined = entry.sight.as_ref().map(|seen| &seen.examined)?;
        if entry.users.is_empty() || !entry.wants_probes() {
            return None;
        }
        let order = Order::Probe(id, Arc::clone(examined));
        entry.probing = Probing::Ordered;
        entry.refused.clear();
        if self.scope == Scope::Added {
            self.uses.extend(entry.users.iter().map(|pid| (id, *pid, true)));
        }
        Some(order)
    }

    /// Takes which processes a file is to be probed for too (true), or not any more, in this order and after the orders that were
    /// given before; the same may come twice.
    pub(super) fn uses(&mut self) -> Vec<(FileId, u32, bool)> {
        std::mem::take(&mut self.uses)
    }

    /// A file could not be probed for a process.
    pub(super) fn refused(&mut self, id: FileId, pid: u32, why: String) {
        if let Some(entry) = self.files.get_mut(&id).filter(|entry| entry.users.contains(&pid)) {
            entry.refused.insert(pid, why);
            self.changed.insert(pid);
        }
    }

    /// A file was probed, library by library.
    pub(super) fn probed(&mut self, id: FileId, outcomes: Vec<(Library, Result<(), String>)>) -> Option<Order> {
        let Some(entry) = self.files.get_mut(&id) else { return Some(Order::Leave(id)) };
        if matches!(entry.probing, Probing::Ordered) {
            entry.probing = Probing::Done(outcomes);
            self.tell_users(id);
        }
        None
    }

    /// A process runs another program: what it had mapped is not any more.
    pub(super) fn execs(&mut self, pid: u32, command: &str, now: Instant) {
        self.set_files(pid, &[], now);
        let left = self.is_left(command);
        if let Some(process) = self.processes.get_mut(&pid) {
            command.clone_into(&mut process.command);
            process.left = left;
            process.headless = false;
        }
    }

    /// A process goes by another name.
    pub(super) fn renamed(&mut self, pid: u32, command: &str, now: Instant) {
        let left = self.is_left(command);
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.command != command) else { return };
        command.clone_into(&mut process.command);
        self.changed.insert(pid);
        if std::mem::replace(&mut process.left, left) != left {
            for id in &process.files {
                if let Some(entry) = self.files.get_mut(id) {
                    entry.leaves(pid, now);
                    let uses = entry.comes(pid, left);
                    if self.scope == Scope::Added && !matches!(entry.probing, Probing::No) {
                        self.uses.push((*id, pid, uses));
                    }
                }
            }
            self.again.insert(pid);
        }
    }

    /// A process was made: it has mapped what the other has.
    pub(super) fn forks(&mut self, pid: u32, parent: u32, now: Instant) {
        self.set_files(pid, &[], now);
        let Some(parent) = self.processes.get(&parent) else { return };
        let (files, command) = (parent.files.clone(), parent.command.clone());
        for id in files {
            self.add_user(pid, id, || command.clone());
        }
    }

    /// A thread ended; whether that was the first of a process here.
    pub(super) fn thread_exits(&mut self, pid: u32, thread: u32) -> bool {
        let Some(process) = self.processes.get_mut(&pid) else { return false };
        process.headless |= pid == thread;
        pid == thread
    }

    /// Whether the first thread of a process ended, and nothing began there since.
    pub(super) fn is_ending(&self, pid: u32) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.headless)
    }

    /// A process is gone.
    pub(super) fn exits(&mut self, pid: u32, now: Instant) {
        let Some(process) = self.processes.get(&pid) else { return };
        // One that ends as soon as it began is told all the same.
        let last = self.changed.contains(&pid).then(|| self.known_of(pid, process));
        let last = last.filter(|last| last.has_any() && process.told.as_ref() != Some(last));
        let told = process.told.is_some() || last.is_some();
        self.gone.extend(last);
        self.set_files(pid, &[], now);
        self.changed.remove(&pid);
        let Some(Process { command, .. }) = self.processes.remove(&pid) else { return };
        if told {
            self.gone.push(TlsProcess { pid, command, observed: Vec::new(), unfit: Vec::new(), gone: true });
        }
    }

    /// These and no others are what a process has mapped.
    pub(super) fn keep_places(&mut self, pid: u32, places: &[Place], now: Instant) {
        let files: Vec<FileId> = places.iter().filter_map(|place| self.places.get(place)?.file).collect();
        self.set_files(pid, &files, now);
    }

    fn set_files(&mut self, pid: u32, keep: &[FileId], now: Instant) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (kept, left): (Vec<_>, Vec<_>) = process.files.iter().partition(|id| keep.contains(id));
        process.files = kept;
        for id in left {
            self.changed.insert(pid);
            let used = self.files.get_mut(&id).is_some_and(|entry| entry.leaves(pid, now));
            if used && self.scope == Scope::Added {
                self.uses.push((id, pid, false));
            }
            self.look_again(id);
        }
    }

    /// Orders to leave files alone that no process has used for a while.
    pub(super) fn sweep(&mut self, now: Instant, linger: Duration) -> Vec<Order> {
        let due = |entry: &Entry| entry.idle.is_some_and(|since| now.saturating_duration_since(since) >= linger);
        let mut orders = Vec::new();
        for (id, entry) in self.files.iter_mut().filter(|(_, entry)| due(entry)) {
            if matches!(entry.probing, Probing::Done(_)) {
                entry.probing = Probing::No;
                orders.push(Order::Leave(*id));
            }
        }
        orders
    }

    /// What is known of the processes of which something changed.
    pub(super) fn changes(&mut self) -> Vec<TlsProcess> {
        let mut changes = std::mem::take(&mut self.gone);
        for pid in std::mem::take(&mut self.changed) {
            let Some(process) = self.processes.get(&pid) else { continue };
            let news = self.known_of(pid, process);
            let is_news = process.told.as_ref().map_or_else(|| news.has_any(), |told| *told != news);
            if process.files.is_empty() {
                self.processes.remove(&pid);
            } else if let (true, Some(process)) = (is_news, self.processes.get_mut(&pid)) {
                process.told = Some(news.clone());
            }
            if !is_news {
                continue;
            }
            changes.push(news);
        }
        changes
    }

    fn known_of(&self, pid: u32, process: &Process) -> TlsProcess {
        let mut known =
            TlsProcess { pid, command: process.command.clone(), observed: Vec::new(), unfit: Vec::new(), gone: false };
        for entry in process.files.iter().filter_map(|id| self.files.get(id)) {
            let Some(seen) = &entry.sight else { continue };
            let empty = Vec::new();
            let outcomes = if let Probing::Done(outcomes) = &entry.probing { outcomes } else { &empty };
            known.add(&seen.examined, |library| {
                if process.left {
                    return Some(Err(LEFT_ALONE.to_owned()));
                }
                let (_, outcome) = outcomes.iter().find(|(of, _)| *of == library)?;
                let outcome = entry.refused.get(&pid).map_or_else(|| outcome.clone(), |why| Err(why.clone()));
                Some(outcome.map_err(|error| format!("it cannot be probed: {error}")))
            });
        }
        known.sort();
        known
    }

    /// The processes that use files of TLS libraries, or files that are not known yet.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.processes.keys().copied().collect()
    }

    /// Whether some file is still to be looked at or probed.
    pub(super) fn waits(&self) -> bool {
        self.files.values().any(|entry| entry.asked || matches!(entry.probing, Probing::Ordered))
    }

    /// Files that are probed now.
    pub(super) fn probed_files(&self) -> usize {
        let is_probed = |entry: &Entry| match &entry.probing {
            Probing::Done(outcomes) => outcomes.iter().any(|(_, outcome)| outcome.is_ok()),
            _ => false,
        };
        self.files.values().filter(|entry| is_probed(entry)).count()
    }

    fn new_file(&mut self, now: Instant) -> Option<FileId> {
        if self.files.len() >= self.bounds.files {
            let unused: Vec<FileId> =
                self.files.iter().filter(|(_, entry)| entry.is_spare()).map(|(id, _)| *id).collect();
            for id in unused {
                self.forget(id);
            }
        }
        if self.files.len() >= self.bounds.files {
            self.refused += 1;
            return None;
        }
        let id = FileId(self.next);
        self.next += 1;
        let entry = Entry {
            users: FxHashSet::default(),
            left: FxHashSet::default(),
            refused: FxHashMap::default(),
            sight: None,
            probing: Probing::No,
            asked: true,
            failures: 0,
            checked: now,
            idle: Some(now),
        };
        self.files.insert(id, entry);
        Some(id)
    }

    /// Files without TLS are met again cheaply: what they were is remembered where they are read.
    fn make_room_for_places(&mut self) {
        if self.places.len() >= self.bounds.places {
            let files = &self.files;
            self.places.retain(|_, known| known.file.is_some_and(|id| files.contains_key(&id)));
        }
        // One file may be met at many places, as through overlays. It is known by its identity wherever it is met again.
        if self.places.len() >= self.bounds.places {
            self.places.clear();
        }
    }

    fn add_user(&mut self, pid: u32, id: FileId, command: impl FnOnce() -> String) {
        if !self.processes.contains_key(&pid) {
            if self.processes.len() >= self.bounds.processes {
                self.refused_processes += 1;
                return;
            }
            let command = command();
            let left = self.is_left(&command);
            self.processes.insert(pid, Process { command, left, ..Process::default() });
        }
        let (Some(process), Some(entry)) = (self.processes.get_mut(&pid), self.files.get_mut(&id)) else { return };
        process.headless = false;
        if !process.files.contains(&id) {
            process.files.push(id);
            let added = self.scope == Scope::Added && !matches!(entry.probing, Probing::No);
            if entry.comes(pid, process.left) && added {
                self.uses.push((id, pid, true));
            }
            self.changed.insert(pid);
        }
    }

    fn move_user(&mut self, pid: u32, from: FileId, to: Option<FileId>) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        if !process.files.contains(&from) {
            return;
        }
        process.files.retain(|id| *id != from);
        if let Some(entry) = self.files.get_mut(&from) {
            entry.left.remove(&pid);
            entry.refused.remove(&pid);
            if entry.users.remove(&pid) && self.scope == Scope::Added {
                self.uses.push((from, pid, false));
            }
        }
        self.changed.insert(pid);
        if let Some(to) = to {
            self.add_user(pid, to, String::new);
        }
    }

    fn forget(&mut self, id: FileId) {
        for pid in self.users(id) {
            self.move_user(pid, id, None);
        }
        let Some(entry) = self.files.remove(&id) else { return };
        if let Some(seen) = entry.sight.filter(|seen| self.identities.get(&seen.identity) == Some(&id)) {
            self.identities.remove(&seen.identity);
        }
    }

    fn set_place(&mut self, place: Place, file: Option<FileId>) {
        if let Some(known) = self.places.get_mut(&place) {
            known.file = file;
        }
    }

    fn tell_users(&mut self, id: FileId) {
        self.changed.extend(self.users(id));
    }

    /// The processes that use a file, whether it is probed for them or not.
    fn users(&self, id: FileId) -> Vec<u32> {
        self.files.get(&id).map_or_else(Vec::new, |entry| entry.users.union(&entry.left).copied().collect())
    }

    fn is_left(&self, command: &str) -> bool {
        self.leave.iter().any(|pattern| pattern.matches(command))
    }
}

impl Entry {
    /// Whether there is anything to probe and nothing is.
    fn wants_probes(&self) -> bool {
        let can = |seen: &Seen| seen.examined.machine == Machine::X86_64 && !seen.examined.found.is_empty();
        matches!(self.probing, Probing::No) && self.sight.as_ref().is_some_and(can)
    }

    /// Whether it is to be looked at again where a process maps it: to be probed, or because it may have been written to.
    fn wants_look(&self, now: Instant) -> bool {
        let stale = now.saturating_duration_since(self.checked) >= CHECK_EVERY;
        self.sight.is_none() || self.wants_probes() || (stale && matches!(self.probing, Probing::Done(_)))
    }

    /// A process uses it; whether it is one for which it is probed.
    fn comes(&mut self, pid: u32, left: bool) -> bool {
        if left {
            self.left.insert(pid);
        } else {
            self.users.insert(pid);
            self.idle = None;
        }
        !left
    }

    /// A process does not use it any more; whether it was one for which it is probed.
    fn leaves(&mut self, pid: u32, now: Instant) -> bool {
        let used = self.users.remove(&pid);
        self.left.remove(&pid);
        self.refused.remove(&pid);
        if self.users.is_empty() {
            self.idle.get_or_insert(now);
        }
        used
    }

    /// Whether nothing is lost but the memory of it.
    fn is_spare(&self) -> bool {
        self.users.is_empty() && self.left.is_empty() && !self.asked && matches!(self.probing, Probing::No)
    }
}

#[cfg(test)]
mod tests;
