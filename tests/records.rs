//! A scene of records: a broker and the library of its clients come in; what the producer, the consumer and who is called by it
//! logged, and what an observer beside them reported of it, goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use observer_core::audit::report::Report;
use testbed::install::{self, Runtimes};
use testbed::observer::{Observer, binary};
use testbed::site::Site;
use testbed::truth::{Facts, read, reported};
use testbed::workspace;

use crate::place::{only, place};
use crate::service::{Program, Service};

pub(crate) const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
/// The producer, the consumer, and whom the consumer calls.
const SERVICES: [&str; 3] = ["orders", "billing", "ledger"];
/// From whom to whom the calls go that records cause.
pub(crate) const CALLS: [&str; 2] = ["billing", "ledger"];
/// Ways to make records; one of them makes ten, the others one.
const WAYS: u64 = 5;
const ORDERS: u64 = 100;

/// How many records so many orders make.
const fn records(orders: u64) -> u64 {
    orders / WAYS * (WAYS - 1 + 10)
}

/// What the services logged and what the observer reported of the same records.
pub(crate) struct Outcome {
    protocol: &'static str,
    /// How many records there were in all.
    pub(crate) records: u64,
    pub(crate) logged: Facts,
    pub(crate) told: Facts,
    pub(crate) report: Report,
    /// The report for people.
    table: String,
}

/// A running broker.
pub(crate) struct Broker {
    /// What it consists of; it ends with them.
    pub(crate) programs: Vec<Service>,
    /// Where it is: host and port.
    pub(crate) address: String,
    /// Whom its clients trust, where they talk to it over TLS.
    pub(crate) certificate: Option<PathBuf>,
}

/// A customer calls the producer, the consumer calls the ledger for each record.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    /// A source of the observer's configuration.
    pub(crate) source: &'static str,
    /// Starts the broker, with what runs the services and the place of its files.
    pub(crate) broker: fn(&Runtimes, &Path) -> Result<Broker>,
    /// What it speaks, as the observer names it.
    pub(crate) protocol: &'static str,
    /// The program of the producer and of the consumer, in this directory, and the library that they use.
    pub(crate) script: &'static str,
    pub(crate) library: &'static str,
    /// Kinds of its records.
    pub(crate) kinds: &'static [&'static str],
    /// What the consumer does with the trace of a record, in the words of records.py.
    pub(crate) manner: &'static str,
    /// Whether the observer begins when all of them have worked for a while.
    pub(crate) late: bool,
}

impl Scene {
    /// Plays it. `name` is the name of the test.
    pub(crate) fn observe(self, name: &str) -> Result<Outcome> {
        let Self { source, protocol, script, library, kinds, manner, late, .. } = self;
        let _only = only();
        let runtimes = install::runtimes()?;
        let records_py = Program::python(&runtimes.python, "records.py");
        let program = if script == "records.js" {
            Program(vec!["node".into(), workspace().join("tests").join(script)])
        } else {
            Program::python(&runtimes.python, script)
        };
        let place = place(name)?;
        let [orders, ledger, metrics] = ports()?;
        let (orders, ledger) = (orders.to_string(), ledger.to_string());

        let audits = place.join("audits");
        let configuration = place.join("observer.yaml");
        let text = format!(
            "capture: {{sources: [{source}]}}\nprometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
            audits.display()
        );
        std::fs::write(&configuration, text)?;
        let start = || Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"));
        let early = if late { None } else { Some(start()?) };
        let mut since_ns = now_ns()?;

        let Broker { programs: _programs, address, certificate } = (self.broker)(&runtimes, &place)?;
        let service = |program: &Program, name: &str, arguments: &[&str]| {
            let mut command = program.command(name, &HERE, arguments, &place.join(format!("{name}.jsonl")));
            command.env("LIBRARY", library).env("NODE_PATH", &runtimes.node_modules).stdin(Stdio::piped());
            command.envs(certificate.iter().map(|certificate| ("CERTIFICATE", certificate)));
            Service::start(command)
        };
        let _ledger = service(&Program::python(&runtimes.python, "short.py"), "ledger", &[&ledger, "-", "-"])?;
        let counts = format!("{},{}", records(self.warming()), records(self.orders()));
        let consumer = ["consumer", &*address, &ledger, "ledger", manner, &counts];
        let mut billing = service(&program, "billing", &consumer)?;
        let _orders = service(&program, "orders", &["producer", &address, &orders])?;
        let customer = ["customer", &*orders, "orders", &kinds.join(","), &self.orders().to_string()];
        let mut customer = service(&records_py, "customer", &customer)?;
        billing.hear("done")?;
        let observer = match early {
            Some(early) => early,
            None => start()?,
        };
        if late {
            since_ns = now_ns()?;
        }
        customer.child.stdin.as_mut().context("it has an input")?.write_all(b"go\n")?;
        customer.hear("done")?;
        billing.hear("done")?;
        let (report, table) = observer.stop()?;

        assert_eq!(report.capture.sources.join(", "), source);
        assert_eq!(report.capture.lost, 0, "the observer lost records:\n{table}");
        let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
        Ok(Outcome { protocol, records: records(self.warming() + self.orders()), logged, told, report, table })
    }

    /// How many orders there are before the observer may begin: each kind and each way once.
    fn warming(self) -> u64 {
        self.kinds.len() as u64 * WAYS
    }

    /// How many there are afterwards: each kind and each way as often.
    fn orders(self) -> u64 {
        ORDERS / self.warming() * self.warming()
    }
}

/// Addresses of this host that nobody listens at.
pub(crate) fn ports<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let held = addresses.iter().map(TcpListener::bind).collect::<Result<Vec<_>, _>>()?;
    for (address, held) in addresses.iter_mut().zip(&held) {
        *address = held.local_addr()?;
    }
    Ok(addresses)
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// Requests of `service` by protocol.
fn protocols<'a>(report: &'a Report, service: &str) -> BTreeSet<&'a str> {
    report.requests.iter().filter(|row| row.service == service).map(|row| row.protocol.as_str()).collect()
}

impl Outcome {
    pub(crate) fn assert_everything_is_exact(&self) {
        let Self { protocol, logged, told, report, table, .. } = self;
        assert_eq!(told.requests, logged.requests, "\n{table}");
        assert_eq!(told.received, logged.received, "\n{table}");
        assert_eq!(told.started, logged.started, "\n{table}");
        assert_eq!(told.hops, logged.hops, "\n{table}");
        assert_eq!(protocols(report, "billing"), BTreeSet::from([*protocol]));
        let broker = reported(report, &["broker", "terminator"]);
        assert_eq!(broker, Facts::default());
    }
    /// A consumer that links to the traces of its records continues none of them, and nothing is wrong with that.
    pub(crate) fn assert_links_break_nothing(&self) {
        self.assert_everything_is_exact();
        assert_eq!(self.told.hops[&CALLS.map(str::to_owned).into()], BTreeMap::from([("rooted", self.records)]));
    }

    /// Where the observer began when the services had worked for a while: everything is exact but what the consumer received, of
    /// which some may not be told, and nothing that it does then is taken for its own.
    pub(crate) fn assert_nothing_is_wrong(&self) {
        let Self { logged, told, .. } = self;
        let consumer = |service: &str| service == "billing";
        for ((service, tenant), requests) in &logged.requests {
            let seen = told.requests.get(&(service.clone(), tenant.clone())).copied().unwrap_or_default();
            // What answers a fetch that was under way when the observer began cannot be read.
            assert!(seen.valid <= requests.valid && seen.missing <= requests.missing, "{service} {tenant}: {seen:?}");
            assert!(seen == *requests || consumer(service), "{service} {tenant}: {seen:?} of {requests:?}");
        }
        assert!(told.requests.keys().any(|(service, _)| consumer(service)), "no record is told");
        for (hop, outcomes) in &logged.hops {
            let seen = told.hops.get(hop).cloned().unwrap_or_default();
            assert_eq!(seen.values().sum::<u64>(), outcomes.values().sum::<u64>(), "{hop:?}");
            assert!(seen == *outcomes || consumer(&hop.0), "{hop:?}: {seen:?} where {outcomes:?} is true");
            for wrong in ["lost", "restarted", "flipped", "rooted", "background"] {
                assert!(seen.get(wrong) <= outcomes.get(wrong), "{hop:?}: {seen:?} where {outcomes:?} is true");
            }
        }
    }
}
