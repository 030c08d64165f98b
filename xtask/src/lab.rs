//! `cargo xtask lab`: breaks of propagation planted in real services, and sound systems under load. Comes in: which scenarios, and
//! whether at length; goes out: the test runner's own closing lines, and its status.

use std::process::{Command, ExitCode};

use anyhow::Result;
use testbed::install::runtimes;
use testbed::{observer, workspace};

use crate::test;

/// Requests that each sound system is sent, and with `--full`.
const REQUESTS: [u32; 2] = [10_000, 100_000];

/// Which scenarios, and how long.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Send each sound system 100,000 requests instead of 10,000.
    #[arg(long)]
    full: bool,
    /// Only scenarios with this in their name.
    filter: Option<String>,
}

/// Installs what the scenarios need and plays them, one after the other.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    runtimes()?;
    let binary = observer::binary(false)?;
    let mut command = Command::new("cargo");
    command.args(["test", "--package", "end-to-end", "--test", "lab", "--", "--test-threads", "1"]);
    command.args(&options.filter).env("OBSERVER_BINARY", &binary).current_dir(workspace());
    command.env("LAB_REQUESTS", REQUESTS[usize::from(options.full)].to_string());
    test::as_root(&mut command)
}
