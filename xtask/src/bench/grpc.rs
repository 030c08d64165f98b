//! gRPC: unary calls between a server and a client of grpc-go (`grpc.go`), one process each. Neither is bound to a processor:
//! Go's scheduler keeps all of them busy, as it does in production.

use super::process;
use super::scene::{Aims, Load, Scenario, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use testbed::sources;

const SOURCE: &str = "xtask/src/bench/grpc.go";
/// Of the client, for each processor: as many as of [`super::http2::Unary`].
const CONNECTIONS: usize = 4;
/// Calls at a time over each; more bring no more calls out of a processor.
const CALLS_AT_ONCE: usize = 10;

/// A server in Go under calls of a client in Go. Each call has a trace of its own, one in ten sampled.
pub(crate) struct Grpc;

impl Workload for Grpc {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn unit(&self) -> &'static str {
        "call"
    }

    fn needs(&self) -> &'static [Needs] {
        &[]
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: Some(0.97), processor_us_per_request: Some(2.0) }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let program = sources::go(SOURCE)?;
        let mut command = scene.cgroup.command(&program);
        command.arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("the gRPC server does not start")?;
        let questions = process.stdin.take().context("its input")?;
        let answers = BufReader::new(process.stdout.take().context("its output")?);
        let mut server = Served { program, process, questions, answers, port: 0, turns: 0 };
        let line = server.line()?;
        server.port = line.strip_prefix("port ").with_context(|| format!("the gRPC server says: {line}"))?.parse()?;
        Ok(Box::new(server))
    }
}

/// The running server.
struct Served {
    program: PathBuf,
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    port: u16,
    turns: usize,
}

impl Served {
    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Server for Served {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        let connections = CONNECTIONS * std::thread::available_parallelism()?.get();
        self.turns += 1;
        let client = Command::new(&self.program)
            .args(["call", &format!("127.0.0.1:{}", self.port), &seconds.to_string()])
            .args([connections, CALLS_AT_ONCE, self.turns].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("the gRPC client does not start")?;
        Load::of(vec![client], Load::counted)
    }

    fn served(&mut self) -> Result<u64> {
        self.questions.write_all(b"\n")?;
        let line = self.line()?;
        line.parse().with_context(|| format!("the gRPC server says: {line}"))
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.port]
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        process::terminate(self.process.id());
        let _ = self.process.wait();
    }
}
