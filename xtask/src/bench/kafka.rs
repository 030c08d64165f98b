//! Kafka: producers that send as fast as a broker acknowledges, both of librdkafka (`kafka.c`). The measured service is the
//! producer. On each processor one broker and one producer, as in [`super::http1`].

use super::process;
use super::scene::{Aims, Cgroup, Load, SERVICE, Scenario, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use testbed::sources;

const SOURCE: &str = "xtask/src/bench/kafka.c";
const TOPIC: &str = "orders";

/// Producers with batches of 16 KiB; each record has a trace of its own, one in ten sampled.
pub(crate) struct Produce;

impl Workload for Produce {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn unit(&self) -> &'static str {
        "record"
    }

    fn needs(&self) -> &'static [Needs] {
        &[]
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: None, processor_us_per_request: None }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let program = sources::c(SOURCE)?;
        let processors = std::thread::available_parallelism()?.get();
        let each = (0..processors).map(|processor| Broker::start(&program, processor)).collect::<Result<_>>()?;
        Ok(Box::new(Brokers { program, producer: scene.cgroup.clone(), each, acknowledged: 0, turns: 0 }))
    }
}

/// One broker a processor, and where their producers run.
struct Brokers {
    program: PathBuf,
    producer: Cgroup,
    each: Vec<Broker>,
    /// Records, in all turns.
    acknowledged: u64,
    turns: usize,
}

impl Brokers {
    /// Starts a producer on the processor of a broker.
    fn producer(&self, broker: &Broker, seconds: u64) -> Result<Child> {
        self.producer
            .command("taskset")
            .args(["--cpu-list", &broker.processor])
            .arg(&self.program)
            .args(["produce", &broker.address.to_string(), TOPIC, &seconds.to_string(), &self.turns.to_string()])
            .env("OTEL_SERVICE_NAME", SERVICE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the producer does not start")
    }
}

impl Server for Brokers {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        let mut producers = Vec::new();
        for broker in &self.each {
            producers.push(self.producer(broker, seconds)?);
            self.turns += 1;
        }
        let load = Load::of(producers, Load::counted)?;
        self.acknowledged += load.responses;
        Ok(load)
    }

    /// As the producers count them: a mock broker does not say. None is sent twice.
    fn served(&mut self) -> Result<u64> {
        Ok(self.acknowledged)
    }

    fn ports(&self) -> Vec<u16> {
        self.each.iter().map(|broker| broker.address.port()).collect()
    }
}

/// A running broker. Stops when dropped.
struct Broker {
    process: Child,
    processor: String,
    address: SocketAddr,
}

impl Broker {
    fn start(program: &Path, processor: usize) -> Result<Self> {
        let processor = processor.to_string();
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "--cpu-list", &processor])
            .arg(program)
            .arg("broker")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("the broker does not start")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("broker ").and_then(|address| address.parse().ok());
        let mut broker = Self { process, processor, address: SocketAddr::from(([0; 4], 0)) };
        broker.address = address.with_context(|| format!("the broker says: {line}"))?;
        Ok(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        process::terminate(self.process.id());
        let _ = self.process.wait();
    }
}
