//! The address of the far end of a connection comes in; what it is called goes out.

use std::net::IpAddr;

use ipnet::IpNet;
use observer_core::connection::Address;
use observer_core::ids::WorkloadId;

use super::naming::ServiceRule;
use crate::pattern::Pattern;

/// One entry of `external:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// An address or a network.
    Network(IpNet),
    /// The host name that requests to the peer carry, in lower case.
    Host(Pattern),
}

impl External {
    /// Whether a peer at `address`, called `host` in the request where it names one, is external by this entry.
    pub fn matches(&self, address: IpAddr, host: Option<&str>) -> bool {
        match self {
            Self::Network(network) => network.contains(&address),
            Self::Host(pattern) => host.is_some_and(|host| pattern.matches(&host.to_ascii_lowercase())),
        }
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
    if let Some(name) = external_name(external, is_public(address.ip), address.ip, host.filter(|_| serves)) {
        return Peer::External(name);
    }
    Peer::Address(if serves { written(address) } else { address.ip.to_string() })
}

/// What a peer is called that is external, by an entry of the configuration or `anyway`; `host` is what the request calls it.
pub fn external_name(external: &[External], anyway: bool, address: IpAddr, host: Option<&str>) -> Option<String> {
    let host = host.filter(|host| host.parse::<IpAddr>().is_err());
    let outside = anyway || external.iter().any(|entry| entry.matches(address, host));
    outside.then(|| host.map_or_else(|| format!("external:{address}"), |host| format!("external:{host}")))
}

/// What a host is called that is external by its name, where no address of it is known.
pub fn external_host(external: &[External], host: &str) -> Option<String> {
    let lower = host.to_ascii_lowercase();
    let names = |entry: &External| matches!(entry, External::Host(pattern) if pattern.matches(&lower));
    external.iter().any(names).then(|| format!("external:{host}"))
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
        let external = [
            External::Host(Pattern::new("*.partner.example")),
            External::Network("203.0.113.0/24".parse().unwrap()),
            External::Network("172.16.0.9/32".parse().unwrap()),
        ];
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
}
