//! What is measured: a server under load, in a cgroup of its own. Shared words of workloads, arms and the runner.

use crate::apt::Needs;
use anyhow::{Context, Result};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Something that serves requests as fast as a client can send them, all on this host.
pub(crate) trait Workload {
    /// As on the command line and in the report.
    fn name(&self) -> &'static str;
    /// The programs it runs.
    fn needs(&self) -> &'static [Needs];
    /// What an observer must reach.
    fn aims(&self, scenario: Scenario) -> Aims;
    /// Starts the server, in the scene's cgroup.
    ///
    /// # Errors
    ///
    /// When it does not start.
    fn start(&self, scene: &Scene) -> Result<Box<dyn Server>>;
}

/// What an observer must reach at a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aims {
    /// Share of the throughput without it that must stay.
    pub(crate) throughput: f64,
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
    /// How many requests it has served, by its own count; each question is one of them for each of [`Server::ports`].
    ///
    /// # Errors
    ///
    /// When it does not say.
    fn served(&self) -> Result<u64>;
    /// The ports on loopback that it listens on.
    fn ports(&self) -> Vec<u16>;
}

/// What a client counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Responses.
    pub(crate) responses: u64,
    /// From the first request to the last response.
    pub(crate) seconds: f64,
}

/// Which ends of a connection are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Client and server: all of this host.
    BothEnds,
    /// The server's cgroup alone, as where the client is on another host.
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

/// What an observer is told to call the server.
pub(crate) const SERVICE: &str = "bench-server";

/// The place of a measurement: files, cgroup, and what is watched. Gone when dropped.
pub(crate) struct Scene {
    /// For configurations and output.
    pub(crate) files: tempfile::TempDir,
    /// Which ends are watched.
    pub(crate) scenario: Scenario,
    mount: PathBuf,
    cgroup: PathBuf,
}

impl Scene {
    /// Makes a cgroup for the server.
    ///
    /// # Errors
    ///
    /// When this host has no cgroup v2.
    pub(crate) fn prepare(scenario: Scenario) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount = cgroup2_mount(&mounts).context("no cgroup v2 is mounted here")?;
        let cgroup = mount.join(format!("observer-bench-{}", std::process::id()));
        fs::create_dir_all(&cgroup).with_context(|| cgroup.display().to_string())?;
        Ok(Self { files: tempfile::Builder::new().prefix("observer-bench-").tempdir()?, scenario, mount, cgroup })
    }

    /// The cgroup of the server.
    pub(crate) fn server_cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// The cgroup to watch.
    pub(crate) fn watched_cgroup(&self) -> &Path {
        match self.scenario {
            Scenario::BothEnds => &self.mount,
            Scenario::ServerEnd => &self.cgroup,
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
        let _ = fs::remove_dir(&self.cgroup);
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
    fn the_cgroup_mount_is_found_on_hybrid_hosts() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), None);
    }
}
