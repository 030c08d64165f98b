//! Unary calls of gRPC between real peers (grpcio, grpc-go, tonic), over connections that they keep: the observer's report against
//! the services' own logs, exactly, and of connections that are older than the observer all that can be known.

mod outcome;
mod peers;
mod place;
mod probes;
#[path = "secure/calls.rs"]
mod secure;
mod service;

use anyhow::Result;
use testbed::site::{Namespace, Site};

use crate::peers::{Peer, Scene};

/// Calls that lose their context, and calls that fail: before the head of their response and after.
const CALLS: &[&str] = &["Works", "Works", "Loses", "Works", "Fails", "Works", "Breaks"];

#[test]
fn with_one_call_at_a_time_everything_is_as_the_services_know_it() -> Result<()> {
    Scene::of(Peer::Python, CALLS).observe("grpc")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn between_services_in_go_everything_is_as_they_know_it() -> Result<()> {
    Scene::of(Peer::Go, CALLS).observe("grpc-go")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn between_services_in_rust_everything_is_as_they_know_it() -> Result<()> {
    Scene::of(Peer::Rust, CALLS).observe("grpc-rust")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn from_rust_to_go_and_back_everything_is_as_they_know_it() -> Result<()> {
    for (peers, name) in [([Peer::Rust, Peer::Go], "grpc-rust-go"), ([Peer::Go, Peer::Rust], "grpc-go-rust")] {
        let scene = Scene { peers, orders: 200, ..Scene::of(Peer::Rust, CALLS) };
        scene.observe(name)?.assert_everything_is_exact();
    }
    Ok(())
}

#[test]
fn by_the_socket_filter_everything_is_as_the_services_know_it() -> Result<()> {
    let scene = Scene { source: "socket-filter", ..Scene::of(Peer::Python, CALLS) };
    scene.observe("grpc-wire")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn to_another_network_namespace_everything_is_as_the_services_know_it() -> Result<()> {
    let scene = Scene { site: Site::Namespace(Namespace::create()?), ..Scene::of(Peer::Python, CALLS) };
    scene.observe("grpc-namespace")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn streams_that_interleave_are_told_apart() -> Result<()> {
    for (peer, name) in [(Peer::Python, "grpc-parallel"), (Peer::Rust, "grpc-rust-parallel")] {
        let outcome = Scene { at_once: 8, ..Scene::of(peer, CALLS) }.observe(name)?;
        assert_eq!(outcome.told.requests, outcome.logged.requests);
        assert_eq!(outcome.told.received, outcome.logged.received);
        assert_eq!(outcome.told.errors, outcome.logged.errors);
    }
    Ok(())
}

#[test]
fn over_connections_older_than_the_observer_every_call_is_counted_and_every_context_known() -> Result<()> {
    let peers = [(Peer::Python, "grpc-older"), (Peer::Go, "grpc-go-older"), (Peer::Rust, "grpc-rust-older")];
    for (peer, name) in peers {
        Scene { late: true, ..Scene::of(peer, CALLS) }.observe(name)?.assert_nothing_is_wrong(0);
    }
    Ok(())
}
