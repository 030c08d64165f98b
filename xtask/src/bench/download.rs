//! Long bodies over plaintext HTTP/2: nginx that sends a file of its page cache, under h2load. Nearly all of it is DATA, which an
//! observer passes over. On each processor one server and one client, as in [`super::http1`].

use super::nginx::Nginx;
use super::scene::{Aims, Load, Scenario, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::{Child, Command, Stdio};

/// Long enough that heads are nothing beside it, short enough that a turn has hundreds.
const BODY_BYTES: usize = 16 << 20;

/// nginx under h2load.
pub(crate) struct Download;

impl Workload for Download {
    fn name(&self) -> &'static str {
        "download"
    }

    fn needs(&self) -> &'static [Needs] {
        &[Needs { program: "nginx", package: "nginx-light" }, Needs { program: "h2load", package: "nghttp2-client" }]
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: 0.98, processor_us_per_request: None }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let files = scene.files.path();
        fs::write(files.join("body"), vec![b'x'; BODY_BYTES])?;
        let location = format!("root {};", files.display());
        let processors = std::thread::available_parallelism()?.get();
        let each = (0..processors).map(|processor| Nginx::start(scene, processor, " http2", &location));
        Ok(Box::new(Servers(each.collect::<Result<_>>()?)))
    }
}

/// One nginx a processor.
struct Servers(Vec<Nginx>);

impl Server for Servers {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        let clients: Vec<Child> = self.0.iter().map(|server| client(server, seconds)).collect::<Result<_>>()?;
        let mut load = Load { responses: 0, seconds: 0.0 };
        for client in clients {
            let output = client.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let one =
                counted(&text).with_context(|| format!("h2load: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
            load.responses += one.responses;
            load.seconds = load.seconds.max(one.seconds);
        }
        Ok(load)
    }

    fn served(&self) -> Result<u64> {
        self.0.iter().map(Nginx::served).sum()
    }

    fn ports(&self) -> Vec<u16> {
        self.0.iter().map(|server| server.port).collect()
    }
}

/// Starts a client on the server's processor: one connection, one stream at a time.
fn client(server: &Nginx, seconds: u64) -> Result<Child> {
    Command::new("taskset")
        .args(["--cpu-list", &server.processor, "h2load", "--clients", "1", "--max-concurrent-streams", "1"])
        .args(["--duration", &seconds.to_string(), &format!("http://127.0.0.1:{}/body", server.port)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("h2load does not start")
}

/// The lines `finished in 5.01s, …` and `requests: …`.
fn counted(text: &str) -> Result<Load> {
    let after = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let seconds = after("finished in ").and_then(|line| line.split_once("s,")).context("no time")?.0.parse()?;
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
        assert!(counted(&text.replace("0 failed", "1 failed")).is_err());
        assert!(counted("").is_err());
    }
}
