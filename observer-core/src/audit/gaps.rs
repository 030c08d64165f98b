//! Gaps: what the observer did not see, lost or had no room for comes in; findings about the observer itself go out, so that
//! no ratio rests on a gap in silence.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft};
use super::ledger::{Arrivals, index};
use super::report::Code;
use super::severity::Case;
use super::words;
use crate::connection::Opaque;
use crate::ids::ServiceId;
use crate::propagation::Outcome;

/// Files `nothing-observed`, `not-observed`, `cardinality` and `capture-loss`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    nothing_observed(desk);
    not_observed(desk);
    cardinality(desk);
    capture_loss(desk);
}

fn nothing_observed(desk: &mut Desk<'_>) {
    let capture = desk.inputs.capture;
    if capture.messages > 0 {
        return;
    }
    let message = if capture.events == 0 {
        String::from("no traffic was observed: nothing can be said of it")
    } else {
        let events = words::counted(capture.events, "event");
        format!("no request or response was recognised in {events}: nothing can be said of the traffic")
    };
    desk.file(Draft {
        count: 0,
        of: capture.events,
        ..Draft::new(
            Code::NothingObserved,
            message,
            String::from("send traffic while observing; run observer doctor to see what this host lets be observed"),
        )
    });
}

/// What is not seen of one service.
#[derive(Default)]
struct Unseen {
    arrivals: Arrivals,
    tls: u64,
    sealed: u64,
    fastcgi: u64,
    unknown: u64,
    unattributed: u64,
}

fn not_observed(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    let mut services: BTreeMap<ServiceId, Unseen> = BTreeMap::new();
    for ((service, _, _), arrivals) in ledger.requests() {
        let unseen = services.entry(service).or_default();
        unseen.arrivals = unseen.arrivals.and(arrivals);
    }
    for ((service, kind), connections) in ledger.opaque.sorted() {
        let unseen = services.entry(service).or_default();
        let counter = match kind {
            Opaque::Tls => &mut unseen.tls,
            Opaque::FastCgi => &mut unseen.fastcgi,
            Opaque::Unknown => &mut unseen.unknown,
        };
        *counter = counter.saturating_add(*connections);
    }
    for (&service, &connections) in &ledger.sealed {
        services.entry(service).or_default().sealed = connections;
    }
    for ((service, _), outcomes) in ledger.hops() {
        let hops = outcomes.get(index(Outcome::Unattributed)).copied().unwrap_or_default();
        let unseen = services.entry(service).or_default();
        unseen.unattributed = unseen.unattributed.saturating_add(hops);
    }

    for (service, unseen) in services {
        let Unseen { arrivals, tls, sealed, fastcgi, mut unknown, unattributed } = unseen;
        if unattributed == 0 {
            // Databases and the like, which take no part in tracing: that nothing is known of them hides nothing.
            unknown = 0;
        }
        let reasons: Vec<String> = [
            (arrivals.unobserved, "request", " of which the head was not fully seen"),
            (tls, "connection", " of TLS"),
            (sealed, "connection", " of TLS that it opened"),
            (fastcgi, "connection", " of FastCGI"),
            (unknown, "connection", " of a protocol that is not known"),
            (unattributed, "hop", " whose cause may be among what was not seen"),
        ]
        .into_iter()
        .filter(|(number, _, _)| *number > 0)
        .map(|(number, noun, of)| format!("{}{of}", words::counted(number, noun)))
        .collect();
        if reasons.is_empty() {
            continue;
        }
        let name = desk.service(service);
        let count = [arrivals.unobserved, tls, sealed, fastcgi, unknown, unattributed]
            .into_iter()
            .fold(0, |sum: u64, number| sum.saturating_add(number));
        let share = arrivals.unobserved as f64 / arrivals.total().max(1) as f64;
        let unread: Vec<&str> = match ledger.unread.get(&service).filter(|_| tls > 0 || sealed > 0) {
            Some(processes) => processes.iter().map(|process| &**process).collect(),
            None => Vec::new(),
        };
        let unread = if unread.is_empty() { String::new() } else { format!(" ({})", unread.join("; ")) };
        let remedy = if tls > 0 || sealed > 0 {
            "run observer doctor to see which protocols and TLS libraries can be read here"
        } else if arrivals.unobserved > 0 {
            "look at capture.lost and at the load of this host; the counts of this service are too low by these"
        } else {
            "see what else reaches this service (Unix sockets, other protocols): with it unseen its hops cannot be judged"
        };
        desk.file(Draft {
            case: Case::Share(share),
            service: Some(name.clone()),
            count,
            of: arrivals.total().saturating_add(count).saturating_sub(arrivals.unobserved),
            ..Draft::new(
                Code::NotObserved,
                format!("{name}: not observed and in no ratio: {}{unread}", reasons.join(", ")),
                remedy.to_owned(),
            )
        });
    }
}

fn cardinality(desk: &mut Desk<'_>) {
    let inputs = desk.inputs;
    let tables = inputs.ledger.tables().into_iter().fold(0, |sum: u64, (_, _, over)| sum.saturating_add(over));
    let rows = tables.saturating_add(inputs.traces.series().refused());
    let limits = [
        (inputs.names.tenants_overflowed(), "a tenant", "limits.tenants"),
        (inputs.names.services_overflowed(), "a service", "limits.services"),
        (rows, "a combination of service, tenant and peer", "limits.memory"),
    ];
    for (count, what, limit) in limits.into_iter().filter(|(count, _, _)| *count > 0) {
        desk.file(Draft {
            count,
            of: inputs.capture.messages,
            ..Draft::new(
                Code::Cardinality,
                format!(
                    "{} name {what} past the limit; they are counted under __overflow__",
                    words::counted(count, "message")
                ),
                format!("raise {limit} in observer.yaml, or correct the extractor if these are no real names"),
            )
        });
    }
}

fn capture_loss(desk: &mut Desk<'_>) {
    let inputs = desk.inputs;
    let lost = inputs.capture.lost;
    if lost == 0 {
        return;
    }
    let reasons: Vec<String> = inputs
        .losses
        .iter()
        .filter(|loss| loss.count > 0)
        .map(|loss| format!("{} {} {}", loss.source, loss.reason, words::count(loss.count)))
        .collect();
    let by = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    let seen = inputs.capture.events;
    desk.file(Draft {
        count: lost,
        of: seen.saturating_add(lost),
        ..Draft::new(
            Code::CaptureLoss,
            format!("{} lost{by}: ratios rest on what was left", words::counted(lost, "event")),
            String::from("name the ports to observe in capture.ports, or give the observer more CPU time"),
        )
    });
}
