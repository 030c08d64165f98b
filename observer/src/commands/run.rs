//! `observer run`: the agent. Observes until stopped, serves metrics, writes audits, follows its configuration.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use observer_core::audit::report::{Code, Finding, Report, Severity};
use observer_core::time::Timestamp;

use crate::capture::Source;
use crate::cli::args::{FailOn, ReportArgs, RunArgs};
use crate::cli::deliver;
use crate::cli::exit::{Failure, Outcome, Status};
use crate::config::watch::Watch;
use crate::config::{Audit, Config};
use crate::output::audit::AuditWriter;
use crate::output::http;
use crate::output::snapshot::{Shared, Snapshot};
use crate::pipeline::{Mode, Pipeline};

use super::edge::{Duties, Edge, Told};
use super::{configuration, line, live};

/// How often metrics and findings are brought up to date: a finding shows within a second.
const PUBLISH: Duration = Duration::from_secs(1);

/// Observes until SIGTERM or SIGINT.
///
/// # Errors
///
/// The configuration is wrong, or this host does not allow to observe.
pub fn run(args: &RunArgs) -> Outcome {
    let config = configuration(args.config.as_deref())?;
    let listener = config.listen.map(|address| {
        http::bind(address).map_err(|error| {
            Failure::not_allowed(format!(
                "prometheus.listen {address}: {error}; stop what listens there or set another address"
            ))
        })
    });
    let listener = listener.transpose()?;
    let mut source = live::open(&config)?;
    let mut pipeline = Pipeline::new(&config, Mode::Live)?;
    let shared = Shared::default();
    let http = listener.map(|listener| (listener, shared.clone()));
    let edge = Edge::start(Duties { http, watch: Watch::new(&config) })?;
    if let Some(address) = config.listen {
        tracing::info!("observing; metrics at http://{address}/metrics");
    } else {
        tracing::info!("observing");
    }
    let mut agent = Agent::new(config, shared, edge.told.clone())?;
    let observed =
        line::observe(source.as_mut(), &mut pipeline, &mut |pipeline, source, now| agent.beside(pipeline, source, now));
    let report = pipeline.report(line::now(), &source.counters());
    drop(source);
    agent.finish(&report);
    drop(edge);
    observed.map_err(|error| Failure::not_allowed(format!("capturing ended: {error:#}")))?;
    tracing::info!("stopped");
    let fail_on = args.fail_on.unwrap_or(if args.report.is_some() { FailOn::Critical } else { FailOn::Never });
    if args.report.is_none() {
        return Ok(Status::of(report.findings.iter().map(|finding| finding.severity).max(), fail_on));
    }
    deliver(&report, &ReportArgs { format: args.format, report: args.report.clone(), fail_on })
}

/// What the agent does beside observing.
struct Agent {
    config: Config,
    shared: Shared,
    told: Told,
    audits: Option<Audits>,
    published: Timestamp,
    audited: Timestamp,
    known: BTreeSet<(Code, Option<String>, Option<String>, Option<String>)>,
}

impl Agent {
    fn new(config: Config, shared: Shared, told: Told) -> Result<Self, Failure> {
        let audits = config.audit.clone().map(Audits::start).transpose()?;
        let audited = line::now();
        Ok(Self { config, shared, told, audits, published: Timestamp::default(), audited, known: BTreeSet::new() })
    }

    /// What is due at `now`; false to stop.
    fn beside(&mut self, pipeline: &mut Pipeline, source: &dyn Source, now: Timestamp) -> bool {
        self.shared.alive(now);
        if let Some(config) = self.told.new_config() {
            pipeline.reconfigure(&config);
            self.reconfigure(config);
        }
        if now.since(self.published) >= PUBLISH || now < self.published {
            self.published = now;
            self.publish(pipeline, source, now);
        }
        !self.told.stop()
    }

    fn publish(&mut self, pipeline: &mut Pipeline, source: &dyn Source, now: Timestamp) {
        let counters = source.counters();
        let report = pipeline.report(now, &counters);
        self.announce(&report.findings);
        let interval = self.config.audit.as_ref().map(|audit| audit.interval);
        if let Some(audits) =
            self.audits.as_ref().filter(|_| interval.is_some_and(|due| now.since(self.audited) >= due))
        {
            self.audited = now;
            audits.offer(&report);
        }
        self.shared.publish(Snapshot { report, extras: pipeline.extras(&counters) });
    }

    /// Logs findings that were not there before.
    fn announce(&mut self, findings: &[Finding]) {
        let key =
            |finding: &Finding| (finding.code, finding.service.clone(), finding.tenant.clone(), finding.peer.clone());
        for finding in findings.iter().filter(|finding| !self.known.contains(&key(finding))) {
            let severity = finding.severity.as_str();
            // Names from the wire are shown with their control characters escaped.
            let message = finding.message.escape_debug();
            match finding.severity {
                Severity::Critical | Severity::Warning => tracing::warn!("{severity}: {message}"),
                Severity::Info => tracing::info!("{severity}: {message}"),
            }
        }
        self.known = findings.iter().map(key).collect();
    }

    fn reconfigure(&mut self, config: Config) {
        for notice in &config.notices {
            tracing::warn!("{notice}");
        }
        if config.listen != self.config.listen {
            tracing::warn!("prometheus.listen changes at the next start");
        }
        if config.capture != self.config.capture {
            tracing::warn!("capture changes at the next start");
        }
        if config.audit != self.config.audit {
            // The writer that goes writes what it was given before.
            self.audits = None;
            match config.audit.clone().map(Audits::start).transpose() {
                Ok(audits) => self.audits = audits,
                Err(failure) => tracing::error!("{failure}"),
            }
        }
        self.config = config;
    }

    /// The last audit, written before this returns.
    fn finish(&mut self, report: &Report) {
        if let Some(audits) = self.audits.take() {
            audits.last(report.clone());
        }
    }
}

/// A thread that writes audits: a slow disk must not hold up the line.
struct Audits {
    sender: Option<SyncSender<Report>>,
    thread: Option<JoinHandle<()>>,
}

impl Audits {
    fn start(settings: Audit) -> Result<Self, Failure> {
        let (sender, receiver): (_, Receiver<Report>) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let mut writer = AuditWriter::new(settings);
                for report in receiver {
                    writer.write(&report, SystemTime::now());
                }
            })
            .map_err(|error| Failure::not_allowed(format!("a thread cannot start: {error}")))?;
        Ok(Self { sender: Some(sender), thread: Some(thread) })
    }

    /// Writes the report unless the disk is still busy with the last two.
    fn offer(&self, report: &Report) {
        if let Some(sender) = &self.sender
            && sender.try_send(report.clone()).is_err()
        {
            tracing::warn!("an audit was left out: the disk is still busy with the one before");
        }
    }

    fn last(mut self, report: Report) {
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(report);
        }
    }
}

impl Drop for Audits {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
