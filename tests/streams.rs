//! Streams of gRPC between real peers (grpcio, grpc-go, tonic): each one is one request, however many messages pass and however
//! long. The observer's report against the services' own logs, exactly, and of streams that are older than the observer nothing.

mod outcome;
mod peers;
mod place;
mod probes;
mod service;

use anyhow::Result;

use crate::peers::{Peer, Scene};

/// Calls in which the client, the server or both send many messages; some fail at their end.
const CALLS: &[&str] = &["Talks", "Works", "Gathers", "Quits", "Pours", "Loses", "Breaks"];
/// Streams that stay open.
const KEPT: &[&str] = &["Talks", "Quits", "Talks", "Quits"];
const EVERY: [(Peer, &str); 3] = [(Peer::Python, "python"), (Peer::Go, "go"), (Peer::Rust, "rust")];

#[test]
fn a_stream_is_one_request_whatever_number_of_messages_passes() -> Result<()> {
    for (peer, name) in EVERY {
        let scene = Scene { orders: 210, ..Scene::of(peer, CALLS) };
        scene.observe(&format!("streams-{name}"))?.assert_everything_is_exact();
    }
    Ok(())
}

#[test]
fn streams_that_stay_open_while_calls_come_and_go_are_counted_once() -> Result<()> {
    for (peer, name) in EVERY {
        let scene = Scene { orders: 210, kept: KEPT, ..Scene::of(peer, CALLS) };
        scene.observe(&format!("streams-kept-{name}"))?.assert_everything_is_exact();
    }
    Ok(())
}

#[test]
fn of_streams_older_than_the_observer_nothing_is_told_and_every_call_beside_them_is_counted() -> Result<()> {
    for (peer, name) in EVERY {
        let scene = Scene { orders: 210, kept: KEPT, late: true, ..Scene::of(peer, CALLS) };
        scene.observe(&format!("streams-older-{name}"))?.assert_nothing_is_wrong(0);
    }
    Ok(())
}
