//! `cargo xtask fuzz`: makes up input for the decoders and watches what they do with it. Comes in: for how long; goes out: how
//! many inputs passed, or the one that did not.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use ::fuzz::Seeds;
use anyhow::{Context, Result, bail};
use testbed::install::{apt, has_program};
use testbed::workspace;

/// Run the fuzz targets, each for a while; they begin with recordings of real programs and with what earlier runs found.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each target runs, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target.
    #[arg(long)]
    target: Option<String>,
}

impl Options {
    /// What `cargo xtask test` runs.
    pub(crate) fn for_a_while() -> Self {
        Self { seconds: 30, target: None }
    }
}

/// A target and what it begins with.
type Target = (&'static str, fn() -> Seeds);
/// The targets.
const TARGETS: [Target; 2] = [("conversation", ::fuzz::conversation::seeds), ("context", ::fuzz::context::seeds)];
/// The instrumentation that libFuzzer reads (llvm SanitizerCoverage), and checks that a release build leaves out. Stable Rust
/// has all of it.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";
/// Bytes of an input, and mebibytes that a target may take.
const INPUT_BYTES_MAX: u32 = 16_384;
const MEMORY_MIB: u32 = 1024;

/// Builds and runs the targets.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(target) = &options.target
        && !TARGETS.iter().any(|(name, _)| name == target)
    {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("there is no target {target}; the targets are {}", names.join(" and "));
    }
    if !has_program("c++") {
        apt(&["g++"])?;
    }
    let place = workspace().join("target/fuzz");
    let host = host()?;
    let mut build = Command::new("cargo");
    // With a target named, build scripts and macros are not instrumented.
    build.args([
        "build",
        "--release",
        "--package",
        "fuzz",
        "--features",
        "libfuzzer",
        "--target",
        &host,
        "--target-dir",
    ]);
    build.arg(&place).env("RUSTFLAGS", FLAGS).env("CARGO_PROFILE_RELEASE_LTO", "off").current_dir(workspace());
    if !build.status().context("cannot run cargo")?.success() {
        bail!("the fuzz targets cannot be built");
    }
    let programs = place.join(&host).join("release");
    for (name, seeds) in TARGETS.iter().filter(|(name, _)| options.target.as_deref().is_none_or(|only| only == *name)) {
        one(name, &seeds(), &programs, &place, options.seconds)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn one(name: &str, seeds: &[(String, Vec<u8>)], programs: &Path, place: &Path, seconds: u32) -> Result<()> {
    let corpus = place.join("corpus").join(name);
    let failures = place.join("failures").join(name);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&failures)?;
    for (seed, bytes) in seeds {
        fs::write(corpus.join(format!("seed-{seed}")), bytes)?;
    }
    let log = place.join(format!("{name}.log"));
    let status = Command::new(programs.join(name))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-artifact_prefix={}/", failures.display()))
        .args(["-print_final_stats=1", "-verbosity=0", "-close_fd_mask=1"])
        .arg(&corpus)
        .stderr(fs::File::create(&log)?)
        .status()
        .with_context(|| format!("cannot run the fuzz target {name}"))?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    if !status.success() {
        bail!("the fuzz target {name} failed ({status}); its input is in {}:\n{text}", failures.display());
    }
    let number = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map_or("?", str::trim);
    let inputs = number("stat::number_of_executed_units:");
    println!("fuzz {name}: {inputs} inputs in {seconds} s, {} seeds, none failed", seeds.len());
    Ok(())
}

/// The target that this machine builds for.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(host.to_owned())
}
