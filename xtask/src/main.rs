//! `cargo xtask TASK`: the tasks of the repository that `cargo` itself has no word for. Each task is one module; what a
//! task prints last says in plain words whether all went well, and the exit status says the same.

mod check;
mod demo;
mod interrupt;
mod root;
mod test;

use clap::Parser;
use std::process::ExitCode;

/// Build, test and measure the observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Show the observer at work: a shop of real services with planted faults, and a report that finds them.
    Demo(demo::Options),
    /// Run every test: unit, property, replay, live kernel, end to end, and the kernels in virtual machines.
    Test(test::Options),
    /// Check form: rustfmt, clippy without warnings, licences and advisories of dependencies.
    Check,
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Check => check::run(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
