//! Observers come and go while programs serve requests over TLS: no request fails, no program ends, no probe is left. One that its
//! probes cost too much is named, and left alone when that is asked for.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::{Pid, Signal, kill_process};
use testbed::install::{apt, has_program};

use crate::beside::{Beside, addresses};
use crate::peer::{ASYNCIO, Peer, THREADS};
use crate::place::only;
use crate::probes::{PATIENCE, POLL, probes};
use crate::programs::{curl, gnutls_serves};

const TIMES: usize = 4;
/// A request in 10 ms over each connection: what matters is that there are always some under way.
const PACE: &str = "function delay() return 10 end";

const NODE: Peer = Peer::Node { server: "https", client: "https" };
const GO: Peer = Peer::StrippedGo { server: "http1", client: "http1" };

/// Requests over TLS to one server, until it is stopped.
struct Load(Child);

impl Load {
    fn start(beside: &Beside, server: &str) -> Result<Self> {
        if !has_program("wrk") {
            apt(&["wrk"])?;
        }
        let pace = beside.place.join("pace.lua");
        std::fs::write(&pace, PACE)?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", "4", "--duration", "600", "--script"]).arg(pace);
        Ok(Self(wrk.arg(format!("https://{server}/")).stdout(Stdio::piped()).spawn()?))
    }

    /// Stops it; every request must have had its answer.
    fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let mut said = String::new();
        self.0.stdout.take().context("it has an output")?.read_to_string(&mut said)?;
        ensure!(self.0.wait()?.success(), "{said}");
        let line = said.lines().find(|line| line.contains(" requests in ")).with_context(|| said.clone())?;
        let requests: u64 = line.split_ascii_whitespace().next().context("a number")?.parse()?;
        let has_failed = said.contains("Socket errors") || said.contains("Non-2xx");
        ensure!(requests > 100 && !has_failed, "{said}");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until each of these processes has probes, or none has.
fn until(processes: &[u32], are_probed: bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    for &process in processes {
        while (probes(process)? > 0) != are_probed {
            ensure!(Instant::now() < end, "process {process}: {} probes", probes(process)?);
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// One curl after the other, each with a connection of its own. Returns how many asked.
fn curls(beside: &Beside, server: SocketAddr, ended: &AtomicBool) -> Result<u64> {
    let mut count = 0;
    while !ended.load(Ordering::Relaxed) {
        ensure!(curl(beside)?.arg(format!("https://{server}/")).status()?.success(), "curl {count} failed");
        count += 1;
    }
    Ok(count)
}

/// Observers that start, probe these processes, and end, one of them killed outright.
fn observers(beside: &Beside, processes: &[u32]) -> Result<()> {
    until(processes, false)?;
    for time in 0..TIMES {
        let observer = beside.start()?;
        until(processes, true)?;
        if time == 1 {
            drop(observer);
        } else {
            observer.stop()?;
        }
        until(processes, false)?;
    }
    Ok(())
}

#[test]
fn observers_that_come_and_go_disturb_no_request() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-load")?;
    let [gnutls] = addresses::<1>()?;
    let all = addresses::<6>()?.map(|address| address.to_string());
    let [threads, asyncio, node, go, rustls, nginx] = &all;
    let backs = [(THREADS, threads), (ASYNCIO, asyncio), (NODE, node), (GO, go), (Peer::Rustls, rustls)];
    let mut services = vec![gnutls_serves(&beside, gnutls)?];
    for (number, (peer, address)) in backs.into_iter().enumerate() {
        let arguments = [&*format!("back-{number}"), address, "-", "-"];
        services.push(peer.start(&beside.python, &beside.certificate, arguments, &beside.place)?);
    }
    services.push(Peer::Nginx.start(
        &beside.python,
        &beside.certificate,
        ["front", nginx, rustls, "back"],
        &beside.place,
    )?);
    let loads = all.iter().map(|server| Load::start(&beside, server)).collect::<Result<Vec<_>>>()?;
    let processes: Vec<u32> = services.iter().map(|service| service.child.id()).collect();
    let ended = AtomicBool::new(false);
    let (observed, asked) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| curls(&beside, gnutls, &ended));
        let observed = observers(&beside, &processes);
        ended.store(true, Ordering::Relaxed);
        (observed, asking.join())
    });
    observed?;
    let asked = asked.map_err(|_| anyhow!("a panic"))??;
    ensure!(asked > 100, "{asked} curls");
    for load in loads {
        load.stop()?;
    }
    for service in &mut services {
        ensure!(service.child.try_wait()?.is_none(), "a server has ended");
    }
    Ok(())
}

#[test]
fn who_is_cost_too_much_is_named_and_then_left_alone() -> Result<()> {
    let _only = only();
    let beside = Beside::new("tls-budget")?;
    let [address] = addresses()?.map(|address| address.to_string());
    let server = THREADS.start(&beside.python, &beside.certificate, ["back", &address, "-", "-"], &beside.place)?;
    let process = server.child.id();
    let command = std::fs::read_to_string(format!("/proc/{process}/comm"))?;
    let command = command.trim_end();
    let load = Load::start(&beside, &address)?;
    let warning = |process: u32, command: &str| format!("tls: probes cost process {process} ({command}) ");
    // Some 2,400 hits a second take as much wherever one takes half a microsecond.
    beside.configure("tls_budget: 0.001")?;
    let observer = beside.start()?;
    beside.until_logged(&warning(process, command))?;
    observer.stop()?;
    beside.configure(&format!("tls_budget: 0.001, tls_leave: [{command}]"))?;
    let observer = beside.start()?;
    // The other end of the same connections is named as before.
    let log = beside.until_logged(&warning(load.0.id(), "wrk"))?;
    assert!(!log.contains(&warning(process, command)), "{log}");
    assert_eq!(probes(process)?, 0);
    observer.stop()?;
    load.stop()
}
