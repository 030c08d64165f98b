//! `cargo xtask vm`: the live kernel tests, or any command, on Debian's kernels. Which kernels comes in; a table with one row
//! a kernel goes out. A kernel that Debian no longer offers is said to be so and never counts as passed.

mod initramfs;
mod machine;
mod mirror;
mod outcome;
mod suite;
mod test_binaries;
mod tree;

use crate::apt::{self, Needs};
use crate::workspace;
use anyhow::{Context, Result};
use mirror::Mirrors;
use outcome::{Outcome, Tally};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tree::{Fetched, KernelTree};

/// A series of kernels, and the suites that are asked for it, in order.
struct Series {
    name: &'static str,
    suites: &'static [&'static str],
    /// Whether a run fails where no suite offers it.
    required: bool,
}

/// From the oldest kernel that has all that the observer needs to the newest that Debian builds.
const SERIES: [Series; 5] = [
    Series { name: "5.10", suites: &["bullseye-security", "bullseye"], required: false },
    Series { name: "6.1", suites: &["bookworm-security", "bookworm"], required: true },
    Series { name: "6.12", suites: &["bookworm-backports", "trixie"], required: true },
    Series { name: "6.18", suites: &["trixie-backports"], required: false },
    Series { name: "7.2", suites: &["sid", "trixie-backports"], required: false },
];

const NEEDS: [Needs; 6] = [
    Needs { program: "qemu-system-x86_64", package: "qemu-system-x86" },
    Needs { program: "busybox", package: "busybox-static" },
    Needs { program: "depmod", package: "kmod" },
    Needs { program: "xz", package: "xz-utils" },
    Needs { program: "zstd", package: "zstd" },
    Needs { program: "setpriv", package: "util-linux" },
];

/// Which kernels, and what to run on them.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Series to boot, such as 6.1 [default: 5.10 6.1 6.12 6.18 7.2]
    #[arg(long, num_args = 1.., value_name = "SERIES")]
    kernel: Vec<String>,
    /// Run this in a shell instead of the kernel tests
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// Machines at a time
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// Seconds without a line of output after which a machine is given up
    #[arg(long, default_value_t = 240, value_name = "SECONDS")]
    timeout: u64,
    /// Arguments of the test binaries, such as the name of one test
    #[arg(last = true, value_name = "ARGUMENT")]
    test_arguments: Vec<String>,
}

/// A row of the closing table.
struct Row {
    series: &'static str,
    release: String,
    outcome: Outcome,
    took: Duration,
}

/// Boots each kernel and reports.
///
/// # Errors
///
/// When nothing can be booted at all; what goes wrong on one kernel is in its row.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let chosen = chosen(&options.kernel)?;
    apt::ensure(&NEEDS)?;
    let mirrors = Mirrors::of_this_machine()?;
    let tests = options.command.is_none();
    let command = match &options.command {
        Some(command) => command.clone(),
        None => test_binaries::command(&options.test_arguments)?,
    };
    let trees: Vec<_> = chosen
        .iter()
        .map(|series| KernelTree::fetch(series.name, series.suites, &mirrors, &workspace::target().join("vm")))
        .collect();

    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, chosen.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(series), Some(tree)) = (chosen.get(at), trees.get(at)) else { break };
                    let row = boot(series, tree, &command, tests, Duration::from_secs(options.timeout));
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((at, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    let missing = chosen
        .iter()
        .zip(&rows)
        .any(|(series, row)| series.required && matches!(row.outcome, Outcome::NotAvailable(_)));
    Ok(report(&rows, tests, missing, start.elapsed()))
}

fn chosen(names: &[String]) -> Result<Vec<&'static Series>> {
    if names.is_empty() {
        return Ok(SERIES.iter().collect());
    }
    let known = || SERIES.iter().map(|series| series.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| SERIES.iter().find(|series| series.name == name);
    names
        .iter()
        .map(|name| find(name).with_context(|| format!("no kernel series {name}; there are {}", known())))
        .collect()
}

fn boot(series: &'static Series, tree: &Result<Fetched>, command: &str, tests: bool, silence: Duration) -> Row {
    let name = series.name;
    let not_booted = |outcome| Row { series: name, release: "-".to_owned(), outcome, took: Duration::ZERO };
    let tree = match tree {
        Ok(Fetched::Tree(tree)) => tree,
        Ok(Fetched::NotOffered(why)) => return not_booted(Outcome::NotAvailable(why.clone())),
        Err(error) => return not_booted(Outcome::Failed(Tally::default(), format!("{error:#}"))),
    };
    let start = Instant::now();
    let mut tally = Tally::default();
    let ended = machine::run(tree, command, silence, &mut |line| {
        tally.read(line);
        println!("{name:>4} | {line}");
    });
    if let Err(error) = &ended {
        format!("{error:#}").lines().for_each(|line| println!("{name:>4} | {line}"));
    }
    let outcome = Outcome::of(ended, tally, tests);
    Row { series: name, release: tree.release.clone(), outcome, took: start.elapsed() }
}

fn report(rows: &[Row], tests: bool, missing: bool, took: Duration) -> ExitCode {
    let width = rows.iter().map(|row| row.release.len()).max().unwrap_or(0).max("release".len());
    println!("\n{:<7} {:<width$} {:>8}  result", "kernel", "release", "seconds");
    let mut sum = Tally::default();
    let mut unavailable = 0;
    for row in rows {
        println!(
            "{:<7} {:<width$} {:>8.1}  {}",
            row.series,
            row.release,
            row.took.as_secs_f64(),
            row.outcome.describe(tests)
        );
        let counts = row.outcome.counts();
        sum.passed += counts.passed;
        sum.failed += counts.failed;
        unavailable += u64::from(matches!(row.outcome, Outcome::NotAvailable(_)));
    }
    if missing {
        println!("a kernel that must boot is not available");
        sum.failed += 1;
    }
    println!("{unavailable} kernels not available; {:.0} s in all", took.as_secs_f64());
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if sum.failed > 0 || sum.passed == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
