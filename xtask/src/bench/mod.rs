//! `cargo xtask bench`: what watching a busy server costs it. Workloads and ways of watching (arms) come in; throughput next
//! to nothing at all, kernel and processor time, memory and the share of requests seen go out, as a table and as JSON.
//!
//! A new workload is a file beside `http1.rs` and an entry in `WORKLOADS`.

mod arms;
mod figures;
mod grpc;
mod host;
mod http1;
mod http2;
mod kafka;
mod nginx;
mod precedence;
mod process;
mod programs;
mod runner;
mod scene;
mod statistics;
mod table;
mod targets;
mod tls;

use crate::{apt, workspace};
use anyhow::{Context, Result};
use arms::ArmName;
use figures::{Figures, Run};
use precedence::Precedence;
use scene::{Scenario, Workload};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What can be put under load.
static WORKLOADS: [&(dyn Workload + Sync); 9] = [
    &http1::Http1,
    &http2::Unary,
    &http2::Download,
    &grpc::Grpc,
    &kafka::Produce,
    &tls::Tls::Nginx,
    &tls::Tls::Node,
    &tls::Tls::Go,
    &tls::Tls::Python,
];

/// How long and what to measure.
#[derive(clap::Args, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    simulation: Option<Simulation>,
    /// Turns of each arm, each between two turns of nothing
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(2..), value_name = "N")]
    pairs: u32,
    /// Length of a turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    seconds: u64,
    /// What to compare with nothing
    #[arg(long, value_delimiter = ',', default_values_t = ArmName::USUAL, value_name = "ARM,…")]
    arms: Vec<ArmName>,
    /// Watch both ends of every connection, or only the server's [default: one after the other]
    #[arg(long, value_name = "ENDS")]
    only: Option<Scenario>,
    /// Only this workload [default: all]
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// Length of the observer's turn at full load in which nothing may be lost; 0 leaves it out
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    full_load: u64,
    /// Let server, client and tools go before other work of this machine, by this nice value
    #[arg(long, allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-20..=0), value_name = "NICE")]
    nice: Option<i32>,
    /// The observer to measure [default: the release build, made now]
    #[arg(long, value_name = "FILE")]
    observer: Option<PathBuf>,
    /// Where the figures go [default: target/bench/DATE.json]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What is measured without a server.
#[derive(clap::Subcommand, Clone, Copy)]
enum Simulation {
    /// How many traces it takes to see what a sampler does: to a verdict, to its name, to a false alarm; by seeded simulation
    Statistics,
}

impl Simulation {
    fn run(self) -> Result<ExitCode> {
        let Self::Statistics = self;
        let mut cargo = Command::new("cargo");
        cargo.args(["bench", "--quiet", "--package", "observer-core", "--bench", "deciding"]);
        let status = cargo.current_dir(testbed::workspace()).status().context("cannot run cargo")?;
        Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Measures and reports. The exit status says whether a target is missed.
///
/// # Errors
///
/// When something that is measured does not run.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let Some(simulation) = options.simulation {
        return simulation.run();
    }
    anyhow::ensure!(rustix::process::geteuid().is_root(), "the bench loads eBPF programs: run it as root");
    let observer = match &options.observer {
        Some(observer) => observer.clone(),
        None if options.arms.contains(&ArmName::Observer) => testbed::observer::binary(true)?,
        None => PathBuf::new(),
    };
    let workloads: Vec<_> = WORKLOADS
        .iter()
        .filter(|workload| options.workload.as_deref().is_none_or(|wanted| wanted == workload.name()))
        .collect();
    let known = || WORKLOADS.iter().map(|workload| workload.name()).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(!workloads.is_empty(), "no such workload; there are: {}", known());
    for arm in &options.arms {
        apt::ensure(arm.needs())?;
    }
    let _precedence = options.nice.map(Precedence::take).transpose()?;
    let mut run =
        Run { host: host::describe(), pairs: options.pairs, turn_seconds: options.seconds, figures: Vec::new() };
    println!("{}", table::head(&run));
    for workload in workloads {
        apt::ensure(workload.needs())?;
        for scenario in Scenario::ALL.into_iter().filter(|scenario| options.only.is_none_or(|only| only == *scenario)) {
            let figures = runner::measure(*workload, scenario, options, &observer)
                .with_context(|| format!("{} {scenario}", workload.name()))?;
            println!("{}", table::body(&figures));
            run.figures.push(figures);
        }
    }
    let path = options
        .report
        .clone()
        .unwrap_or_else(|| workspace::target().join("bench").join(format!("{}.json", run.host.date.replace(':', ""))));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&path, serde_json::to_vec_pretty(&run)?).with_context(|| path.display().to_string())?;
    println!("figures: {}", path.display());
    let missed =
        run.figures.iter().flat_map(|figures: &Figures| &figures.targets).filter(|target| target.missed()).count();
    println!("{missed} targets missed");
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
