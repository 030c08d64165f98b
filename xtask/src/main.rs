//! `cargo xtask TASK`: the tasks of the repository that `cargo` itself has no word for. Each task is one module; what a
//! task prints last says in plain words whether all went well, and the exit status says the same.

mod apt;
mod bench;
mod build_ebpf;
mod check;
mod conformance;
mod demo;
mod fuzz;
mod interrupt;
mod lab;
mod root;
mod test;
mod vm;
mod workspace;

use clap::Parser;
use std::process::ExitCode;

/// Build, test and measure the observer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Run the live kernel tests on Debian's kernels, each in a virtual machine.
    Vm(vm::Options),
    /// Measure what the observer costs a busy server, next to nothing at all, an empty program and tshark.
    Bench(bench::Options),
    /// Show the observer at work: a shop of real services with planted faults, and a report that finds them.
    Demo(demo::Options),
    /// Run every test: unit, property, replay, live kernel, end to end, and the kernels in virtual machines.
    Test(test::Options),
    /// Run the laboratory: breaks of propagation planted in real services, and sound systems under load.
    Lab(lab::Options),
    /// Check form: rustfmt, clippy without warnings, licences and advisories of dependencies.
    Check,
    /// Run the decoders over public vectors in a directory: HPACK stories, W3C header cases, decisions of SDKs.
    Conformance(conformance::Options),
    /// Run the fuzz targets, each for a while.
    Fuzz(fuzz::Options),
    /// Build the kernel programs, and write the object that the observer embeds.
    BuildEbpf(build_ebpf::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Vm(options) => vm::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lab(options) => lab::run(&options),
        Task::Check => check::run(),
        Task::Conformance(options) => conformance::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::BuildEbpf(options) => build_ebpf::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
