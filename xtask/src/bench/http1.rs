//! Plaintext HTTP/1.1: nginx that answers from memory, under wrk with keep-alive connections. On each processor one server and
//! one client, bound to it: so all of it is busy, and what a tool takes is missing to the requests and to nothing else. With
//! one server and one client on two processors the one that shares with the tool would let the other idle.

use super::process;
use super::scene::{Load, Scene, Server, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Builds the requests.
const SCRIPT: &str = include_str!("http1.lua");

/// Connections of each client; more bring no more requests out of a processor.
const CONNECTIONS: &str = "32";

/// A response of some 600 bytes with its head, as of a small JSON API.
const BODY_BYTES: usize = 440;

/// How long nginx may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two questions whether it does.
const START_POLL: Duration = Duration::from_millis(20);

/// nginx under wrk.
pub(crate) struct Http1;

impl Workload for Http1 {
    fn name(&self) -> &'static str {
        "http1"
    }

    fn needs(&self) -> &'static [Needs] {
        &[Needs { program: "nginx", package: "nginx-light" }, Needs { program: "wrk", package: "wrk" }]
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let script = scene.files.path().join("http1.lua");
        fs::write(&script, SCRIPT)?;
        let processors = std::thread::available_parallelism()?.get();
        let each = (0..processors).map(|processor| Nginx::start(scene, processor)).collect::<Result<_>>()?;
        Ok(Box::new(Servers { each, script, turns: 0 }))
    }
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
                server.client(&self.script, seconds, self.turns)
            })
            .collect::<Result<_>>()?;
        let mut load = Load { responses: 0, seconds: 0.0 };
        for client in clients {
            let output = client.wait_with_output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            let one =
                counted(&text).with_context(|| format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)))?;
            load.responses += one.responses;
            load.seconds = load.seconds.max(one.seconds);
        }
        Ok(load)
    }

    fn served(&self) -> Result<u64> {
        self.each.iter().map(Nginx::served).sum()
    }

    fn ports(&self) -> Vec<u16> {
        self.each.iter().map(|server| server.port).collect()
    }
}

struct Nginx {
    process: Child,
    processor: String,
    port: u16,
    status: PathBuf,
}

impl Nginx {
    fn start(scene: &Scene, processor: usize) -> Result<Self> {
        let files = scene.files.path().join(processor.to_string());
        fs::create_dir(&files)?;
        let (status, config, log) = (files.join("status"), files.join("nginx.conf"), files.join("nginx.log"));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::write(&config, configuration(&files, &status, port))?;
        // The shell joins the cgroup first, so that the listening socket is born in it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "sh", "-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(scene.server_cgroup())
            .args(["taskset", "--cpu-list", &processor.to_string(), "nginx", "-c"])
            .arg(&config)
            .arg("-e")
            .arg(&log)
            .spawn()
            .context("nginx does not start")?;
        let mut server = Self { process, processor: processor.to_string(), port, status };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("nginx: {status}: {}", fs::read_to_string(log).unwrap_or_default());
            }
            anyhow::ensure!(start.elapsed() < START_LIMIT, "nginx does not answer");
            std::thread::sleep(START_POLL);
        }
        Ok(server)
    }

    /// Starts a client on the same processor; `seed` of its trace ids.
    fn client(&self, script: &Path, seconds: u64, seed: usize) -> Result<Child> {
        Command::new("taskset")
            .args(["--cpu-list", &self.processor, "wrk", "--threads", "1", "--connections", CONNECTIONS])
            .args(["--duration", &format!("{seconds}s"), "--script"])
            .arg(script)
            .args([&format!("http://127.0.0.1:{}/", self.port), "--", &seed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("wrk does not start")
    }

    /// stub_status counts itself too: each question is one of its requests.
    fn served(&self) -> Result<u64> {
        let mut stream = UnixStream::connect(&self.status)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        requests(&text).with_context(|| format!("stub_status: {text}"))
    }
}

/// The counters are served on a Unix socket, which no arm can see.
fn configuration(files: &Path, status: &Path, port: u16) -> String {
    let (files, status, body) = (files.display(), status.display(), "x".repeat(BODY_BYTES));
    format!(
        "worker_processes 1;\ndaemon off;\npid {files}/nginx.pid;\nerror_log {files}/nginx.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  \
         default_type application/json;\n  \
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 \"{body}\"; }} }}\n  \
         server {{ listen unix:{status}; location / {{ stub_status; }} }}\n}}\n"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker too.
        process::terminate(self.process.id());
        let _ = self.process.wait();
    }
}

/// The line that the script writes: responses, microseconds, errors.
fn counted(text: &str) -> Result<Load> {
    let line = text.lines().find_map(|line| line.strip_prefix("counted ")).context("no count")?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [responses, microseconds, 0] => Ok(Load { responses: *responses, seconds: *microseconds as f64 / 1e6 }),
        [_, _, errors] => bail!("{errors} requests failed"),
        _ => bail!("three numbers expected"),
    }
}

/// The third number below `server accepts handled requests`.
fn requests(text: &str) -> Option<u64> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("server accepts handled requests"));
    lines.nth(1)?.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_count_is_the_third_number() {
        let text = "Active connections: 1 \nserver accepts handled requests\n 112 112 2185324 \nReading: 0 Writing: 1 Waiting: 0";
        assert_eq!(requests(text), Some(2_185_324));
        assert_eq!(requests("404"), None);
    }

    #[test]
    fn a_load_with_failed_requests_is_no_measurement() {
        assert!(counted("Running 1s test\ncounted 100 1000000 0\n").is_ok_and(|load| load.responses == 100));
        assert!(counted("counted 100 1000000 3\n").is_err());
        assert!(counted("unable to connect").is_err());
    }
}
