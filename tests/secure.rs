//! Requests over TLS between real programs, each with the library that it uses: the observer's report against the programs' own
//! logs, exactly.

#[path = "secure/beside.rs"]
mod beside;
#[path = "secure/bssl.rs"]
mod bssl;
#[path = "secure/git.rs"]
mod git;
#[path = "secure/java.rs"]
mod java;
#[path = "secure/load.rs"]
mod load;
mod outcome;
#[path = "secure/peer.rs"]
mod peer;
mod place;
mod probes;
#[path = "secure/programs.rs"]
mod programs;
mod service;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use testbed::install;
use testbed::observer::{Observer, binary};
use testbed::truth::{read, reported};

use crate::outcome::{Outcome, SERVICES};
use crate::peer::{ASYNCIO, Certificate, LIBSSL, Peer, THREADS, proxy_logs};
use crate::place::{only, place};
use crate::service::Service;

const ORDERS: u64 = 200;
/// Orders before the observer begins, where it begins late.
const BEFORE: u64 = 20;

/// A customer in Python calls the front, the front calls the back, all of it over TLS.
#[derive(Clone, Copy, Debug)]
struct Scene {
    front: Peer,
    back: Peer,
    /// The library of the customer (service.py).
    customer: &'static str,
    /// Whether the observer begins when they have called each other for a while.
    late: bool,
    /// Whether it observes what goes to the port of the back alone.
    of_back: bool,
    /// Who is left alone: where somebody is, each process is probed on its own.
    leave: &'static str,
}

impl Scene {
    fn of(front: Peer, back: Peer) -> Self {
        Self { front, back, customer: "requests", late: false, of_back: false, leave: "" }
    }

    /// Plays it. `name` is the name of the test.
    fn observe(self, name: &str) -> Result<Outcome> {
        let _only = only();
        Ok(self.play(name)?.whole())
    }

    fn play(self, name: &str) -> Result<Outcome> {
        let place = place(name)?;
        let python = install::runtimes()?.python;
        let certificate = Certificate::make(&place)?;
        let held = (0..3).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<Vec<_>, _>>()?;
        let [front, back, metrics]: [SocketAddr; 3] =
            [held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?];
        drop(held);

        let audits = place.join("audits");
        let configuration = place.join("observer.yaml");
        // nginx writes its title over its environment, where the others have their names.
        let ports = if self.of_back { back.port().to_string() } else { String::new() };
        let text = format!(
            "services: [{{name: front, port: {}}}]\ncapture: {{sources: [cgroup, tls], tls_leave: [{}], ports: [{ports}]}}\n\
             prometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
            front.port(),
            self.leave,
            audits.display()
        );
        std::fs::write(&configuration, text)?;
        let start = || Observer::start(&binary(false)?, &configuration, metrics, &audits, &place.join("report.txt"));
        let early = if self.late { None } else { Some(start()?) };

        let (front, back) = (front.to_string(), back.to_string());
        let serve = |peer: Peer, arguments: [&str; 4]| peer.start(&python, &certificate, arguments, &place);
        let _back = serve(self.back, ["back", &back, "-", "-"])?;
        let _front = serve(self.front, ["front", &front, &back, "back"])?;
        let before = if self.late { BEFORE } else { 0 };
        let mut customer = Peer::Python { server: "threads", client: self.customer }.command(
            &python,
            &certificate,
            ["customer", "-", &front, "front"],
            &place,
        )?;
        customer.args([ORDERS.to_string(), before.to_string()]).stdin(Stdio::piped());
        let mut customer = Service::start(customer)?;
        let observer = match early {
            Some(early) => early,
            None => start()?,
        };
        let since_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        customer.child.stdin.take().context("it has an input")?.write_all(b"go\n")?;
        ensure!(customer.child.wait()?.success(), "an order failed");
        let (report, _) = observer.stop()?;

        if matches!(self.front, Peer::Nginx) {
            proxy_logs(&place, "front")?;
        }
        assert_eq!(report.capture.sources, ["cgroup", "tls"]);
        let (logged, told) = (read(&place, SERVICES.into_iter(), since_ns)?, reported(&report, &SERVICES));
        assert_eq!(logged.requests.values().map(|row| row.all()).sum::<u64>(), 2 * ORDERS);
        Ok(Outcome { logged, told, report })
    }
}

#[test]
fn between_services_in_python_everything_is_as_they_know_it() -> Result<()> {
    Scene::of(THREADS, THREADS).observe("tls-python")?.assert_everything_is_exact();
    let httpx = Peer::Python { server: "asyncio", client: "httpx" };
    Scene::of(ASYNCIO, httpx).observe("tls-asyncio")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn through_openssl_1_1_everything_is_as_its_users_know_it_and_connections_are_known() -> Result<()> {
    let libssl = Peer::Python { server: LIBSSL, client: LIBSSL };
    let scene = Scene { customer: LIBSSL, ..Scene::of(libssl, libssl) };
    scene.observe("tls-openssl-1.1")?.assert_everything_is_exact();
    // A session whose connection were not known would be told whatever its port.
    let Outcome { mut logged, told, .. } = Scene { of_back: true, ..scene }.observe("tls-openssl-1.1-port")?;
    logged.requests.retain(|(service, _), _| service == "back");
    assert_eq!(told.requests, logged.requests);
    Ok(())
}

#[test]
fn where_somebody_is_left_alone_everything_is_as_the_others_know_it() -> Result<()> {
    let scene = Scene { leave: "curl", ..Scene::of(THREADS, ASYNCIO) };
    scene.observe("tls-leave")?.assert_everything_is_exact();
    let go = Peer::Go { server: "http1", client: "http1" };
    // The proxy's workers are forked.
    Scene { leave: "curl", ..Scene::of(Peer::Nginx, go) }.observe("tls-leave-forked")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn between_services_in_node_everything_is_as_they_know_it() -> Result<()> {
    let http1 = Peer::Node { server: "https", client: "https" };
    Scene::of(http1, http1).observe("tls-node")?.assert_everything_is_exact();
    let http2 = Peer::Node { server: "http2", client: "http2" };
    Scene { customer: "httpx2", ..Scene::of(http2, http2) }.observe("tls-node-http2")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn between_services_in_go_everything_is_as_they_know_it() -> Result<()> {
    let http1 = Peer::Go { server: "http1", client: "http1" };
    Scene::of(http1, http1).observe("tls-go")?.assert_everything_is_exact();
    let http2 = Peer::StrippedGo { server: "http2", client: "http2" };
    Scene { customer: "httpx2", ..Scene::of(http2, http2) }.observe("tls-go-http2")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn between_services_in_rust_everything_is_as_they_know_it() -> Result<()> {
    Scene::of(Peer::Rustls, Peer::Rustls).observe("tls-rust")?.assert_everything_is_exact();
    Scene { customer: "httpx2", ..Scene::of(Peer::Hyper, Peer::Hyper) }
        .observe("tls-hyper")?
        .assert_everything_is_exact();
    Ok(())
}

#[test]
fn through_a_proxy_everything_is_as_its_logs_tell() -> Result<()> {
    let scene = Scene::of(Peer::Nginx, THREADS);
    scene.observe("tls-nginx")?.assert_everything_is_exact();
    Scene { customer: "httpx2", ..scene }.observe("tls-nginx-http2")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn over_connections_older_than_the_observer_every_request_is_counted_and_every_context_known() -> Result<()> {
    let go = Peer::Go { server: "http1", client: "http1" };
    let go2 = Peer::Go { server: "http2", client: "http2" };
    let node = Peer::Node { server: "http2", client: "https" };
    for (front, back, customer, name) in [
        (THREADS, ASYNCIO, "requests", "python"),
        (node, THREADS, "requests", "node"),
        (go, go, "requests", "go"),
        (go2, go2, "httpx2", "go-http2"),
    ] {
        let scene = Scene { customer, late: true, ..Scene::of(front, back) };
        // Who waits in a call to read when it is probed reads that once unseen.
        scene.observe(&format!("tls-older-{name}"))?.assert_nothing_is_wrong(1);
    }
    Ok(())
}
