//! `observer doctor`: this host comes in; what can be observed on it, what cannot, and what to do about that goes out.

pub(super) mod host;
pub(super) mod privileges;
mod show;
mod system;
mod tls;
mod unseen;

use std::borrow::Cow;

use serde::Serialize;

use crate::cli::args::{DoctorArgs, Format};
use crate::cli::exit::{Failure, Outcome, Status};
use crate::cli::{style_of_stdout, write_out};
use crate::config::{Capture, Config, SourceName};
use crate::tls::survey;

use host::Host;

/// Why something cannot run here, and what would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) why: String,
    pub(super) remedy: String,
}

impl Reason {
    pub(super) fn new(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: remedy.into() }
    }
}

/// How a check looks at a host.
type Look = fn(&Host) -> Found;
/// What a check can find: a detail where all is well.
type Found = Result<String, Reason>;

/// What was found about one thing.
#[derive(Debug, Serialize)]
struct Check {
    name: Cow<'static, str>,
    state: State,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// How it stands with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It works.
    Ok,
    /// It works without this, or some traffic is not seen.
    Note,
    /// It does not work.
    No,
}

/// What doctor found.
#[derive(Debug, Serialize)]
struct Examination {
    /// Whether plaintext traffic can be observed.
    plaintext: bool,
    host: Vec<Check>,
    sources: Vec<Check>,
    /// The processes that use TLS libraries.
    tls: Vec<Check>,
    unseen: Vec<Check>,
}

/// A check of the host that all capturing depends on, or one that only explains.
struct HostCheck {
    name: &'static str,
    look: Look,
    needed: bool,
}

const HOST: [HostCheck; 7] = [
    HostCheck { name: "kernel", look: system::kernel, needed: true },
    HostCheck { name: "privileges", look: privileges::effective, needed: true },
    HostCheck { name: "ring buffer", look: system::ring_buffer, needed: true },
    HostCheck { name: "cgroup v2", look: system::cgroup, needed: false },
    HostCheck { name: "lockdown", look: system::lockdown, needed: false },
    HostCheck { name: "BTF", look: system::btf, needed: false },
    HostCheck { name: "run-time statistics", look: system::bpf_stats, needed: false },
];

/// What may carry traffic that no source shows.
const UNSEEN: [(&str, Look); 3] =
    [("QUIC", unseen::quic), ("Unix sockets", unseen::unix_sockets), ("sockmap", unseen::sockmap)];

/// Examines this host.
///
/// # Errors
///
/// The configuration is wrong.
pub fn run(args: &DoctorArgs) -> Outcome {
    let config = super::configuration(args.config.as_deref())?;
    let examination = examine(&Host::this(), &config);
    let text = match args.format {
        Format::Table => show::table(&examination, style_of_stdout()),
        Format::Json => {
            let json = serde_json::to_string_pretty(&examination).map_err(|error| Failure::wrong(error.to_string()))?;
            format!("{json}\n")
        }
    };
    write_out(&text)?;
    Ok(if examination.plaintext { Status::Clean } else { Status::NotAllowed })
}

fn examine(host: &Host, config: &Config) -> Examination {
    let check = |name: &'static str, found: Found, otherwise| match found {
        Ok(detail) => Check { name: name.into(), state: State::Ok, detail, remedy: None },
        Err(reason) => Check { name: name.into(), state: otherwise, detail: reason.why, remedy: Some(reason.remedy) },
    };
    let general =
        HOST.iter().map(|one| check(one.name, (one.look)(host), if one.needed { State::No } else { State::Note }));
    let (mut plaintext, mut tls) = (false, Vec::new());
    let mut sources = Vec::new();
    for source in SourceName::ALL {
        let found = if config.capture.wants(source) {
            let cgroup = config.capture.cgroup.as_deref().filter(|_| source != SourceName::Tls);
            privileges::can_run(source, host).and_then(|detail| match cgroup {
                Some(path) => privileges::captured(path, source, host).map(|_| format!("{detail}; only {path}")),
                None => Ok(detail),
            })
        } else {
            Err(Reason::new("left out by capture.sources", "add it there to use it"))
        };
        if found.is_ok() && source == SourceName::Tls && host.is_live() {
            let Capture { tls_leave, cgroup, .. } = &config.capture;
            let (processes, whole) = survey(tls::PATIENCE, tls_leave, cgroup.as_deref());
            tls = tls::checks(processes, whole);
        }
        plaintext |= found.is_ok() && source != SourceName::Tls;
        let asked_for = config.capture.sources.contains(&source) || source != SourceName::Tls;
        let otherwise = if asked_for && config.capture.wants(source) { State::No } else { State::Note };
        sources.push(check(source.as_str(), found, otherwise));
    }
    let unseen = UNSEEN.iter().map(|(name, look)| check(name, look(host), State::Note));
    Examination { plaintext, host: general.collect(), sources, tls, unseen: unseen.collect() }
}

#[cfg(test)]
mod tests;
