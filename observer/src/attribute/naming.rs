//! What is known of a workload comes in; its service name goes out, in this order: configuration,
//! `OTEL_SERVICE_NAME`, `service.name`, Kubernetes labels, container name, systemd unit, executable.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use observer_core::connection::Address;

use super::boundary::Boundary;
use super::process::ProcessFacts;

/// One entry of `services:`. Every condition that is set must hold; one without conditions matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRule {
    /// The name it gives.
    pub name: String,
    /// A port that the workload listens on, or that the end serves.
    pub port: Option<u16>,
    /// The path of the executable, or without a slash its last part or the script it runs.
    pub executable: Option<String>,
    /// A cgroup path; what lies below it matches, too.
    pub cgroup: Option<String>,
    /// An address, or a network.
    pub address: Option<IpNet>,
}

/// What gave a workload its name, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamedBy {
    /// The configuration.
    Configuration,
    /// `OTEL_SERVICE_NAME`.
    ServiceName,
    /// `service.name` in `OTEL_RESOURCE_ATTRIBUTES`.
    ResourceAttributes,
    /// Labels of the Kubernetes pod.
    Kubernetes,
    /// The container.
    Container,
    /// The systemd unit.
    Unit,
    /// The executable, or what it interprets.
    Executable,
    /// The address: nothing else is known.
    Address,
}

/// What may name a workload, one process of it at a time.
#[derive(Clone, Copy, Debug)]
pub struct Clues<'a> {
    /// The process; none where only the cgroup is known.
    pub process: Option<&'a ProcessFacts>,
    /// Its container or unit.
    pub boundary: Option<&'a Boundary>,
    /// What the pod's labels say.
    pub kubernetes: Option<&'a str>,
    /// What the runtime calls the container.
    pub container: Option<&'a str>,
    /// Where the workload listens.
    pub listens: &'a BTreeSet<Address>,
    /// The addresses of its network namespace, where that is not this host's own.
    pub addresses: &'a [IpAddr],
}

/// The name of a workload and what gave it; `None` where nothing does.
pub fn service_name(rules: &[ServiceRule], clues: Clues<'_>) -> Option<(NamedBy, String)> {
    if let Some(rule) = rules.iter().find(|rule| rule.matches(clues)) {
        return Some((NamedBy::Configuration, rule.name.clone()));
    }
    let environment = clues.process.map(|process| &process.environment);
    if let Some(name) = environment.and_then(|environment| environment.service_name()) {
        return Some((NamedBy::ServiceName, name.to_owned()));
    }
    if let Some(name) = environment.and_then(|environment| environment.resource_attribute("service.name")) {
        return Some((NamedBy::ResourceAttributes, name));
    }
    if let Some(name) = clues.kubernetes {
        return Some((NamedBy::Kubernetes, name.to_owned()));
    }
    match clues.boundary {
        Some(container @ Boundary::Container { .. }) => {
            Some((NamedBy::Container, clues.container.unwrap_or(container.short_name()).to_owned()))
        }
        Some(unit @ Boundary::Unit { .. }) => Some((NamedBy::Unit, unit.short_name().to_owned())),
        None => clues.process.map(|process| (NamedBy::Executable, process.program.to_string())),
    }
}

impl ServiceRule {
    fn matches(&self, clues: Clues<'_>) -> bool {
        let conditions = [
            self.port.map(|port| clues.listens.iter().any(|address| address.port == port)),
            self.executable.as_deref().map(|wanted| clues.process.is_some_and(|process| runs(process, wanted))),
            self.cgroup.as_deref().map(|wanted| in_cgroup(clues, wanted)),
            self.address.map(|wanted| {
                clues.listens.iter().map(|address| &address.ip).chain(clues.addresses).any(|ip| wanted.contains(ip))
            }),
        ];
        conditions.contains(&Some(true)) && !conditions.contains(&Some(false))
    }

    /// Whether it names the end that serves `address` without anything known of its process; `serves`: a client's port
    /// tells nothing.
    pub fn names_address(&self, address: Address, serves: bool) -> bool {
        let conditions = [
            self.port.map(|port| serves && address.port == port),
            self.address.map(|wanted| wanted.contains(&address.ip)),
        ];
        self.executable.is_none()
            && self.cgroup.is_none()
            && conditions.contains(&Some(true))
            && !conditions.contains(&Some(false))
    }
}

fn runs(process: &ProcessFacts, wanted: &str) -> bool {
    if wanted.contains('/') {
        return *process.executable == *wanted;
    }
    process.executable.rsplit('/').next() == Some(wanted) || *process.program == *wanted
}

fn in_cgroup(clues: Clues<'_>, wanted: &str) -> bool {
    let unit = match clues.boundary {
        Some(Boundary::Unit { path }) => Some(&**path),
        _ => None,
    };
    let wanted = wanted.trim_end_matches('/');
    let path = clues.process.map(|process| &*process.cgroup_path);
    path.into_iter().chain(unit).any(|path| {
        // Seen from inside a cgroup namespace, paths of others begin with `/..`.
        let path = path.trim_start_matches("/..");
        path.strip_prefix(wanted).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::process::Stat;
    use super::super::program::Language;
    use super::*;

    const STAT: &str = "1 (a) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 5 1 1";

    fn process(environment: &str) -> ProcessFacts {
        let stat = Stat::parse(STAT).unwrap();
        ProcessFacts {
            pid: 1,
            incarnation: stat.incarnation,
            parent: 1,
            forked: false,
            executable: "/usr/bin/python3.11".into(),
            program: "app.py".into(),
            language: Language::Python,
            environment: Environment::parse(environment.replace(' ', "\0").as_bytes()),
            boundary: None,
            cgroup_path: "/system.slice/search.service/worker".into(),
            cgroup: 0,
            network: 1,
        }
    }

    #[test]
    fn names_are_taken_in_the_order_of_the_contract() {
        let both = "OTEL_RESOURCE_ATTRIBUTES=service.name=attribute OTEL_SERVICE_NAME=variable";
        let attribute = "OTEL_RESOURCE_ATTRIBUTES=service.name=attribute";
        let id: Box<str> = "ab".repeat(32).into();
        let container = Boundary::Container { id, pod: None };
        let unit = Boundary::Unit { path: "/system.slice/web.service".into() };
        let cases = [
            (both, Some(&container), Some("label"), Some("web-1"), NamedBy::ServiceName, "variable"),
            (attribute, Some(&container), Some("label"), Some("web-1"), NamedBy::ResourceAttributes, "attribute"),
            ("", Some(&container), Some("label"), Some("web-1"), NamedBy::Kubernetes, "label"),
            ("", Some(&container), None, Some("web-1"), NamedBy::Container, "web-1"),
            ("", Some(&container), None, None, NamedBy::Container, "abababababab"),
            ("", Some(&unit), None, None, NamedBy::Unit, "web"),
            ("", None, None, None, NamedBy::Executable, "app.py"),
        ];
        let rules = [ServiceRule { name: String::from("rule"), port: Some(8080), ..ServiceRule::default() }];
        for (environment, boundary, kubernetes, container, by, name) in cases {
            let process = process(environment);
            let process = Some(&process);
            let clues = Clues { process, boundary, kubernetes, container, listens: &BTreeSet::new(), addresses: &[] };
            assert_eq!(service_name(&rules, clues), Some((by, name.to_owned())));
            let listens = BTreeSet::from([Address { ip: IpAddr::from([0, 0, 0, 0]), port: 8080 }]);
            let clues = Clues { listens: &listens, ..clues };
            assert_eq!(service_name(&rules, clues), Some((NamedBy::Configuration, String::from("rule"))));
        }
    }

    #[test]
    fn the_first_rule_of_which_every_condition_holds_gives_the_name() {
        let net = |text: &str| Some(text.parse().unwrap());
        let rule = ServiceRule::default;
        let matching = [
            ServiceRule { port: Some(80), ..rule() },
            ServiceRule { executable: Some("/usr/bin/python3.11".into()), ..rule() },
            ServiceRule { executable: Some("python3.11".into()), ..rule() },
            ServiceRule { executable: Some("app.py".into()), ..rule() },
            ServiceRule { cgroup: Some("/system.slice/search.service".into()), ..rule() },
            ServiceRule { cgroup: Some("/system.slice/search.service/worker".into()), ..rule() },
            ServiceRule { address: net("10.0.3.7/32"), ..rule() },
            ServiceRule { address: net("10.0.0.0/8"), port: Some(80), ..rule() },
        ];
        let other = [
            rule(),
            ServiceRule { port: Some(81), ..rule() },
            ServiceRule { executable: Some("python".into()), ..rule() },
            ServiceRule { executable: Some("/bin/python3.11".into()), ..rule() },
            ServiceRule { cgroup: Some("/system.slice/search".into()), ..rule() },
            ServiceRule { address: net("10.0.3.8/32"), ..rule() },
            ServiceRule { address: net("10.0.0.0/8"), port: Some(81), ..rule() },
        ];
        let process = process("");
        let listens = BTreeSet::from([Address { ip: IpAddr::from([10, 0, 3, 7]), port: 80 }]);
        let clues = Clues {
            process: Some(&process),
            boundary: None,
            kubernetes: None,
            container: None,
            listens: &listens,
            addresses: &[],
        };
        assert!(matching.iter().all(|rule| rule.matches(clues)));
        for rule in &other {
            assert!(!rule.matches(clues), "{rule:?}");
        }
        let two = [("first", 80), ("second", 80)].map(|(name, port)| ServiceRule {
            name: name.into(),
            port: Some(port),
            ..rule()
        });
        assert_eq!(service_name(&two, clues).unwrap().1, "first");
    }
}
