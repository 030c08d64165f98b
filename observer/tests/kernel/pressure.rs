//! What happens when the ring is full, and what user space asks to leave out.

use std::net::TcpListener;

use observer::capture::Options;
use observer_ebpf::flow::LeftOut;

use crate::ends::{Ends, LOOPBACK, REQUEST, RESPONSE};
use crate::seen::{Seen, Side};

#[test]
fn losses_are_counted_where_the_ring_is_too_small_and_capture_goes_on_after_them() {
    let mut seen = Seen::open(&Options { ring_bytes: 16 * 1024, ..Options::default() });
    let ends = Ends::on(LOOPBACK);
    for _ in 0..400 {
        ends.to_server(REQUEST);
    }
    seen.until("anything", |seen| !seen.packets.is_empty());
    let lost = seen.lost();
    assert!(lost.iter().any(|(reason, count)| *reason == "ring_full" && *count > 0), "{lost:?}");
    let fresh = Ends::on(LOOPBACK);
    fresh.to_server(REQUEST);
    let (client, server) = fresh.addresses();
    seen.until("a request after the loss", |seen| seen.stream(client, server, Side::Ingress) == REQUEST);
}

#[test]
fn everything_is_seen_while_the_ring_is_read() {
    let mut seen = Seen::everywhere();
    let ends = Ends::on(LOOPBACK);
    let (client, server) = ends.addresses();
    for _ in 0..3000 {
        ends.to_server(REQUEST);
    }
    seen.until("all", |seen| seen.flow(client, server, Side::Egress).len() == 3000);
    assert_eq!(seen.flow(client, server, Side::Ingress).len(), 3000);
    assert_eq!(seen.lost(), []);
}

#[test]
fn a_quieted_flow_is_seen_at_its_sender_only_until_it_ends() {
    let mut seen = Seen::everywhere();
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let ends = Ends::through(&listener);
    let (client, server) = ends.addresses();
    ends.to_server(REQUEST);
    seen.until("the request at its receiver", |seen| seen.flow(client, server, Side::Ingress).len() == 1);
    let token = seen.flow(client, server, Side::Ingress)[0].token;
    assert_ne!(token, 0);
    seen.leave_out(token, LeftOut::All);
    for _ in 0..10 {
        ends.to_server(REQUEST);
        ends.to_client(RESPONSE);
    }
    seen.until("the requests at their sender", |seen| seen.flow(client, server, Side::Egress).len() == 11);
    seen.until("the responses at their receiver", |seen| seen.flow(server, client, Side::Ingress).len() == 10);
    assert_eq!(seen.flow(client, server, Side::Ingress).len(), 1, "the receiver's sight of the requests is left out");

    let next = Ends::through(&listener);
    next.to_server(REQUEST);
    let (client, server) = next.addresses();
    seen.until("the next connection at its receiver", |seen| seen.flow(client, server, Side::Ingress).len() == 1);
}

#[test]
fn only_wanted_ports_are_seen() {
    let (wanted, other) = (TcpListener::bind(LOOPBACK).unwrap(), TcpListener::bind(LOOPBACK).unwrap());
    let port = wanted.local_addr().unwrap().port();
    let mut seen = Seen::open(&Options { ports: vec![port], ..Options::default() });
    let (kept, dropped) = (Ends::through(&wanted), Ends::through(&other));
    dropped.to_server(REQUEST);
    kept.to_server(REQUEST);
    kept.to_client(RESPONSE);
    let ((client, server), (other_client, other_server)) = (kept.addresses(), dropped.addresses());
    seen.until("the exchange", |seen| {
        seen.stream(client, server, Side::Ingress) == REQUEST && seen.stream(server, client, Side::Ingress) == RESPONSE
    });
    assert_eq!(seen.flow(other_client, other_server, Side::Egress).len(), 0);
}

#[test]
fn the_cost_of_every_program_is_told_where_statistics_are_on() {
    let _statistics = aya::sys::enable_stats(aya::sys::Stats::RunTime).unwrap();
    let mut seen = Seen::everywhere();
    seen.until_now();
    let programs: Vec<_> = seen.counters().into_iter().flat_map(|each| each.programs).collect();
    for name in ["egress", "ingress", "sock_ops", "connect4"] {
        let cost = programs.iter().find(|each| each.program == name).unwrap();
        assert!(cost.runs > 0 && cost.run_ns > 0, "{cost:?}");
    }
}
