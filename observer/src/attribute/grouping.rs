//! A survey of the host comes in; the tables of [`Attribution`] are brought in line with it: which processes share sockets
//! and so are one workload, who listens where, who owns each socket.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use observer_core::connection::Address;
use observer_core::ids::{SocketId, WorkloadId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Attribution;
use super::listeners::Listener;
use super::sock_diag::TcpSocket;
use super::sockets::State;
use super::survey::Survey;

/// Unix sockets named of one workload.
const HIDDEN_MAX: usize = 16;

impl Attribution {
    /// Applies what a survey found that was begun at `since`; returns how many owners of waiting sockets it told.
    pub(super) fn apply(&mut self, survey: Survey, since: Instant) -> usize {
        let waited = self.sockets.waiting();
        self.processes.networks =
            survey.namespaces.iter().map(|(&network, namespace)| (network, namespace.addresses.clone())).collect();
        self.processes.keep_alive(&survey.alive, since, &mut self.workloads);
        let mut facts = survey.processes;
        facts.sort_unstable_by_key(|process| process.pid);
        for process in facts {
            self.processes.learn(process, &mut self.workloads);
        }
        for (cgroup, boundary) in &survey.cgroups {
            self.processes.learn_cgroup(*cgroup, boundary);
        }
        let listening: Vec<(u64, TcpSocket)> = survey
            .namespaces
            .iter()
            .flat_map(|(&network, namespace)| namespace.sockets.iter().map(move |socket| (network, *socket)))
            .filter(|(_, socket)| socket.listens)
            .collect();
        let holders = Holders { by_inode: &survey.holders };
        self.split_launched(&listening, &holders);
        self.merge_sharers(&listening, &holders);
        self.rebuild_listeners(&listening, &holders);
        self.by_connection.clear();
        for (&network, namespace) in &survey.namespaces {
            self.merge_acceptors(network, &namespace.sockets, &holders);
        }
        for namespace in survey.namespaces.values() {
            self.assign_sockets(&namespace.sockets, &holders);
        }
        let unix = survey.namespaces.values().flat_map(|namespace| &namespace.unix);
        self.note_services(unix, &holders);
        waited.saturating_sub(self.sockets.waiting())
    }

    /// A process that was forked by a launcher and opened listening sockets of its own is a service of its own.
    fn split_launched(&mut self, listening: &[(u64, TcpSocket)], holders: &Holders<'_>) {
        let mut listens: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
        for (_, socket) in listening {
            for &pid in holders.of(socket.inode) {
                listens.entry(pid).or_default().insert(socket.inode);
            }
        }
        for (&pid, own) in &listens {
            let Some(known) = self.processes.get(pid).filter(|known| known.facts.forked) else { continue };
            let root = self.workloads.get(known.workload).and_then(|workload| workload.lead().map(|lead| lead.pid));
            let Some(root) = root.filter(|&root| root != pid && known.facts.boundary.is_none()) else { continue };
            let shares = listens.get(&root).is_some_and(|others| !others.is_disjoint(own));
            if !shares {
                self.processes.split(pid, &mut self.workloads);
            }
        }
    }

    /// Processes that hold the same listening socket, or have one each for the same address, serve the same connections.
    fn merge_sharers(&mut self, listening: &[(u64, TcpSocket)], holders: &Holders<'_>) {
        let mut by_address: FxHashMap<(u64, Address), WorkloadId> = FxHashMap::default();
        for (network, socket) in listening {
            for &pid in holders.of(socket.inode) {
                let Some(known) = self.processes.get(pid).filter(|known| known.facts.may_share()) else { continue };
                let workload = known.workload;
                let addresses = self.processes.addresses(pid);
                let merged = match by_address.get(&(*network, socket.local)) {
                    Some(&other) => self.workloads.merge(other, workload, addresses),
                    None => workload,
                };
                by_address.insert((*network, socket.local), merged);
            }
        }
    }

    fn rebuild_listeners(&mut self, listening: &[(u64, TcpSocket)], holders: &Holders<'_>) {
        let surveyed: FxHashSet<SocketId> = listening.iter().filter_map(|(_, socket)| socket.socket).collect();
        let workloads = &self.workloads;
        // A socket that is bound and does not listen yet is in no survey; its release is told.
        self.listeners.retain(|listener| {
            listener.socket.is_some_and(|socket| !surveyed.contains(&socket))
                && workloads.get(listener.workload).is_some_and(|workload| !workload.processes.is_empty())
        });
        for (network, socket) in listening {
            // Of several workloads the one that started last was given the socket to serve it.
            if let Some((workload, cgroup)) = self.owners(holders.of(socket.inode)).pop() {
                self.listeners.insert(Listener {
                    local: socket.local,
                    network: *network,
                    socket: socket.socket,
                    cgroup,
                    workload,
                });
            }
        }
    }

    /// A process without a listener that holds an accepted connection got it from the one that listens: one workload
    /// (Node's cluster, servers that pass descriptors).
    fn merge_acceptors(&mut self, network: u64, sockets: &[TcpSocket], holders: &Holders<'_>) {
        for socket in sockets.iter().filter(|socket| !socket.listens) {
            for &pid in holders.of(socket.inode) {
                let Some(known) = self.processes.get(pid).filter(|known| known.facts.may_share()) else { continue };
                let workload = self.workloads.current(known.workload);
                if self.workloads.get(workload).is_none_or(|workload| !workload.listens.is_empty()) {
                    continue;
                }
                let listener =
                    self.listeners.at(network, socket.local).map(|listener| self.workloads.current(listener.workload));
                let joins = listener.filter(|&listener| {
                    listener != workload
                        && self.workloads.get(listener).is_some_and(|listener| listener.boundary.is_none())
                });
                if let Some(listener) = joins {
                    self.workloads.merge(listener, workload, self.processes.addresses(pid));
                }
            }
        }
    }

    fn assign_sockets(&mut self, sockets: &[TcpSocket], holders: &Holders<'_>) {
        for socket in sockets {
            let owners = self.owners(holders.of(socket.inode));
            if owners.is_empty() {
                continue;
            }
            let recorded = socket.socket.and_then(|socket| self.sockets.owner(socket));
            let recorded = recorded.map(|workload| self.workloads.current(workload));
            // Of several holders the one that was seen to use it; else the one that started last: it was given the socket
            // to serve it, while the one that gave it away only failed to close it.
            let owner = owners.iter().map(|(workload, _)| *workload).find(|owner| Some(*owner) == recorded);
            let youngest = || owners.last().map(|(workload, _)| *workload);
            let Some(workload) = owner.or_else(youngest) else { continue };
            if let Some(id) = socket.socket {
                self.sockets.set(id, State::Owned(workload));
            }
            if self.asked_by_address && !socket.listens && self.by_connection.len() < super::CONNECTIONS_MAX {
                self.by_connection
                    .entry((socket.local, socket.remote))
                    // The same addresses in two namespaces: nothing tells them apart.
                    .and_modify(|known| *known = known.filter(|known| *known == workload))
                    .or_insert(Some(workload));
            }
        }
    }

    fn note_services<'a>(&mut self, unix: impl Iterator<Item = &'a (u64, Box<str>)>, holders: &Holders<'_>) {
        let mut listens: BTreeMap<WorkloadId, BTreeSet<Address>> = BTreeMap::new();
        for listener in self.listeners.iter() {
            listens.entry(self.workloads.current(listener.workload)).or_default().insert(listener.local);
        }
        let mut hidden: BTreeMap<WorkloadId, BTreeSet<Box<str>>> = BTreeMap::new();
        for (inode, path) in unix {
            for (workload, _) in self.owners(holders.of(*inode)) {
                let paths = hidden.entry(workload).or_default();
                if paths.len() < HIDDEN_MAX {
                    paths.insert(path.clone());
                }
            }
        }
        let alive: Vec<(WorkloadId, u32)> =
            self.workloads.iter().filter_map(|workload| Some((workload.id, workload.lead()?.pid))).collect();
        for (id, lead) in alive {
            let addresses = self.processes.addresses(lead);
            let listens = listens.remove(&id).unwrap_or_default();
            self.workloads.serve(id, listens, hidden.remove(&id).unwrap_or_default(), addresses);
        }
    }

    /// The workloads of the processes that hold a socket, with the cgroup of one of each, the one that started last at the
    /// end. A service manager, which holds the sockets of what it activates, comes first.
    fn owners(&self, pids: &[u32]) -> Vec<(WorkloadId, u64)> {
        let mut owners: Vec<(u64, WorkloadId, u64)> = pids
            .iter()
            .filter_map(|&pid| self.processes.get(pid))
            .map(|known| {
                let order = if known.facts.is_manager() { 0 } else { known.facts.incarnation.started };
                (order, self.workloads.current(known.workload), known.facts.cgroup)
            })
            .collect();
        owners.sort_unstable();
        let mut seen = FxHashSet::default();
        // From the youngest on, so that of a workload's processes the youngest gives the order.
        let mut distinct: Vec<(WorkloadId, u64)> = owners
            .into_iter()
            .rev()
            .filter(|(_, workload, _)| seen.insert(*workload))
            .map(|(_, workload, cgroup)| (workload, cgroup))
            .collect();
        distinct.reverse();
        distinct
    }
}

/// The processes that hold each socket.
struct Holders<'a> {
    by_inode: &'a FxHashMap<u64, Vec<u32>>,
}

impl Holders<'_> {
    fn of(&self, inode: u64) -> &[u32] {
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }
}
