//! The configuration: the text of `observer.yaml` and the command line's selection come in, a typed [`Config`] goes out.
//!
//! Unknown keys, wrong types and values out of range are one line each that names file, line, key and what to write.

mod field;
mod nearest;
mod read;
mod values;
pub mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use observer_core::context::{Extractors, TenantSource, WeightSource};
use observer_core::limits::Limits;

pub use crate::attribute::naming::ServiceRule;
pub use crate::attribute::peers::External;
pub use crate::pattern::Pattern;
pub(crate) use values::duration;

/// Everything that can be configured, with its defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from; `None` for the defaults.
    pub path: Option<PathBuf>,
    /// The name of the environment.
    pub environment: Option<String>,
    /// Names for endpoints; the first that matches wins.
    pub services: Vec<ServiceRule>,
    /// Where tenants are read from, in order.
    pub tenant: Vec<TenantSource>,
    /// Where weights are read from, in order.
    pub weight: Vec<WeightSource>,
    /// Peers that are external though their address is private.
    pub external: Vec<External>,
    /// Requests that are neither counted nor hops, by path.
    pub ignore: Vec<Pattern>,
    /// What must hold whatever the rules say.
    pub requirements: Vec<Requirement>,
    /// Where declared rules are read from.
    pub declared: Declared,
    /// How far a ratio may lie from its rule, relative to the rule.
    pub tolerance: f64,
    /// The rate of false alarms per series, run and version of the rule.
    pub false_alarm_rate: f64,
    /// The bounds of tables and buffers.
    pub limits: Limits,
    /// What is captured.
    pub capture: Capture,
    /// Where metrics, status page and health checks are served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Where audits are written; `None`: nowhere.
    pub audit: Option<Audit>,
    /// What the command line restricts the observation to.
    pub only: Only,
    /// What is configured and not honoured by this version, one line each.
    pub notices: Vec<String>,
}

/// What must hold whatever the rules say.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// For this service; `None`: every one.
    pub service: Option<String>,
    /// For this tenant; `None`: every one.
    pub tenant: Option<String>,
    /// At least this share of traces is sampled.
    pub ratio_at_least: Option<f64>,
    /// Every trace with an error response is sampled.
    pub all_errors: bool,
    /// Every trace with a response that takes longer than this is sampled: from the head of the request to that of the response.
    pub all_slower_than: Option<Duration>,
}

/// Where declared rules are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// `OTEL_*` of the observed processes.
    pub process_environment: bool,
    /// Files of tenant rules.
    pub files: Vec<DeclaredFile>,
    /// Addresses of databases.
    pub databases: Vec<String>,
}

/// A file with declared rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredFile {
    /// As the configuration spells it, and as reports show it.
    pub name: String,
    /// Where it is: relative names are relative to the configuration file.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What is captured.
#[derive(Clone, Debug, PartialEq)]
pub struct Capture {
    /// The sources to use; empty: all that the host allows.
    pub sources: Vec<SourceName>,
    /// The TCP ports to capture; empty: every port.
    pub ports: Vec<u16>,
    /// The one cgroup to capture, with those below it (path under the cgroup v2 mount); `None`: the whole host.
    pub cgroup: Option<String>,
    /// The longest batch of records of a broker that is read, in bytes; the records of longer ones are not observed.
    pub batch_bytes: usize,
    /// Command names of processes whose TLS libraries are left alone.
    pub tls_leave: Vec<Pattern>,
    /// The share of one processor, from 0 to 1, that probes may cost a process before the log says so.
    pub tls_budget: f64,
}

impl Default for Capture {
    fn default() -> Self {
        let batch_bytes = observer_core::decode::RecordBounds::default().batch_bytes;
        Self {
            sources: Vec::new(),
            ports: Vec::new(),
            cgroup: None,
            batch_bytes,
            tls_leave: Vec::new(),
            tls_budget: 0.1,
        }
    }
}

impl Capture {
    /// Whether this source may be used.
    pub fn wants(&self, source: SourceName) -> bool {
        self.sources.is_empty() || self.sources.contains(&source)
    }
}

/// A capture source by its name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// cgroup_skb at the root of cgroup v2.
    Cgroup,
    /// A socket filter on AF_PACKET.
    SocketFilter,
    /// Uprobes on TLS libraries.
    Tls,
}

impl SourceName {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Cgroup, Self::SocketFilter, Self::Tls];

    /// The name in the configuration and in labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::SocketFilter => "socket-filter",
            Self::Tls => "tls",
        }
    }
}

/// Where and how often audits are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The directory, created where it does not exist; a relative name is relative to the configuration file.
    pub directory: PathBuf,
    /// How often.
    pub interval: Duration,
    /// How long older audits are kept.
    pub keep: Duration,
}

/// What the command line restricts the observation to; `None`: no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// Endpoints of this process.
    pub pid: Option<u32>,
    /// Endpoints in this cgroup or below it (path under the cgroup v2 mount).
    pub cgroup: Option<String>,
    /// Connections of which one end has this port.
    pub port: Option<u16>,
    /// What this service receives and sends.
    pub service: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let header = |name: &str| TenantSource::Header(name.to_owned());
        let member = |name: &str| TenantSource::Baggage(name.to_owned());
        Self {
            path: None,
            environment: None,
            services: Vec::new(),
            tenant: vec![header("x-tenant-id"), header("x-scope-orgid"), member("tenant.id"), member("tenant")],
            weight: vec![
                WeightSource::Header("x-trace-weight".to_owned()),
                WeightSource::Baggage("trace.weight".to_owned()),
            ],
            external: Vec::new(),
            ignore: Vec::new(),
            requirements: Vec::new(),
            declared: Declared { process_environment: true, files: Vec::new(), databases: Vec::new() },
            tolerance: 0.1,
            false_alarm_rate: 0.001,
            limits: Limits::default(),
            capture: Capture::default(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9435))),
            audit: Some(Audit::default()),
            only: Only::default(),
            notices: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/observer"),
            interval: Duration::from_mins(1),
            keep: Duration::from_hours(7 * 24),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, or that it, or a file that it names, cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: name.clone(),
            line: None,
            key: None,
            problem: match error.kind() {
                std::io::ErrorKind::NotFound => "no such file; give the configuration's path with --config".to_owned(),
                std::io::ErrorKind::InvalidData => "not UTF-8 text; is this the configuration file?".to_owned(),
                _ => format!("cannot be read: {error}"),
            },
        })?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::parse(&name, directory, &text)?;
        config.path = Some(path.to_owned());
        Ok(config)
    }

    /// Reads the text of the file called `name`; relative names in it are relative to `directory`.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn parse(name: &str, directory: &Path, text: &str) -> Result<Self, ConfigError> {
        let tree = field::parse(name, text)?;
        read::config(&field::Field::root(name, &tree), directory)
    }

    /// The configured extractors.
    pub fn extractors(&self) -> Extractors {
        Extractors::new(self.tenant.clone(), self.weight.clone())
    }
}

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// The line, where it is known.
    pub line: Option<u64>,
    /// The key, for example `tenant[1].header`.
    pub key: Option<String>,
    /// What is wrong and what to write.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(formatter, ": {key}")?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

#[cfg(test)]
mod tests;
