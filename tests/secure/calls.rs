//! Calls of gRPC over TLS: between services in Go and in Rust, whose libraries are read, and with grpcio, whose library is not.

use anyhow::{Context, Result};
use observer_core::audit::report::Code;

use crate::CALLS;
use crate::outcome::SERVICES;
use crate::peers::{Peer, Scene};

fn scene(peer: Peer) -> Scene {
    Scene { source: "cgroup, tls", orders: 140, secure: true, ..Scene::of(peer, CALLS) }
}

#[test]
fn between_services_in_go_nothing_is_wrong_and_of_connections_begun_since_all_is_exact() -> Result<()> {
    let outcome = scene(Peer::Go).observe("tls-grpc-go")?;
    // The front dials the back as it begins, before the observer, and waits for it in a call to read.
    outcome.assert_nothing_is_wrong(1);
    for tenant in ["tenant-0", "tenant-1"] {
        let key = (SERVICES[0].to_owned(), tenant.to_owned());
        assert_eq!(outcome.told.requests.get(&key), outcome.logged.requests.get(&key));
        assert_eq!(outcome.told.received.get(&key), outcome.logged.received.get(&key));
    }
    Ok(())
}

#[test]
fn between_services_in_rust_everything_is_as_they_know_it() -> Result<()> {
    scene(Peer::Rust).observe("tls-grpc-rust")?.assert_everything_is_exact();
    Ok(())
}

#[test]
fn over_connections_older_than_the_observer_every_call_is_counted_and_every_context_known() -> Result<()> {
    // Who waits in a call to read when it is probed reads that once unseen.
    Scene { late: true, ..scene(Peer::Go) }.observe("tls-grpc-go-older")?.assert_nothing_is_wrong(1);
    Scene { late: true, ..scene(Peer::Rust) }.observe("tls-grpc-rust-older")?.assert_nothing_is_wrong(0);
    Ok(())
}

#[test]
fn what_grpcio_carries_is_not_observed_and_said_so() -> Result<()> {
    let report = scene(Peer::Python).observe("tls-grpc-python")?.report;
    for service in ["customer", SERVICES[0], SERVICES[1]] {
        let rows = report.requests.iter().filter(|row| row.service == service).count();
        let hops = report.hops.iter().filter(|row| row.service == service).count();
        assert_eq!((rows, hops), (0, 0), "{service}");
        let findings = report.findings.iter().filter(|finding| finding.service.as_deref() == Some(service));
        let findings: Vec<_> = findings.collect();
        let finding = findings.first().with_context(|| format!("nothing is said of {service}"))?;
        assert_eq!((findings.len(), finding.code), (1, Code::NotObserved), "{findings:?}");
        for part in ["of TLS", "python", "it is linked into the program, whose symbols were stripped"] {
            assert!(finding.message.contains(part), "{}", finding.message);
        }
    }
    Ok(())
}
