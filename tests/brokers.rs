//! Records that pass through RabbitMQ, NATS and Redis: what the producer, the consumer and who is called by it logged, and what the
//! observer reported, exactly. Nothing of it is told of the brokers.

mod place;
mod records;
mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use testbed::install::{Runtimes, apt, has_program};

use crate::records::{Broker, CALLS, HERE, Outcome, Scene, ports};
use crate::service::Service;

const RABBITMQ: Scene = Scene {
    source: "cgroup",
    broker: rabbitmq,
    protocol: "amqp",
    script: "records.py",
    library: "pika",
    kinds: &["queue", "exchange"],
    manner: "continues",
    late: false,
};
const NATS: Scene =
    Scene { broker: nats, protocol: "nats", library: "nats", kinds: &["plain", "group", "stream"], ..RABBITMQ };
const REDIS: Scene =
    Scene { broker: redis, protocol: "redis", library: "redis", kinds: &["resp2", "resp3", "channel"], ..RABBITMQ };
const CELERY: Scene = Scene { library: "celery", kinds: &["high", "low"], ..REDIS };
const RQ: Scene = Scene { library: "rq", ..CELERY };

/// Starts a program of a broker and waits until it says `ready`. It ends with this process, whatever ends that.
fn start(
    program: &str,
    package: &str,
    arguments: &[&str],
    settings: &[(&str, String)],
    ready: &str,
) -> Result<Service> {
    if !has_program(program) && !Path::new(program).exists() {
        apt(&[package])?;
    }
    let mut command: Command = HERE.command("setpriv".as_ref());
    // epmd and nats-server say it on their standard error.
    command.args(["--pdeathsig", "KILL", "--", "sh", "-c", "exec \"$@\" 2>&1", "sh", program]).args(arguments);
    command.envs(settings.iter().map(|(name, value)| (name, value))).env("OTEL_SERVICE_NAME", "broker");
    let mut service = Service::spawn(command.stdin(Stdio::null()))?;
    while !service.line().with_context(|| format!("{program} does not start"))?.contains(ready) {}
    Ok(service)
}

/// A node of its own, beside the one that Debian starts when it installs it.
fn rabbitmq(_: &Runtimes, place: &Path) -> Result<Broker> {
    // The wrapper on the path would have another user run it.
    const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
    let [node, distribution, names] = ports()?;
    let port = |address: std::net::SocketAddr| address.port().to_string();
    let file = |name: &str| place.join(name).display().to_string();
    let names_settings = [("ERL_EPMD_PORT", port(names)), ("ERL_EPMD_ADDRESS", names.ip().to_string())];
    let settings = [
        ("HOME", place.display().to_string()),
        ("RABBITMQ_NODENAME", format!("node-{}@localhost", node.port())),
        ("RABBITMQ_NODE_IP_ADDRESS", node.ip().to_string()),
        ("RABBITMQ_NODE_PORT", port(node)),
        ("RABBITMQ_DIST_PORT", port(distribution)),
        ("RABBITMQ_MNESIA_BASE", file("mnesia")),
        ("RABBITMQ_LOG_BASE", file("log")),
        ("RABBITMQ_PID_FILE", file("pid")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
        ("RABBITMQ_CONF_ENV_FILE", file("environment")),
        ("RABBITMQ_CONFIG_FILE", file("configuration")),
        ("RABBITMQ_CONFIG_FILES", file("configurations")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced")),
        // The server in the place of the script that starts it, without a console.
        ("detached", "yes".to_owned()),
        ("RABBITMQ_SERVER_START_ARGS", "-noinput".to_owned()),
    ];
    // Started by the node it would outlive it.
    let names = start("epmd", "rabbitmq-server", &["-debug"], &names_settings, "epmd running")?;
    let settings: Vec<_> = names_settings.into_iter().chain(settings).collect();
    let server = start(SERVER, "rabbitmq-server", &[], &settings, "completed with")?;
    Ok(Broker { programs: vec![server, names], address: node.to_string(), certificate: None })
}

fn nats(_: &Runtimes, place: &Path) -> Result<Broker> {
    let [address] = ports()?;
    let (host, port, store) = (address.ip().to_string(), address.port().to_string(), place.display().to_string());
    let arguments = ["--addr", &host, "--port", &port, "--jetstream", "--store_dir", &store];
    let server = start("nats-server", "nats-server", &arguments, &[], "Server is ready")?;
    Ok(Broker { programs: vec![server], address: address.to_string(), certificate: None })
}

fn redis(_: &Runtimes, place: &Path) -> Result<Broker> {
    let [address] = ports()?;
    let (host, port, place) = (address.ip().to_string(), address.port().to_string(), place.display().to_string());
    let arguments = ["--bind", &host, "--port", &port, "--dir", &place, "--save", ""];
    let server = start("redis-server", "redis-server", &arguments, &[], "Ready to accept connections")?;
    Ok(Broker { programs: vec![server], address: address.to_string(), certificate: None })
}

#[test]
fn what_passes_through_rabbitmq_is_told_as_its_clients_know_it() -> Result<()> {
    RABBITMQ.observe("rabbitmq")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_passes_through_nats_is_told_as_its_clients_know_it() -> Result<()> {
    NATS.observe("nats")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn what_passes_through_redis_is_told_as_its_clients_know_it() -> Result<()> {
    REDIS.observe("redis")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn tasks_of_celery_are_told_as_its_instrumentation_passes_them() -> Result<()> {
    let outcome = CELERY.observe("celery")?;
    outcome.assert_everything_is_exact();
    let lost: u64 = outcome.told.hops.values().filter_map(|outcomes| outcomes.get("lost")).sum();
    let expected = BTreeMap::from([("continued", outcome.records - lost), ("rooted", lost)]);
    assert_eq!(outcome.told.hops[&CALLS.map(str::to_owned).into()], expected);
    Ok(())
}

#[test]
fn nothing_is_concluded_from_jobs_of_which_the_context_cannot_be_read() -> Result<()> {
    let Outcome { records, logged, told, report, .. } = RQ.observe("rq")?;
    for (hop, outcomes) in &logged.hops {
        let all = outcomes.values().sum();
        assert_eq!(told.hops[hop], BTreeMap::from([("unattributed", all)]), "{hop:?}");
    }
    assert_eq!(told.hops.len(), logged.hops.len());
    let (arrived, unobserved): (Vec<_>, Vec<_>) = report
        .requests
        .iter()
        .filter(|row| row.service == "billing")
        .map(|row| (row.valid + row.missing + row.malformed, row.unobserved))
        .unzip();
    assert_eq!((arrived.iter().sum::<u64>(), unobserved.iter().sum::<u64>()), (0, records));
    let started_by = |service: &str| told.started.keys().any(|(name, _)| name == service);
    assert!(!started_by("billing") && !started_by("orders"), "{:?}", told.started);
    Ok(())
}

#[test]
fn by_the_socket_filter_links_through_rabbitmq_break_nothing() -> Result<()> {
    let scene = Scene { source: "socket-filter", manner: "links", ..RABBITMQ };
    scene.observe("rabbitmq-links")?.assert_links_break_nothing();
    Ok(())
}

#[test]
fn by_the_socket_filter_links_through_nats_break_nothing() -> Result<()> {
    let scene = Scene { source: "socket-filter", manner: "links", ..NATS };
    scene.observe("nats-links")?.assert_links_break_nothing();
    Ok(())
}

#[test]
fn by_the_socket_filter_links_through_redis_break_nothing() -> Result<()> {
    let scene = Scene { source: "socket-filter", manner: "links", ..REDIS };
    scene.observe("redis-links")?.assert_links_break_nothing();
    Ok(())
}

#[test]
fn links_by_which_celery_is_told_to_trace_its_tasks_break_nothing() -> Result<()> {
    Scene { manner: "links", ..CELERY }.observe("celery-links")?.assert_links_break_nothing();
    Ok(())
}

#[test]
fn over_connections_to_rabbitmq_older_than_the_observer_nothing_is_told_that_is_wrong() -> Result<()> {
    Scene { late: true, ..RABBITMQ }.observe("rabbitmq-older")?.assert_nothing_is_wrong();
    Ok(())
}

#[test]
fn over_connections_to_nats_older_than_the_observer_nothing_is_told_that_is_wrong() -> Result<()> {
    Scene { late: true, ..NATS }.observe("nats-older")?.assert_nothing_is_wrong();
    Ok(())
}

#[test]
fn over_connections_to_redis_older_than_the_observer_nothing_is_told_that_is_wrong() -> Result<()> {
    Scene { late: true, ..REDIS }.observe("redis-older")?.assert_nothing_is_wrong();
    Ok(())
}
