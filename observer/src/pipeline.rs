//! The line: events come in, the report goes out.

use observer_core::audit::report::{Capture, ObserverInfo, Report, SCHEMA, Summary, Window};
use observer_core::time::Timestamp;

use crate::capture::{Event, SourceCounters};
use crate::config::Config;
use crate::output::snapshot::Extras;

/// What the events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel.
    Live,
    /// A capture file.
    File,
}

/// What has been found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Messages decoded.
    pub messages: u64,
    /// Services seen.
    pub services: u64,
    /// Tenants seen.
    pub tenants: u64,
    /// Findings.
    pub findings: u64,
}

/// Every stage, in order.
#[derive(Debug)]
pub struct Pipeline {
    environment: Option<String>,
    first: Option<Timestamp>,
    events: u64,
    quiet: Vec<u64>,
}

impl Pipeline {
    /// A line without anything on it.
    ///
    /// # Errors
    ///
    /// A declared file that cannot be read.
    pub fn new(config: &Config, _mode: Mode) -> anyhow::Result<Self> {
        Ok(Self { environment: config.environment.clone(), first: None, events: 0, quiet: Vec::new() })
    }

    /// Takes a new configuration.
    pub fn reconfigure(&mut self, config: &Config) {
        self.environment.clone_from(&config.environment);
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event<'_>) {
        self.events += 1;
        if let Event::Packet { packet, .. } = event {
            self.first.get_or_insert(packet.at);
        }
    }

    /// Tokens for `Source::quiet` since the last call.
    pub fn quieted(&mut self) -> std::vec::Drain<'_, u64> {
        self.quiet.drain(..)
    }

    /// Lets time pass.
    pub fn tick(&mut self, _now: Timestamp) {}

    /// What has been found so far.
    pub fn progress(&self) -> Progress {
        Progress { messages: self.events, ..Progress::default() }
    }

    /// The report as of now.
    pub fn report(&mut self, now: Timestamp, counters: &[SourceCounters]) -> Report {
        let start = self.first.unwrap_or(now);
        Report {
            schema: SCHEMA.to_owned(),
            observer: ObserverInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                host: String::new(),
                kernel: String::new(),
            },
            environment: self.environment.clone(),
            window: Window {
                start: start.to_rfc3339(),
                end: now.to_rfc3339(),
                seconds: now.since(start).as_secs_f64(),
            },
            capture: Capture {
                sources: counters.iter().map(|counter| counter.source.to_owned()).collect(),
                messages: self.events,
                events: counters.iter().map(|counter| counter.events).sum(),
                lost: counters.iter().flat_map(|counter| &counter.lost).map(|(_, lost)| lost).sum(),
                undecodable: 0,
            },
            requests: Vec::new(),
            ratios: Vec::new(),
            samplers: Vec::new(),
            hops: Vec::new(),
            weights: Vec::new(),
            errors: Vec::new(),
            rules: Vec::new(),
            parity: Vec::new(),
            propagators: Vec::new(),
            findings: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// What the metrics show and the report does not.
    pub fn extras(&self, counters: &[SourceCounters]) -> Extras {
        Extras { sources: counters.to_vec(), ..Extras::default() }
    }
}
