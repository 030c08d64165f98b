//! An observer beside programs that use TLS: their processes come in, an observer that has probed them goes out.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::shop::get;

use crate::peer::{Certificate, THREADS};
use crate::place::place;
use crate::probes::{PATIENCE, POLL, until_probed};
use crate::service::Service;

/// Where a test runs, and how its observer is configured.
pub(crate) struct Beside {
    pub(crate) place: PathBuf,
    pub(crate) python: PathBuf,
    pub(crate) certificate: Certificate,
    /// The program.
    pub(crate) observer: PathBuf,
    metrics: SocketAddr,
    configuration: PathBuf,
}

impl Beside {
    /// An empty place with a certificate. `name` is the name of the test.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let place = place(name)?;
        let [metrics] = addresses()?;
        let configuration = place.join("observer.yaml");
        let (python, certificate) = (install::runtimes()?.python, Certificate::make(&place)?);
        let observer = binary(false)?;
        let beside = Self { place, python, certificate, observer, metrics, configuration };
        beside.configure("")?;
        Ok(beside)
    }

    /// Settings of capture of the next observer, besides its sources.
    pub(crate) fn configure(&self, settings: &str) -> Result<()> {
        let text = format!(
            "capture: {{sources: [cgroup, tls], {settings}}}\nprometheus: {{listen: \"{}\"}}\naudit: {{directory: {}}}\n",
            self.metrics,
            self.place.join("audits").display()
        );
        Ok(std::fs::write(&self.configuration, text)?)
    }

    /// Starts an observer.
    pub(crate) fn start(&self) -> Result<Observer> {
        let (audits, table) = (self.place.join("audits"), self.place.join("report.txt"));
        Observer::start(&self.observer, &self.configuration, self.metrics, &audits, &table)
    }

    /// Starts an observer and waits until it has probed these processes.
    pub(crate) fn observe(&self, processes: &[u32]) -> Result<Observer> {
        let observer = self.start()?;
        processes.iter().try_for_each(|&process| until_probed(process))?;
        Ok(observer)
    }

    /// Has a customer, once it is probed, send requests to the service `peer` at `address`.
    pub(crate) fn order(&self, orders: u64, address: &str, peer: &str) -> Result<()> {
        let arguments = ["customer", "-", address, peer];
        let mut customer = THREADS.command(&self.python, &self.certificate, arguments, &self.place)?;
        customer.args([&*orders.to_string(), "0"]).stdin(Stdio::piped());
        let mut customer = Service::start(customer)?;
        until_probed(customer.child.id())?;
        customer.child.stdin.take().context("it has an input")?.write_all(b"go\n")?;
        ensure!(customer.child.wait()?.success(), "an order failed");
        Ok(())
    }

    /// Waits until the log of the running observer says this, and returns it.
    pub(crate) fn until_logged(&self, words: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.place.join("observer.log"))?;
            if log.contains(words) {
                return Ok(log);
            }
            ensure!(Instant::now() < end, "the log does not say {words:?}: {log}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the report of the running observer says this.
    pub(crate) fn until_said(&self, words: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !get(self.metrics, "/report")?.contains(words) {
            ensure!(Instant::now() < end, "the report does not say {words:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Addresses that nobody listens at.
pub(crate) fn addresses<const COUNT: usize>() -> Result<[SocketAddr; COUNT]> {
    let held = (0..COUNT).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
    let addresses = held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    addresses.try_into().ok().context("as many as were asked for")
}
