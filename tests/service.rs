//! Services of one test: a Python script of this directory at a site comes in, a running process goes out.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use testbed::site::Site;
use testbed::{scratch, workspace};

/// An observer sees the whole host, and these tests tell their services apart by name alone: one test at a time.
static ONLY: Mutex<()> = Mutex::new(());

/// Waits until no other test runs.
pub(crate) fn only() -> MutexGuard<'static, ()> {
    ONLY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A service of a test; it ends with the value.
pub(crate) struct Service(pub(crate) Child);

impl Service {
    /// Starts a service and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("it has an output")?;
        let service = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(line == "ready\n", "{command:?} does not start: {line}");
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The command that runs the service `name` by a script, with `arguments` and the file of its log.
pub(crate) fn command(python: &Path, script: &str, name: &str, site: &Site, arguments: &[&str], log: &Path) -> Command {
    let mut command = site.command(python);
    command.arg(workspace().join("tests").join(script)).arg(name).args(arguments).arg(log);
    command.env("OTEL_SERVICE_NAME", name);
    command
}

/// Where a test keeps its files; empty.
pub(crate) fn place(name: &str) -> Result<PathBuf> {
    let place: PathBuf = scratch().join("tests").join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    Ok(place)
}
