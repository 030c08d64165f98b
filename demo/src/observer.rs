//! A running observer: a binary and a configuration come in, its report goes out. Only the public command line is used.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use observer_core::audit::report::{FILE_NAME, Report};

use crate::process::Running;
use crate::shop::{answers, get};
use crate::workspace;

/// How long the observer may take until it serves its metrics.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Two reports this far apart that count the same requests: it renews its report every second.
const SETTLED: Duration = Duration::from_millis(1500);
/// How long it may take to write its last audit.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// `observer run`, observing.
#[derive(Debug)]
pub struct Observer {
    running: Running,
    audits: PathBuf,
    table: PathBuf,
}

impl Observer {
    /// Starts `observer run` with a configuration that serves metrics at `metrics` and writes audits to `audits`, and waits
    /// until it observes. The report for people goes to `table`, its log beside that.
    ///
    /// # Errors
    /// It does not start; with what it printed.
    pub fn start(
        binary: &Path,
        configuration: &Path,
        metrics: SocketAddr,
        audits: &Path,
        table: &Path,
    ) -> Result<Self> {
        if audits.exists() {
            std::fs::remove_dir_all(audits).with_context(|| format!("cannot clear {}", audits.display()))?;
        }
        if answers(metrics, "/healthz") {
            bail!("something already serves metrics at {metrics}: stop it first");
        }
        // setpriv ends the observer, with its last audit, even if this process is killed outright.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(binary).args(["run", "--config"]).arg(configuration);
        command.args(["--format", "table", "--report"]).arg(table).stdout(Stdio::null());
        let mut running = Running::start("observer run", command, &table.with_file_name("observer.log"))?;
        running.wait_until("observing", START_LIMIT, || answers(metrics, "/readyz"))?;
        Ok(Self { running, audits: audits.to_owned(), table: table.to_owned() })
    }

    /// The report while it runs, once it counts no more messages: for when the traffic has ended.
    ///
    /// # Errors
    /// It does not come to rest within [`STOP_LIMIT`].
    pub fn settled_report(&mut self, metrics: SocketAddr) -> Result<Report> {
        let mut before = None;
        let mut settled = None;
        self.running.wait_until("at rest", STOP_LIMIT, || {
            std::thread::sleep(SETTLED);
            let now = get(metrics, "/report").ok().and_then(|text| {
                let (_, body) = text.split_once("\r\n\r\n")?;
                serde_json::from_str::<Report>(body).ok()
            });
            let same = now.is_some() && now.as_ref().map(|report| report.requests.clone()) == before;
            before = now.as_ref().map(|report| report.requests.clone());
            settled = now;
            same
        })?;
        settled.context("the observer gives no report")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.running.child().try_wait()?.is_none())
    }

    /// Stops it as an operator would, with SIGTERM, and reads its last audit and the report that it printed for people.
    ///
    /// # Errors
    /// It does not end, ends with a failure, or leaves no audit.
    pub fn stop(mut self) -> Result<(Report, String)> {
        let status = self.running.stop(STOP_LIMIT)?;
        // 1 is "findings at or above --fail-on": the job of an observer.
        if !matches!(status.code(), Some(0 | 1)) {
            bail!("observer run ended with {status}:\n{}", self.running.last_lines());
        }
        let table = std::fs::read_to_string(&self.table).unwrap_or_default();
        Ok((read_report(&self.audits.join(FILE_NAME))?, table))
    }
}

/// Reads an audit report.
///
/// # Errors
/// The file is missing or is no audit.
pub fn read_report(path: &Path) -> Result<Report> {
    let text = std::fs::read(path).with_context(|| format!("no audit at {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no audit report", path.display()))
}

/// The observer's binary: `OBSERVER_BINARY`, else built by cargo now (so that it is never stale).
///
/// # Errors
/// It does not build.
pub fn binary(release: bool) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("OBSERVER_BINARY") {
        return Ok(PathBuf::from(path));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "observer", "--bin", "observer", "--message-format=json"]);
    if release {
        command.arg("--release");
    }
    let output = command.current_dir(workspace()).stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    let executable = String::from_utf8_lossy(&output.stdout).lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    });
    executable.context("the observer does not build (cargo build --package observer says why)")
}
