//! Debian packages that a task needs: programs that must be there come in, a machine that has them goes out. Nothing is
//! installed where all of them are there already.

use anyhow::{Result, bail};
use std::path::Path;
use testbed::install;

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
/// When apt fails, or needs root and this process can be it in no way: the message names what to type.
pub(crate) fn ensure(needs: &[Needs]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|need| !present(need.program)).map(|need| need.package).collect();
    install::apt(&missing)?;
    match needs.iter().find(|need| !present(need.program)) {
        Some(need) => bail!("{} is installed and {} is not there", need.package, need.program),
        None => Ok(()),
    }
}

fn present(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // An ordinary user's PATH leaves these out, and daemons live there.
    let directories = path.split(':').chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    directories.filter(|directory| !directory.is_empty()).any(|directory| Path::new(directory).join(program).is_file())
}
