//! A configuration comes in, the kernel's events go out; where this host does not allow that, one line says what would.

use super::doctor::host::Host;
use super::doctor::privileges;
use crate::capture::Source;
use crate::cli::exit::Failure;
use crate::config::{Config, SourceName};

/// Opens the sources that the configuration wants and this host allows.
pub(super) fn open(config: &Config) -> Result<Box<dyn Source>, Failure> {
    let host = Host::this();
    let missing = [SourceName::Cgroup, SourceName::SocketFilter]
        .into_iter()
        .filter(|source| config.capture.wants(*source))
        .map(|source| privileges::can_run(source, &host))
        .collect::<Vec<_>>();
    if let Some(Err(reason)) =
        missing.iter().find(|result| result.is_err()).filter(|_| missing.iter().all(Result::is_err))
    {
        return Err(Failure::not_allowed(format!("{}; {}", reason.why, reason.remedy)));
    }
    open_kernel(config)
}

/// The one place that opens the kernel's hooks.
fn open_kernel(_config: &Config) -> Result<Box<dyn Source>, Failure> {
    Err(Failure::not_allowed("live capture is not part of this build"))
}
