//! What is measured: a server under load, in a cgroup of its own. Shared words of workloads, arms and the runner.

use crate::apt::Needs;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

/// A service under load, as much as client and server can bear, all on this host.
pub(crate) trait Workload {
    /// As on the command line and in the report.
    fn name(&self) -> &'static str;
    /// What is counted, in the singular.
    fn unit(&self) -> &'static str {
        "request"
    }
    /// What an observer must read to see it.
    fn sources(&self) -> Sources {
        Sources::Plain
    }
    /// The programs it runs, but for those that it builds.
    fn needs(&self) -> &'static [Needs];
    /// What an observer must reach.
    fn aims(&self, scenario: Scenario) -> Aims;
    /// Starts the server. The service that is measured, which need not be that, runs in the scene's cgroup.
    ///
    /// # Errors
    ///
    /// When it does not start.
    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>>;
}

/// What an observer must reach at a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aims {
    /// Share of the throughput without it that must stay; `None` where nothing is asked of it.
    pub(crate) throughput: Option<f64>,
    /// Its processor time for a request; `None` where nothing is asked of it.
    pub(crate) processor_us_per_request: Option<f64>,
}

/// A running server. Stops when dropped.
pub(crate) trait Server {
    /// Loads it for so long and returns what the client counted.
    ///
    /// # Errors
    ///
    /// When a request fails.
    fn load(&mut self, seconds: u64) -> Result<Load>;
    /// How many requests it has served, by its own count.
    ///
    /// # Errors
    ///
    /// When it does not say.
    fn served(&mut self) -> Result<u64>;
    /// The ports on loopback that it listens on.
    fn ports(&self) -> Vec<u16>;
}

/// Which sources an observer of a workload has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sources {
    /// Packets.
    Plain,
    /// Packets and TLS libraries.
    Tls,
}

/// What a client counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Responses.
    pub(crate) responses: u64,
    /// From the first request to the last response.
    pub(crate) seconds: f64,
}

impl Load {
    /// What clients that run at the same time count together, once all have ended; `counted` reads what one printed.
    ///
    /// # Errors
    ///
    /// When one of them failed, with all that it printed.
    pub(crate) fn of(clients: Vec<Child>, counted: fn(&str) -> Result<Self>) -> Result<Self> {
        let mut load = Self { responses: 0, seconds: 0.0 };
        for client in clients {
            let output = client.wait_with_output()?;
            let [text, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
            let one = counted(&text).with_context(|| format!("the client printed: {text}{errors}"))?;
            load.responses += one.responses;
            load.seconds = load.seconds.max(one.seconds);
        }
        Ok(load)
    }

    /// What the bench's own clients print: `counted RESPONSES MICROSECONDS ERRORS`.
    ///
    /// # Errors
    ///
    /// When a request failed, or nothing was counted.
    pub(crate) fn counted(text: &str) -> Result<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("counted ")).context("no count")?;
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        match numbers.as_slice() {
            [responses, microseconds, 0] => Ok(Self { responses: *responses, seconds: *microseconds as f64 / 1e6 }),
            [_, _, errors] => bail!("{errors} requests failed"),
            _ => bail!("three numbers expected"),
        }
    }
}

/// Which ends of a connection are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Client and server: all of this host.
    BothEnds,
    /// The cgroup of the measured service alone, as where the other end is on another host.
    ServerEnd,
}

impl Scenario {
    /// In the order in which they are measured.
    pub(crate) const ALL: [Self; 2] = [Self::BothEnds, Self::ServerEnd];
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BothEnds => "both-ends",
            Self::ServerEnd => "server-end",
        })
    }
}

/// What an observer is to call the measured service.
pub(crate) const SERVICE: &str = "bench-server";

/// The cgroup of the measured service.
#[derive(Clone)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// A command that runs `program` in it. Its shell joins first, so that sockets are born there.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "sh", "-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]);
        command.arg(&self.0).arg(program);
        command
    }
}

/// The place of a measurement: files, cgroup, and what is watched. Gone when dropped.
pub(crate) struct Scene {
    /// For configurations and output.
    pub(crate) files: tempfile::TempDir,
    /// Which ends are watched.
    pub(crate) scenario: Scenario,
    /// By which sources.
    pub(crate) sources: Sources,
    /// Where the measured service runs.
    pub(crate) cgroup: Cgroup,
    mount: PathBuf,
}

impl Scene {
    /// Makes a cgroup for the measured service.
    ///
    /// # Errors
    ///
    /// When this host has no cgroup v2.
    pub(crate) fn prepare(scenario: Scenario, sources: Sources) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount = cgroup2_mount(&mounts).context("no cgroup v2 is mounted here")?;
        let cgroup = mount.join(format!("observer-bench-{}", std::process::id()));
        fs::create_dir_all(&cgroup).with_context(|| cgroup.display().to_string())?;
        Ok(Self {
            files: tempfile::Builder::new().prefix("observer-bench-").tempdir()?,
            scenario,
            sources,
            cgroup: Cgroup(cgroup),
            mount,
        })
    }

    /// Processor time that the measured service has used so far (Documentation/admin-guide/cgroup-v2.rst, cpu.stat).
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub(crate) fn service_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.cgroup.0.join("cpu.stat"))?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).context("no usage in cpu.stat")?;
        Ok(Duration::from_micros(usage.parse()?))
    }

    /// The cgroup to watch.
    pub(crate) fn watched_cgroup(&self) -> &Path {
        match self.scenario {
            Scenario::BothEnds => &self.mount,
            Scenario::ServerEnd => &self.cgroup.0,
        }
    }

    /// The same as a path under the mount, as in /proc/PID/cgroup.
    pub(crate) fn watched_path(&self) -> String {
        let below = self.watched_cgroup().strip_prefix(&self.mount).unwrap_or(Path::new(""));
        format!("/{}", below.display())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Fails while a process of the server is still going down; an empty cgroup that stays costs nothing.
        let _ = fs::remove_dir(&self.cgroup.0);
    }
}

/// On hybrid hosts this is not /sys/fs/cgroup.
fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_with_failed_requests_is_no_measurement() {
        assert!(Load::counted("Running 1s test\ncounted 100 1000000 0\n").is_ok_and(|load| load.responses == 100));
        assert!(Load::counted("counted 100 1000000 3\n").is_err());
        assert!(Load::counted("unable to connect").is_err());
    }

    #[test]
    fn the_cgroup_mount_is_found_on_hybrid_hosts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), None);
    }
}
