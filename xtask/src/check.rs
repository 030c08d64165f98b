//! `cargo xtask check`: form. Nothing comes in but the sources; what is wrong is in the words of the tool that found it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testbed::workspace;

/// Runs every check; the first that fails ends the task.
pub(crate) fn run() -> Result<ExitCode> {
    cargo(&["fmt", "--all", "--check"])?;
    // The kernel programs are checked for their own target when they are built.
    cargo(&["clippy", "--workspace", "--all-targets", "--exclude", "observer-ebpf", "--", "--deny", "warnings"])?;
    cargo(&["clippy", "--package", "observer-ebpf", "--lib", "--tests", "--", "--deny", "warnings"])?;
    dependencies()?;
    eprintln!("all checks passed");
    Ok(ExitCode::SUCCESS)
}

fn dependencies() -> Result<()> {
    let known = Command::new("cargo").args(["deny", "--version"]).output().context("cannot run cargo")?;
    if !known.status.success() {
        bail!("cargo-deny is missing: cargo install --locked cargo-deny");
    }
    cargo(&["deny", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"])?;
    // The advisories live in a repository on GitHub, which not every machine reaches. That is said, and is no finding.
    let fetched = Command::new("cargo").args(["deny", "fetch", "db"]).current_dir(workspace()).output()?;
    if fetched.status.success() {
        cargo(&["deny", "check", "--disable-fetch", "advisories"])
    } else {
        eprintln!("NOT CHECKED: advisories; their database cannot be fetched from here");
        Ok(())
    }
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("- {shown}");
    let status = Command::new("cargo").args(arguments).current_dir(workspace()).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("{shown} failed");
    }
    Ok(())
}
