//! nginx as the server of a workload: one process bound to a processor, in the scene's cgroup. What it serves comes in; its port
//! and its own count of requests go out.

use super::process;
use super::scene::Scene;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long nginx may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Between two questions whether it does.
const START_POLL: Duration = Duration::from_millis(20);

/// A running nginx. Stops when dropped.
pub(super) struct Nginx {
    process: Child,
    /// The number of the processor that it is bound to.
    pub(super) processor: String,
    /// The port on loopback that it listens on.
    pub(super) port: u16,
    status: PathBuf,
    /// Questions so far.
    asked: u64,
}

impl Nginx {
    /// Starts one that answers as `location` says; `listen`: further words of its `listen` directive, `server`: further
    /// directives.
    pub(super) fn start(scene: &Scene, processor: usize, listen: &str, server: &str, location: &str) -> Result<Self> {
        let files = scene.files.path().join(processor.to_string());
        fs::create_dir(&files)?;
        let (status, config, log) = (files.join("status"), files.join("nginx.conf"), files.join("nginx.log"));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        fs::write(&config, configuration(&files, &status, &format!("{port}{listen}"), server, location))?;
        let process = scene
            .cgroup
            .command("taskset")
            .args(["--cpu-list", &processor.to_string(), "nginx", "-c"])
            .arg(&config)
            .arg("-e")
            .arg(&log)
            .spawn()
            .context("nginx does not start")?;
        let mut server = Self { process, processor: processor.to_string(), port, status, asked: 0 };
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

    /// How many requests it has served. stub_status counts itself too: each question is one of its requests, and taken off.
    pub(super) fn served(&mut self) -> Result<u64> {
        let mut stream = UnixStream::connect(&self.status)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        self.asked += 1;
        let requests = requests(&text).with_context(|| format!("stub_status: {text}"))?;
        Ok(requests - self.asked)
    }
}

/// The counters are served on a Unix socket, which no arm can see.
fn configuration(files: &Path, status: &Path, listen: &str, server: &str, location: &str) -> String {
    let (files, status) = (files.display(), status.display());
    format!(
        "worker_processes 1;\ndaemon off;\npid {files}/nginx.pid;\nerror_log {files}/nginx.log;\n\
         user root;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  sendfile on;\n  keepalive_requests 1000000000;\n  keepalive_timeout 1h;\n  \
         default_type application/json;\n  \
         server {{ listen 127.0.0.1:{listen}; {server} location / {{ {location} }} }}\n  \
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
}
