//! tshark, live on loopback: the ports of the server come in; one line for each request with its traceparent goes out.

use super::{Finished, Tool};
use crate::bench::process;
use crate::bench::scene::Scene;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, WaitId, WaitIdOptions};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to begin.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long it may read on in what it captured after the load: it is several times slower than a busy server.
const DRAIN_LIMIT: Duration = Duration::from_mins(2);

const POLL: Duration = Duration::from_millis(50);

/// A running tshark.
pub(super) struct Tshark {
    process: Child,
    lines: PathBuf,
}

impl Tshark {
    pub(super) fn start(scene: &Scene, ports: &[u16]) -> Result<Self> {
        let (lines, log) = (scene.files.path().join("tshark.out"), scene.files.path().join("tshark.log"));
        let filter: Vec<String> = ports.iter().map(|port| format!("tcp port {port}")).collect();
        let decode_as = ports.iter().flat_map(|port| ["-d".to_owned(), format!("tcp.port=={port},http")]);
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "tshark", "-n", "-i", "lo", "-f", &filter.join(" or ")])
            .args(["-o", "uat:custom_http_header_fields:\"traceparent\",\"W3C\""])
            .args(decode_as)
            .args(["-Y", "http.request", "-T", "fields", "-e", "http.header.traceparent"])
            .env("TMPDIR", scene.files.path())
            .stdin(Stdio::null())
            .stdout(File::create(&lines)?)
            .stderr(File::create(&log)?)
            .spawn()
            .context("tshark does not start")?;
        let mut tshark = Self { process, lines };
        let start = Instant::now();
        loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            // The capturing child says so once its socket is open.
            if said.contains("Capture started") || said.contains("Capturing on") {
                return Ok(tshark);
            }
            if tshark.process.try_wait()?.is_some() || start.elapsed() > START_LIMIT {
                bail!("tshark does not come to capture: {said}");
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Tool for Tshark {
    fn process(&self) -> Option<u32> {
        Some(self.process.id())
    }

    fn finish(self: Box<Self>, _served: u64) -> Result<Finished> {
        let pid = Pid::from_raw(i32::try_from(self.process.id())?).context("pid")?;
        // Ends the capturing; what is captured is still read.
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        let start = Instant::now();
        let mut peak = process::usage(self.process.id()).peak_bytes;
        loop {
            // Leaves the ended process in place, so that its times can still be read.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            if rustix::process::waitid(WaitId::Pid(pid), options)?.is_some() {
                break;
            }
            anyhow::ensure!(start.elapsed() < DRAIN_LIMIT, "tshark does not come to an end");
            peak = peak.max(process::usage(self.process.id()).peak_bytes);
            std::thread::sleep(POLL);
        }
        let usage = process::Usage { peak_bytes: peak, ..process::usage(self.process.id()) };
        let seen = BufReader::new(File::open(&self.lines)?).split(b'\n').count() as u64;
        Ok(Finished { seen: Some(seen), usage: Some(usage) })
    }
}

impl Drop for Tshark {
    fn drop(&mut self) {
        // By SIGTERM first: it takes the capturing child and its files with it. Fails when it has ended already.
        process::terminate(self.process.id());
        let start = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(POLL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
