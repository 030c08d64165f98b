//! What is short. Connections on an interface: a new one for every request, on ports that are used again at once; the observer
//! sees them by the socket filter, where no packet names its socket. And processes that live for one request. Its report
//! against the services' own logs, exactly.

mod place;
mod service;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use testbed::observer::{Observer, binary};
use testbed::site::{Namespace, Site};
use testbed::truth::{read, reported};

use crate::place::{only, place};
use crate::service::{Program, Service};

const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
const SERVICES: [&str; 2] = ["front", "back"];
const ORDERS: u64 = 300;

fn command(name: &str, site: &Site, [listen, next, peer]: [&str; 3], log: &Path) -> Command {
    Program::python(Path::new("/usr/bin/python3"), "short.py").command(name, site, &[listen, next, peer], log)
}

/// A customer calls the front, the front calls the back at `site`; everything must be told as they know it themselves.
fn every_request_is_told_once_and_to_its_owner(name: &str, site: &Site) -> Result<()> {
    let _only = only();
    let place = place(name)?;
    let log = |service: &str| place.join(format!("{service}.jsonl"));
    let held = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let [front, metrics]: [SocketAddr; 2] = [held[0].local_addr()?, held[1].local_addr()?];
    let back = site.addresses(1)?[0].to_string();
    drop(held);
    let _back = Service::start(command("back", site, [&back, "-", "-"], &log("back")))?;
    let front = front.to_string();
    let _front = Service::start(command("front", &HERE, [&front, &back, "back"], &log("front")))?;

    let audits = place.join("audits");
    let configuration = place.join("observer.yaml");
    let text = format!(
        "capture: {{sources: [socket-filter]}}\nprometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
        audits.display()
    );
    std::fs::write(&configuration, text)?;
    let observer = Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"))?;
    let since_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    let mut customer = command("customer", &HERE, ["-", &front, "front"], &log("customer"));
    ensure!(customer.arg(ORDERS.to_string()).status()?.success(), "an order failed");
    let (report, table) = observer.stop()?;

    assert_eq!(report.capture.sources, ["socket-filter"]);
    assert_eq!(report.capture.lost, 0, "the observer lost records:\n{table}");
    let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
    assert_eq!(logged.requests.values().map(|row| row.all()).sum::<u64>(), 2 * ORDERS);
    assert_eq!(told.requests, logged.requests);
    assert_eq!(told.received, logged.received);
    assert_eq!(told.hops, logged.hops);
    // Nothing arrives at the customer that could cause what it sends.
    let orders = reported(&report, &["customer"]).hops;
    let background = BTreeMap::from([("background", ORDERS)]);
    assert_eq!(orders, BTreeMap::from([(("customer".to_owned(), "front".to_owned()), background)]));
    Ok(())
}

#[test]
fn over_loopback_every_request_is_told_once_and_to_its_owner() -> Result<()> {
    every_request_is_told_once_and_to_its_owner("short", &HERE)
}

#[test]
fn to_another_network_namespace_every_request_is_told_once_and_to_its_owner() -> Result<()> {
    every_request_is_told_once_and_to_its_owner("short-namespace", &Site::Namespace(Namespace::create()?))
}

/// A client as in a script: connects, asks, reads the first line of the answer, ends. Its arguments: address, port, number of the trace.
const CLIENT: &str = r#"exec 3<>"/dev/tcp/$0/$1"
printf 'GET /order HTTP/1.1\r\nHost: back\r\nConnection: close\r\ntraceparent: 00-%032x-00f067aa0ba902b7-01\r\n\r\n' "$2" >&3
read -r line <&3 && [[ $line == *200* ]]"#;

#[test]
fn a_process_that_lives_for_one_request_is_known_by_its_program() -> Result<()> {
    let _only = only();
    let place = place("short-lived")?;
    let held = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let [back, metrics]: [SocketAddr; 2] = [held[0].local_addr()?, held[1].local_addr()?];
    drop(held);
    let _server =
        Service::start(command("cellar-door", &HERE, [&back.to_string(), "-", "-"], &place.join("back.jsonl")))?;
    let audits = place.join("audits");
    let configuration = place.join("observer.yaml");
    let text = format!("prometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n", audits.display());
    std::fs::write(&configuration, text)?;
    let observer = Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"))?;
    for number in 1..=ORDERS {
        let mut client = Command::new("bash");
        client.args(["-c", CLIENT, &back.ip().to_string(), &back.port().to_string(), &number.to_string()]);
        ensure!(client.status()?.success(), "request {number} failed");
    }
    let (report, _) = observer.stop()?;
    let hops = reported(&report, &["bash"]).hops;
    let background = BTreeMap::from([("background", ORDERS)]);
    assert_eq!(hops, BTreeMap::from([(("bash".to_owned(), "cellar-door".to_owned()), background)]));
    Ok(())
}

#[test]
fn a_service_that_is_also_reached_over_a_unix_socket_is_accused_of_nothing() -> Result<()> {
    let _only = only();
    let place = place("unix-socket")?;
    let log = |service: &str| place.join(format!("{service}.jsonl"));
    let held = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let [kitchen, cellar, metrics]: [SocketAddr; 3] =
        [held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?];
    drop(held);
    let (kitchen, cellar) = (kitchen.to_string(), cellar.to_string());
    let _cellar = Service::start(command("cellar", &HERE, [&cellar, "-", "-"], &log("cellar")))?;
    let mut behind = command("kitchen", &HERE, [&kitchen, &cellar, "cellar"], &log("kitchen"));
    behind.env("UNIX_SOCKET", place.join("kitchen.sock"));
    let _kitchen = Service::start(behind)?;
    let audits = place.join("audits");
    let configuration = place.join("observer.yaml");
    let text = format!("prometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n", audits.display());
    std::fs::write(&configuration, text)?;
    let observer = Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"))?;
    let mut customer = command("customer", &HERE, ["-", &kitchen, "kitchen"], &log("customer"));
    ensure!(customer.arg(ORDERS.to_string()).status()?.success(), "an order failed");
    let (report, _) = observer.stop()?;
    // What it hands on came to it, wherever from; for what it sends without context the request may have come unseen.
    let hops = reported(&report, &["kitchen"]).hops;
    let expected = BTreeMap::from([("continued", ORDERS / 4 * 3), ("unattributed", ORDERS / 4)]);
    assert_eq!(hops, BTreeMap::from([(("kitchen".to_owned(), "cellar".to_owned()), expected)]));
    Ok(())
}
