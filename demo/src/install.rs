//! What the shop and the tests need on a fresh machine: apt packages, a Python environment, Node modules. Comes in: names
//! and the services' pinned lists; goes out: an installation under the build directory, made once for each list.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};

use crate::{scratch, workspace};

/// What runs the services.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// The Python of the environment with the services' libraries.
    pub python: PathBuf,
    /// The directory with the services' Node libraries.
    pub node_modules: PathBuf,
}

/// Installs what runs the services, unless it is there already.
///
/// # Errors
/// No network, or not root where a Debian package is missing; says which command failed and with what.
pub fn runtimes() -> Result<Runtimes> {
    let _alone = alone()?;
    if !succeeds(Command::new(system_python()).args(["-c", "import ensurepip, venv"])) {
        apt(&["python3-venv"])?;
    }
    // One after the other: some builds of nodejs bring npm along, and refuse Debian's beside it.
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if !has_program(program) {
            apt(&[package])?;
        }
    }
    Ok(Runtimes { python: python_environment()?, node_modules: node_modules()? })
}

/// Waits until nobody else installs: tests run at the same time; the first one installs, the others wait for it.
fn alone() -> Result<std::fs::File> {
    std::fs::create_dir_all(scratch()).with_context(|| format!("cannot make {}", scratch().display()))?;
    let lock = std::fs::File::create(scratch().join(".lock"))?;
    lock.lock().context("cannot wait for another installation to end")?;
    Ok(lock)
}

/// Installs Debian packages, by sudo where this process is not root. With an empty list it does nothing.
///
/// # Errors
/// Neither root nor sudo, no apt, no network, or no such package.
pub fn apt(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    let root = rustix::process::geteuid().is_root();
    if !root && !has_program("sudo") {
        bail!("missing Debian packages; as root: apt-get install {names}");
    }
    let apt_get = |arguments: &[&str]| {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
        command
    };
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    let what = format!("apt-get install {names}");
    // A machine that never fetched its package lists knows no package; one update mends that.
    if step(&what, &mut apt_get(&arguments)).is_ok() {
        return Ok(());
    }
    step("apt-get update", &mut apt_get(&["update", "--quiet"]))?;
    step(&what, &mut apt_get(&arguments))
}

/// Makes a certificate that its own key has signed, for this host, in two files.
///
/// # Errors
/// No openssl, or a file that cannot be written.
pub fn certificate(certificate: &Path, key: &Path) -> Result<()> {
    if !has_program("openssl") {
        apt(&["openssl"])?;
    }
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    // rustls takes no authority for a server.
    openssl.args(["-days", "3650", "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1", "-keyout"]).arg(key);
    step("a certificate", openssl.arg("-out").arg(certificate))
}

/// Whether a program of this name is on the path.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|place| place.join(name).is_file()))
}

/// Debian's own Python where there is one: the one that `python3-venv` belongs to.
fn system_python() -> PathBuf {
    let debian = Path::new("/usr/bin/python3");
    if debian.is_file() { debian.to_owned() } else { PathBuf::from("python3") }
}

fn python_environment() -> Result<PathBuf> {
    let list = workspace().join("demo/services/python/requirements.txt");
    let place = scratch().join("venv");
    let python = place.join("bin/python");
    once(&place, &list, |place| {
        step("python3 -m venv", Command::new(system_python()).args(["-m", "venv", "--clear"]).arg(place))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&list);
        step("Python libraries from PyPI", &mut pip)
    })?;
    Ok(python)
}

/// Unpacks the wheels of a pinned list, made for this kernel's and CPython 3.11's interfaces, for what is in them besides Python; goes
/// out: the directory. `list` is named from the root of the workspace.
///
/// # Errors
/// As of [`runtimes`].
pub fn wheels(list: &str) -> Result<PathBuf> {
    let python = runtimes()?.python;
    let _alone = alone()?;
    let list = workspace().join(list);
    let place = scratch().join("wheels").join(list.file_stem().context("a list has a name")?);
    once(&place, &list, |place| {
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ]);
        // Whatever the Python is that installs them.
        pip.args(["--platform=manylinux2014_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"]);
        step("wheels from PyPI", pip.arg("--target").arg(place).arg("--requirement").arg(&list))
    })?;
    Ok(place)
}

fn node_modules() -> Result<PathBuf> {
    let list = workspace().join("demo/services/node/package.json");
    let place = scratch().join("node");
    once(&place, &list, |place| {
        std::fs::copy(&list, place.join("package.json"))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]);
        // Versions are pinned, so what npm has already is as good as new. Left alone it tries for minutes before it says that
        // there is no network.
        npm.args([
            "--prefer-offline",
            "--fetch-retries=2",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=4000",
        ]);
        step("Node libraries from npm", npm.current_dir(place))
    })?;
    Ok(place.join("node_modules"))
}

/// Fills `place` by `install`, unless a complete installation of the same list is there.
fn once(place: &Path, list: &Path, install: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let text = std::fs::read(list).with_context(|| format!("cannot read {}", list.display()))?;
    let digest = format!("{:x}", Sha256::digest(&text));
    let stamp = place.join(".complete");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest) {
        return Ok(());
    }
    if place.exists() {
        std::fs::remove_dir_all(place).with_context(|| format!("cannot clear {}", place.display()))?;
    }
    std::fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    install(place)?;
    std::fs::write(stamp, digest)?;
    Ok(())
}

/// Runs one step with a sign of life; its output is shown only when it fails.
///
/// # Errors
/// The step's own words, or one plain line where it is the network that is missing.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    if bar.is_hidden() {
        eprintln!("- {what}");
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{what}: cannot run {command:?}"))?;
    bar.finish_and_clear();
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if looks_offline(&said) {
        bail!(
            "{what}: the network does not answer. It is needed for this once; nothing was changed outside the build directory"
        );
    }
    let lines: Vec<&str> = said.lines().collect();
    let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
    bail!("{what} failed ({})\n{last}", output.status)
}

/// Whether what apt, pip or npm said is about a network that is not there.
fn looks_offline(said: &str) -> bool {
    [
        "Temporary failure resolving",
        "Could not resolve",
        "Name or service not known",
        "Failed to establish a new connection",
        "NewConnectionError",
        "EAI_AGAIN",
        "ENOTFOUND",
        "ENETUNREACH",
        "Network is unreachable",
    ]
    .iter()
    .any(|sign| said.contains(sign))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
