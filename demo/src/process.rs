//! Children: a command comes in, a child in a process group of its own goes out that is gone when its handle is dropped.
//!
//! A child also ends when this process is killed outright: its standard input is a pipe that only this process holds (the
//! shop's programs end with it), or it is started under `setpriv --pdeathsig` (programs that do not read it).

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// A running child, with what it prints in a file.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` in a process group of its own; what it prints on standard error goes to `log`, and on standard output
    /// too unless the command says otherwise.
    ///
    /// # Errors
    /// The program is missing, or the log cannot be written.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.process_group(0).stdin(Stdio::piped()).stderr(file);
        let child =
            command.spawn().with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// The child ends first, or `limit` passes; with the last lines that it printed.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was {what}:\n{}", self.name, self.last_lines());
            }
            if begun.elapsed() > limit {
                bail!("{} is not {what} after {} s:\n{}", self.name, limit.as_secs(), self.last_lines());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Asks the child to end and waits for it.
    ///
    /// # Errors
    /// It is still there when `limit` has passed.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begun.elapsed() > limit {
                bail!("{} does not end on SIGTERM within {} s:\n{}", self.name, limit.as_secs(), self.last_lines());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends a signal to the child alone.
    pub fn signal(&self, signal: Signal) {
        // A child that is already gone needs no signal.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// What it printed last.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let first = lines.len().saturating_sub(20);
        lines.get(first..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
