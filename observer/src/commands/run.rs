//! `observer run`: the agent. Observes until stopped, serves metrics, writes audits, follows its configuration.

use std::collections::BTreeSet;
use std::time::Duration;

use observer_core::audit::report::{Code, Finding, Report, Severity};
use observer_core::time::Timestamp;

use crate::capture::Source;
use crate::cli::args::{FailOn, ReportArgs, RunArgs};
use crate::cli::exit::{Failure, Outcome, Status};
use crate::cli::{check_destination, deliver};
use crate::config::Config;
use crate::config::watch::Watch;
use crate::output::snapshot::{Shared, Snapshot};
use crate::output::{http, safe};
use crate::pipeline::{Mode, Pipeline};

use super::audits::Audits;
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
    check_destination(args.report.as_deref())?;
    let mut pipeline = Pipeline::new(&config, Mode::Live);
    pipeline.tls_is_read(source.reads_tls());
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
    pipeline.conclude(line::now());
    let report = pipeline.report(line::now(), &source.counters());
    // The kernel takes up to a tenth of a second for each probe that it removes: what was observed is written before.
    agent.finish(&report);
    drop(source);
    drop(edge);
    observed.map_err(|error| Failure::not_allowed(format!("capturing ended: {error:#}")))?;
    tracing::info!("stopped");
    let fail_on = args.fail_on.unwrap_or(if args.report.is_some() { FailOn::Critical } else { FailOn::Never });
    if args.report.is_none() {
        return Ok(Status::of(report.findings.iter().map(|finding| finding.severity).max(), fail_on));
    }
    deliver(&report, &ReportArgs { format: args.format, report: args.report.clone(), fail_on })
}

/// How long a run may see nothing before its log says so.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the first report waits for a source that is not ready: TLS libraries of processes that run already are probed first.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What makes two findings the same one: code, service, tenant, peer.
type FindingKey = (Code, Option<String>, Option<String>, Option<String>);

/// What the agent does beside observing.
struct Agent {
    config: Config,
    shared: Shared,
    told: Told,
    audits: Option<Audits>,
    published: Timestamp,
    audited: Timestamp,
    started: Timestamp,
    known: BTreeSet<FindingKey>,
}

impl Agent {
    fn new(config: Config, shared: Shared, told: Told) -> Result<Self, Failure> {
        let audits = config.audit.clone().map(Audits::start).transpose()?;
        let started = line::now();
        let (published, audited) = (Timestamp::default(), started);
        Ok(Self { config, shared, told, audits, published, audited, started, known: BTreeSet::new() })
    }

    /// What is due at `now`; false to stop.
    fn beside(&mut self, pipeline: &mut Pipeline, source: &dyn Source, now: Timestamp) -> bool {
        self.shared.alive(now);
        if let Some(config) = self.told.new_config() {
            pipeline.reconfigure(&config);
            self.reconfigure(config);
        }
        let is_ready = source.is_ready() || now.since(self.started) >= READY_WITHIN;
        if is_ready && (now.since(self.published) >= PUBLISH || now < self.published) {
            self.published = now;
            self.publish(pipeline, source, now);
        }
        !self.told.stop()
    }

    fn publish(&mut self, pipeline: &mut Pipeline, source: &dyn Source, now: Timestamp) {
        let counters = source.counters();
        let report = pipeline.report(now, &counters);
        self.announce(&report.findings, now);
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
    fn announce(&mut self, findings: &[Finding], now: Timestamp) {
        let early = now.since(self.started) < PATIENCE;
        let told = || findings.iter().filter(|finding| !(early && finding.code == Code::NothingObserved));
        let key =
            |finding: &Finding| (finding.code, finding.service.clone(), finding.tenant.clone(), finding.peer.clone());
        for finding in told().filter(|finding| !self.known.contains(&key(finding))) {
            let severity = finding.severity.as_str();
            let message = safe(&finding.message);
            match finding.severity {
                Severity::Critical | Severity::Warning => tracing::warn!("{severity}: {message}"),
                Severity::Info => tracing::info!("{severity}: {message}"),
            }
        }
        self.known = told().map(key).collect();
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use observer_core::audit::report::FILE_NAME;

    use super::*;
    use crate::capture::file::FileCapture;
    use crate::config::Audit;

    /// A source that has nothing to tell: an empty capture file.
    fn silence() -> FileCapture {
        let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
        FileCapture::read("silence".to_owned(), None, Cursor::new(header.map(u32::to_le_bytes).concat())).unwrap()
    }

    #[test]
    fn the_agent_publishes_takes_a_new_configuration_and_writes_the_last_audit() {
        let place = tempfile::tempdir().unwrap();
        let audit = Audit { directory: place.path().join("audits"), ..Audit::default() };
        let config = |environment: &str| Config {
            environment: Some(environment.to_owned()),
            audit: Some(audit.clone()),
            ..Config::default()
        };
        let mut pipeline = Pipeline::new(&config("one"), Mode::Live);
        let (shared, told) = (Shared::default(), Told::default());
        let mut agent = Agent::new(config("one"), shared.clone(), told.clone()).unwrap();
        let source = silence();
        let start = line::now();
        let environment = || shared.newest().and_then(|snapshot| snapshot.report.environment.clone());

        assert!(agent.beside(&mut pipeline, &source, start));
        assert_eq!(environment().as_deref(), Some("one"));
        assert_eq!(shared.last_alive(), start);

        told.offer(config("two"));
        assert!(agent.beside(&mut pipeline, &source, start.after(PUBLISH)));
        assert_eq!(environment().as_deref(), Some("two"));

        told.ask_to_stop();
        assert!(!agent.beside(&mut pipeline, &source, start.after(PUBLISH)));
        let report = pipeline.report(start, &source.counters());
        agent.finish(&report);
        assert!(audit.directory.join(FILE_NAME).exists());
    }

    #[test]
    fn that_nothing_was_observed_is_no_news_at_the_start() {
        let config = Config { audit: None, ..Config::default() };
        let mut pipeline = Pipeline::new(&config, Mode::Live);
        let mut agent = Agent::new(config, Shared::default(), Told::default()).unwrap();
        let (source, start) = (silence(), agent.started);
        agent.beside(&mut pipeline, &source, start);
        assert!(agent.known.is_empty());
        agent.beside(&mut pipeline, &source, start.after(PATIENCE));
        assert!(agent.known.iter().any(|(code, ..)| *code == Code::NothingObserved));
    }

    #[test]
    fn audits_come_at_their_interval() {
        let place = tempfile::tempdir().unwrap();
        let audit = Audit { directory: place.path().to_owned(), interval: Duration::from_secs(5), ..Audit::default() };
        let config = Config { audit: Some(audit), ..Config::default() };
        let mut pipeline = Pipeline::new(&config, Mode::Live);
        let mut agent = Agent::new(config, Shared::default(), Told::default()).unwrap();
        let (source, start) = (silence(), agent.audited);
        agent.beside(&mut pipeline, &source, start.after(Duration::from_secs(4)));
        assert_eq!(agent.audited, start);
        let due = start.after(Duration::from_secs(6));
        agent.beside(&mut pipeline, &source, due);
        assert_eq!(agent.audited, due);
        // Ends the writer, which writes what it was given first.
        agent.audits = None;
        assert!(place.path().join(FILE_NAME).exists());
    }
}
