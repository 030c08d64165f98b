//! The far end of a connection, or an end of a capture file, comes in as an address; what it is called goes out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use observer_core::connection::Address;
use observer_core::ids::WorkloadId;
use rustc_hash::FxHashMap;

use super::naming::{NamedBy, ServiceRule};

/// Set in the ids of workloads that are addresses, so that they never collide with those of processes.
pub(super) const ADDRESS_WORKLOADS: u32 = 1 << 31;
/// Addresses kept as workloads; past it an address has none.
pub const ADDRESSES_MAX: usize = 65_536;

/// One entry of `external:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// An address or a network.
    Network(IpNet),
    /// A host name in which `*` stands for any characters, in lower case.
    Host(Box<str>),
}

impl External {
    /// Reads `203.0.113.0/24`, `203.0.113.7`, `*.partner.example`.
    pub fn parse(text: &str) -> Self {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map_or_else(|_| Self::Host(text.to_ascii_lowercase().into()), Self::Network)
    }
}

/// What the far end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A service of this host.
    Local(WorkloadId),
    /// A service that the configuration names by its address.
    Named(String),
    /// Nobody of ours: `external:` and the host or address.
    External(String),
    /// Not known: its address, with the port that it serves.
    Address(String),
}

/// What the far end at `address` is called, apart from services of this host. `serves`: it takes the requests, so its port
/// means something; `host`: what the request calls it, without port.
pub fn far_name(
    rules: &[ServiceRule],
    external: &[External],
    address: Address,
    serves: bool,
    host: Option<&str>,
) -> Peer {
    if let Some(rule) = rules.iter().find(|rule| rule.address.is_some() && rule.names_address(address, serves)) {
        return Peer::Named(rule.name.clone());
    }
    let host = host.filter(|host| serves && host.parse::<IpAddr>().is_err());
    let outside = external.iter().any(|entry| match entry {
        External::Network(network) => network.contains(&address.ip),
        External::Host(pattern) => host.is_some_and(|host| glob(pattern, &host.to_ascii_lowercase())),
    });
    if outside || is_public(address.ip) {
        return Peer::External(
            host.map_or_else(|| format!("external:{}", address.ip), |host| format!("external:{host}")),
        );
    }
    Peer::Address(if serves { written(address) } else { address.ip.to_string() })
}

/// `10.0.0.1:80`, `[::1]:80`.
pub fn written(address: Address) -> String {
    std::net::SocketAddr::new(address.ip, address.port).to_string()
}

/// Whether an address is reachable from everywhere: not private, shared, local, reserved for documentation or benchmarks
/// (the IANA special-purpose registries, RFC 6890).
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, third, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_documentation()
                || first == 0
                || first >= 240
                || (first == 100 && second & 0xc0 == 64)
                || (first == 198 && second & 0xfe == 18)
                || (first, second, third) == (192, 0, 0))
        }
        IpAddr::V6(ip) => {
            let [first, second, ..] = ip.segments();
            // Global unicast is 2000::/3 (RFC 4291 section 2.4); 2001:db8::/32 and 3fff::/20 are for documentation.
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8) && (first, second & 0xf000) != (0x3fff, 0)
        }
    }
}

/// Whether `text` matches a pattern in which `*` stands for any characters, none included.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut last = None;
    for part in parts {
        if let Some(middle) = last.replace(part) {
            let Some(at) = rest.find(middle) else { return false };
            rest = rest.get(at + middle.len()..).unwrap_or_default();
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

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
    fn the_far_end_is_named_by_rule_then_external_then_address() {
        let rules = [ServiceRule {
            name: "gateway".into(),
            address: Some("10.0.3.7/32".parse().unwrap()),
            ..ServiceRule::default()
        }];
        let external = ["*.partner.example", "203.0.113.0/24", "172.16.0.9"].map(External::parse);
        let cases = [
            ("10.0.3.7:80", true, None, Peer::Named("gateway".into())),
            ("10.0.3.7:41000", false, None, Peer::Named("gateway".into())),
            ("10.0.3.8:80", true, Some("api.partner.example"), Peer::External("external:api.partner.example".into())),
            ("10.0.3.8:80", true, Some("API.partner.example"), Peer::External("external:API.partner.example".into())),
            ("10.0.3.8:80", true, Some("partner.example"), Peer::Address("10.0.3.8:80".into())),
            ("203.0.113.5:80", true, None, Peer::External("external:203.0.113.5".into())),
            ("172.16.0.9:80", true, Some("172.16.0.9"), Peer::External("external:172.16.0.9".into())),
            ("93.184.216.34:80", true, Some("example.org"), Peer::External("external:example.org".into())),
            ("93.184.216.34:41000", false, Some("shop"), Peer::External("external:93.184.216.34".into())),
            ("10.0.3.8:41000", false, None, Peer::Address("10.0.3.8".into())),
            ("[fd00::1]:80", true, None, Peer::Address("[fd00::1]:80".into())),
        ];
        for (far, serves, host, expected) in cases {
            assert_eq!(far_name(&rules, &external, address(far), serves, host), expected, "{far} {host:?}");
        }
    }

    #[test]
    fn public_addresses_are_those_that_everybody_reaches() {
        for text in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.1.1.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "0.0.0.0",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("*.a.b", "x.a.b", true),
            ("*.a.b", "a.b", false),
            ("a*c*e", "abcde", true),
            ("a*c*e", "ace", true),
            ("a*a", "a", false),
            ("a*bc*c", "abc", false),
            ("ab", "ab", true),
            ("ab", "abc", false),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
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
