//! Plaintext HTTP/1.1: nginx that answers from memory, under wrk with keep-alive connections. On each processor one server and
//! one client, bound to it: so all of it is busy, and what a tool takes is missing to the requests and to nothing else. With
//! one server and one client on two processors the one that shares with the tool would let the other idle.

use super::nginx::Nginx;
use super::scene::{Aims, Load, Scenario, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Builds the requests.
const SCRIPT: &str = include_str!("http1.lua");

/// Connections of each client; more bring no more requests out of a processor.
const CONNECTIONS: &str = "32";

/// A response of some 600 bytes with its head, as of a small JSON API.
const BODY_BYTES: usize = 440;

/// nginx under wrk.
pub(crate) struct Http1;

impl Workload for Http1 {
    fn name(&self) -> &'static str {
        "http1"
    }

    fn needs(&self) -> &'static [Needs] {
        &[Needs { program: "nginx", package: "nginx-light" }, Needs { program: "wrk", package: "wrk" }]
    }

    fn aims(&self, scenario: Scenario) -> Aims {
        let throughput = match scenario {
            Scenario::BothEnds => 0.95,
            Scenario::ServerEnd => 0.98,
        };
        Aims { throughput: Some(throughput), processor_us_per_request: Some(0.5) }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let script = script(scene)?;
        let processors = std::thread::available_parallelism()?.get();
        let each = (0..processors)
            .map(|processor| {
                Nginx::start(scene, processor, "", "", &format!("return 200 \"{}\";", "x".repeat(BODY_BYTES)))
            })
            .collect::<Result<_>>()?;
        Ok(Box::new(Servers { each, script, turns: 0 }))
    }
}

/// The script of wrk, as a file.
///
/// # Errors
///
/// When it cannot be written.
pub(super) fn script(scene: &Scene) -> Result<PathBuf> {
    let script = scene.files.path().join("http1.lua");
    fs::write(&script, SCRIPT)?;
    Ok(script)
}

/// One nginx a processor.
struct Servers {
    each: Vec<Nginx>,
    script: PathBuf,
    turns: usize,
}

impl Server for Servers {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        let clients: Vec<Child> = self
            .each
            .iter()
            .map(|server| {
                self.turns += 1;
                client(server, &self.script, seconds, self.turns)
            })
            .collect::<Result<_>>()?;
        Load::of(clients, Load::counted)
    }

    fn served(&mut self) -> Result<u64> {
        self.each.iter_mut().map(Nginx::served).sum()
    }

    fn ports(&self) -> Vec<u16> {
        self.each.iter().map(|server| server.port).collect()
    }
}

/// Starts a client on the server's processor; `seed` of its trace ids.
fn client(server: &Nginx, script: &Path, seconds: u64, seed: usize) -> Result<Child> {
    Command::new("taskset")
        .args(["--cpu-list", &server.processor, "wrk", "--threads", "1", "--connections", CONNECTIONS])
        .args(["--duration", &format!("{seconds}s"), "--script"])
        .arg(script)
        .args([&format!("http://127.0.0.1:{}/", server.port), "--", &seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("wrk does not start")
}
