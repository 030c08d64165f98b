//! Processes that may hold the same sockets come in as sets; a workload with a service name goes out for each.
//!
//! Which processes belong together is decided in `grouping`; here they are kept, merged, named and forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use observer_core::connection::Address;
use observer_core::ids::WorkloadId;
use rustc_hash::FxHashMap;

use super::boundary::Boundary;
use super::container_names::{ContainerName, container_name};
use super::naming::{Clues, NamedBy, ServiceRule, service_name};
use super::process::ProcessFacts;

/// Workloads kept at a time: containers, units and single processes with connections on one host.
pub const WORKLOADS_MAX: usize = 8192;
/// How long a workload whose processes have all ended is remembered: its last packets and their report come later.
const GONE_MEMORY: Duration = Duration::from_mins(1);
/// Processes that are asked for a name; workers of one workload name it alike.
const NAMING_PROCESSES_MAX: usize = 64;
/// Ids of workloads that became part of another one; past it every table takes over the ids that are current.
const MERGED_MAX: usize = 16_384;
/// Kubernetes labels kept, by container id or pod uid.
const LABELS_MAX: usize = 8192;

/// A set of processes that may hold the same sockets.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its id; after a merge the id of the set that took it in.
    pub id: WorkloadId,
    /// The service that it is an instance of.
    pub service: String,
    /// What gave it that name.
    pub named_by: NamedBy,
    /// The container or unit; `None`: processes on their own.
    pub boundary: Option<Boundary>,
    /// Its processes that are known: those with connections.
    pub processes: BTreeMap<u32, Arc<ProcessFacts>>,
    /// Where it listens.
    pub listens: BTreeSet<Address>,
    /// Paths of Unix stream sockets on which it listens: requests that reach it there are not seen.
    pub hidden: BTreeSet<Box<str>>,
    /// The Kubernetes namespace, where labels or the container's runtime tell it.
    pub namespace: Option<Box<str>>,
    named_from: Option<u32>,
    container: Option<ContainerName>,
    gone: Option<Instant>,
}

impl Workload {
    /// The process to speak of: the one that started first.
    pub fn lead(&self) -> Option<&ProcessFacts> {
        self.processes
            .values()
            .min_by_key(|process| (process.incarnation.started, process.pid))
            .map(|process| &**process)
    }

    /// The id of the container that it is.
    pub fn container_id(&self) -> Option<&str> {
        match &self.boundary {
            Some(Boundary::Container { id, .. }) => Some(id),
            _ => None,
        }
    }
}

/// What the labels of a Kubernetes pod say of one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesName {
    /// The service.
    pub service: Box<str>,
    /// The namespace of the pod.
    pub namespace: Box<str>,
}

/// All workloads of this host.
#[derive(Debug)]
pub(super) struct Workloads {
    table: BTreeMap<WorkloadId, Workload>,
    by_boundary: FxHashMap<Boundary, WorkloadId>,
    merged: FxHashMap<WorkloadId, WorkloadId>,
    labels: FxHashMap<Box<str>, KubernetesName>,
    rules: Vec<ServiceRule>,
    host_root: PathBuf,
    own_network: u64,
    next: u32,
    /// Counts changes of names and of who belongs where, so that others know when to look again.
    pub(super) generation: u64,
    /// Workloads that were not made because the table is full.
    pub(super) refused: u64,
}

impl Workloads {
    pub(super) fn new(rules: Vec<ServiceRule>, host_root: PathBuf, own_network: u64) -> Self {
        Self {
            table: BTreeMap::new(),
            by_boundary: FxHashMap::default(),
            merged: FxHashMap::default(),
            labels: FxHashMap::default(),
            rules,
            host_root,
            own_network,
            next: 0,
            generation: 0,
            refused: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn get(&self, id: WorkloadId) -> Option<&Workload> {
        self.table.get(&self.current(id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Workload> {
        self.table.values()
    }

    /// The id of the workload that `id` has become part of.
    pub(super) fn current(&self, id: WorkloadId) -> WorkloadId {
        let mut id = id;
        // Merges go from the larger id to the smaller, so this ends.
        while let Some(&next) = self.merged.get(&id) {
            id = next;
        }
        id
    }

    /// The merges so far, once they are too many to keep: whoever holds ids replaces them by what they have become.
    pub(super) fn take_merged(&mut self) -> Option<impl Fn(WorkloadId) -> WorkloadId + use<>> {
        if self.merged.len() < MERGED_MAX {
            return None;
        }
        let ends: FxHashMap<WorkloadId, WorkloadId> = self.merged.keys().map(|&id| (id, self.current(id))).collect();
        self.merged.clear();
        let current = move |id| ends.get(&id).copied().unwrap_or(id);
        self.by_boundary.values_mut().for_each(|id| *id = current(*id));
        Some(current)
    }

    /// The workload of a container or unit; `None` where the table is full.
    pub(super) fn of_boundary(&mut self, boundary: &Boundary, addresses: &[IpAddr]) -> Option<WorkloadId> {
        if let Some(&id) = self.by_boundary.get(boundary) {
            return Some(id);
        }
        let id = self.create(Some(boundary.clone()))?;
        self.by_boundary.insert(boundary.clone(), id);
        self.rename(id, addresses);
        Some(id)
    }

    /// A new workload without processes; `None` where the table is full.
    pub(super) fn create(&mut self, boundary: Option<Boundary>) -> Option<WorkloadId> {
        if self.table.len() >= WORKLOADS_MAX {
            self.refused += 1;
            return None;
        }
        let id = WorkloadId(self.next);
        self.next = self.next.wrapping_add(1) & !super::addresses::ADDRESS_WORKLOADS;
        let container = match &boundary {
            Some(Boundary::Container { id, .. }) => container_name(&self.host_root, id),
            _ => None,
        };
        self.table.insert(
            id,
            Workload {
                id,
                service: String::new(),
                named_by: NamedBy::Address,
                boundary,
                processes: BTreeMap::new(),
                listens: BTreeSet::new(),
                hidden: BTreeSet::new(),
                namespace: None,
                named_from: None,
                container,
                gone: None,
            },
        );
        Some(id)
    }

    /// Adds a process, in place of an earlier one with its pid.
    pub(super) fn join(&mut self, id: WorkloadId, process: Arc<ProcessFacts>, addresses: &[IpAddr]) {
        let id = self.current(id);
        let Some(workload) = self.table.get_mut(&id) else { return };
        workload.gone = None;
        self.generation += 1;
        let (pid, first) = (process.pid, workload.processes.is_empty());
        let replaced = workload.processes.insert(pid, process).is_some();
        if first || replaced || workload.named_from.is_none() || workload.named_by > NamedBy::ServiceName {
            self.rename(id, addresses);
        }
    }

    /// Takes a process out that has ended or has moved to another workload. The name stays until another one gives it.
    pub(super) fn leave(&mut self, id: WorkloadId, pid: u32, now: Instant) {
        let id = self.current(id);
        let Some(workload) = self.table.get_mut(&id) else { return };
        workload.processes.remove(&pid);
        if workload.named_from == Some(pid) {
            workload.named_from = None;
        }
        if workload.processes.is_empty() {
            workload.gone = Some(now);
        }
    }

    /// Says where a workload listens now, and on which Unix sockets.
    pub(super) fn serve(
        &mut self,
        id: WorkloadId,
        listens: BTreeSet<Address>,
        hidden: BTreeSet<Box<str>>,
        addresses: &[IpAddr],
    ) {
        let id = self.current(id);
        let Some(workload) = self.table.get_mut(&id) else { return };
        workload.hidden = hidden;
        if workload.listens != listens {
            workload.listens = listens;
            self.rename(id, addresses);
        }
    }

    /// Says that a workload listens at one more address.
    pub(super) fn listen(&mut self, id: WorkloadId, local: Address, addresses: &[IpAddr]) {
        let id = self.current(id);
        if self.table.get_mut(&id).is_some_and(|workload| workload.listens.insert(local)) {
            self.rename(id, addresses);
        }
    }

    /// Says that a workload does not listen at an address, after all.
    pub(super) fn unlisten(&mut self, id: WorkloadId, local: Address) {
        let id = self.current(id);
        if let Some(workload) = self.table.get_mut(&id) {
            workload.listens.remove(&local);
        }
    }

    /// Makes one workload of two; the older id stays.
    pub(super) fn merge(&mut self, one: WorkloadId, other: WorkloadId, addresses: &[IpAddr]) -> WorkloadId {
        let (one, other) = (self.current(one), self.current(other));
        let (kept, taken) = (one.min(other), one.max(other));
        if kept == taken {
            return kept;
        }
        let Some(part) = self.table.remove(&taken) else { return kept };
        self.merged.insert(taken, kept);
        self.generation += 1;
        if let Some(boundary) = &part.boundary {
            self.by_boundary.insert(boundary.clone(), kept);
        }
        if let Some(workload) = self.table.get_mut(&kept) {
            workload.processes.extend(part.processes);
            workload.listens.extend(part.listens);
            workload.hidden.extend(part.hidden);
            workload.gone = if workload.processes.is_empty() { workload.gone.max(part.gone) } else { None };
        }
        self.rename(kept, addresses);
        kept
    }

    /// Keeps what Kubernetes calls a container, by container id or pod uid, and names its workloads anew.
    pub(super) fn label(&mut self, key: &str, name: KubernetesName) {
        if self.labels.len() >= LABELS_MAX && !self.labels.contains_key(key) {
            self.refused += 1;
            return;
        }
        self.labels.insert(key.into(), name);
        let named: Vec<WorkloadId> = self
            .by_boundary
            .iter()
            .filter(|(boundary, _)| {
                matches!(boundary, Boundary::Container { id, pod } if **id == *key || pod.as_deref() == Some(key))
            })
            .map(|(_, &id)| id)
            .collect();
        for id in named {
            self.rename(id, &[]);
        }
    }

    /// Other rules from a configuration that was read again.
    pub(super) fn set_rules(&mut self, rules: Vec<ServiceRule>, addresses: impl Fn(u64) -> Vec<IpAddr>) {
        self.rules = rules;
        let ids: Vec<(WorkloadId, u64)> =
            self.table.values().map(|workload| (workload.id, workload.lead().map_or(0, |lead| lead.network))).collect();
        for (id, network) in ids {
            self.rename(id, &addresses(network));
        }
    }

    pub(super) fn rules(&self) -> &[ServiceRule] {
        &self.rules
    }

    /// Forgets workloads whose processes ended some time ago; returns their ids.
    pub(super) fn forget(&mut self, now: Instant) -> Vec<WorkloadId> {
        let gone: Vec<WorkloadId> = self
            .table
            .values()
            .filter(|workload| workload.gone.is_some_and(|gone| now.duration_since(gone) >= GONE_MEMORY))
            .map(|workload| workload.id)
            .collect();
        for id in &gone {
            self.table.remove(id);
        }
        if !gone.is_empty() {
            let table = &self.table;
            self.by_boundary.retain(|_, id| table.contains_key(id));
            let ends: Vec<WorkloadId> =
                self.merged.keys().copied().filter(|&id| !self.table.contains_key(&self.current(id))).collect();
            for id in ends {
                self.merged.remove(&id);
            }
        }
        gone
    }

    /// Names a workload by the strongest clue of any of its processes; `addresses` are those of its network namespace.
    fn rename(&mut self, id: WorkloadId, addresses: &[IpAddr]) {
        let Some(workload) = self.table.get(&id) else { return };
        let label = match &workload.boundary {
            Some(Boundary::Container { id, pod }) => {
                self.labels.get(id).or_else(|| pod.as_ref().and_then(|pod| self.labels.get(pod)))
            }
            _ => None,
        };
        let clues = |process: Option<&ProcessFacts>| {
            let own = process.is_none_or(|process| process.network == self.own_network);
            let clues = Clues {
                process: None,
                boundary: workload.boundary.as_ref(),
                kubernetes: label.map(|label| &*label.service),
                container: workload.container.as_ref().map(|container| &*container.name),
                listens: &workload.listens,
                addresses: if own { &[] } else { addresses },
            };
            service_name(&self.rules, Clues { process, ..clues })
        };
        let mut processes: Vec<&ProcessFacts> =
            workload.processes.values().take(NAMING_PROCESSES_MAX).map(|process| &**process).collect();
        processes.sort_by_key(|process| (process.incarnation.started, process.pid));
        let named = processes
            .iter()
            .filter_map(|process| clues(Some(process)).map(|(by, name)| (by, name, Some(process.pid))))
            .min_by_key(|(by, ..)| *by)
            .or_else(|| clues(None).map(|(by, name)| (by, name, None)));
        let namespace = label.map(|label| label.namespace.clone());
        let namespace = namespace.or_else(|| workload.container.as_ref()?.namespace.clone());
        if let (Some((by, name, from)), Some(workload)) = (named, self.table.get_mut(&id)) {
            workload.named_by = by;
            workload.named_from = from;
            workload.namespace = namespace;
            if workload.service != name {
                workload.service = name;
                self.generation += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_past_the_bound_are_handed_out_once_and_forgotten() {
        let mut workloads = Workloads::new(Vec::new(), PathBuf::from("/nowhere"), 0);
        let server = workloads.create(None).unwrap();
        let mut worker = server;
        for _ in 0..MERGED_MAX {
            assert!(workloads.take_merged().is_none());
            worker = workloads.create(None).unwrap();
            workloads.merge(server, worker, &[]);
        }
        let current = workloads.take_merged().unwrap();
        assert_eq!((current(worker), current(server)), (server, server));
        assert!(workloads.merged.is_empty());
    }
}
