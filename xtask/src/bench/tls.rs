//! HTTP/1.1 over TLS, which an observer reads at the library of the process: nginx, and small services in Node, Go and Python, each
//! under wrk, whose library is observed as well. What a probe costs the observed process is the server's own processor time.

use super::http1;
use super::nginx::Nginx;
use super::process;
use super::scene::{Aims, Load, Scenario, Scene, Server, Sources, Workload};
use crate::apt::Needs;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use testbed::{install, sources};

/// The processor of nginx; the services take what they find.
const PROCESSOR: usize = 0;
/// Connections of the client; enough to keep one process busy.
const CONNECTIONS: &str = "16";
/// As of the services.
const BODY_BYTES: usize = 3000;

/// What serves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls {
    /// OpenSSL, non-blocking.
    Nginx,
    /// OpenSSL inside the program, in memory.
    Node,
    /// crypto/tls.
    Go,
    /// OpenSSL by asyncio, in memory.
    Python,
}

impl Workload for Tls {
    fn name(&self) -> &'static str {
        match self {
            Self::Nginx => "tls-nginx",
            Self::Node => "tls-node",
            Self::Go => "tls-go",
            Self::Python => "tls-python",
        }
    }

    fn sources(&self) -> Sources {
        Sources::Tls
    }

    fn needs(&self) -> &'static [Needs] {
        &[
            Needs { program: "nginx", package: "nginx-light" },
            Needs { program: "wrk", package: "wrk" },
            Needs { program: "openssl", package: "openssl" },
        ]
    }

    fn aims(&self, _: Scenario) -> Aims {
        Aims { throughput: None, processor_us_per_request: None }
    }

    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>> {
        let files = scene.files.path();
        let script = http1::script(scene)?;
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.join(name));
        install::certificate(&certificate, &key)?;
        let program = match self {
            Self::Nginx => {
                let listen = " ssl";
                let body = "x".repeat(BODY_BYTES);
                let location = format!("return 200 \"{body}\";");
                let server =
                    format!("ssl_certificate {};\n  ssl_certificate_key {};", certificate.display(), key.display());
                let nginx = Nginx::start(scene, PROCESSOR, listen, &server, &location)?;
                return Ok(Box::new(Served { port: nginx.port, by: By::Nginx(nginx), script, turns: 0 }));
            }
            Self::Node => vec![PathBuf::from("node"), testbed::workspace().join("tests/secure/service.js")],
            Self::Go => vec![sources::go("tests/secure/service.go")?],
            Self::Python => vec![install::runtimes()?.python, testbed::workspace().join("tests/secure/service.py")],
        };
        let (server, client) = match self {
            Self::Node => ("https", "https"),
            Self::Go => ("http1", "http1"),
            Self::Nginx | Self::Python => ("asyncio", "aiohttp"),
        };
        let (program, arguments) = program.split_first().context("a program")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = files.join("served.jsonl");
        let mut command = scene.cgroup.command(program);
        command.args(arguments).args(["bench-server", &format!("127.0.0.1:{port}"), "-", "-"]).arg(&log);
        command.envs([("SERVER", server), ("CLIENT", client)]).env("CERTIFICATE", &certificate).env("KEY", &key);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("it does not start")?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        let service = Service { process, log };
        ensure!(line == "ready\n", "the service says: {line}");
        Ok(Box::new(Served { port, by: By::Service(service), script, turns: 0 }))
    }
}

/// The running server.
struct Served {
    port: u16,
    by: By,
    script: PathBuf,
    turns: usize,
}

enum By {
    Nginx(Nginx),
    Service(Service),
}

/// A service that writes a line for each request.
struct Service {
    process: Child,
    log: PathBuf,
}

impl Server for Served {
    fn load(&mut self, seconds: u64) -> Result<Load> {
        self.turns += 1;
        let client = Command::new("wrk")
            .args(["--threads", "1", "--connections", CONNECTIONS, "--duration", &format!("{seconds}s"), "--script"])
            .arg(&self.script)
            .args([&format!("https://127.0.0.1:{}/", self.port), "--", &self.turns.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("wrk does not start")?;
        Load::of(vec![client], Load::counted)
    }

    fn served(&mut self) -> Result<u64> {
        match &mut self.by {
            By::Nginx(nginx) => nginx.served(),
            By::Service(service) => lines(&service.log),
        }
    }

    fn ports(&self) -> Vec<u16> {
        vec![self.port]
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        process::terminate(self.process.id());
        let _ = self.process.wait();
    }
}

fn lines(file: &Path) -> Result<u64> {
    let text = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(u64::try_from(text.split(|&byte| byte == b'\n').count().saturating_sub(1))?)
}
