//! Interned names of services and tenants: bounded, so that a hostile peer cannot raise memory or series without end.
//!
//! A name past the limit becomes [`OVERFLOW`]; it is counted, never dropped.

use rustc_hash::FxHashMap;

use crate::ids::{ServiceId, TenantId};

/// The tenant of a message in which no extractor yields a value.
pub const UNKNOWN: &str = "unknown";
/// What names past the limit are counted under.
pub const OVERFLOW: &str = "__overflow__";
/// The longest name kept, in bytes; longer ones are cut at a character boundary.
pub const NAME_BYTES_MAX: usize = 128;

/// One bounded table of names. Index 0 is the overflow name.
#[derive(Debug)]
struct Table {
    names: Vec<Box<str>>,
    index: FxHashMap<Box<str>, u32>,
    limit: usize,
    overflowed: u64,
}

impl Table {
    fn new(limit: usize) -> Self {
        let mut table =
            Self { names: Vec::new(), index: FxHashMap::default(), limit: limit.saturating_add(1), overflowed: 0 };
        table.names.push(OVERFLOW.into());
        table.index.insert(OVERFLOW.into(), 0);
        table
    }

    fn intern(&mut self, name: &str) -> u32 {
        let name = cut(name);
        if let Some(&id) = self.index.get(name) {
            return id;
        }
        let Some(id) = u32::try_from(self.names.len()).ok().filter(|_| self.names.len() < self.limit) else {
            self.overflowed = self.overflowed.saturating_add(1);
            return 0;
        };
        self.names.push(name.into());
        self.index.insert(name.into(), id);
        id
    }

    fn name(&self, id: u32) -> &str {
        usize::try_from(id).ok().and_then(|index| self.names.get(index)).map_or(OVERFLOW, |name| name)
    }
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    name.get(..end).unwrap_or_default()
}

/// The names of services and tenants.
#[derive(Debug)]
pub struct Names {
    services: Table,
    tenants: Table,
    peers: usize,
    peers_max: usize,
}

impl Names {
    /// [`OVERFLOW`] as a tenant.
    pub const OVERFLOW_TENANT: TenantId = TenantId(0);
    /// [`OVERFLOW`] as a service.
    pub const OVERFLOW_SERVICE: ServiceId = ServiceId(0);
    /// `unknown`, the tenant of messages that name none.
    pub const UNKNOWN_TENANT: TenantId = TenantId(1);

    /// Tables for at most `services` and `tenants` names, [`OVERFLOW`] and [`UNKNOWN`] not counted. Peers outside this host
    /// share the table of services and have as much room again, so that a crowd of clients cannot push out a service.
    pub fn new(services: usize, tenants: usize) -> Self {
        let mut names = Self {
            services: Table::new(services.saturating_mul(2)),
            tenants: Table::new(tenants.saturating_add(1)),
            peers: 0,
            peers_max: services,
        };
        names.tenants.intern(UNKNOWN);
        names
    }

    /// The id of a service name; [`OVERFLOW`]'s past the limit.
    pub fn service(&mut self, name: &str) -> ServiceId {
        ServiceId(self.services.intern(name))
    }

    /// The id of a peer that is no service of this host; [`OVERFLOW`]'s past the limit.
    pub fn peer(&mut self, name: &str) -> ServiceId {
        if let Some(&id) = self.services.index.get(cut(name)) {
            return ServiceId(id);
        }
        if self.peers >= self.peers_max {
            self.services.overflowed = self.services.overflowed.saturating_add(1);
            return ServiceId(0);
        }
        self.peers = self.peers.saturating_add(1);
        ServiceId(self.services.intern(name))
    }

    /// The id of a tenant; [`OVERFLOW`]'s past the limit.
    pub fn tenant(&mut self, name: &str) -> TenantId {
        TenantId(self.tenants.intern(name))
    }

    /// How many services are known, peers not counted.
    pub fn services(&self) -> usize {
        self.services.names.len().saturating_sub(self.peers).saturating_sub(1)
    }

    /// How many tenants are known, [`UNKNOWN`] not counted.
    pub fn tenants(&self) -> usize {
        self.tenants.names.len().saturating_sub(2)
    }

    /// Whether a service or peer of this name is known.
    pub fn is_service(&self, name: &str) -> bool {
        self.services.index.contains_key(cut(name))
    }

    /// The name of a service.
    pub fn service_name(&self, id: ServiceId) -> &str {
        self.services.name(id.0)
    }

    /// The name of a tenant.
    pub fn tenant_name(&self, id: TenantId) -> &str {
        self.tenants.name(id.0)
    }

    /// How often a service name was counted under [`OVERFLOW`].
    pub fn services_overflowed(&self) -> u64 {
        self.services.overflowed
    }

    /// How often a tenant was counted under [`OVERFLOW`].
    pub fn tenants_overflowed(&self) -> u64 {
        self.tenants.overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_past_the_limit_are_counted_under_overflow() {
        let mut names = Names::new(10, 2);
        let acme = names.tenant("acme");
        let other = names.tenant("other");
        let third = names.tenant("third");
        assert_eq!(names.tenant_name(acme), "acme");
        assert_eq!(names.tenant_name(other), "other");
        assert_eq!(names.tenant_name(third), OVERFLOW);
        assert_eq!(names.tenants_overflowed(), 1);
        assert_eq!(names.tenant("acme"), acme);
        assert_eq!(names.tenant_name(Names::UNKNOWN_TENANT), UNKNOWN);
    }

    #[test]
    fn a_crowd_of_peers_leaves_room_for_services() {
        let mut names = Names::new(2, 1);
        for client in 0..100 {
            names.peer(&format!("203.0.113.{client}"));
        }
        let first = names.service("checkout");
        let second = names.service("payment");
        assert_eq!((names.service_name(first), names.service_name(second)), ("checkout", "payment"));
        assert_eq!(names.services_overflowed(), 98);
    }

    #[test]
    fn a_long_name_is_cut_at_a_character_boundary() {
        let mut names = Names::new(1, 1);
        let id = names.service(&"é".repeat(100));
        assert_eq!(names.service_name(id).len(), NAME_BYTES_MAX);
    }
}
