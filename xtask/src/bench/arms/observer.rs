//! The observer, by its public interface alone: a configuration file goes in, its metrics and its exit status come out.

use super::{Finished, Tool};
use crate::bench::process;
use crate::bench::scene::{SERVICE, Scenario, Scene, Sources};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to attach, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// A count that stands still for so long is final: it renews its metrics every second.
const SETTLED: Duration = Duration::from_secs(3);

const POLL: Duration = Duration::from_millis(100);

/// A running observer.
pub(super) struct Observer {
    process: Child,
    metrics: SocketAddr,
    log: PathBuf,
}

impl Observer {
    pub(super) fn start(binary: &Path, scene: &Scene, ports: &[u16]) -> Result<Self> {
        let files = scene.files.path();
        let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (configuration, log) = (files.join("observer.yaml"), files.join("observer.log"));
        fs::write(&configuration, configured(scene, ports, metrics))?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(binary)
            .args(["run", "--report", "/dev/null", "--config"])
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("the observer does not start")?;
        let mut observer = Self { process, metrics, log };
        let start = Instant::now();
        while get(metrics, "/readyz").is_err() {
            if observer.process.try_wait()?.is_some() || start.elapsed() > PATIENCE {
                bail!("the observer does not come to observe: {}", observer.said());
            }
            std::thread::sleep(POLL);
        }
        Ok(observer)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn seen(&self) -> Result<u64> {
        Ok(seen(&get(self.metrics, "/metrics")?))
    }
}

impl Tool for Observer {
    fn process(&self) -> Option<u32> {
        Some(self.process.id())
    }

    fn finish(mut self: Box<Self>, served: u64) -> Result<Finished> {
        let mut seen = self.seen().with_context(|| self.said())?;
        let mut grown = Instant::now();
        while seen < served && grown.elapsed() < SETTLED {
            std::thread::sleep(POLL);
            let now = self.seen()?;
            if now > seen {
                (seen, grown) = (now, Instant::now());
            }
        }
        let usage = process::usage(self.process.id());
        process::terminate(self.process.id());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            anyhow::ensure!(start.elapsed() < PATIENCE, "the observer does not stop");
            std::thread::sleep(POLL);
        };
        // 1 is "findings at or above --fail-on", which the load may well raise.
        if !matches!(status.code(), Some(0 | 1)) {
            bail!("the observer ended with {status}: {}", self.said());
        }
        Ok(Finished { seen: Some(seen), usage: Some(usage) })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // Fails when it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configured(scene: &Scene, ports: &[u16], metrics: SocketAddr) -> String {
    let services: Vec<String> = ports.iter().map(|port| format!("  - {{name: {SERVICE}, port: {port}}}\n")).collect();
    let audits = scene.files.path().join("audits");
    let sources = match scene.sources {
        Sources::Plain => "cgroup",
        Sources::Tls => "cgroup, tls",
    };
    let capture = match scene.scenario {
        Scenario::BothEnds => format!("{{sources: [{sources}]}}"),
        Scenario::ServerEnd => format!("{{sources: [{sources}], cgroup: \"{}\"}}", scene.watched_path()),
    };
    format!(
        "services:\n{}capture: {capture}\nprometheus: {{listen: \"{metrics}\"}}\n\
         audit: {{directory: \"{}\", interval: 60s, keep: 1d}}\n",
        services.concat(),
        audits.display()
    )
}

/// The requests that the measured service received, and those and the records that it sent, but for those of which the observer
/// knows that they passed and no more.
fn seen(metrics: &str) -> u64 {
    let service = format!("service=\"{SERVICE}\"");
    let received = ("trace_sampling_requests_total{", "context=\"unobserved\"");
    let sent = ("trace_propagation_hops_total{", "outcome=\"unattributed\"");
    metrics
        .lines()
        .filter(|line| {
            line.contains(&service)
                && [received, sent].iter().any(|(name, unseen)| line.starts_with(name) && !line.contains(unseen))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// The body of an answer with status 200.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no HTTP response")?;
    anyhow::ensure!(head.starts_with("HTTP/1.1 200 "), "{path}: {}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_requests_are_counted_and_all_of_which_more_is_known_than_that_they_passed() {
        let metrics = "# HELP trace_sampling_requests_total x\n\
            trace_sampling_requests_total{context=\"valid\",protocol=\"http/1.1\",service=\"bench-server\",tenant=\"a\"} 40\n\
            trace_sampling_requests_total{context=\"missing\",protocol=\"http/1.1\",service=\"bench-server\",tenant=\"b\"} 2\n\
            trace_sampling_requests_total{context=\"unobserved\",protocol=\"http/1.1\",service=\"bench-server\",tenant=\"b\"} 3\n\
            trace_propagation_hops_total{outcome=\"rooted\",peer=\"kafka:bench\",service=\"bench-server\"} 100\n\
            trace_propagation_hops_total{outcome=\"unattributed\",peer=\"kafka:bench\",service=\"bench-server\"} 5\n\
            trace_sampling_requests_total{context=\"valid\",protocol=\"http/1.1\",service=\"observer\",tenant=\"a\"} 7\n";
        assert_eq!(seen(metrics), 142);
    }
}
