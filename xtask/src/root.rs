//! Root where it is needed, and only there: what is built is built as the user who asked, what observes runs as root.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use testbed::install::has_program;

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs this program again as root with `arguments`, by sudo, and returns how it ended.
pub(crate) fn again(why: &str, arguments: &[String]) -> Result<ExitCode> {
    if !has_program("sudo") {
        bail!("{why}, and there is no sudo here: run the same command as root (su -)");
    }
    eprintln!("{why}: asking sudo.");
    let program = std::env::current_exe().context("cannot find this program")?;
    let status = Command::new("sudo").arg("--preserve-env=PATH").arg(program).args(arguments).status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// For root: gives what it wrote below `place` back to the user who asked by sudo, so that they can remove it.
pub(crate) fn give_back(place: &Path) {
    if let (Ok(user), Ok(group)) = (std::env::var("SUDO_UID"), std::env::var("SUDO_GID")) {
        // A convenience: where it fails, the files stay root's.
        let _ = Command::new("chown").args(["-R", &format!("{user}:{group}")]).arg(place).status();
    }
}

/// For a user: the same from the other side, after something else ran by sudo.
pub(crate) fn take_back(place: &Path) {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let _ = Command::new("sudo").args(["chown", "-R", &format!("{user}:{group}")]).arg(place).status();
}
