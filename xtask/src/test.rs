//! `cargo xtask test`: every test. Comes in: the workspace; goes out: the test runner's own closing lines, and its status.
//!
//! Tests are built as the user and run as root, for they load programs into the kernel.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testbed::install::{apt, has_program, runtimes};
use testbed::{observer, scratch, workspace};

use crate::root;

/// How much to test.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the kernels in virtual machines: test on this machine's kernel alone.
    #[arg(long)]
    no_vm: bool,
    /// Leave out the fuzz targets.
    #[arg(long)]
    no_fuzz: bool,
    /// Passed on to the test programs, for example a part of the names of tests.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Programs that the tests run, each with the Debian package that brings it.
const PROGRAMS: [(&str, &str); 3] = [("ip", "iproute2"), ("setpriv", "util-linux"), ("promtool", "prometheus")];

/// Installs what the tests need and runs them.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has_program(program)).map(|(_, name)| *name).collect();
    apt(&missing)?;
    runtimes()?;
    if !options.no_vm {
        let program = std::env::current_exe().context("cannot find this program")?;
        let status = Command::new(program).arg("vm").current_dir(workspace()).status()?;
        if !status.success() {
            bail!("the tests in virtual machines failed ({status}); --no-vm leaves them out");
        }
    }
    if !options.no_fuzz {
        crate::fuzz::run(&crate::fuzz::Options::for_a_while())?;
    }
    let binary = observer::binary(false)?;
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins", "--tests", "--"]);
    command.args(&options.arguments).env("OBSERVER_BINARY", &binary).current_dir(workspace());
    as_root(&mut command)
}

/// Runs a `cargo test` whose tests load programs into the kernel: they run by sudo where this process is not root.
pub(crate) fn as_root(command: &mut Command) -> Result<ExitCode> {
    if !root::is_root() {
        if !has_program("sudo") {
            bail!(
                "the tests load programs into the kernel and there is no sudo here: run the same command as root (su -)"
            );
        }
        eprintln!("The tests load programs into the kernel: they run by sudo.");
        command.env(runner_variable()?, "sudo --preserve-env=PATH,OBSERVER_BINARY,CARGO,LAB_REQUESTS");
    }
    let status = command.status().context("cannot run cargo")?;
    if !root::is_root() {
        root::take_back(&scratch());
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The name of the variable by which cargo is told how to run what it built for this machine.
fn runner_variable() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}
