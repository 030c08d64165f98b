//! Where reports go: a report comes in; it is written to standard output or a file, as a table or as JSON.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use observer_core::audit::report::Report;

use super::args::{Format, ReportArgs};
use super::exit::{Failure, Status};
use crate::output::table::Style;
use crate::output::{json, table};

/// Columns where no terminal says how many it has.
const WIDTH: u16 = 110;
/// Narrower than this a table cannot be read; wider lines tire the eye.
const WIDTHS: std::ops::RangeInclusive<u16> = 60..=160;

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Stdout,
    File(PathBuf),
}

impl Destination {
    fn of(report: Option<&Path>) -> Self {
        match report {
            Some(path) if path.as_os_str() != "-" => Self::File(path.to_owned()),
            _ => Self::Stdout,
        }
    }
}

/// Makes sure that a report can be written where `--report` says, before the work that it tells of.
pub(crate) fn check_destination(report: Option<&Path>) -> Result<(), Failure> {
    match Destination::of(report) {
        Destination::Stdout => Ok(()),
        Destination::File(path) => {
            OpenOptions::new().create(true).append(true).open(&path).map_err(|error| unwritable(&path, &error))?;
            Ok(())
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::wrong(format!("--report {}: cannot be written: {error}; give another path", path.display()))
}

/// Writes the report where and how the command line says, and tells the exit status for it.
pub(crate) fn deliver(report: &Report, args: &ReportArgs) -> Result<Status, Failure> {
    let destination = Destination::of(args.report.as_deref());
    let is_json_file =
        matches!(&destination, Destination::File(path) if path.extension().is_some_and(|end| end == "json"));
    let format = args.format.unwrap_or(if is_json_file { Format::Json } else { Format::Table });
    let text = match format {
        Format::Json => json::render(report).map_err(|error| Failure::wrong(format!("the report: {error}")))?,
        Format::Table if destination == Destination::Stdout => table::render(report, style_of_stdout()),
        Format::Table => table::render(report, Style { width: WIDTH, color: false }),
    };
    match destination {
        Destination::Stdout => write_out(&text)?,
        Destination::File(path) => std::fs::write(&path, text).map_err(|error| unwritable(&path, &error))?,
    }
    let worst = report.findings.iter().map(|finding| finding.severity).max();
    Ok(Status::of(worst, args.fail_on))
}

/// How to show tables on standard output.
pub(crate) fn style_of_stdout() -> Style {
    let terminal = io::stdout().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let width = if terminal {
        rustix::termios::tcgetwinsize(io::stdout()).map(|size| size.ws_col).ok().filter(|columns| *columns > 0)
    } else {
        None
    };
    Style { width: width.unwrap_or(WIDTH).clamp(*WIDTHS.start(), *WIDTHS.end()), color: terminal && !plain }
}

/// Whether a person watches standard error.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes to standard output. A reader that has gone away (`| head`) has seen enough.
pub(crate) fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::wrong(format!("standard output: cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
