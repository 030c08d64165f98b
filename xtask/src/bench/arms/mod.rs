//! Ways of watching, to be compared: a name comes in, a running tool goes out. One file each.

mod floor;
mod observer;
mod tshark;

use super::process::Usage;
use super::scene::{Scenario, Scene};
use crate::apt::Needs;
use anyhow::Result;
use std::fmt;
use std::path::Path;

/// What is compared with nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ArmName {
    /// Nothing either: how far two of the same lie apart.
    Control,
    /// Two programs that do nothing: the least that hooks on packets can cost.
    Floor,
    /// The observer.
    Observer,
    /// tshark, live, with the header's field alone.
    Tshark,
}

impl ArmName {
    /// Those of a run that names none.
    pub(crate) const USUAL: [Self; 3] = [Self::Floor, Self::Observer, Self::Tshark];

    /// The programs it runs.
    pub(crate) fn needs(self) -> &'static [Needs] {
        match self {
            Self::Tshark => &[Needs { program: "tshark", package: "tshark" }],
            Self::Control | Self::Floor | Self::Observer => &[],
        }
    }

    /// Whether it can watch these ends. tshark sees an interface, never one cgroup.
    pub(crate) fn can_watch(self, scenario: Scenario) -> bool {
        self != Self::Tshark || scenario == Scenario::BothEnds
    }

    /// Starts it, and returns once it watches. `observer`: the binary. `ports`: of the server.
    ///
    /// # Errors
    ///
    /// When it does not come to watch.
    pub(crate) fn start(self, scene: &Scene, ports: &[u16], observer: &Path) -> Result<Box<dyn Tool>> {
        Ok(match self {
            Self::Control => Box::new(Control),
            Self::Floor => Box::new(floor::Floor::attach(scene.watched_cgroup())?),
            Self::Observer => Box::new(observer::Observer::start(observer, scene, ports)?),
            Self::Tshark => Box::new(tshark::Tshark::start(scene, ports)?),
        })
    }
}

impl fmt::Display for ArmName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Control => "control",
            Self::Floor => "floor",
            Self::Observer => "observer",
            Self::Tshark => "tshark",
        })
    }
}

/// A tool that watches. Stops, whatever it still has to do, when dropped.
pub(crate) trait Tool {
    /// Its process, where it has one.
    fn process(&self) -> Option<u32> {
        None
    }

    /// Lets it read what it has taken in, up to `served` requests if it saw all of them, then ends it as its user would.
    ///
    /// # Errors
    ///
    /// When it has failed meanwhile.
    fn finish(self: Box<Self>, served: u64) -> Result<Finished>;
}

/// What a tool leaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finished {
    /// The server's requests that it saw since its start; `None`: it counts nothing.
    pub(crate) seen: Option<u64>,
    /// What it used in all its life; `None`: it has no process.
    pub(crate) usage: Option<Usage>,
}

/// Nothing.
struct Control;

impl Tool for Control {
    fn finish(self: Box<Self>, _served: u64) -> Result<Finished> {
        Ok(Finished::default())
    }
}
