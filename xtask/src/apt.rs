//! Debian packages that a task needs: missing commands come in, an installed machine goes out. Nothing is installed where
//! all commands are there already.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// A program that a task runs, and the package that brings it.
pub(crate) struct Needs {
    /// Looked for in PATH and in the administrator's directories.
    pub(crate) program: &'static str,
    /// Debian's name of the package.
    pub(crate) package: &'static str,
}

/// Installs the packages of the programs that are not there.
///
/// # Errors
///
/// When apt fails, or is needed and this process is not root: the message names the command to type.
pub(crate) fn ensure(needs: &[Needs]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|need| !present(need.program)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        bail!("missing packages; as root: {command}");
    }
    eprintln!("installing {}", missing.join(" "));
    apt_get(&["update", "--quiet=2"])?;
    let mut arguments = vec!["install", "--quiet=2", "--yes", "--no-install-recommends"];
    arguments.extend(&missing);
    apt_get(&arguments).with_context(|| format!("cannot install what is needed; try: {command}"))?;
    match needs.iter().find(|need| !present(need.program)) {
        Some(need) => bail!("{} is installed and {} is not there", need.package, need.program),
        None => Ok(()),
    }
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .args(["-o", "Dpkg::Use-Pty=0"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("apt-get does not start: packages are installed by themselves on Debian only")?;
    if !output.status.success() {
        bail!("apt-get {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn present(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // An ordinary user's PATH leaves these out, and daemons live there.
    let directories = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    directories.filter(|directory| !directory.is_empty()).any(|directory| Path::new(directory).join(program).is_file())
}
