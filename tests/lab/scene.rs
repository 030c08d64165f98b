//! A scenario of the laboratory: services in a row and how each treats a context come in; what they logged and what the observer
//! beside them reported go out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_core::audit::report::{Code, Finding, Report};
use testbed::install::{Runtimes, runtimes};
use testbed::observer::{Observer, binary};
use testbed::process::Running;
use testbed::shop::answers;
use testbed::site::Site;
use testbed::truth::{Facts, read, reported};
use testbed::{sources, workspace};

use crate::place::{only, place};

/// Manners of calling whatever arrives.
const BY_CLOCK: [&str; 4] = ["polls", "probes", "watches", "batches"];
/// How long a service may take until it answers.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Services that wrote nothing for so long are at rest.
const AT_REST: Duration = Duration::from_millis(200);
const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// What a service is written in; each program says which manners it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each test has its own")]
pub(crate) enum Kind {
    /// Flask, a thread for each request, and requests.
    Threads,
    /// The same behind werkzeug: the thread that reads a request works on it and waits for what it calls.
    Blocking,
    /// FastAPI, a task for each request, and httpx.
    Tasks,
    /// Express, and http or fetch.
    Node,
    /// The same with a timer that asks everybody for news, without a context.
    Polling,
    /// net/http, a goroutine for each request.
    Go,
    /// The same instrumented by hand, without an SDK.
    Goroutines,
    /// hyper, a future for each request.
    Rust,
}

impl Kind {
    fn command(self, runtimes: &Runtimes) -> Result<Command> {
        let place = workspace().join("tests/lab");
        let python = |script: &str| {
            let mut command = HERE.command(&runtimes.python);
            command.arg(place.join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
            command.env("PYTHONPATH", workspace().join("demo/services/python"));
            command
        };
        Ok(match self {
            Self::Threads => python("threads.py"),
            Self::Blocking => python("../causal/blocking.py"),
            Self::Tasks => python("tasks.py"),
            Self::Node | Self::Polling => {
                let mut node = HERE.command(Path::new("node"));
                if self == Self::Polling {
                    node.arg("--require").arg(workspace().join("tests/causal/poller.js"));
                }
                node.arg(place.join("event_loop.js")).env("NODE_PATH", &runtimes.node_modules);
                node.env("SHOP", workspace().join("demo/services/node"));
                node
            }
            Self::Go => HERE.command(&sources::go("tests/lab/goroutines.go")?),
            Self::Goroutines => HERE.command(&sources::go("tests/causal/goroutines.go")?),
            Self::Rust => HERE.command(Path::new(env!("CARGO_BIN_EXE_futures"))),
        })
    }
}

/// One service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How it treats the context of a request, comma by comma; nothing: as it should.
    pub(crate) manner: &'static str,
    /// Whom it calls for each request.
    pub(crate) calls: &'static [&'static str],
}

/// What is wrong in a scenario: the kind of finding, who is to blame, and towards whom.
pub(crate) type Break = (Code, &'static str, Option<&'static str>);

/// A customer calls the first service, which calls others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) parts: &'static [Part],
    /// What the customer is told beside the address and the numbers.
    pub(crate) customer: &'static [&'static str],
    pub(crate) breaks: &'static [Break],
}

/// What the services logged and what the observer reported of the same requests.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) logged: Facts,
    pub(crate) told: Facts,
    pub(crate) report: Report,
    /// The report for people.
    pub(crate) table: String,
    /// Whether somebody calls by the clock: that went on before the first request was logged and after the last.
    by_clock: bool,
}

/// The services of a scenario, running; they end with the value.
pub(crate) struct Laboratory<'s> {
    scenario: &'s Scenario,
    place: PathBuf,
    names: Vec<&'static str>,
    addresses: BTreeMap<&'static str, SocketAddr>,
    _services: Vec<Running>,
    _only: MutexGuard<'static, ()>,
}

impl Scenario {
    /// Starts its services. `name` is the name of the test.
    pub(crate) fn open(&self, name: &str) -> Result<Laboratory<'_>> {
        let only = only();
        let runtimes = runtimes()?;
        let place = place(&format!("lab-{name}"))?;
        let names: Vec<&'static str> = self.parts.iter().map(|part| part.name).collect();
        let addresses: BTreeMap<_, _> = names.iter().copied().zip(HERE.addresses(names.len())?).collect();
        let mut services = Vec::new();
        for part in self.parts {
            let command = part.command(&runtimes, &addresses, &place)?;
            services.push(Running::start(part.name, command, &place.join(format!("{}.log", part.name)))?);
        }
        for (part, service) in self.parts.iter().zip(&mut services) {
            service.wait_until("ready", START_LIMIT, || answers(addresses[part.name], "/healthz"))?;
        }
        Ok(Laboratory { scenario: self, place, names, addresses, _services: services, _only: only })
    }
}

impl Laboratory<'_> {
    /// Observes them while customers send so many requests, so many at a time.
    pub(crate) fn observe(&self, at_once: u32, requests: u32) -> Result<Outcome> {
        let place = &self.place;
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (audits, configuration) = (place.join("audits"), place.join("observer.yaml"));
        let outputs = format!("prometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n", audits.display());
        // Where goroutines are to be followed probes are needed, and here each costs much.
        let is_followed = self.scenario.parts.iter().any(|part| part.kind == Kind::Goroutines);
        let capture = if is_followed { "sources: [cgroup, tls], tls_budget: 1" } else { "sources: [cgroup]" };
        fs::write(&configuration, format!("capture: {{{capture}}}\n{outputs}"))?;
        let observer = Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"))?;
        let since_ns = now_ns()?;

        let mut customer = Command::new(env!("CARGO_BIN_EXE_customer"));
        customer.arg(format!("http://{}/work", self.addresses[self.names[0]]));
        customer.args(["--connections", &at_once.to_string(), "--requests", &requests.to_string()]);
        customer.args(self.scenario.customer).env("OTEL_SERVICE_NAME", "customer").stderr(Stdio::inherit());
        let said = customer.output()?;
        ensure!(said.status.success(), "the customer failed: {}", said.status);
        let statuses: BTreeMap<String, u32> = serde_json::from_slice(&said.stdout)?;
        ensure!(statuses.values().sum::<u32>() == requests, "{statuses:?}");
        // Who calls by the clock never rests.
        let by_clock = self.scenario.parts.iter().any(|part| BY_CLOCK.iter().any(|word| part.manner.contains(word)));
        if !by_clock {
            self.rest()?;
        }
        let (report, table) = observer.stop()?;
        assert_eq!(report.capture.lost, 0, "the observer lost records:\n{table}");
        let logged = read(place, self.names.iter().copied(), since_ns).context("the truth")?;
        let told = reported(&report, &self.names);
        Ok(Outcome { logged, told, report, table, by_clock })
    }
}

impl Laboratory<'_> {
    /// Waits until no service writes down anything any more: some work on after they have answered.
    fn rest(&self) -> Result<()> {
        let written = || -> Result<u64> {
            let files = self.names.iter().map(|name| Ok(fs::metadata(truth(&self.place, name))?.len()));
            files.sum()
        };
        let (mut before, end) = (written()?, Instant::now() + START_LIMIT);
        loop {
            std::thread::sleep(AT_REST);
            let now = written()?;
            if now == before {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the services do not come to rest");
            before = now;
        }
    }
}

impl Part {
    fn command(&self, runtimes: &Runtimes, addresses: &BTreeMap<&str, SocketAddr>, place: &Path) -> Result<Command> {
        let mut command = self.kind.command(runtimes)?;
        command.env("OTEL_SERVICE_NAME", self.name).env("TENANT_RATIOS", "{\"default\": 0.5}");
        command.env("MANNER", self.manner).env("CALLS", self.calls.join(","));
        command.env("LISTEN", addresses[self.name].to_string());
        command.env("TRUTH_FILE", truth(place, self.name));
        for peer in self.calls {
            let address = addresses[peer];
            command.env(format!("URL_{}", peer.to_uppercase()), format!("http://{address}"));
            command.env(format!("NAME_{}", address.port()), peer);
        }
        command.stdout(Stdio::null());
        Ok(command)
    }
}

fn truth(place: &Path, name: &str) -> PathBuf {
    place.join(format!("{name}.jsonl"))
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos())?)
}

/// Kinds of findings that blame a service for what it does to a context or a weight. `context-missing` blames nobody: it tells where
/// traces begin.
const BLAMES: [Code; 11] = [
    Code::ContextLost,
    Code::TraceRestarted,
    Code::DecisionFlipped,
    Code::ContextMalformed,
    Code::ContextDuplicated,
    Code::TracestateDropped,
    Code::BaggageDropped,
    Code::FormatMismatch,
    Code::WeightMissing,
    Code::WeightChanged,
    Code::WeightInvalid,
];

impl Outcome {
    /// Everything is told, and no more than what happened.
    pub(crate) fn assert_tells_everything(&self) {
        let Self { logged, told, table, .. } = self;
        if !self.by_clock {
            assert_eq!(told.requests, logged.requests, "\n{table}");
            assert_eq!(told.received, logged.received, "\n{table}");
        }
        for (place, really) in &logged.hops {
            let seen = told.hops.get(place).cloned().unwrap_or_default();
            let [all, all_seen] = [really, &seen].map(|outcomes| outcomes.values().sum::<u64>());
            assert!(all_seen == all || self.by_clock, "{all_seen} of {all} hops of {place:?}\n{table}");
            for outcome in ["lost", "restarted", "flipped"] {
                assert!(
                    seen.get(outcome) <= really.get(outcome),
                    "{place:?}, {outcome}: {seen:?} of {really:?}\n{table}"
                );
            }
        }
    }

    /// Who is blamed for what, towards whom.
    pub(crate) fn blamed(&self) -> BTreeSet<(Code, String, Option<String>)> {
        self.blames()
            .map(|finding| (finding.code, finding.service.clone().unwrap_or_default(), finding.peer.clone()))
            .collect()
    }

    /// What is said of those who are blamed, as people read it.
    pub(crate) fn words(&self) -> String {
        let mut words = String::new();
        for finding in self.blames() {
            let Finding { severity, code, message, remedy, path, .. } = finding;
            let _ = writeln!(words, "{severity:?} {code:?}: {message}\n  {remedy}");
            if let Some(path) = path {
                let _ = writeln!(words, "  {}", path.line(*code));
            }
        }
        words
    }

    fn blames(&self) -> impl Iterator<Item = &Finding> {
        let ours: BTreeSet<&str> = self.logged.requests.keys().map(|(service, _)| service.as_str()).collect();
        self.report
            .findings
            .iter()
            .filter(|finding| BLAMES.contains(&finding.code))
            .filter(move |finding| finding.service.as_deref().is_some_and(|service| ours.contains(service)))
    }

    /// Everything is told, and nobody else is blamed.
    pub(crate) fn assert_blames(&self, breaks: &[Break]) {
        self.assert_tells_everything();
        let expected: BTreeSet<_> = breaks
            .iter()
            .map(|(code, service, peer)| (*code, (*service).to_owned(), peer.map(str::to_owned)))
            .collect();
        assert_eq!(self.blamed(), expected, "\n{}", self.table);
    }

    /// Every hop is as the services know it.
    pub(crate) fn assert_hops_are_exact(&self) {
        assert_eq!(self.told.hops, self.logged.hops, "\n{}", self.table);
    }
}
