//! Plaintext HTTP/2: nginx under h2load. Long bodies of its page cache, of which nearly all is DATA, which an observer passes
//! over; and unary calls as gRPC makes them, a small message each way. On each processor one server and one client, as in
//! [`super::http1`].

use super::nginx::Nginx;
use super::scene::{Aims, Load, Scenario, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Long enough that heads are nothing beside it, short enough that a turn has hundreds.
const BODY_BYTES: usize = 16 << 20;
/// A message of a call each way, with the five bytes that stand before it (gRPC over HTTP/2, Length-Prefixed-Message).
const MESSAGE_BYTES: usize = 105;
const NEEDS: [Needs; 2] =
    [Needs { program: "nginx", package: "nginx-light" }, Needs { program: "h2load", package: "nghttp2-client" }];

/// Downloads: one connection to each server, one stream at a time.
pub(crate) struct Download;

impl Workload for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn needs(&self) -> &'static [Needs] {
        &NEEDS
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: Some(0.98), processor_us_per_request: None }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let files = scene.files.path();
        fs::write(files.join("body"), vec![b'x'; BODY_BYTES])?;
        let client = ["--clients", "1", "--max-concurrent-streams", "1"].map(str::to_owned).to_vec();
        Ok(Box::new(Servers::start(scene, &format!("root {};", files.display()), "body", client)?))
    }
}

/// Calls: four connections to each server, ten streams at a time on each. The client sends the same context with every call.
pub(crate) struct Unary;

impl Workload for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn needs(&self) -> &'static [Needs] {
        &NEEDS
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: Some(0.97), processor_us_per_request: Some(2.0) }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let message = scene.files.path().join("message");
        fs::write(&message, vec![b'x'; MESSAGE_BYTES])?;
        let location = format!("return 200 \"{}\";", "x".repeat(MESSAGE_BYTES));
        Ok(Box::new(Servers::start(scene, &location, "shop.Cart/Add", call(&message))?))
    }
}

/// What h2load is told for calls.
fn call(message: &Path) -> Vec<String> {
    let mut words = ["--clients", "4", "--max-concurrent-streams", "10", "--data"].map(str::to_owned).to_vec();
    words.push(message.display().to_string());
    for header in [
        "content-type: application/grpc",
        "te: trailers",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-tenant-id: acme",
    ] {
        words.extend(["--header".to_owned(), header.to_owned()]);
    }
    words
}

/// One nginx a processor, and how each is asked.
struct Servers {
    each: Vec<Nginx>,
    path: &'static str,
    client: Vec<String>,
}

impl Servers {
    fn start(scene: &Scene, location: &str, path: &'static str, client: Vec<String>) -> Result<Self> {
        let processors = std::thread::available_parallelism()?.get();
        let each = (0..processors).map(|processor| Nginx::start(scene, processor, " http2", "", location));
        Ok(Self { each: each.collect::<Result<_>>()?, path, client })
    }

    /// Starts a client on the processor of a server.
    fn client(&self, server: &Nginx, seconds: u64) -> Result<Child> {
        Command::new("taskset")
            .args(["--cpu-list", &server.processor, "h2load"])
            .args(&self.client)
            .args(["--duration", &seconds.to_string(), &format!("http://127.0.0.1:{}/{}", server.port, self.path)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("h2load does not start")
    }
}

impl Server for Servers {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        let clients: Vec<Child> = self.each.iter().map(|server| self.client(server, seconds)).collect::<Result<_>>()?;
        Load::of(clients, counted)
    }

    fn served(&mut self) -> Result<u64> {
        self.each.iter_mut().map(Nginx::served).sum()
    }

    fn ports(&self) -> Vec<u16> {
        self.each.iter().map(|server| server.port).collect()
    }
}

/// The lines `finished in 5.01s, …`, of less than a second `997.81ms`, and `requests: …`.
fn counted(text: &str) -> Result<Load> {
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let time = after("finished in ").and_then(|line| line.split_once(',')).context("no time")?.0;
    let seconds = match time.strip_suffix("ms") {
        Some(milliseconds) => milliseconds.parse::<f64>()? / 1e3,
        None => time.strip_suffix('s').context("a time without its unit")?.parse()?,
    };
    let requests = after("requests: ").context("no count")?;
    let number = |what: &str| -> Result<u64> {
        let part = requests.split(", ").find_map(|part| part.strip_suffix(what)).context("a number is missing")?;
        Ok(part.trim().parse()?)
    };
    ensure!(number("failed")? + number("errored")? + number("timeout")? == 0, "requests failed");
    Ok(Load { responses: number("succeeded")?, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_and_time_are_read_and_failures_are_none() {
        let text = "\nfinished in 2.01s, 36.50 req/s, 584.65MB/s\n\
                    requests: 73 total, 74 started, 73 done, 73 succeeded, 0 failed, 0 errored, 0 timeout\n";
        let load = counted(text).unwrap();
        assert_eq!((load.responses, load.seconds), (73, 2.01));
        assert_eq!((counted(&text.replace("2.01s", "500.00ms")).unwrap().seconds * 1000.0).to_string(), "500");
        assert!(counted(&text.replace("0 failed", "1 failed")).is_err());
        assert!(counted("").is_err());
    }
}
