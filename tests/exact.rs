//! The observer beside the shop: every request, flag, trace, hop, weight and error of its report against the services' own
//! logs, exactly. Needs root; without it the observer does not start, and the tests fail and say so.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use observer_core::audit::path::Begins;
use observer_core::audit::report::{Code, Finding, Report};
use observer_core::audit::runs::{Runs, Runtime};
use testbed::observer::{Observer, binary};
use testbed::shop::{Fault, Shop, names};
use testbed::site::{Namespace, Site};
use testbed::traffic::{Plan, Traffic};
use testbed::truth::{Facts, read, reported};
use testbed::{install, scratch};

const LOOPBACK: Site = Site::Host(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// One order at a time, and every kind of context: the cause of each request is then known to an observer too.
const SERIAL: Plan =
    Plan { orders: 200, seconds: 0, connections: 1, gap_seconds: 0.0, mixed_contexts: true, warm_up: false };

/// What the services logged and what the observer reported of the same requests.
struct Outcome {
    logged: Facts,
    observed: Facts,
    report: Report,
    table: String,
}

/// Opens a shop with every fault, observes it while customers order by `plan`, and compares nothing yet.
fn observe(name: &str, site: &Site, plan: Plan) -> Result<Outcome> {
    observe_by("cgroup", name, site, plan)
}

/// The same by a source of the configuration.
fn observe_by(source: &str, name: &str, site: &Site, plan: Plan) -> Result<Outcome> {
    let runtimes = install::runtimes()?;
    let binary = binary(false)?;
    let place = scratch().join("tests").join(name);
    let shop = Shop::start(&runtimes, site, &Fault::ALL, &place)?;
    let mut customers = plan.warm_up.then(|| Traffic::start(&runtimes, &shop.url(), plan, &place)).transpose()?;

    let metrics = free_address()?;
    let audits = place.join("audits");
    let configuration = place.join("observer.yaml");
    fs::write(
        &configuration,
        format!(
            "capture: {{sources: [{source}]}}\nprometheus: {{listen: \"{metrics}\"}}\naudit: {{directory: {}}}\n",
            audits.display()
        ),
    )?;
    let observer = Observer::start(&binary, &configuration, metrics, &audits, &place.join("report.txt"))?;
    let since_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;

    let mut customers = match customers.take() {
        Some(warm) => warm,
        None => Traffic::start(&runtimes, &shop.url(), plan, &place)?,
    };
    if plan.warm_up {
        customers.go()?;
    }
    let sent = customers.finish()?;
    assert_eq!(sent.statuses, BTreeMap::from([("200".to_owned(), sent.requests)]));

    let (report, table) = observer.stop()?;
    assert_eq!(report.capture.sources, [source]);
    assert_eq!(report.capture.lost, 0, "the observer lost records:\n{table}");
    // `capture.undecodable` is the whole host's; a head of the shop that was not decoded would be missing below.
    let services: Vec<&str> = names().collect();
    let logged = read(shop.logs(), names(), since_ns)?;
    let counted: u64 =
        logged.requests.iter().filter(|((name, _), _)| name == "gateway").map(|(_, row)| row.all()).sum();
    assert_eq!(counted, sent.requests, "the gateway's log and the customers' own count disagree");
    Ok(Outcome { logged, observed: reported(&report, &services), report, table })
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Everything, field by field: a difference shows the one table it is in.
fn assert_everything_is_exact(outcome: &Outcome) {
    assert_eq!(outcome.observed.requests, outcome.logged.requests);
    assert_eq!(outcome.observed.received, outcome.logged.received);
    assert_eq!(outcome.observed.started, outcome.logged.started);
    assert_eq!(outcome.observed.hops, outcome.logged.hops);
    assert_eq!(outcome.observed.weights, outcome.logged.weights);
    assert_eq!(outcome.observed.errors, outcome.logged.errors);
}

/// What the culprits of the two planted breaks run is named, and what to change there.
fn assert_culprits_are_named(Outcome { report, table, .. }: &Outcome) -> Result<()> {
    let broken = |code, service: &str| -> Result<(&Finding, &Runs)> {
        let finding =
            report.findings.iter().find(|finding| finding.code == code && finding.service.as_deref() == Some(service));
        let finding = finding.with_context(|| format!("{service} is not accused of {code:?}"))?;
        Ok((finding, finding.runs.first().with_context(|| format!("what {service} runs is not known"))?))
    };
    // fetch is not instrumented, though what would do that is installed.
    let (finding, runs) = broken(Code::ContextLost, "inventory")?;
    assert_eq!((runs.runtime, &runs.unread, finding.runs.len()), (Runtime::Node, &None, 1));
    assert!(runs.has("@opentelemetry/instrumentation-undici") && runs.has("express"), "{runs:?}");
    let remedy = "in inventory: register the instrumentation of its client before the client is loaded";
    assert!(finding.remedy.starts_with(remedy), "{}", finding.remedy);
    // A thread does not get the context.
    let (finding, runs) = broken(Code::TraceRestarted, "pricing")?;
    assert_eq!((runs.runtime, &runs.unread, finding.runs.len()), (Runtime::Python, &None, 1));
    assert!(runs.has("fastapi") && runs.has("opentelemetry-instrumentation-httpx"), "{runs:?}");
    assert!(finding.remedy.contains("contextvars.copy_context().run"), "{}", finding.remedy);
    assert!(finding.remedy.contains("install opentelemetry-instrumentation-threading"), "{}", finding.remedy);
    assert!(table.contains("CPython") && table.contains("Node.js"), "{table}");
    Ok(())
}

/// The way on which traces came to the two planted breaks is named, of every request that broke one: half of the traces begin with the
/// customers, the others at the gateway.
fn assert_paths_are_named(Outcome { report, table, .. }: &Outcome) -> Result<()> {
    for (code, culprit, to) in
        [(Code::ContextLost, "inventory", "warehouse"), (Code::TraceRestarted, "pricing", "discounts")]
    {
        let is_it = |finding: &&Finding| finding.code == code && finding.service.as_deref() == Some(culprit);
        let finding = report.findings.iter().find(is_it).with_context(|| format!("{culprit} is not accused"))?;
        let path = finding.path.as_ref().with_context(|| format!("how traces came to {culprit} is not told"))?;
        let services: Vec<&str> =
            path.services.iter().map(String::as_str).skip_while(|name| *name == "customers").collect();
        assert_eq!((&services[..], path.to.as_str()), (&["gateway", "checkout", culprit][..], to), "{path:?}");
        assert_eq!((path.begins, path.of), (Begins::Started, finding.count), "{path:?}");
        assert!(path.count * 2 >= path.of, "{path:?}");
        assert!(table.contains(&format!("gateway → checkout → {culprit} ┄ {to}")), "{table}");
    }
    Ok(())
}

#[test]
fn with_one_order_at_a_time_everything_is_as_the_services_know_it_and_culprits_and_paths_are_named() -> Result<()> {
    let outcome = observe("serial", &LOOPBACK, SERIAL)?;
    assert_everything_is_exact(&outcome);
    assert_paths_are_named(&outcome)?;
    assert_culprits_are_named(&outcome)
}

#[test]
fn over_ipv6_everything_is_as_the_services_know_it() -> Result<()> {
    assert_everything_is_exact(&observe("ipv6", &Site::Host(IpAddr::V6(Ipv6Addr::LOCALHOST)), SERIAL)?);
    Ok(())
}

#[test]
fn by_the_socket_filter_everything_is_as_the_services_know_it() -> Result<()> {
    assert_everything_is_exact(&observe_by("socket-filter", "wire", &LOOPBACK, SERIAL)?);
    Ok(())
}

#[test]
fn services_in_another_network_namespace_are_observed_as_well() -> Result<()> {
    let site = Site::Namespace(Namespace::create()?);
    assert_everything_is_exact(&observe("namespace", &site, SERIAL)?);
    Ok(())
}

#[test]
fn connections_older_than_the_observer_are_observed_from_its_start_on() -> Result<()> {
    let plan = Plan { warm_up: true, ..SERIAL };
    assert_everything_is_exact(&observe("older", &LOOPBACK, plan)?);
    Ok(())
}

#[test]
fn at_sixteen_connections_all_requests_and_flags_are_exact_and_no_innocent_is_accused() -> Result<()> {
    let plan = Plan { orders: 1600, connections: 16, ..SERIAL };
    let Outcome { logged, observed, .. } = observe("parallel", &LOOPBACK, plan)?;
    assert_eq!(observed.requests, logged.requests);
    assert_eq!(observed.received, logged.received);
    assert_eq!(observed.started, logged.started);
    assert_eq!(observed.weights, logged.weights);
    assert_eq!(observed.errors, logged.errors);
    for (place, true_outcomes) in &logged.hops {
        let outcomes = observed.hops.get(place).cloned().unwrap_or_default();
        assert_eq!(outcomes.values().sum::<u64>(), true_outcomes.values().sum::<u64>(), "hops of {place:?}");
        for outcome in ["lost", "restarted", "flipped"] {
            let (seen, real) = (outcomes.get(outcome), true_outcomes.get(outcome));
            assert!(seen <= real, "{place:?}: {seen:?} {outcome} were observed, {real:?} happened");
        }
    }
    Ok(())
}
