//! Listening sockets come in; who accepts a connection to a local address goes out.

use std::net::IpAddr;

use observer_core::connection::Address;
use observer_core::ids::{SocketId, WorkloadId};
use rustc_hash::FxHashMap;

/// Listening sockets kept, workers' own ones (`SO_REUSEPORT`) included.
pub(super) const LISTENERS_MAX: usize = 65_536;

/// A socket that listens, or is bound and may soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Its address; unspecified: every one of its network namespace.
    pub(super) local: Address,
    /// Its network namespace; zero: not known.
    pub(super) network: u64,
    /// Its cookie, where it is known.
    pub(super) socket: Option<SocketId>,
    /// The cgroup of its creator, which its accepted sockets inherit; zero: not known.
    pub(super) cgroup: u64,
    /// Who holds it.
    pub(super) workload: WorkloadId,
}

/// The addresses of each network namespace.
pub(super) type Networks = FxHashMap<u64, Vec<IpAddr>>;

/// All listening sockets of this host.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    by_port: FxHashMap<u16, Vec<Listener>>,
    ports: FxHashMap<SocketId, u16>,
    count: usize,
    /// Listeners that were not kept because the table is full.
    pub(super) refused: u64,
}

impl Listeners {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds one, or replaces the one with its cookie.
    pub(super) fn insert(&mut self, listener: Listener) {
        if let Some(socket) = listener.socket {
            self.remove(socket);
        }
        if self.count >= LISTENERS_MAX {
            self.refused += 1;
            return;
        }
        if let Some(socket) = listener.socket {
            self.ports.insert(socket, listener.local.port);
        }
        self.by_port.entry(listener.local.port).or_default().push(listener);
        self.count += 1;
    }

    /// Removes the one with this cookie; a socket that is no listener is a cheap miss.
    pub(super) fn remove(&mut self, socket: SocketId) -> Option<Listener> {
        let port = self.ports.remove(&socket)?;
        let listeners = self.by_port.get_mut(&port)?;
        let index = listeners.iter().position(|listener| listener.socket == Some(socket))?;
        let removed = listeners.swap_remove(index);
        self.count -= 1;
        if listeners.is_empty() {
            self.by_port.remove(&port);
        }
        Some(removed)
    }

    /// One that takes connections to `local` in a network namespace, the exact address before the unspecified one.
    pub(super) fn at(&self, network: u64, local: Address) -> Option<&Listener> {
        let there =
            || self.by_port.get(&local.port).into_iter().flatten().filter(|listener| listener.network == network);
        there()
            .find(|listener| listener.local.ip == local.ip)
            .or_else(|| there().find(|listener| listener.local.ip.is_unspecified()))
    }

    /// Keeps those of which `keep` says so.
    pub(super) fn retain(&mut self, keep: impl Fn(&Listener) -> bool) {
        let (ports, mut count) = (&mut self.ports, 0);
        self.by_port.retain(|_, listeners| {
            listeners.retain(|listener| {
                let kept = keep(listener);
                if let Some(socket) = listener.socket.filter(|_| !kept) {
                    ports.remove(&socket);
                }
                kept
            });
            count += listeners.len();
            !listeners.is_empty()
        });
        self.count = count;
    }

    /// Replaces the ids of workloads.
    pub(super) fn renumber(&mut self, current: impl Fn(WorkloadId) -> WorkloadId) {
        self.by_port.values_mut().flatten().for_each(|listener| listener.workload = current(listener.workload));
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.by_port.values().flatten()
    }

    /// Who accepts connections to `local`. `cgroup`: of the accepted socket, zero where it is not known; `current` follows
    /// merges of workloads. `None` where nobody listens there or several do that cannot be told apart.
    pub(super) fn accepts(
        &self,
        local: Address,
        cgroup: u64,
        networks: &Networks,
        current: impl Fn(WorkloadId) -> WorkloadId,
    ) -> Option<WorkloadId> {
        let listeners = self.by_port.get(&local.port)?;
        let exact = |listener: &&Listener| listener.local.ip == local.ip;
        let lives_in = |network: u64| networks.get(&network).is_none_or(|addresses| addresses.contains(&local.ip));
        let reached = |listener: &&Listener| {
            // In one namespace the exact address wins over the unspecified one.
            let shadowed = || listeners.iter().any(|other| exact(&other) && other.network == listener.network);
            exact(listener)
                || (listener.local.ip.is_unspecified()
                    && (lives_in(listener.network) || local.ip.is_loopback())
                    && !shadowed())
        };
        let only = |narrow: &dyn Fn(&Listener) -> bool| {
            let mut found = listeners
                .iter()
                .filter(reached)
                .filter(|listener| narrow(listener))
                .map(|listener| current(listener.workload));
            let first = found.next();
            (first, found.all(|other| Some(other) == first))
        };
        match only(&|_| true) {
            (first, true) => first,
            // Between namespaces the cgroup tells, or an address that only one of them has.
            _ => match only(&|listener| cgroup != 0 && listener.cgroup == cgroup) {
                (Some(first), true) => Some(first),
                _ => match only(&|listener| listener.local.ip == local.ip && !local.ip.is_loopback()) {
                    (Some(first), true) => Some(first),
                    _ => None,
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Address { ip: address.ip(), port: address.port() }
    }

    fn table() -> (Listeners, Networks) {
        let mut listeners = Listeners::default();
        let rows = [
            ("0.0.0.0:80", 1, 11, 101, 1),
            ("[::]:80", 2, 12, 102, 2),
            ("10.0.0.1:81", 1, 13, 101, 1),
            ("0.0.0.0:81", 1, 14, 101, 3),
            ("127.0.0.1:82", 1, 15, 101, 4),
            ("127.0.0.1:82", 2, 16, 102, 2),
            ("127.0.0.1:83", 1, 17, 1, 4),
            ("127.0.0.1:83", 2, 18, 1, 2),
            ("0.0.0.0:84", 1, 19, 101, 1),
            ("0.0.0.0:84", 1, 20, 101, 1),
            ("127.0.0.1:86", 1, 21, 101, 1),
            ("0.0.0.0:86", 1, 22, 101, 3),
        ];
        for (local, network, socket, cgroup, workload) in rows {
            listeners.insert(Listener {
                local: address(local),
                network,
                socket: Some(SocketId(socket)),
                cgroup,
                workload: WorkloadId(workload),
            });
        }
        let addresses = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
        (
            listeners,
            Networks::from_iter([(1, addresses(["127.0.0.1", "10.0.0.1"])), (2, addresses(["127.0.0.1", "10.0.0.2"]))]),
        )
    }

    #[test]
    fn a_connection_belongs_to_the_one_that_listens_where_it_arrives() {
        let (listeners, networks) = table();
        let cases = [
            ("10.0.0.1:80", 0, Some(1), "its own namespace has the address"),
            ("10.0.0.2:80", 0, Some(2), "an IPv6 listener takes IPv4"),
            ("10.0.0.3:80", 0, None, "no namespace has the address"),
            ("127.0.0.1:80", 0, None, "every namespace has a loopback"),
            ("127.0.0.1:80", 102, Some(2), "the cgroup tells"),
            ("10.0.0.1:81", 0, Some(1), "the exact address wins"),
            ("127.0.0.1:82", 101, Some(4), "the cgroup tells"),
            ("127.0.0.1:82", 0, None, "nothing tells"),
            ("127.0.0.1:83", 1, None, "hybrid hosts: all have the same cgroup"),
            ("10.0.0.1:84", 0, Some(1), "workers with a listener each"),
            ("10.0.0.1:85", 0, None, "nobody"),
            ("127.0.0.1:86", 0, Some(1), "the exact address wins on the loopback, too"),
            ("10.0.0.1:86", 0, Some(3), "the unspecified address takes the rest"),
        ];
        for (local, cgroup, expected, why) in cases {
            let found = listeners.accepts(address(local), cgroup, &networks, |id| id);
            assert_eq!(found, expected.map(WorkloadId), "{local}: {why}");
        }
    }

    #[test]
    fn a_released_listener_accepts_nothing_and_is_not_counted() {
        let (mut listeners, networks) = table();
        assert_eq!(listeners.len(), 12);
        listeners.remove(SocketId(11));
        listeners.remove(SocketId(11));
        assert_eq!(listeners.accepts(address("10.0.0.1:80"), 0, &networks, |id| id), None);
        assert_eq!(listeners.len(), 11);
        listeners.retain(|listener| listener.workload == WorkloadId(2));
        assert_eq!((listeners.len(), listeners.iter().count(), listeners.ports.len()), (3, 3, 3));
    }
}
