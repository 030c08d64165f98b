//! Records that pass through Kafka, between real clients and a broker in memory: what the producer, the consumer and who is called
//! by it logged, and what the observer reported, exactly. Nothing of it is told of the broker.

mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use observer_core::audit::report::Report;
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::site::Site;
use testbed::truth::{Facts, read, reported};

use crate::service::{Program, Service, only, place};

const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
/// The producer, the consumer, and whom the consumer calls.
const SERVICES: [&str; 3] = ["orders", "billing", "ledger"];
/// Six of each codec and each way to make records.
const ORDERS: u64 = 150;
/// Of five orders one makes ten records, the others one.
const RECORDS: u64 = ORDERS / 5 * (4 + 10);

/// What the services logged and what the observer reported of the same records.
struct Outcome {
    logged: Facts,
    told: Facts,
    report: Report,
}

/// A customer calls the producer, the consumer calls the ledger for each record, in the `manner` that records.py knows.
fn observe(name: &str, source: &str, manner: &str) -> Result<Outcome> {
    let _only = only();
    let python = install::runtimes()?.python;
    let place = place(name)?;
    let held = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let [orders, ledger, metrics]: [SocketAddr; 3] =
        [held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?];
    let (orders, ledger) = (orders.to_string(), ledger.to_string());
    drop(held);
    let start = |script: &str, name: &str, arguments: &[&str]| {
        let program = Program::python(&python, script);
        let mut command = program.command(name, &HERE, arguments, &place.join(format!("{name}.jsonl")));
        command.stdin(Stdio::piped());
        Service::start(command)
    };

    let audits = place.join("audits");
    let configuration = place.join("observer.yaml");
    let text = format!(
        "capture: {{sources: [{source}]}}\nprometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
        audits.display()
    );
    std::fs::write(&configuration, text)?;
    let observer = Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"))?;
    let since_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;

    let mut broker = start("records.py", "broker", &["broker"])?;
    let address = broker.line()?;
    let _ledger = start("short.py", "ledger", &[&ledger, "-", "-"])?;
    let count = RECORDS.to_string();
    let mut billing = start("records.py", "billing", &["consumer", &address, &ledger, "ledger", manner, &count])?;
    let _orders = start("records.py", "orders", &["producer", &orders, &address])?;
    let mut customer = start("records.py", "customer", &["customer", &orders, "orders", &ORDERS.to_string()])?;
    customer.hear("done")?;
    billing.hear("done")?;
    let (report, _) = observer.stop()?;

    assert_eq!(report.capture.sources, [source]);
    assert_eq!(report.capture.lost, 0, "the observer lost records: {:?}", report.capture);
    let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
    Ok(Outcome { logged, told, report })
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
    let outcome = observe("kafka", "cgroup", "continues")?;
    outcome.assert_everything_is_exact();
    Ok(())
}

#[test]
fn by_the_socket_filter_it_is_told_as_its_clients_know_it() -> Result<()> {
    observe("kafka-wire", "socket-filter", "continues")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn a_consumer_that_links_to_the_traces_of_records_breaks_nothing() -> Result<()> {
    let outcome = observe("kafka-links", "cgroup", "links")?;
    outcome.assert_everything_is_exact();
    let rooted = BTreeMap::from([("rooted", RECORDS)]);
    assert_eq!(outcome.told.hops[&("billing".to_owned(), "ledger".to_owned())], rooted);
    Ok(())
}
