//! A pid comes in; the workload that its process belongs to goes out. Each process is read once, as soon as it is heard of,
//! and kept for a while after its end, so that what it did last still has an owner.

use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_core::ids::WorkloadId;
use rustc_hash::{FxHashMap, FxHashSet};

use super::boundary::Boundary;
use super::listeners::Networks;
use super::process::{Incarnation, Places, ProcessFacts, Stat};
use super::survey::{NAMESPACES_MAX, local_addresses};
use super::workloads::Workloads;
use crate::capture::CommandName;

/// Processes kept: twice the pids that Linux hands out by default (`PID_MAX_DEFAULT`, linux/threads.h).
pub(super) const PROCESSES_MAX: usize = 65_536;
/// How long what was seen of a process is taken as true: a pid comes back only after all others were used.
const TRUSTED: Duration = Duration::from_secs(1);
/// How long a process that has ended is remembered.
const ENDED_MEMORY: Duration = Duration::from_mins(1);
/// Processes asked at a time whether they still run.
const CHECKS_PER_TURN: usize = 64;
/// How many forks without exec are followed upwards.
const ANCESTORS_MAX: usize = 8;
/// cgroups kept by id.
const CGROUPS_MAX: usize = 16_384;
/// What reading processes may cost in a row: tokens, of which a check takes one and a reading eight (14 and 70 µs of system
/// calls, measured 2026-11-21 on two virtual cores, kernel 6.18).
const TOKENS_MAX: u32 = 512;
/// Tokens that come back each millisecond: at most some 4 % of one core, while that many processes come and go.
const TOKENS_PER_MS: u32 = 4;
const TOKENS_READ: u32 = 8;

/// What is known of a pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It belongs there.
    Workload(WorkloadId),
    /// It was not looked at: too many others were just now.
    Later,
    /// No process has it, and none that had it is remembered.
    Gone,
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) facts: Arc<ProcessFacts>,
    pub(super) workload: WorkloadId,
    checked: Instant,
    ended: Option<Instant>,
}

/// All processes that were heard of.
#[derive(Debug)]
pub(super) struct Processes {
    pub(super) places: Places,
    pub(super) networks: Networks,
    known: FxHashMap<u32, Known>,
    cgroups: FxHashMap<u64, Boundary>,
    own_boundary: Option<Boundary>,
    now: Instant,
    tokens: u32,
    to_check: Vec<u32>,
    /// Processes that were not kept because the table is full.
    pub(super) refused: u64,
}

impl Processes {
    pub(super) fn new(places: Places, now: Instant) -> Self {
        Self {
            own_boundary: places.own_boundary(),
            places,
            networks: Networks::default(),
            known: FxHashMap::default(),
            cgroups: FxHashMap::default(),
            now,
            tokens: TOKENS_MAX,
            to_check: Vec::new(),
            refused: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get(&self, pid: u32) -> Option<&Known> {
        self.known.get(&pid)
    }

    /// Processes that have ended and are still remembered, with the workload that each belonged to.
    pub(super) fn ended(&self) -> impl Iterator<Item = (WorkloadId, &ProcessFacts)> {
        self.known.values().filter(|known| known.ended.is_some()).map(|known| (known.workload, &*known.facts))
    }

    /// The addresses of the network namespace of a process.
    pub(super) fn addresses(&self, pid: u32) -> &[std::net::IpAddr] {
        let network = self.known.get(&pid).map_or(0, |known| known.facts.network);
        self.networks.get(&network).map_or(&[], Vec::as_slice)
    }

    /// Lets time pass: what may be read in a row grows with it.
    pub(super) fn tick(&mut self, now: Instant) {
        let elapsed = u32::try_from(now.saturating_duration_since(self.now).as_millis()).unwrap_or(u32::MAX);
        if elapsed > 0 {
            self.now = now;
            self.tokens = self.tokens.saturating_add(elapsed.saturating_mul(TOKENS_PER_MS)).min(TOKENS_MAX);
        }
    }

    /// Which program was seen under each pid: a survey reads only the others.
    pub(super) fn incarnations(&self) -> FxHashMap<u32, Incarnation> {
        self.known
            .iter()
            .filter(|(_, known)| known.ended.is_none())
            .map(|(&pid, known)| (pid, known.facts.incarnation))
            .collect()
    }

    /// The container or unit behind a cgroup id, as far as it tells processes apart.
    pub(super) fn boundary_of_cgroup(&self, cgroup: u64) -> Option<&Boundary> {
        self.cgroups.get(&cgroup)
    }

    /// Keeps which container or unit a cgroup id stands for.
    pub(super) fn learn_cgroup(&mut self, cgroup: u64, boundary: &Boundary) {
        if self.cgroups.len() >= CGROUPS_MAX {
            // Those that still exist are learnt again from their processes and the next survey.
            self.cgroups.clear();
        }
        if cgroup != 0 && Some(boundary) != self.own_boundary.as_ref() {
            self.cgroups.insert(cgroup, boundary.clone());
        }
    }

    /// The workload of a process that just did something.
    pub(super) fn workload(&mut self, pid: u32, workloads: &mut Workloads) -> Found {
        self.workload_of(pid, workloads, ANCESTORS_MAX)
    }

    fn workload_of(&mut self, pid: u32, workloads: &mut Workloads, ancestors: usize) -> Found {
        if let Some(known) = self.known.get(&pid) {
            let workload = known.workload;
            let trusted = self.now.saturating_duration_since(known.checked) < TRUSTED || self.tokens == 0;
            if trusted && !known.facts.is_unseen() {
                return Found::Workload(workload);
            }
            if self.tokens == 0 {
                return Found::Later;
            }
            self.tokens -= 1;
            match self.places.stat(pid) {
                // What it did came before its end.
                None => {
                    self.end(pid, workloads);
                    return Found::Workload(workload);
                }
                Some(stat) if self.is_current(pid, stat) => {
                    if let Some(known) = self.known.get_mut(&pid) {
                        known.checked = self.now;
                    }
                    return Found::Workload(workload);
                }
                Some(_) => {}
            }
        }
        if self.tokens < TOKENS_READ {
            return Found::Later;
        }
        self.tokens -= TOKENS_READ;
        let Some(facts) = self.places.process(pid) else {
            return self.known.get(&pid).map_or(Found::Gone, |known| Found::Workload(known.workload));
        };
        self.add(facts, workloads, ancestors).map_or(Found::Gone, Found::Workload)
    }

    /// The workload of a process that ended before it was looked at, or was not looked at yet because too many others were: no
    /// more is known of it than what it was called.
    pub(super) fn unseen(&mut self, pid: u32, command: CommandName, workloads: &mut Workloads) -> Option<WorkloadId> {
        let name = Some(command.name()).filter(|name| !name.is_empty())?;
        let known = self.known.get(&pid).filter(|known| known.facts.is_unseen() && *known.facts.executable == *name);
        match known {
            Some(known) => Some(known.workload),
            None => self.add(ProcessFacts::of_unseen(pid, &name), workloads, 0),
        }
    }

    fn is_current(&self, pid: u32, stat: Stat) -> bool {
        self.known.get(&pid).is_some_and(|known| known.facts.incarnation == stat.incarnation)
    }

    /// Takes in what a survey read of a process.
    pub(super) fn learn(&mut self, facts: ProcessFacts, workloads: &mut Workloads) {
        if self.known.get(&facts.pid).is_none_or(|known| known.facts.incarnation != facts.incarnation) {
            self.add(facts, workloads, ANCESTORS_MAX);
        }
    }

    fn add(&mut self, mut facts: ProcessFacts, workloads: &mut Workloads, ancestors: usize) -> Option<WorkloadId> {
        let pid = facts.pid;
        if facts.network != 0 && !self.networks.contains_key(&facts.network) {
            if self.networks.len() >= NAMESPACES_MAX {
                let used: FxHashSet<u64> = self.known.values().map(|known| known.facts.network).collect();
                self.networks.retain(|network, _| used.contains(network));
            }
            self.networks.insert(facts.network, local_addresses(&self.places, pid));
        }
        if facts.boundary == self.own_boundary {
            // What this process shares with the others tells nothing apart: a container or unit around everything.
            facts.boundary = None;
        }
        if let Some(boundary) = facts.boundary.clone() {
            self.learn_cgroup(facts.cgroup, &boundary);
        }
        let earlier = self.known.get(&pid).map(|known| (known.workload, known.facts.clone()));
        let workload = self.place(&facts, earlier.as_ref(), workloads, ancestors)?;
        if let Some((before, _)) = earlier {
            if workloads.current(before) != workloads.current(workload) {
                workloads.leave(before, pid, self.now);
            }
        } else if self.known.len() >= PROCESSES_MAX {
            self.refused += 1;
            return Some(workload);
        }
        let facts = Arc::new(facts);
        self.known.insert(pid, Known { facts: facts.clone(), workload, checked: self.now, ended: None });
        workloads.join(workload, facts, self.addresses(pid).to_vec().as_slice());
        Some(workload)
    }

    /// Where a process belongs: to its container or unit; else to the process that it was forked from, whose sockets it
    /// inherited; else to itself. That it shares a listening socket is found by a survey.
    fn place(
        &mut self,
        facts: &ProcessFacts,
        earlier: Option<&(WorkloadId, Arc<ProcessFacts>)>,
        workloads: &mut Workloads,
        ancestors: usize,
    ) -> Option<WorkloadId> {
        let addresses = self.networks.get(&facts.network).cloned().unwrap_or_default();
        if let Some(boundary) = &facts.boundary {
            return workloads.of_boundary(boundary, &addresses);
        }
        // The same process after an exec keeps the sockets that it had.
        if let Some((workload, before)) = earlier
            && before.incarnation.started == facts.incarnation.started
            && before.boundary.is_none()
            && workloads.get(*workload).is_some_and(|workload| workload.processes.len() == 1)
        {
            return Some(*workload);
        }
        let inherits = facts.forked || facts.environment.node_worker;
        if inherits
            && ancestors > 0
            && facts.parent > 0
            && let Found::Workload(workload) = self.workload_of(facts.parent, workloads, ancestors - 1)
            // Whoever adopted it when its parent ended runs another program.
            && self.known.get(&facts.parent).is_some_and(|parent| {
                parent.facts.boundary.is_none() && parent.facts.executable == facts.executable
            })
        {
            return Some(workload);
        }
        workloads.create(None)
    }

    /// Moves a process to a workload of its own.
    pub(super) fn split(&mut self, pid: u32, workloads: &mut Workloads) -> Option<WorkloadId> {
        let known = self.known.get_mut(&pid)?;
        let own = workloads.create(None)?;
        workloads.leave(known.workload, pid, self.now);
        known.workload = own;
        let facts = known.facts.clone();
        workloads.join(own, facts, self.addresses(pid).to_vec().as_slice());
        Some(own)
    }

    /// Notes that a process has ended.
    pub(super) fn end(&mut self, pid: u32, workloads: &mut Workloads) {
        if let Some(known) = self.known.get_mut(&pid)
            && known.ended.is_none()
        {
            known.ended = Some(self.now);
            workloads.leave(known.workload, pid, self.now);
        }
    }

    /// Notes the end of all processes of which `alive` does not say that they run.
    pub(super) fn keep_alive(
        &mut self,
        alive: &FxHashMap<u32, Incarnation>,
        since: Instant,
        workloads: &mut Workloads,
    ) {
        let mut ended: Vec<u32> = self
            .known
            .iter()
            .filter(|(pid, known)| {
                let running = alive.get(pid).map(|incarnation| incarnation.started);
                known.checked < since && running != Some(known.facts.incarnation.started)
            })
            .map(|(&pid, _)| pid)
            .collect();
        ended.sort_unstable();
        for pid in ended {
            self.end(pid, workloads);
        }
    }

    /// Replaces the ids of workloads.
    pub(super) fn renumber(&mut self, current: impl Fn(WorkloadId) -> WorkloadId) {
        self.known.values_mut().for_each(|known| known.workload = current(known.workload));
    }

    /// Asks some processes whether they still run, in turns, and forgets those that ended some time ago.
    pub(super) fn check_some(&mut self, workloads: &mut Workloads) {
        if self.to_check.is_empty() {
            let now = self.now;
            self.known
                .retain(|_, known| known.ended.is_none_or(|ended| now.saturating_duration_since(ended) < ENDED_MEMORY));
            self.to_check = self.known.iter().filter(|(_, known)| known.ended.is_none()).map(|(&pid, _)| pid).collect();
            self.to_check.sort_unstable();
        }
        let rest = self.to_check.len().saturating_sub(CHECKS_PER_TURN);
        for pid in self.to_check.split_off(rest) {
            let same_process = self.places.stat(pid).is_some_and(|stat| {
                self.known.get(&pid).is_some_and(|known| known.facts.incarnation.started == stat.incarnation.started)
            });
            if !same_process {
                self.end(pid, workloads);
            }
        }
    }
}
