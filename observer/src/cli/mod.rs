//! The command line comes in, a command runs, an exit status goes out.

pub mod args;
pub mod exit;
mod log;
mod report;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use exit::{Outcome, Status};
pub(crate) use report::{check_destination, deliver, stderr_is_terminal, style_of_stdout, write_out};

use crate::commands::{diagnose, doctor, replay, run, schema};

/// Runs the command that the arguments of this process name.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no mistakes and go to standard output.
            let status = if error.use_stderr() { Status::Wrong } else { Status::Clean };
            let _ = error.print();
            return status.into();
        }
    };
    if let Err(failure) = log::start(args.log_filter()) {
        eprintln!("error: {failure}");
        return failure.status.into();
    }
    match execute(args.command) {
        Ok(status) => status.into(),
        Err(failure) => {
            eprintln!("error: {failure}");
            failure.status.into()
        }
    }
}

fn execute(command: Command) -> Outcome {
    match command {
        Command::Run(args) => run::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Schema => schema::run(),
    }
}
