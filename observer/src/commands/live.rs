//! A configuration comes in, the kernel's events go out; where this host does not allow that, one line says what would.

use super::doctor::host::Host;
use super::doctor::{Reason, privileges};
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::capture::{KernelCapture, KernelSource, Options, Source, cgroup};
use crate::cli::exit::Failure;
use crate::config::{Config, SourceName};

/// The sources of plaintext, the better first.
const PLAINTEXT: [SourceName; 2] = [SourceName::Cgroup, SourceName::SocketFilter];

/// Opens the best source that the configuration wants and this host allows.
pub(super) fn open(config: &Config) -> Result<Box<dyn Source>, Failure> {
    let host = Host::this();
    let mut refused: Option<(SourceName, Reason)> = None;
    for name in PLAINTEXT.into_iter().filter(|name| config.capture.wants(*name)) {
        match privileges::can_run(name, &host).and_then(|_| open_kernel(name, config, &host)) {
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
fn open_kernel(name: SourceName, config: &Config, host: &Host) -> Result<Box<dyn Source>, Reason> {
    let source = match name {
        SourceName::Cgroup => KernelSource::Cgroup,
        SourceName::SocketFilter => KernelSource::SocketFilter,
        SourceName::Tls => return Err(Reason::new("it captures no plaintext", "name cgroup in capture.sources")),
    };
    let narrow = config.capture.cgroup.as_deref().map(|path| privileges::captured(path, name, host)).transpose()?;
    let options = Options {
        source,
        cgroup_directory: config.only.cgroup.as_deref().and_then(directory).or(narrow),
        ports: config.capture.ports.clone(),
        ..Options::default()
    };
    let capture = KernelCapture::open(&options)
        .map_err(|error| Reason::new(error.to_string(), "observer doctor tells what this kernel allows"))?;
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for state in capture.programs() {
        if let Err(reason) = &state.outcome {
            missing.entry(reason).or_default().push(state.program);
        }
    }
    for (reason, programs) in missing {
        tracing::warn!("not attached: {}: {reason}; connections are attributed without that", programs.join(", "));
    }
    Ok(Box::new(capture))
}

/// The directory of a cgroup v2 by its path under the mount; `None` where there is none of that path (on hybrid hosts the
/// path may be of another hierarchy), and the selection is made by process alone.
fn directory(path: &str) -> Option<PathBuf> {
    let directory = cgroup::root().ok()?.join(path.trim_start_matches('/'));
    directory.is_dir().then_some(directory)
}
