//! A scene of gRPC: what its services are written in and what a customer asks of them comes in; what they logged and what an
//! observer beside them reported goes out.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use observer_core::audit::report::Report;
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::site::Site;
use testbed::sources;
use testbed::truth::{Facts, read, reported};

use crate::service::{Program, Service, only, place};

pub(crate) const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));
const SERVICES: [&str; 2] = ["front", "back"];

/// What a service is written in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// grpcio.
    Python,
    /// grpc-go.
    Go,
    /// tonic.
    Rust,
}

impl Peer {
    fn program(self, python: &Program) -> Result<Program> {
        match self {
            Self::Python => Ok(python.clone()),
            Self::Go => Ok(Program(vec![sources::go("tests/calls.go")?])),
            Self::Rust => Ok(Program(vec![PathBuf::from(env!("CARGO_BIN_EXE_calls"))])),
        }
    }
}

/// A customer (grpcio) calls the front, the front calls the back.
#[derive(Debug)]
pub(crate) struct Scene {
    /// What the front and the back are written in.
    pub(crate) peers: [Peer; 2],
    /// A source of the observer's configuration.
    pub(crate) source: &'static str,
    /// Where the back is.
    pub(crate) site: Site,
    /// Calls in turn, so many of them, so many at a time.
    pub(crate) methods: &'static [&'static str],
    pub(crate) orders: u64,
    pub(crate) at_once: u64,
    /// Streams that are open before the first of these calls: those that fail end after the last one, the others stay open.
    pub(crate) kept: &'static [&'static str],
    /// Whether the observer begins when they have called each other for a while.
    pub(crate) late: bool,
}

/// What the services logged and what the observer reported of the same calls.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) logged: Facts,
    pub(crate) told: Facts,
    pub(crate) report: Report,
}

impl Scene {
    /// Both services in the same language, one call at a time.
    pub(crate) fn of(peer: Peer, methods: &'static [&'static str]) -> Self {
        Self {
            peers: [peer; 2],
            source: "cgroup",
            site: HERE,
            methods,
            orders: 280,
            at_once: 1,
            kept: &[],
            late: false,
        }
    }

    /// Plays it. `name` is the name of the test.
    pub(crate) fn observe(&self, name: &str) -> Result<Outcome> {
        let _only = only();
        let python = Program::python(&install::runtimes()?.python, "calls.py");
        let [front_program, back_program] = self.peers.map(|peer| peer.program(&python));
        let place = place(name)?;
        let held = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        let [front, metrics]: [SocketAddr; 2] = [held[0].local_addr()?, held[1].local_addr()?];
        let (front, back) = (front.to_string(), self.site.addresses(1)?[0].to_string());
        drop(held);
        let command = |program: &Program, name: &str, site: &Site, arguments: &[&str]| {
            program.command(name, site, arguments, &place.join(format!("{name}.jsonl")))
        };

        let audits = place.join("audits");
        let configuration = place.join("observer.yaml");
        let text = format!(
            "capture: {{sources: [{}]}}\nprometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
            self.source,
            audits.display()
        );
        std::fs::write(&configuration, text)?;
        let start = || Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"));
        let early = if self.late { None } else { Some(start()?) };
        let mut since_ns = now_ns()?;
        let _back = Service::start(command(&back_program?, "back", &self.site, &[&back, "-", "-"]))?;
        let _front = Service::start(command(&front_program?, "front", &HERE, &[&front, &back, "back"]))?;
        let mut customer = command(&python, "customer", &HERE, &["-", &front, "front"]);
        customer.args([self.methods.join(","), self.orders.to_string(), self.at_once.to_string(), self.kept.join(",")]);
        let mut customer = Service::start({
            customer.stdin(Stdio::piped());
            customer
        })?;
        let observer = match early {
            Some(early) => early,
            None => start()?,
        };
        if self.late {
            since_ns = now_ns()?;
        }
        customer.child.stdin.as_mut().context("it has an input")?.write_all(b"go\n")?;
        customer.hear("done")?;
        let (report, _) = observer.stop()?;

        assert_eq!(report.capture.sources, [self.source]);
        assert_eq!(report.capture.lost, 0, "the observer lost records: {:?}", report.capture);
        let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
        let calls: u64 = logged.requests.values().map(|row| row.all()).sum();
        assert!(calls >= 2 * self.orders, "{calls}");
        Ok(Outcome { logged, told, report })
    }
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

impl Outcome {
    /// Every request, context, trace, hop and error is as the services know it.
    pub(crate) fn assert_everything_is_exact(&self) {
        let Self { logged, told, .. } = self;
        assert_eq!(told.requests, logged.requests);
        assert_eq!(told.received, logged.received);
        assert_eq!(told.hops, logged.hops);
        assert_eq!(told.errors, logged.errors);
    }

    /// Every call since the observer began is counted and every context known; whether a call without one has none cannot be
    /// known where names of headers were told before.
    pub(crate) fn assert_nothing_is_wrong(&self) {
        for service in SERVICES {
            let [valid, missing, malformed] = contexts(&self.logged, service);
            let [told_valid, told_missing, told_malformed] = contexts(&self.told, service);
            assert_eq!((told_valid, told_malformed), (valid, malformed), "{service}");
            let unobserved = self.report.requests.iter().filter(|row| row.service == service);
            let unobserved: u64 = unobserved.map(|row| row.unobserved).sum();
            assert_eq!(told_missing + unobserved, missing, "{service}: {unobserved} not observed");
        }
        let errors = |facts: &Facts| facts.errors.values().map(|(responses, _)| responses).sum::<u64>();
        // A status that a table of headers held before is not known.
        assert!(errors(&self.told) <= errors(&self.logged), "{:?}", self.told.errors);
        for (hop, outcomes) in &self.told.hops {
            for outcome in ["lost", "restarted", "flipped"] {
                let real = self.logged.hops.get(hop).and_then(|real| real.get(outcome));
                assert!(outcomes.get(outcome) <= real, "{hop:?}: {outcomes:?} where {real:?} were {outcome}");
            }
        }
    }
}

/// Valid, missing and malformed contexts of a service, whatever the tenant.
fn contexts(facts: &Facts, service: &str) -> [u64; 3] {
    let rows = facts.requests.iter().filter(|((name, _), _)| name == service);
    rows.fold([0; 3], |[valid, missing, malformed], (_, row)| {
        [valid + row.valid, missing + row.missing, malformed + row.malformed]
    })
}
