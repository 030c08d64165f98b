//! The shop: eight services that call each other over plain HTTP on this host. Comes in: which faults to plant; goes out:
//! running services that answer, and the directory with their logs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::install::Runtimes;
use crate::process::Running;
use crate::site::Site;
use crate::{scratch, workspace};

/// How long a service may take to answer its health check: eight runtimes start at once on as few as two cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// The ratios that the services' root samplers run with; what demo/tenant-rules.yaml declares.
const TENANT_RATIOS: &str = r#"{"default": 0.4, "acme": 0.8, "globex": 0.5, "umbrella": 0.2}"#;

/// A fault that can be planted, each in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The gateway samples globex at half of its declared ratio.
    GatewayHalvesGlobex,
    /// The thread in which pricing calls discounts starts a new trace.
    PricingRestarts,
    /// What inventory sends carries no context.
    InventorySendsNone,
    /// payment calls the ledger without the weight.
    PaymentDropsWeight,
    /// One charge in 25 ends with 503, sampled or not.
    PaymentFails,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [
        Self::GatewayHalvesGlobex,
        Self::PricingRestarts,
        Self::InventorySendsNone,
        Self::PaymentDropsWeight,
        Self::PaymentFails,
    ];

    /// The name by which the services know it.
    fn as_str(self) -> &'static str {
        match self {
            Self::GatewayHalvesGlobex => "gateway-halves-globex",
            Self::PricingRestarts => "pricing-restarts",
            Self::InventorySendsNone => "inventory-sends-none",
            Self::PaymentDropsWeight => "payment-drops-weight",
            Self::PaymentFails => "payment-fails",
        }
    }
}

#[derive(Clone, Copy)]
enum Runtime {
    Python,
    Node,
}

/// A service: its name, what it runs on, whom it calls.
struct Service {
    name: &'static str,
    runtime: Runtime,
    calls: &'static [&'static str],
}

const SERVICES: [Service; 8] = [
    Service { name: "gateway", runtime: Runtime::Node, calls: &["checkout"] },
    Service { name: "checkout", runtime: Runtime::Python, calls: &["pricing", "inventory", "payment"] },
    Service { name: "pricing", runtime: Runtime::Python, calls: &["discounts"] },
    Service { name: "discounts", runtime: Runtime::Node, calls: &["ledger"] },
    Service { name: "inventory", runtime: Runtime::Node, calls: &["warehouse"] },
    Service { name: "warehouse", runtime: Runtime::Python, calls: &["ledger"] },
    Service { name: "payment", runtime: Runtime::Python, calls: &["ledger"] },
    Service { name: "ledger", runtime: Runtime::Node, calls: &[] },
];

/// The names of the shop's services.
pub fn names() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().map(|service| service.name)
}

/// The running shop; its services end with it.
#[derive(Debug)]
pub struct Shop {
    services: BTreeMap<&'static str, Running>,
    addresses: BTreeMap<&'static str, SocketAddr>,
    logs: PathBuf,
    /// Held while the shop is open: services of the same names beside each other would spoil each other's counts.
    _only: File,
}

impl Shop {
    /// Starts every service at `site` with `faults` planted and waits until all answer. Logs go to `logs`, which is
    /// emptied first. Where another shop is open on this machine it waits for that to close.
    ///
    /// # Errors
    /// A service does not start; with what it printed.
    pub fn start(runtimes: &Runtimes, site: &Site, faults: &[Fault], logs: &Path) -> Result<Self> {
        fs::create_dir_all(scratch()).with_context(|| format!("cannot make {}", scratch().display()))?;
        let only = File::create(scratch().join("shop.lock"))?;
        only.lock().context("cannot wait for another shop to close")?;
        if logs.exists() {
            fs::remove_dir_all(logs).with_context(|| format!("cannot clear {}", logs.display()))?;
        }
        fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let addresses = names().zip(site.addresses(SERVICES.len())?).collect();
        let faults: Vec<&str> = faults.iter().map(|fault| fault.as_str()).collect();
        let mut shop = Self { services: BTreeMap::new(), addresses, logs: logs.to_owned(), _only: only };
        for service in &SERVICES {
            let command = shop.command(service, site, runtimes, &faults.join(","));
            let log = logs.join(format!("{}.log", service.name));
            shop.services.insert(service.name, Running::start(service.name, command, &log)?);
        }
        for (name, running) in &mut shop.services {
            let address = shop.addresses[name];
            running.wait_until("ready", START_LIMIT, || answers(address, "/healthz"))?;
        }
        Ok(shop)
    }

    /// Where customers send their orders.
    pub fn url(&self) -> String {
        format!("http://{}/orders", self.addresses["gateway"])
    }

    /// Where a service listens.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.addresses.get(name).copied()
    }

    /// The directory with the services' logs: what they printed, and the truth.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    fn command(&self, service: &Service, site: &Site, runtimes: &Runtimes, faults: &str) -> Command {
        let sources = workspace().join("demo/services");
        let mut command = match service.runtime {
            Runtime::Python => {
                let mut python = site.command(&runtimes.python);
                python.arg(sources.join(format!("python/{}.py", service.name)));
                // No bytecode beside the sources.
                python.env("PYTHONDONTWRITEBYTECODE", "1");
                python
            }
            Runtime::Node => {
                let mut node = site.command(Path::new("node"));
                node.arg(sources.join(format!("node/{}.js", service.name))).env("NODE_PATH", &runtimes.node_modules);
                node
            }
        };
        command.env("OTEL_SERVICE_NAME", service.name);
        command.env("TENANT_RATIOS", TENANT_RATIOS).env("FAULTS", faults);
        command.env("LISTEN", self.addresses[service.name].to_string());
        command.env("TRUTH_FILE", self.logs.join(format!("{}.jsonl", service.name)));
        for peer in service.calls {
            let address = self.addresses[peer];
            command.env(format!("URL_{}", peer.to_uppercase()), format!("http://{address}"));
            command.env(format!("NAME_{}", address.port()), peer);
        }
        command.stdout(Stdio::null());
        command
    }
}

/// Whether an HTTP server answers `path` with 200.
pub fn answers(address: SocketAddr, path: &str) -> bool {
    get(address, path).is_ok_and(|text| text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"))
}

/// Asks an HTTP server and returns its whole answer, head and body.
///
/// # Errors
/// Nobody listens there, or the answer stops for more than two seconds.
pub fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
