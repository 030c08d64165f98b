//! `cargo xtask demo`: a shop of real services with planted faults, customers, the observer; then its report, and each fault
//! checked off against it. Fails when a planted fault is not found or a critical finding has no fault behind it.

mod checklist;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use testbed::observer::{Observer, binary};
use testbed::shop::{Fault, Shop, names};
use testbed::site::Site;
use testbed::traffic::{Amount, Plan, Traffic};
use testbed::{install, scratch, truth, workspace};

use crate::{interrupt, root};

/// Where the demo's observer serves its metrics; the same as in demo/observer.yaml.
const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9435);

/// What to show.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long customers send orders before the report is judged. Ratios need some hundred traces to be told apart.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u32).range(5..=3600))]
    seconds: u32,
    /// Go on serving the shop, its customers and the metrics until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// The observer's binary, where it is built already.
    #[arg(long, hide = true)]
    observer: Option<PathBuf>,
}

/// Builds as the user, observes as root.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let observer = if let Some(path) = &options.observer {
        path.clone()
    } else {
        eprintln!("building the observer (cargo build --release)");
        binary(true)?
    };
    if !root::is_root() {
        let mut arguments = vec!["demo".to_owned(), format!("--seconds={}", options.seconds)];
        arguments.push(format!("--observer={}", observer.display()));
        arguments.extend(options.keep.then(|| "--keep".to_owned()));
        return root::again("The observer needs root to attach to the kernel", &arguments);
    }
    let outcome = show(options, &observer);
    root::give_back(&scratch());
    outcome
}

fn show(options: &Options, binary: &Path) -> Result<ExitCode> {
    let runtimes = install::runtimes()?;
    let out = scratch().join("out");
    let logs = scratch().join("shop");
    eprintln!("starting the shop: {}", names().collect::<Vec<_>>().join(", "));
    let shop = Shop::start(&runtimes, &Site::Host(METRICS.ip()), &Fault::ALL, &logs)?;
    eprintln!("starting the observer: observer run --config demo/observer.yaml");
    let configuration = workspace().join("demo/observer.yaml");
    let table = scratch().join("report.txt");
    let mut observer = Observer::start(binary, &configuration, METRICS, &out, &table)?;

    let interrupted = interrupt::receiver()?;
    let plan = Plan {
        amount: Amount::Seconds(options.seconds),
        // One order at a time: then the cause of every request is beyond doubt.
        connections: 1,
        gap_seconds: 0.004,
        mixed_contexts: false,
        warm_up: false,
    };
    let mut customers = Traffic::start(&runtimes, &shop.url(), plan, &logs)?;
    if !watch(&interrupted, options.seconds, &mut customers, &mut observer)? {
        bail!("interrupted: everything that was started is stopped");
    }
    let sent = customers.finish()?;
    eprintln!("{} orders sent and answered", sent.requests);

    if !options.keep {
        let (report, shown) = observer.stop()?;
        println!("{shown}");
        let complete = checklist::print(&report, &truth::read(shop.logs(), names(), 0)?);
        println!("\nThe audit: {}", out.join(observer_core::audit::report::FILE_NAME).display());
        println!("Metrics were served at http://{METRICS}/metrics; `cargo xtask demo --keep` goes on serving them.");
        return Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }

    let complete = checklist::print(&observer.settled_report(METRICS)?, &truth::read(shop.logs(), names(), 0)?);
    println!("\nMetrics: http://{METRICS}/metrics   The report as of now: http://{METRICS}/report");
    println!("Orders go on. Ctrl-C ends the demo.");
    let endless = Plan { amount: Amount::Seconds(u32::MAX), gap_seconds: 0.05, ..plan };
    let mut customers = Traffic::start(&runtimes, &shop.url(), endless, &logs)?;
    while interrupted.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        if !observer.is_running()? || !customers.is_running()? {
            bail!("the observer or the shop's traffic has ended by itself; logs are in {}", scratch().display());
        }
    }
    drop(customers);
    let (_, shown) = observer.stop()?;
    println!("\n{shown}\nThe audit: {}", out.join(observer_core::audit::report::FILE_NAME).display());
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits while the customers send; says whether they came to their end undisturbed.
fn watch(stop: &Receiver<()>, seconds: u32, customers: &mut Traffic, observer: &mut Observer) -> Result<bool> {
    let bar =
        if std::io::stderr().is_terminal() { ProgressBar::new(u64::from(seconds)) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("customers order {wide_bar} {pos}/{len} s")?);
    if bar.is_hidden() {
        eprintln!("customers order for {seconds} s");
    }
    let begun = Instant::now();
    loop {
        match stop.recv_timeout(Duration::from_millis(200)) {
            Err(RecvTimeoutError::Timeout) => bar.set_position(begun.elapsed().as_secs().min(u64::from(seconds))),
            _ => return Ok(false),
        }
        if !observer.is_running()? {
            bail!("the observer has ended by itself; its log: {}", scratch().join("observer.log").display());
        }
        if !customers.is_running()? {
            bar.finish_and_clear();
            return Ok(true);
        }
    }
}
