//! A configuration comes in, the kernel's events go out; where this host does not allow that, one line says what would.

use super::doctor::host::Host;
use super::doctor::{Reason, privileges};
use crate::capture::Source;
use crate::cli::exit::Failure;
use crate::config::{Config, SourceName};

/// The sources of plaintext, the better first.
const PLAINTEXT: [SourceName; 2] = [SourceName::Cgroup, SourceName::SocketFilter];

/// Opens the best source that the configuration wants and this host allows.
pub(super) fn open(config: &Config) -> Result<Box<dyn Source>, Failure> {
    let host = Host::this();
    let mut refused: Option<(SourceName, Reason)> = None;
    for name in PLAINTEXT.into_iter().filter(|name| config.capture.wants(*name)) {
        match privileges::can_run(name, &host).and_then(|_| open_kernel(name, config)) {
            Ok(source) => {
                if let Some((better, reason)) = refused {
                    tracing::warn!("{}: {}; observing with {} instead", better.as_str(), reason.why, name.as_str());
                }
                return Ok(source);
            }
            Err(reason) => {
                refused.get_or_insert((name, reason));
            }
        }
    }
    // The configuration is refused where it wants no source of plaintext, so one was tried.
    let (name, reason) =
        refused.unwrap_or_else(|| (SourceName::Cgroup, Reason::new("no source is wanted", "set capture.sources")));
    Err(Failure::not_allowed(format!("{}: {}; {}", name.as_str(), reason.why, reason.remedy)))
}

/// The one place that opens the kernel's hooks.
fn open_kernel(name: SourceName, _config: &Config) -> Result<Box<dyn Source>, Reason> {
    Err(Reason::new(format!("live capture by {} is not part of this build", name.as_str()), "use observer replay"))
}
