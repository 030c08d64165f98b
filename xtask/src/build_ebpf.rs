//! `cargo xtask build-ebpf`: the sources of the kernel programs come in, the object that the observer embeds goes out, with a
//! digest of these sources in it. Uses Debian's packages or a nightly of rustup, whichever is there.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

const TARGET: &str = "bpfel-unknown-none";
/// The nightly of rustup; its LLVM is the one that bpf-linker is built with, which reads no later bitcode.
const NIGHTLY: &str = "nightly-2026-04-15";
/// What stands before the digest in the object (observer-ebpf/src/main.rs, `SOURCES`).
const MARK: &[u8] = b"observer-sources";
const INSTALL: &str = "\
The kernel programs need a Rust compiler with a core library for BPF, and bpf-linker with its LLVM 22. Either, on Debian 12
or later:
    apt-get install --no-install-recommends rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22-dev
    LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --locked --no-default-features --features llvm-22
or anywhere else, with LLVM 22 and its headers from where your system has them:
    rustup toolchain install nightly-2026-04-15 --component rust-src
    LLVM_PREFIX=/path/of/llvm-22 cargo install bpf-linker --locked --no-default-features --features llvm-22";

/// Where the object goes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the object here instead of where it is committed.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let root = root();
    let toolchain = Toolchain::find()?;
    println!("building with {}", toolchain.describe());
    let sources = digest(&root.join("observer-ebpf"))?;
    build(&root, &toolchain, &sources)?;
    let built = root.join("target/bpf").join(TARGET).join("release/observer-ebpf");
    let object = fs::read(&built).with_context(|| format!("no object at {}", built.display()))?;
    ensure!(stated_digest(&object) == Some(sources.as_str()), "the object does not state the digest of its sources");
    for place in private_places(&root) {
        ensure!(!contains(&object, place.as_bytes()), "the object names a path of this machine: {place}");
    }
    let output = options.output.clone().unwrap_or_else(|| committed(&root));
    fs::write(&output, &object).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{}: {} bytes, sources {sources}", output.display(), object.len());
    Ok(ExitCode::SUCCESS)
}

/// A compiler that can build for BPF.
enum Toolchain {
    /// Debian's `rustc-web`, which brings a core library for BPF.
    Debian,
    /// A nightly of rustup, which builds one from its sources.
    Nightly,
}

impl Toolchain {
    fn find() -> Result<Self> {
        let debian = Path::new("/usr/bin/cargo").exists()
            && printed("/usr/bin/rustc", &["--print", "target-libdir", "--target", TARGET])
                .is_some_and(|directory| holds_core(Path::new(&directory)));
        let nightly = printed("rustup", &["run", NIGHTLY, "rustc", "--print", "sysroot"])
            .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core").is_dir());
        let toolchain = match (debian, nightly) {
            (true, _) => Self::Debian,
            (false, true) => Self::Nightly,
            (false, false) => bail!("no Rust compiler for BPF was found.\n{INSTALL}"),
        };
        ensure!(
            printed_in(&search_path()?, "bpf-linker", &["--version"]).is_some(),
            "no bpf-linker was found.\n{INSTALL}"
        );
        Ok(toolchain)
    }

    fn describe(&self) -> &'static str {
        match self {
            Self::Debian => "Debian's rustc",
            Self::Nightly => "the nightly of rustup",
        }
    }

    fn cargo(&self) -> Command {
        match self {
            Self::Debian => {
                let mut cargo = Command::new("/usr/bin/cargo");
                // A stable compiler: inline assembly for BPF and the target itself are not stable yet.
                cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").arg("build");
                cargo
            }
            Self::Nightly => {
                let mut cargo = Command::new("rustup");
                cargo.args(["run", NIGHTLY, "cargo", "build", "-Z", "build-std=core"]);
                cargo
            }
        }
    }
}

fn build(root: &Path, toolchain: &Toolchain, sources: &str) -> Result<()> {
    let mut cargo = toolchain.cargo();
    cargo
        .args(["--release", "--package", "observer-ebpf", "--bin", "observer-ebpf", "--target", TARGET, "--target-dir"])
        .arg(root.join("target/bpf"))
        .current_dir(root)
        .env("PATH", search_path()?)
        .env("OBSERVER_EBPF_SOURCES", sources);
    // What a surrounding cargo or rustup says is meant for the host.
    for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "CARGO"] {
        cargo.env_remove(name);
    }
    let status = cargo.status().context("cargo did not start")?;
    ensure!(status.success(), "the kernel programs did not build ({status})");
    Ok(())
}

/// SHA-256 of everything that the object is built from: names and contents, in the order of the names.
fn digest(package: &Path) -> Result<String> {
    let mut files = vec![package.join("Cargo.toml")];
    let mut directories = vec![package.join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(package)?.to_string_lossy().into_owned();
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for part in [name.as_bytes(), &content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// The digest that an object states.
fn stated_digest(object: &[u8]) -> Option<&str> {
    let at = object.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    std::str::from_utf8(object.get(at..at + 64)?).ok()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap_or_else(|_| PathBuf::from("."))
}

fn committed(root: &Path) -> PathBuf {
    root.join("observer-ebpf/observer.bpf.o")
}

/// Places of this machine that must not be named in what is committed.
fn private_places(root: &Path) -> Vec<String> {
    let mut places = vec![root.display().to_string(), String::from(".cargo/registry"), String::from("/rustlib/")];
    places.extend(env::var("HOME").ok().filter(|home| home.len() > 1));
    places
}

/// `PATH` with the place where `cargo install` puts programs.
fn search_path() -> Result<std::ffi::OsString> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(cargo_home.map(|home| home.join("bin")));
    Ok(env::join_paths(directories)?)
}

fn holds_core(directory: &Path) -> bool {
    fs::read_dir(directory)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

/// The first line that a program prints; `None` where it fails or is not there.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    printed_in(&env::var_os("PATH").unwrap_or_default(), program, arguments)
}

fn printed_in(path: &std::ffi::OsStr, program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).env("PATH", path).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_object_is_built_from_the_committed_sources() {
        let root = root();
        let object = fs::read(committed(&root)).unwrap();
        let sources = digest(&root.join("observer-ebpf")).unwrap();
        assert_eq!(
            stated_digest(&object),
            Some(sources.as_str()),
            "observer-ebpf/observer.bpf.o is older than its sources: run `cargo xtask build-ebpf` and commit the object"
        );
    }

    #[test]
    fn the_committed_object_names_no_path_of_a_machine() {
        let object = fs::read(committed(&root())).unwrap();
        for place in ["/root", "/home/", "/usr/", "/build/", ".cargo", "rustlib"] {
            assert!(!contains(&object, place.as_bytes()), "{place}");
        }
    }
}
