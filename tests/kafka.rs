//! Records that pass through Kafka, between real clients and a broker in memory: what the producer, the consumer and who is called
//! by it logged, and what the observer reported, exactly. Nothing of it is told of the broker.

mod place;
mod probes;
mod records;
#[path = "secure/records.rs"]
mod secure;
mod service;

use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use testbed::install::Runtimes;

use crate::records::{Broker, HERE, Scene};
use crate::service::{Program, Service};

const SCENE: Scene = Scene {
    source: "cgroup",
    broker: kafka,
    protocol: "kafka",
    script: "records.py",
    library: "confluent",
    kinds: &["none", "gzip", "snappy", "lz4", "zstd"],
    manner: "continues",
    late: false,
};

/// That of librdkafka, in memory.
fn kafka(runtimes: &Runtimes, place: &Path) -> Result<Broker> {
    let program = Program::python(&runtimes.python, "records.py");
    let mut command = program.command("broker", &HERE, &["broker"], &place.join("broker.jsonl"));
    command.stdin(Stdio::piped());
    let mut program = Service::start(command)?;
    let address = program.line()?;
    Ok(Broker { programs: vec![program], address, certificate: None })
}

#[test]
fn what_passes_through_a_broker_is_told_as_its_clients_know_it() -> Result<()> {
    SCENE.observe("kafka")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_a_client_in_python_alone_passes_is_told_as_it_knows_it() -> Result<()> {
    Scene { library: "aiokafka", ..SCENE }.observe("kafka-python")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_a_client_in_javascript_passes_is_told_as_it_knows_it() -> Result<()> {
    let scene = Scene { script: "records.js", kinds: &["none", "gzip"], ..SCENE };
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
    Scene { manner: "links", ..SCENE }.observe("kafka-links")?.assert_links_break_nothing();
    Ok(())
}

#[test]
fn over_connections_older_than_the_observer_nothing_is_told_that_is_wrong() -> Result<()> {
    Scene { late: true, ..SCENE }.observe("kafka-older")?.assert_nothing_is_wrong();
    Ok(())
}
