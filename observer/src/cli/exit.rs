//! Exit statuses, and failures that carry one.

use std::fmt;
use std::process::ExitCode;

use observer_core::audit::report::Severity;

use super::args::FailOn;
use crate::capture::file::NotACapture;
use crate::config::ConfigError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing at or above `--fail-on`.
    Clean = 0,
    /// Findings at or above it.
    Findings = 1,
    /// The command line, the configuration or an input file is wrong.
    Wrong = 2,
    /// This host does not allow what was asked.
    NotAllowed = 3,
}

impl Status {
    /// The status for a report whose worst finding is `worst`.
    pub fn of(worst: Option<Severity>, fail_on: FailOn) -> Self {
        let threshold = match fail_on {
            FailOn::Info => Severity::Info,
            FailOn::Warning => Severity::Warning,
            FailOn::Critical => Severity::Critical,
            FailOn::Never => return Self::Clean,
        };
        if worst.is_some_and(|worst| worst >= threshold) { Self::Findings } else { Self::Clean }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// What ends the program: one line for a person, and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub status: Status,
    /// What failed, on what, what to do.
    pub line: String,
}

impl Failure {
    /// The command line, the configuration or an input file is wrong.
    pub fn wrong(line: impl Into<String>) -> Self {
        Self { status: Status::Wrong, line: line.into() }
    }

    /// This host does not allow what was asked.
    pub fn not_allowed(line: impl Into<String>) -> Self {
        Self { status: Status::NotAllowed, line: line.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::wrong(error.to_string())
    }
}

impl From<NotACapture> for Failure {
    fn from(error: NotACapture) -> Self {
        Self::wrong(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// A failure keeps its status; every other error is a wrong input.
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::wrong(format!("{error:#}")),
        }
    }
}

/// How a command ends.
pub type Outcome = Result<Status, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_findings_at_or_above_the_threshold_change_the_status() {
        let cases = [
            (None, FailOn::Info, Status::Clean),
            (Some(Severity::Info), FailOn::Info, Status::Findings),
            (Some(Severity::Info), FailOn::Warning, Status::Clean),
            (Some(Severity::Critical), FailOn::Warning, Status::Findings),
            (Some(Severity::Warning), FailOn::Critical, Status::Clean),
            (Some(Severity::Critical), FailOn::Never, Status::Clean),
        ];
        for (worst, fail_on, expected) in cases {
            assert_eq!(Status::of(worst, fail_on), expected, "{worst:?} {fail_on:?}");
        }
    }
}
