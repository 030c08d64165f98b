//! `cargo xtask TASK`: the tasks of the repository that `cargo` itself has no word for. Each task is one module; what a
//! task prints last says in plain words whether all went well, and the exit status says the same.

mod build_ebpf;

use clap::Parser;
use std::process::ExitCode;

/// Build, test and measure the observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Build the kernel programs, and write the object that the observer embeds.
    BuildEbpf(build_ebpf::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::BuildEbpf(options) => build_ebpf::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
