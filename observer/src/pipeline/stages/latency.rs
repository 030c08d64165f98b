//! How long a response may take: the requirements of the configuration come in, the time that holds for a service and a tenant
//! goes out.

use std::time::Duration;

use crate::config::Requirement;

/// The declared times, the shortest first.
#[derive(Debug)]
pub(super) struct Latency(Vec<(Duration, Requirement)>);

impl Latency {
    pub(super) fn new(requirements: &[Requirement]) -> Self {
        let times = requirements.iter().filter_map(|required| Some((required.all_slower_than?, required.clone())));
        let mut times: Vec<_> = times.collect();
        times.sort_by_key(|(time, _)| *time);
        Self(times)
    }

    /// The shortest time that is declared for anybody.
    pub(super) fn least(&self) -> Option<Duration> {
        self.0.first().map(|(time, _)| *time)
    }

    /// The time that holds: all requirements that name them do, so it is the shortest of these.
    pub(super) fn threshold(&self, service: &str, tenant: &str) -> Option<Duration> {
        let names = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        let mut holding =
            self.0.iter().filter(|(_, required)| names(&required.service, service) && names(&required.tenant, tenant));
        holding.next().map(|(time, _)| *time)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_shortest_time_of_those_that_name_service_and_tenant_holds() {
        let text = "requirements:
  - {all_slower_than: 10s}
  - {service: checkout, all_slower_than: 2s}
  - {service: checkout, tenant: acme, all_slower_than: 5s}
  - {tenant: beta, all_slower_than: 1s}
  - {service: checkout, all_errors: true}
";
        let config = Config::parse("observer.yaml", Path::new(""), text).unwrap();
        let latency = Latency::new(&config.requirements);
        let seconds = |service, tenant| latency.threshold(service, tenant).map(|time| time.as_secs());
        assert_eq!(latency.least(), Some(Duration::from_secs(1)));
        assert_eq!(seconds("checkout", "acme"), Some(2));
        assert_eq!(seconds("checkout", "beta"), Some(1));
        assert_eq!(seconds("ledger", "acme"), Some(10));
        assert_eq!(Latency::new(&[]).least(), None);
    }
}
