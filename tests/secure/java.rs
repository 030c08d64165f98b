//! A service in Java, whose TLS has no library to probe, between two whose TLS is read.

use std::process::Command;

use anyhow::Result;
use observer_core::audit::report::Code;
use testbed::truth::{read, reported};

use crate::beside::{Beside, addresses};
use crate::peer::{Peer, THREADS};
use crate::place::only;
use crate::programs::background;

const ORDERS: u64 = 100;
const WHY: &str = "Java: its TLS is compiled at run time and cannot be probed";

#[test]
fn what_java_carries_is_not_observed_and_said_so() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-java")?;
    let [front, back] = addresses()?.map(|address| address.to_string());
    let start = |peer: Peer, arguments| peer.start(&beside.python, &beside.certificate, arguments, &beside.place);
    let python = start(THREADS, ["back", &back, "-", "-"])?;
    let java = start(Peer::Java, ["front", &front, &back, "back"])?;
    let observer = beside.observe(&[python.child.id()])?;
    beside.order(ORDERS, &front, "front")?;
    // It waits some seconds for what might show a connection.
    beside.until_said(" of TLS that it opened")?;
    let (report, table) = observer.stop()?;

    let logged = read(&beside.place, ["front", "back"].into_iter(), 0)?;
    assert_eq!(logged.requests.values().map(|row| row.all()).sum::<u64>(), 2 * ORDERS);
    let rows = report.requests.iter().filter(|row| row.service == "front").count();
    let hops = report.hops.iter().filter(|row| row.service == "front").count();
    assert_eq!((rows, hops), (0, 0), "{table}");
    let hidden: Vec<_> = report.findings.iter().filter(|finding| finding.code == Code::NotObserved).collect();
    let [finding] = hidden[..] else { panic!("{hidden:?}") };
    assert_eq!(finding.service.as_deref(), Some("front"));
    let process = format!("java (pid {}): {WHY}", java.child.id());
    for part in [" of TLS,", " of TLS that it opened", &process] {
        assert!(finding.message.contains(part), "{}", finding.message);
    }

    // What the others know of it.
    assert_eq!(reported(&report, &["customer"]).hops, background("customer", "front", ORDERS), "{table}");
    let logged = read(&beside.place, ["back"].into_iter(), 0)?;
    let told = reported(&report, &["back"]);
    assert_eq!((told.requests, told.received), (logged.requests, logged.received), "{table}");

    let doctor = String::from_utf8(Command::new(&beside.observer).arg("doctor").output()?.stdout)?;
    let line = format!("java {}", java.child.id());
    assert!(doctor.lines().any(|said| said.contains(&line) && said.contains(WHY)), "{doctor}");
    Ok(())
}
