//! Records that pass through Kafka over TLS, which ends before the broker: what the clients logged, and what the observer reported,
//! exactly. Nothing of it is told of what ends TLS and passes them on.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use observer_core::audit::report::Code;
use testbed::install::{self, Runtimes};

use crate::SCENE;
use crate::probes::until_probed;
use crate::records::{Broker, HERE, Scene};
use crate::service::{Program, Service};

const SECURE: Scene = Scene { source: "cgroup, tls", broker: terminated, library: "aiokafka", ..SCENE };

/// The broker behind a program that ends TLS. When it is ready the libraries of all clients are probed: librdkafka's is
/// the broker's, too.
fn terminated(runtimes: &Runtimes, place: &Path) -> Result<Broker> {
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| place.join(name));
    install::certificate(&certificate, &key)?;
    let mut node = Command::new("node");
    let node = Service::spawn(node.args(["--eval", "setInterval(() => {}, 1000)"]))?;
    let Broker { mut programs, address, .. } = crate::kafka(runtimes, place)?;
    let program = Program::python(&runtimes.python, "secure/terminator.py");
    let mut command = program.command("terminator", &HERE, &[&address], &place.join("terminator.jsonl"));
    command.env("CERTIFICATE", &certificate).env("KEY", &key);
    let mut terminator = Service::start(command)?;
    let address = terminator.line()?;
    programs.extend([terminator, node]);
    for program in &programs {
        until_probed(program.child.id())?;
    }
    Ok(Broker { programs, address, certificate: Some(certificate) })
}

/// Plays it: everything is exact, and of no connection is it said that it was not observed.
fn check(scene: Scene, name: &str) -> Result<()> {
    let outcome = scene.observe(name)?;
    outcome.assert_everything_is_exact();
    let hidden: Vec<_> = outcome.report.findings.iter().filter(|finding| finding.code == Code::NotObserved).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    Ok(())
}

#[test]
fn what_a_client_in_python_alone_passes_is_told_as_it_knows_it() -> Result<()> {
    check(SECURE, "tls-kafka-python")
}

#[test]
fn what_a_client_in_javascript_passes_is_told_as_it_knows_it() -> Result<()> {
    check(Scene { script: "records.js", kinds: &["none", "gzip"], ..SECURE }, "tls-kafka-node")
}

#[test]
fn what_librdkafka_passes_is_told_as_its_clients_know_it() -> Result<()> {
    // The wheel's own OpenSSL.
    check(Scene { library: "confluent", ..SECURE }, "tls-kafka-librdkafka")
}
