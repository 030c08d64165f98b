//! gRPC between real peers (grpcio, grpc-go), over connections that they keep: the observer's report against the services' own logs,
//! exactly, and of connections that are older than the observer all that can be known.

mod service;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::site::{Namespace, Site};
use testbed::sources;
use testbed::truth::{Facts, read, reported};

use crate::service::{Program, Service, only, place};

const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
const SERVICES: [&str; 2] = ["front", "back"];
const ORDERS: u64 = 400;

/// What the services between the customer and the end are written in.
#[derive(Clone, Copy, Debug)]
enum Peers {
    /// grpcio.
    Python,
    /// grpc-go.
    Go,
}

impl Peers {
    fn program(self, python: &Program) -> Result<Program> {
        match self {
            Self::Python => Ok(python.clone()),
            Self::Go => Ok(Program(vec![sources::go("tests/calls.go")?])),
        }
    }
}

/// What the services logged and what the observer reported of the same calls.
struct Outcome {
    logged: Facts,
    told: Facts,
}

/// A customer calls the front `at_once` times at a time, the front calls the back at `site`. Where the observer is `late`, it
/// begins when they have called each other for a while.
fn observe(peers: Peers, name: &str, source: &str, site: &Site, at_once: u64, late: bool) -> Result<Outcome> {
    let _only = only();
    let python = Program::python(&install::runtimes()?.python, "calls.py");
    let peers = peers.program(&python)?;
    let place = place(name)?;
    let log = |service: &str| place.join(format!("{service}.jsonl"));
    let held = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let [front, metrics]: [SocketAddr; 2] = [held[0].local_addr()?, held[1].local_addr()?];
    let (front, back) = (front.to_string(), site.addresses(1)?[0].to_string());
    drop(held);
    let command = |program: &Program, name: &str, site: &Site, arguments: &[&str]| {
        program.command(name, site, arguments, &log(name))
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
    let _back = Service::start(command(&peers, "back", site, &[&back, "-", "-"]))?;
    let _front = Service::start(command(&peers, "front", &HERE, &[&front, &back, "back"]))?;
    let mut customer = command(&python, "customer", &HERE, &["-", &front, "front"]);
    customer.args([ORDERS.to_string(), at_once.to_string()]).stdin(Stdio::piped());
    let mut customer = Service::start(customer)?;
    let observer = match early {
        Some(early) => early,
        None => start()?,
    };
    if late {
        since_ns = now_ns()?;
    }
    customer.0.stdin.take().context("it has an input")?.write_all(b"go\n")?;
    ensure!(customer.0.wait()?.success(), "an order failed");
    let (report, _) = observer.stop()?;

    assert_eq!(report.capture.sources, [source]);
    assert_eq!(report.capture.lost, 0, "the observer lost records: {:?}", report.capture);
    let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
    let calls: u64 = logged.requests.values().map(|row| row.all()).sum();
    assert!(calls >= 2 * ORDERS, "{calls}");
    Ok(Outcome { logged, told })
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn assert_everything_is_exact(Outcome { logged, told }: &Outcome) {
    assert_eq!(told.requests, logged.requests);
    assert_eq!(told.received, logged.received);
    assert_eq!(told.hops, logged.hops);
    assert_eq!(told.errors, logged.errors);
}

#[test]
fn with_one_call_at_a_time_everything_is_as_the_services_know_it() -> Result<()> {
    assert_everything_is_exact(&observe(Peers::Python, "grpc", "cgroup", &HERE, 1, false)?);
    Ok(())
}

#[test]
fn between_services_in_go_everything_is_as_they_know_it() -> Result<()> {
    assert_everything_is_exact(&observe(Peers::Go, "grpc-go", "cgroup", &HERE, 1, false)?);
    Ok(())
}

#[test]
fn over_connections_of_services_in_go_that_are_older_every_context_is_known() -> Result<()> {
    let Outcome { logged, told } = observe(Peers::Go, "grpc-go-older", "cgroup", &HERE, 1, true)?;
    let (logged, told) = (contexts(&logged), contexts(&told));
    for (service, [valid, _, _]) in logged {
        assert_eq!(told[service][0], valid, "{service}");
    }
    Ok(())
}

#[test]
fn by_the_socket_filter_everything_is_as_the_services_know_it() -> Result<()> {
    assert_everything_is_exact(&observe(Peers::Python, "grpc-wire", "socket-filter", &HERE, 1, false)?);
    Ok(())
}

#[test]
fn to_another_network_namespace_everything_is_as_the_services_know_it() -> Result<()> {
    let site = Site::Namespace(Namespace::create()?);
    assert_everything_is_exact(&observe(Peers::Python, "grpc-namespace", "cgroup", &site, 1, false)?);
    Ok(())
}

#[test]
fn streams_that_interleave_are_told_apart() -> Result<()> {
    let Outcome { logged, told } = observe(Peers::Python, "grpc-parallel", "cgroup", &HERE, 8, false)?;
    assert_eq!(told.requests, logged.requests);
    assert_eq!(told.received, logged.received);
    assert_eq!(told.errors, logged.errors);
    Ok(())
}

/// Valid, missing and malformed contexts of a service, whatever the tenant.
fn contexts(facts: &Facts) -> BTreeMap<&str, [u64; 3]> {
    let mut contexts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for ((service, _), row) in &facts.requests {
        let sums = contexts.entry(service).or_default();
        for (sum, count) in sums.iter_mut().zip([row.valid, row.missing, row.malformed]) {
            *sum += count;
        }
    }
    contexts
}

#[test]
fn over_connections_older_than_the_observer_every_call_is_counted_and_every_context_known() -> Result<()> {
    let Outcome { logged, told } = observe(Peers::Python, "grpc-older", "cgroup", &HERE, 1, true)?;
    let (logged_contexts, told_contexts) = (contexts(&logged), contexts(&told));
    for (service, [valid, missing, _]) in logged_contexts {
        let [told_valid, told_missing, told_malformed] = told_contexts[service];
        // What does not name its context may have one whose name is not known.
        assert_eq!((told_valid, told_malformed), (valid, 0), "{service}");
        assert!(told_missing <= missing, "{service}: {told_missing} of {missing}");
    }
    Ok(())
}
