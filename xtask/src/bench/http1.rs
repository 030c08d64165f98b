//! Plaintext HTTP/1.1: nginx that answers from memory, under wrk with keep-alive connections. Both on this host.

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

/// Connections of the client; more bring no more requests out of two cores.
const CONNECTIONS: &str = "32";

/// A response of some 600 bytes with its head, as of a small JSON API.
const BODY_BYTES: usize = 440;

/// How long nginx may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(10);

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
        Ok(Box::new(Nginx::start(scene)?))
    }
}

struct Nginx {
    process: Child,
    port: u16,
    status: PathBuf,
    script: PathBuf,
    turns: u32,
}

impl Nginx {
    fn start(scene: &Scene) -> Result<Self> {
        let files = scene.files.path();
        let (status, script, config) = (files.join("status"), files.join("http1.lua"), files.join("nginx.conf"));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::write(&script, SCRIPT)?;
        fs::write(&config, configuration(files, &status, port))?;
        // The shell joins the cgroup first, so that the listening socket is born in it.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "sh", "-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(scene.server_cgroup())
            .args(["nginx", "-c"])
            .arg(&config)
            .arg("-e")
            .arg(files.join("nginx.log"))
            .spawn()
            .context("nginx does not start")?;
        let mut server = Self { process, port, status, script, turns: 0 };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = server.process.try_wait()? {
                bail!("nginx: {status}: {}", fs::read_to_string(files.join("nginx.log")).unwrap_or_default());
            }
            anyhow::ensure!(start.elapsed() < START_LIMIT, "nginx does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

/// One worker, for two cores hold a server and its client. The counters are served on a Unix socket, which no arm can see.
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

impl Server for Nginx {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        self.turns += 1;
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections", CONNECTIONS, "--duration", &format!("{seconds}s"), "--script"])
            .arg(&self.script)
            .args([&format!("http://127.0.0.1:{}/", self.port), "--", &self.turns.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("wrk does not start")?;
        let text = String::from_utf8_lossy(&output.stdout);
        counted(&text).with_context(|| format!("wrk: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// stub_status counts itself too: each question is one of its requests.
    fn served(&self) -> Result<u64> {
        let mut stream = UnixStream::connect(&self.status)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        requests(&text).with_context(|| format!("stub_status: {text}"))
    }

    fn port(&self) -> u16 {
        self.port
    }
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
