//! A configuration comes in, the kernel's events go out; where this host does not allow that, one line says what would.

use super::doctor::host::Host;
use super::doctor::{Reason, privileges};
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::capture::{KernelCapture, KernelSource, Options, Source, cgroup};
use crate::cli::exit::Failure;
use crate::config::{Config, Only, SourceName};
use crate::tls::{Bounds, cgroup_of};

/// The sources of plaintext, the better first.
const PLAINTEXT: [SourceName; 2] = [SourceName::Cgroup, SourceName::SocketFilter];

/// Opens the best source that the configuration wants and this host allows.
pub(super) fn open(config: &Config) -> Result<Box<dyn Source>, Failure> {
    let host = Host::this();
    let tls = config.capture.wants(SourceName::Tls).then(|| privileges::can_run(SourceName::Tls, &host));
    let observes_tls = matches!(tls, Some(Ok(_)));
    let mut refused: Option<(SourceName, Reason)> = None;
    for name in PLAINTEXT.into_iter().filter(|name| config.capture.wants(*name)) {
        match privileges::can_run(name, &host).and_then(|_| open_kernel(name, config, &host, observes_tls)) {
            Ok(capture) => {
                if let Some(Err(reason)) = &tls {
                    without_tls(config, &reason.why, &reason.remedy)?;
                }
                if let Some(why) = capture.tls_refused() {
                    without_tls(config, why, "observer doctor tells what this kernel allows")?;
                }
                if let Some((better, reason)) = refused {
                    tracing::warn!("{}: {}; observing with {} instead", better.as_str(), reason.why, name.as_str());
                }
                return Ok(Box::new(capture));
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

/// TLS libraries cannot be observed: that is an end where it was asked for by name, else a warning.
fn without_tls(config: &Config, why: &str, remedy: &str) -> Result<(), Failure> {
    if config.capture.sources.contains(&SourceName::Tls) {
        return Err(Failure::not_allowed(format!("tls: {why}; {remedy}, or leave tls out of capture.sources")));
    }
    tracing::warn!("tls: {why}; what TLS libraries carry is not observed; {remedy}");
    Ok(())
}

/// The one place that opens the kernel's hooks.
fn open_kernel(name: SourceName, config: &Config, host: &Host, tls: bool) -> Result<KernelCapture, Reason> {
    let source = match name {
        SourceName::Cgroup => KernelSource::Cgroup,
        SourceName::SocketFilter => KernelSource::SocketFilter,
        SourceName::Tls => return Err(Reason::new("it captures no plaintext", "name cgroup in capture.sources")),
    };
    let narrow = config.capture.cgroup.as_deref().map(|path| privileges::captured(path, name, host)).transpose()?;
    let options = Options {
        source,
        tls: tls.then(Bounds::default),
        tls_cgroup: tls_cgroup(config),
        tls_budget: config.capture.tls_budget,
        tls_leave: config.capture.tls_leave.clone(),
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
    Ok(capture)
}

/// The cgroup whose processes have their TLS libraries probed: that of the look, else that of the configuration. A process is looked
/// at with all of its cgroup, which the processes of a service share.
fn tls_cgroup(config: &Config) -> Option<String> {
    let Only { cgroup, pid, .. } = &config.only;
    let cgroup = cgroup.clone().filter(|path| directory(path).is_some()).or_else(|| config.capture.cgroup.clone());
    let path = cgroup.or_else(|| cgroup_of((*pid)?))?;
    Some(format!("/{}", path.trim_matches('/'))).filter(|path| path != "/")
}

/// The directory of a cgroup v2 by its path under the mount; `None` where there is none of that path (on hybrid hosts the
/// path may be of another hierarchy), and the selection is made by process alone.
fn directory(path: &str) -> Option<PathBuf> {
    let directory = cgroup::root().ok()?.join(path.trim_start_matches('/'));
    directory.is_dir().then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Status;
    use crate::config::Capture;

    fn config(sources: &[SourceName]) -> Config {
        let capture =
            Capture { sources: sources.to_vec(), cgroup: Some("shop.slice/".to_owned()), ..Capture::default() };
        Config { capture, ..Config::default() }
    }

    #[test]
    fn tls_that_was_asked_for_by_name_and_cannot_be_is_an_end_and_else_a_warning() {
        assert!(without_tls(&config(&[]), "no uprobes", "boot another kernel").is_ok());
        let failure = without_tls(&config(&[SourceName::Cgroup, SourceName::Tls]), "no uprobes", "boot another kernel")
            .unwrap_err();
        assert_eq!(failure.status, Status::NotAllowed);
        assert_eq!(failure.to_string(), "tls: no uprobes; boot another kernel, or leave tls out of capture.sources");
    }

    #[test]
    fn libraries_are_probed_for_the_cgroup_that_is_captured() {
        let mut config = config(&[]);
        assert_eq!(tls_cgroup(&config).as_deref(), Some("/shop.slice"));
        config.capture.cgroup = None;
        assert_eq!(tls_cgroup(&config), None);
        config.only.pid = Some(std::process::id());
        assert_eq!(tls_cgroup(&config), cgroup_of(std::process::id()).filter(|path| path != "/"));
    }
}
