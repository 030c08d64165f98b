//! Services of one test: a program at a site comes in, a running process goes out.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::site::Site;
use testbed::workspace;

/// How long a service may take to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A service of a test; it ends with the value.
pub(crate) struct Service {
    pub(crate) child: Child,
    output: BufReader<ChildStdout>,
}

impl Service {
    /// Starts a service and waits until it says that it is ready.
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut service = Self::spawn(&mut command)?;
        service.hear("ready").with_context(|| format!("{command:?} does not start"))?;
        Ok(service)
    }

    /// Starts a service that says in its own words when it is ready.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("it has an output")?);
        Ok(Self { child, output })
    }

    /// Waits for the next line that it says.
    pub(crate) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line.pop() == Some('\n'), "it says no more");
        Ok(line)
    }

    /// The same, which must be this one.
    pub(crate) fn hear(&mut self, expected: &str) -> Result<()> {
        let line = self.line()?;
        ensure!(line == expected, "it says {line:?}, not {expected:?}");
        Ok(())
    }
}

impl Drop for Service {
    /// Asked first: one that has workers ends them then.
    fn drop(&mut self) {
        let end = Instant::now() + END_LIMIT;
        let mut asked = false;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            if !asked {
                let _ = Command::new("kill").arg(self.child.id().to_string()).status();
                asked = true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program, with the script that it runs if it is Python.
#[derive(Clone, Debug)]
pub(crate) struct Program(pub(crate) Vec<PathBuf>);

impl Program {
    /// A script of this directory.
    pub(crate) fn python(python: &Path, script: &str) -> Self {
        Self(vec![python.to_owned(), workspace().join("tests").join(script)])
    }

    /// The command that runs it as the service `name`, with `arguments` and the file of its log.
    pub(crate) fn command(&self, name: &str, site: &Site, arguments: &[&str], log: &Path) -> Command {
        let (program, script) = self.0.split_first().expect("a program");
        let mut command = site.command(program);
        command.args(script).arg(name).args(arguments).arg(log);
        command.env("OTEL_SERVICE_NAME", name);
        command
    }
}
