//! Records that pass through Kafka, between real clients and a broker in memory: what the producer, the consumer and who is called
//! by it logged, and what the observer reported, exactly. Nothing of it is told of the broker.

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use observer_core::audit::report::Report;
use testbed::observer::{Observer, binary};
use testbed::site::Site;
use testbed::truth::{Facts, read, reported};
use testbed::{install, workspace};

use crate::service::{Program, Service, only, place};

const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
/// The producer, the consumer, and whom the consumer calls.
const SERVICES: [&str; 3] = ["orders", "billing", "ledger"];
/// Ways to make records; one of them makes ten, the others one.
const WAYS: u64 = 5;
const ORDERS: u64 = 100;

/// How many records so many orders make.
const fn records(orders: u64) -> u64 {
    orders / WAYS * (WAYS - 1 + 10)
}

/// What the services logged and what the observer reported of the same records.
struct Outcome {
    logged: Facts,
    told: Facts,
    report: Report,
}

#[derive(Clone, Copy)]
enum Client {
    /// confluent-kafka, which is librdkafka.
    Confluent,
    /// aiokafka, in Python alone.
    Aiokafka,
    /// kafkajs, in JavaScript alone.
    Kafkajs,
}

/// A customer calls the producer, the consumer calls the ledger for each record.
#[derive(Clone, Copy)]
struct Scene {
    /// A source of the observer's configuration.
    source: &'static str,
    /// The library of the producer and of the consumer.
    client: Client,
    /// Those of its records.
    codecs: &'static [&'static str],
    /// What the consumer does with the trace of a record, in the words of records.py.
    manner: &'static str,
    /// Whether the observer begins when all of them have worked for a while.
    late: bool,
}

const SCENE: Scene = Scene {
    source: "cgroup",
    client: Client::Confluent,
    codecs: &["none", "gzip", "snappy", "lz4", "zstd"],
    manner: "continues",
    late: false,
};

impl Scene {
    /// Plays it. `name` is the name of the test.
    fn observe(self, name: &str) -> Result<Outcome> {
        let Self { source, client, codecs, manner, late } = self;
        let _only = only();
        let runtimes = install::runtimes()?;
        let python = |script| Program::python(&runtimes.python, script);
        let records_py = python("records.py");
        let (program, library) = match client {
            Client::Confluent => (records_py.clone(), "confluent-kafka"),
            Client::Aiokafka => (records_py.clone(), "aiokafka"),
            Client::Kafkajs => (Program(vec!["node".into(), workspace().join("tests/records.js")]), "kafkajs"),
        };
        let place = place(name)?;
        let held = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        let [orders, ledger, metrics]: [SocketAddr; 3] =
            [held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?];
        let (orders, ledger) = (orders.to_string(), ledger.to_string());
        drop(held);
        let service = |program: &Program, name: &str, arguments: &[&str]| {
            let mut command = program.command(name, &HERE, arguments, &place.join(format!("{name}.jsonl")));
            command.env("LIBRARY", library).env("NODE_PATH", &runtimes.node_modules).stdin(Stdio::piped());
            Service::start(command)
        };

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

        let mut broker = service(&records_py, "broker", &["broker"])?;
        let address = broker.line()?;
        let _ledger = service(&python("short.py"), "ledger", &[&ledger, "-", "-"])?;
        let counts = format!("{},{}", records(self.warming()), records(ORDERS));
        let consumer = ["consumer", &*address, &ledger, "ledger", manner, &counts];
        let mut billing = service(&program, "billing", &consumer)?;
        let _orders = service(&program, "orders", &["producer", &address, &orders])?;
        let customer = ["customer", &*orders, "orders", &codecs.join(","), &ORDERS.to_string()];
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
        let (report, _) = observer.stop()?;

        assert_eq!(report.capture.sources, [source]);
        assert_eq!(report.capture.lost, 0, "the observer lost records: {:?}", report.capture);
        let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
        Ok(Outcome { logged, told, report })
    }

    /// How many orders there are before the observer may begin: each codec and each way once.
    fn warming(self) -> u64 {
        self.codecs.len() as u64 * WAYS
    }
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// Requests of `service` by protocol.
fn protocols<'a>(report: &'a Report, service: &str) -> BTreeSet<&'a str> {
    report.requests.iter().filter(|row| row.service == service).map(|row| row.protocol.as_str()).collect()
}

impl Outcome {
    fn assert_everything_is_exact(&self) {
        let Self { logged, told, report } = self;
        assert_eq!(told.requests, logged.requests);
        assert_eq!(told.received, logged.received);
        assert_eq!(told.started, logged.started);
        assert_eq!(told.hops, logged.hops);
        assert_eq!(protocols(report, "billing"), BTreeSet::from(["kafka"]));
        let broker = reported(report, &["broker"]);
        assert_eq!(broker, Facts::default());
    }
}

#[test]
fn what_passes_through_a_broker_is_told_as_its_clients_know_it() -> Result<()> {
    SCENE.observe("kafka")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_a_client_in_python_alone_passes_is_told_as_it_knows_it() -> Result<()> {
    Scene { client: Client::Aiokafka, ..SCENE }.observe("kafka-python")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_a_client_in_javascript_passes_is_told_as_it_knows_it() -> Result<()> {
    let scene = Scene { client: Client::Kafkajs, codecs: &["none", "gzip"], ..SCENE };
    scene.observe("kafka-node")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn by_the_socket_filter_it_is_told_as_its_clients_know_it() -> Result<()> {
    Scene { source: "socket-filter", ..SCENE }.observe("kafka-wire")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn a_consumer_that_links_to_the_traces_of_records_breaks_nothing() -> Result<()> {
    let scene = Scene { manner: "links", ..SCENE };
    let outcome = scene.observe("kafka-links")?;
    outcome.assert_everything_is_exact();
    let rooted = BTreeMap::from([("rooted", records(scene.warming() + ORDERS))]);
    assert_eq!(outcome.told.hops[&("billing".to_owned(), "ledger".to_owned())], rooted);
    Ok(())
}

#[test]
fn over_connections_older_than_the_observer_nothing_is_told_that_is_wrong() -> Result<()> {
    let Outcome { logged, told, .. } = Scene { late: true, ..SCENE }.observe("kafka-older")?;
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
        // Nor is what the consumer does then taken for its own.
        for wrong in ["lost", "restarted", "flipped", "rooted", "background"] {
            assert!(seen.get(wrong) <= outcomes.get(wrong), "{hop:?}: {seen:?} where {outcomes:?} is true");
        }
    }
    Ok(())
}
