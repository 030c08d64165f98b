//! Customers: how many orders over how many connections come in, a running generator goes out, and at its end what it sent.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::install::Runtimes;
use crate::process::Running;
use crate::workspace;

/// How long to send.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// This many orders over all connections.
    Orders(u32),
    /// As many as fit in this many seconds.
    Seconds(u32),
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long.
    pub amount: Amount,
    /// Connections, each with one order at a time.
    pub connections: u32,
    /// Mean pause of a customer between two orders, seconds.
    pub gap_seconds: f64,
    /// Whether orders bring trace contexts: one in four none, one sampled, one not sampled, one malformed.
    pub mixed_contexts: bool,
    /// Whether each connection sends one order before [`Traffic::go`] and the rest after it.
    pub warm_up: bool,
}

/// What was sent after [`Traffic::go`], by the generator's own count.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Sent {
    /// Orders.
    pub requests: u64,
    /// Orders by tenant.
    pub tenants: BTreeMap<String, u64>,
    /// Answers by status.
    pub statuses: BTreeMap<String, u64>,
}

/// Customers at work; they leave when this is dropped.
#[derive(Debug)]
pub struct Traffic {
    running: Running,
    output: BufReader<ChildStdout>,
}

impl Traffic {
    /// Starts the customers. With [`Plan::warm_up`] it returns when every connection has had its first order answered.
    ///
    /// # Errors
    /// The generator does not start, or the shop does not answer it.
    pub fn start(runtimes: &Runtimes, url: &str, plan: Plan, logs: &Path) -> Result<Self> {
        let mut command = Command::new(&runtimes.python);
        command.arg(workspace().join("demo/services/python/traffic.py")).arg(url);
        command.args(["--connections", &plan.connections.to_string(), "--gap", &plan.gap_seconds.to_string()]);
        command.args(["--contexts", if plan.mixed_contexts { "mixed" } else { "none" }]);
        match plan.amount {
            Amount::Orders(count) => command.args(["--requests", &count.to_string()]),
            Amount::Seconds(count) => command.args(["--seconds", &count.to_string()]),
        };
        if plan.warm_up {
            command.arg("--wait");
        }
        command.env("OTEL_SERVICE_NAME", "customers").stdout(Stdio::piped());
        let mut running = Running::start("the traffic", command, &logs.join("customers.log"))?;
        let output = running.child().stdout.take().context("the traffic's output is a pipe")?;
        let mut traffic = Self { running, output: BufReader::new(output) };
        if plan.warm_up {
            let mut line = String::new();
            traffic.output.read_line(&mut line)?;
            if line.trim() != "connected" {
                bail!("the customers could not connect:\n{}", traffic.running.last_lines());
            }
        }
        Ok(traffic)
    }

    /// Lets warmed-up customers send the rest.
    ///
    /// # Errors
    /// The generator has ended.
    pub fn go(&mut self) -> Result<()> {
        let input = self.running.child().stdin.as_mut().context("the traffic's input is a pipe")?;
        input.write_all(b"go\n").context("the customers have left")
    }

    /// Whether the generator still sends.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.running.child().try_wait()?.is_none())
    }

    /// Waits until everything is sent and answered.
    ///
    /// # Errors
    /// An order was not answered.
    pub fn finish(mut self) -> Result<Sent> {
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        let status = self.running.child().wait()?;
        if !status.success() {
            bail!("the traffic failed ({status}):\n{}", self.running.last_lines());
        }
        serde_json::from_str(&text).with_context(|| format!("the traffic's count is not as expected: {text}"))
    }
}
