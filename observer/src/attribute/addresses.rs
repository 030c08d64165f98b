//! Ends that no process here owns come in as addresses (a capture file, an interface); workloads and their names go out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use observer_core::connection::Address;
use observer_core::ids::WorkloadId;
use rustc_hash::FxHashMap;

use super::naming::{NamedBy, ServiceRule};
use super::peers::written;

/// Set in the ids of workloads that are addresses, so that they never collide with those of processes.
pub(super) const ADDRESS_WORKLOADS: u32 = 1 << 31;
/// Addresses kept as workloads; past it an address has none.
pub const ADDRESSES_MAX: usize = 65_536;

/// Workloads of a capture file, and of ends on the wire that no process here owns: what an address sends belongs to the
/// service that it serves as.
///
/// An address that serves one port is one workload, whatever it sends included. Once it serves a second port, each further
/// port is a workload of its own (`10.0.0.1:9090`), and what the address sends cannot be told apart: see
/// [`Addresses::is_ambiguous`].
#[derive(Debug, Default)]
pub struct Addresses {
    rules: Vec<ServiceRule>,
    hosts: FxHashMap<IpAddr, Host>,
    names: Vec<(String, NamedBy)>,
    /// Addresses that were not kept because the table is full.
    pub refused: u64,
}

#[derive(Debug)]
struct Host {
    /// What it sends, and what it serves on its first port.
    base: WorkloadId,
    first: Option<u16>,
    others: BTreeSet<(u16, WorkloadId)>,
}

impl Addresses {
    /// An empty table; of the rules those with an address or port count.
    pub fn new(rules: Vec<ServiceRule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// The workload of the end at `address`, which takes requests (`serves`) or sends them; `None` where the table is full.
    pub fn workload(&mut self, address: Address, serves: bool) -> Option<WorkloadId> {
        if !self.hosts.contains_key(&address.ip) {
            let base = self.create(address, serves)?;
            let first = serves.then_some(address.port);
            self.hosts.insert(address.ip, Host { base, first, others: BTreeSet::new() });
            return Some(base);
        }
        let host = self.hosts.get(&address.ip)?;
        if !serves || host.first == Some(address.port) {
            return Some(host.base);
        }
        if let Some((_, id)) =
            host.others.range((address.port, WorkloadId(0))..).next().filter(|(port, _)| *port == address.port)
        {
            return Some(*id);
        }
        if host.first.is_none() {
            let base = host.base;
            let name = self.name_of(address, true);
            if let Some(kept) = self.names.get_mut(index(base)) {
                *kept = name;
            }
            self.hosts.get_mut(&address.ip)?.first = Some(address.port);
            return Some(base);
        }
        let id = self.create(address, true)?;
        if let Some(kept) = self.names.get_mut(index(id)).filter(|(_, by)| *by == NamedBy::Address) {
            kept.0 = written(address);
        }
        self.hosts.get_mut(&address.ip)?.others.insert((address.port, id));
        Some(id)
    }

    /// The name of a workload of this table and what gave it.
    pub fn name(&self, id: WorkloadId) -> Option<(&str, NamedBy)> {
        (id.0 & ADDRESS_WORKLOADS != 0).then(|| self.names.get(index(id)).map(|(name, by)| (name.as_str(), *by)))?
    }

    /// Whether the address serves several ports, so that what it sends may be any of these services'.
    pub fn is_ambiguous(&self, ip: IpAddr) -> bool {
        self.hosts.get(&ip).is_some_and(|host| !host.others.is_empty())
    }

    /// How many workloads are kept.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn create(&mut self, address: Address, serves: bool) -> Option<WorkloadId> {
        if self.names.len() >= ADDRESSES_MAX {
            self.refused += 1;
            return None;
        }
        let id = WorkloadId(u32::try_from(self.names.len()).ok()? | ADDRESS_WORKLOADS);
        let name = self.name_of(address, serves);
        self.names.push(name);
        Some(id)
    }

    fn name_of(&self, address: Address, serves: bool) -> (String, NamedBy) {
        self.rules.iter().find(|rule| rule.names_address(address, serves)).map_or_else(
            || (address.ip.to_string(), NamedBy::Address),
            |rule| (rule.name.clone(), NamedBy::Configuration),
        )
    }
}

fn index(id: WorkloadId) -> usize {
    usize::try_from(id.0 & !ADDRESS_WORKLOADS).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        let address: std::net::SocketAddr = text.parse().unwrap();
        Address { ip: address.ip(), port: address.port() }
    }

    #[test]
    fn what_an_address_sends_belongs_to_the_service_that_it_serves_as() {
        let rules = vec![ServiceRule { name: "cart".into(), port: Some(8080), ..ServiceRule::default() }];
        let mut addresses = Addresses::new(rules);
        let sent_first = addresses.workload(address("10.0.0.1:41000"), false).unwrap();
        assert_eq!(addresses.name(sent_first), Some(("10.0.0.1", NamedBy::Address)));
        let served = addresses.workload(address("10.0.0.1:8080"), true).unwrap();
        assert_eq!(served, sent_first);
        assert_eq!(addresses.name(served), Some(("cart", NamedBy::Configuration)));
        assert!(!addresses.is_ambiguous(address("10.0.0.1:0").ip));
        let second = addresses.workload(address("10.0.0.1:9090"), true).unwrap();
        assert_eq!(addresses.name(second), Some(("10.0.0.1:9090", NamedBy::Address)));
        assert_eq!(addresses.workload(address("10.0.0.1:9090"), true), Some(second));
        assert_eq!(addresses.workload(address("10.0.0.1:41001"), false), Some(served));
        assert!(addresses.is_ambiguous(address("10.0.0.1:0").ip));
        let client = addresses.workload(address("10.0.0.2:41000"), false).unwrap();
        assert_eq!(addresses.name(client), Some(("10.0.0.2", NamedBy::Address)));
        assert_eq!(addresses.len(), 3);
    }
}
