//! A scene of gRPC: what its services are written in and what a customer asks of them comes in; what they logged and what an
//! observer beside them reported goes out.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::site::Site;
use testbed::sources;
use testbed::truth::{read, reported};

use crate::outcome::{Outcome, SERVICES};
use crate::place::{only, place};
use crate::probes::until_probed;
use crate::service::{Program, Service};

pub(crate) const HERE: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// What a service is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Whether they talk over TLS. The front and the back then begin before the observer, and the customer after it.
    pub(crate) secure: bool,
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
            secure: false,
        }
    }

    /// Plays it. `name` is the name of the test.
    pub(crate) fn observe(&self, name: &str) -> Result<Outcome> {
        let _only = only();
        Ok(self.play(name)?.whole())
    }

    fn play(&self, name: &str) -> Result<Outcome> {
        let python = Program::python(&install::runtimes()?.python, "calls.py");
        let [front_program, back_program] = self.peers.map(|peer| peer.program(&python));
        let place = place(name)?;
        let held = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        let [front, metrics]: [SocketAddr; 2] = [held[0].local_addr()?, held[1].local_addr()?];
        let (front, back) = (front.to_string(), self.site.addresses(1)?[0].to_string());
        drop(held);
        let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| place.join(name));
        if self.secure {
            install::certificate(&certificate, &key)?;
        }
        let command = |program: &Program, name: &str, site: &Site, arguments: &[&str]| {
            let mut command = program.command(name, site, arguments, &place.join(format!("{name}.jsonl")));
            if self.secure {
                command.env("CERTIFICATE", &certificate).env("KEY", &key);
            }
            command
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
        let mut early = if self.late || self.secure { None } else { Some(start()?) };
        let mut since_ns = now_ns()?;
        let back_service = Service::start(command(&back_program?, "back", &self.site, &[&back, "-", "-"]))?;
        let front_service = Service::start(command(&front_program?, "front", &HERE, &[&front, &back, "back"]))?;
        if self.secure && !self.late {
            early = Some(start()?);
            for (peer, service) in self.peers.into_iter().zip([&front_service, &back_service]) {
                // grpcio brings a library that cannot be probed.
                if peer != Peer::Python {
                    until_probed(service.child.id())?;
                }
            }
        }
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

        assert_eq!(report.capture.sources.join(", "), self.source);
        let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
        drop((front_service, back_service));
        let calls: u64 = logged.requests.values().map(|row| row.all()).sum();
        assert!(calls >= 2 * self.orders, "{calls}");
        Ok(Outcome { logged, told, report })
    }
}

fn now_ns() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
