//! The command line, as the help shows it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::duration;

const AFTER_HELP: &str = "\
Start here:
  sudo observer diagnose              look at this host for 30 seconds and say what is wrong
  observer replay traffic.pcap        the same over a capture file, without privileges
  observer doctor                     what this host allows, and what to do about the rest

Exit status:
  0  nothing at or above --fail-on (default: critical)
  1  findings at or above it
  2  the command line, the configuration or an input file is wrong
  3  this host does not allow what was asked";

/// Shows what trace sampling really happens on a host: which traces each service and tenant samples, whether that is what was
/// declared, and where contexts get lost. It watches the network in the kernel; the observed programs are not changed.
#[derive(Debug, Parser)]
#[command(name = "observer", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log to standard error: off, error, warn, info, debug, trace, or a filter like warn,observer::capture=debug
    /// [default: info with run, else warn]
    #[arg(long, global = true, value_name = "LEVEL", display_order = 100)]
    pub log: Option<String>,
}

impl Args {
    /// The level or filter to log with: the log is what `run` says, the other commands have a report.
    pub fn log_filter(&self) -> &str {
        let usual = if matches!(self.command, Command::Run(_)) { "info" } else { "warn" };
        self.log.as_deref().unwrap_or(usual)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Observe until stopped: metrics for Prometheus, health checks, audit files
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Look at this host once and report what is wrong
    #[command(after_help = DIAGNOSE_HELP)]
    Diagnose(DiagnoseArgs),
    /// Report on a pcap or pcapng file; needs no privileges
    #[command(after_help = REPLAY_HELP)]
    Replay(ReplayArgs),
    /// Say what this kernel and these privileges allow, and what to do about the rest
    #[command(after_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of the audit report
    #[command(after_help = SCHEMA_HELP)]
    Schema,
}

const RUN_HELP: &str = "\
Examples:
  sudo observer run                                 with the defaults: metrics on 127.0.0.1:9435
  sudo observer run --config /etc/observer.yaml
  sudo observer run --report - --fail-on warning    a report at the end, and an exit status that tells

SIGTERM and SIGINT stop it cleanly, with a last audit; a second one stops it at once. SIGHUP, or a
change of the configuration or of a file that it names, reads the configuration again; a bad one is
logged and the old one stays.";

const DIAGNOSE_HELP: &str = "\
Examples:
  sudo observer diagnose
  sudo observer diagnose --duration 5m --port 8080
  sudo observer diagnose --service checkout --config observer.yaml
  sudo observer diagnose --cgroup /system.slice/nginx.service --format json --report audit.json

Ctrl-C ends the look early and still reports.";

const REPLAY_HELP: &str = "\
Examples:
  tcpdump -i any -s 0 -w traffic.pcap 'tcp port 8080'     take a capture, on any host
  observer replay traffic.pcap                            report on it
  observer replay traffic.pcap --format json --report audit.json --fail-on warning

The same file and configuration always give the same report.";

const DOCTOR_HELP: &str = "\
Examples:
  observer doctor                     what is allowed as this user
  sudo observer doctor --format json

Exit status 0 where plaintext traffic can be observed, 3 where it cannot.";

const SCHEMA_HELP: &str = "\
Example:
  observer schema > sampling-audit-v1.schema.json";

/// Options of `run`.
#[derive(Debug, ClapArgs)]
pub struct RunArgs {
    /// The configuration (every key of it is optional)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How to show the report at the end
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write a report at the end, to this file (- for standard output)
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// From which severity on findings make the exit status 1 [default: critical with --report, else never]
    #[arg(long, value_enum)]
    pub fail_on: Option<FailOn>,
}

/// Options of `diagnose`.
#[derive(Debug, ClapArgs)]
pub struct DiagnoseArgs {
    /// The configuration (every key of it is optional)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long to look: 30s, 5m, 1h
    #[arg(long, default_value = "30s", value_parser = look)]
    pub duration: Duration,
    /// Only what this process receives and sends
    #[arg(long, value_name = "N")]
    pub pid: Option<u32>,
    /// Only what is in this cgroup or below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// Only connections with this port at one end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Only what this service receives and sends
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// How the report is delivered.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// Options of `replay`.
#[derive(Debug, ClapArgs)]
pub struct ReplayArgs {
    /// A pcap or pcapng file (- for standard input)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The configuration (every key of it is optional)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the report is delivered.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// Options of `doctor`.
#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    /// How to show the result
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The configuration: doctor checks that it is sound, and what of it this host allows
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How a report is delivered.
#[derive(Clone, Debug, ClapArgs)]
pub struct ReportArgs {
    /// How to show the report [default: table; json for a file whose name ends in .json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Write the report to this file (- for standard output)
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// From which severity on findings make the exit status 1
    #[arg(long, value_enum, default_value_t = FailOn::Critical)]
    pub fail_on: FailOn,
}

/// How a report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: sampling-audit/v1.
    Json,
}

/// From which severity on findings change the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Any finding.
    Info,
    /// Warnings and critical findings.
    Warning,
    /// Critical findings.
    Critical,
    /// Nothing does.
    Never,
}

fn look(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("a look of no time sees nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }
}
