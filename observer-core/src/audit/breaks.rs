//! Breaks: hops and arrivals come in; the hops of the report go out, and where and by whom the context is broken.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft, only};
use super::formats::{Unknown, spelled};
use super::ledger::{Break, Broken, HopRow, Ledger, Outcomes, Tally, index};
use super::path::Paths;
use super::report::{Code, Evidence, Hops};
use super::severity::{Case, Role};
use super::tally::Examples;
use super::words;
use crate::context::{Asides, Format, Formats, Malformation, Spellings, WeightClass};
use crate::ids::ServiceId;
use crate::propagation::Outcome;

/// Hops by service and peer, sorted by name.
pub(super) fn rows(desk: &Desk<'_>) -> Vec<Hops> {
    let mut rows: Vec<Hops> = desk
        .inputs
        .ledger
        .hops
        .sorted()
        .into_iter()
        .map(|((service, peer), row)| {
            let of = |outcome| row.outcome(outcome);
            Hops {
                service: desk.service(service),
                peer: desk.service(peer),
                continued: of(Outcome::Continued),
                lost: of(Outcome::Lost),
                restarted: of(Outcome::Restarted),
                flipped: of(Outcome::Flipped),
                passed_through: of(Outcome::PassedThrough),
                rooted: of(Outcome::Rooted),
                background: of(Outcome::Background),
                ambiguous: of(Outcome::Ambiguous),
                unattributed: of(Outcome::Unattributed),
                lost_at_least: of(Outcome::Lost),
                lost_at_most: row.lost_at_most(),
            }
        })
        .collect();
    rows.sort_by(|a, b| (&a.service, &a.peer).cmp(&(&b.service, &b.peer)));
    rows
}

fn of(outcomes: &Outcomes, outcome: Outcome) -> u64 {
    outcomes.get(index(outcome)).copied().unwrap_or_default()
}

/// Hops of which the cause could be decided.
fn decided(outcomes: &Outcomes) -> u64 {
    use Outcome::{Continued, Flipped, Lost, PassedThrough, Restarted, Rooted};
    [Continued, PassedThrough, Lost, Restarted, Flipped, Rooted]
        .into_iter()
        .fold(0, |sum: u64, outcome| sum.saturating_add(of(outcomes, outcome)))
}

/// Files `context-lost`, `trace-restarted`, `decision-flipped`, `context-missing`, `context-malformed` and
/// `context-duplicated`.
pub(super) fn findings(desk: &mut Desk<'_>, unknown: &Unknown) {
    let ledger = desk.inputs.ledger;
    let paths = Paths::of(desk.inputs);
    for ((service, peer, kind), broken) in ledger.breaks.sorted() {
        let row = ledger.hops.get(&(service, peer)).copied().unwrap_or_default();
        // Who sends what the service does not read is told instead.
        if kind != Break::Restarted || !unknown.explains(service, &row) {
            broken_hop(desk, (service, peer, kind), broken, &row, &paths);
        }
    }
    missing(desk);
    malformed(desk, &paths);
}

/// Of a service that restarts exactly those: added to a message.
pub(super) const REJECTS_FLAGS: &str = "; exactly the traces with flags 03 restart (sampled, with the random flag), as libraries do that reject flags above 02";

/// How many more may be lost.
fn perhaps(more: u64) -> String {
    if more == 0 {
        return String::new();
    }
    format!("; on up to {} more, while requests without a context were in flight as well", words::count(more))
}

/// What is there instead of a context.
fn beside(asides: Asides) -> String {
    if asides.is_empty() { String::new() } else { format!("; some carry {asides}") }
}

fn broken_hop(
    desk: &mut Desk<'_>,
    (service, peer, kind): (ServiceId, ServiceId, Break),
    broken: &Broken,
    row: &HopRow,
    paths: &Paths,
) {
    let of = decided(&row.outcomes);
    let mut count = broken.causal.saturating_add(broken.window);
    if kind == Break::Lost {
        // Those with a context that nobody can read are told as such.
        count = count.saturating_sub(malformed_by(desk.inputs.ledger, service, peer));
    }
    if count == 0 {
        // All were withdrawn.
        return;
    }
    let (from, to) = (desk.service(service), desk.service(peer));
    let share = format!("{} of {}", words::count(count), words::counted(of, "request"));
    let (code, message, remedy) = match kind {
        Break::Lost => (
            Code::ContextLost,
            format!(
                "{from} drops the trace context on {share} to {to}, though each was caused by a request that had one{}{}",
                perhaps(row.lost_at_most().saturating_sub(row.outcome(Outcome::Lost))),
                beside(broken.asides)
            ),
            format!(
                "instrument the client with which {from} calls {to}, and check its OTEL_PROPAGATORS (tracecontext,baggage)"
            ),
        ),
        Break::Restarted => (
            Code::TraceRestarted,
            format!(
                "{from} starts a new trace on {share} to {to}, though each was caused by a request that had one{}{}",
                if row.by_flags.parts() { REJECTS_FLAGS } else { "" },
                spelled(desk.inputs.ledger.spellings_to(service))
            ),
            if row.by_flags.parts() {
                format!(
                    "update the tracing library of {from} to one that accepts the random flag (W3C Trace Context Level 2)"
                )
            } else {
                format!(
                    "make {from} take the context of its requests: instrument its server, check OTEL_PROPAGATORS, and that no \
                     root span is forced"
                )
            },
        ),
        Break::FlippedOn => {
            let forced = if samples_by_weights(desk) { broken.without_weight } else { 0 };
            let because = match forced {
                0 => String::new(),
                _ if forced == count => "; their weight was missing or malformed, which forces sampling".to_owned(),
                _ => format!(
                    "; on {} of them the weight was missing or malformed, which forces sampling",
                    words::count(forced)
                ),
            };
            (
                Code::DecisionFlipped,
                format!(
                    "{from} turns not sampled into sampled on {share} to {to}: traces that begin in the middle{because}"
                ),
                if forced > 0 {
                    format!("send the weight with every request to {from}, and set a parent-based sampler there")
                } else {
                    format!("set a parent-based sampler in {from} (OTEL_TRACES_SAMPLER=parentbased_traceidratio)")
                },
            )
        }
        Break::FlippedOff => (
            Code::DecisionFlipped,
            format!("{from} turns sampled into not sampled on {share} to {to}: traces that are cut there"),
            format!("set a parent-based sampler in {from} (OTEL_TRACES_SAMPLER=parentbased_traceidratio)"),
        ),
    };
    desk.file(Draft {
        case: Case::Peer(desk.role(peer)),
        service: Some(from),
        peer: Some(to),
        count,
        of,
        evidence: Some(if broken.causal > 0 { Evidence::Causal } else { Evidence::Window }),
        examples: desk.examples(&broken.examples),
        path: paths.most(desk.inputs, (service, peer, kind)),
        ..Draft::new(code, message, remedy)
    });
}

/// Whether weights below 1 were seen.
fn samples_by_weights(desk: &Desk<'_>) -> bool {
    desk.inputs.traces.series().iter().any(|(_, _, class, _, _)| class == WeightClass::Below)
}

/// Requests without a context: one finding a receiver. Those for whose loss the sender is blamed are not among them, and whoever may
/// have had a context, but may as well poll or look after itself, is not blamed here either.
fn missing(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    let mut received: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for ((service, _, _), arrivals) in ledger.requests() {
        let sum = received.entry(service).or_default();
        *sum = sum.saturating_add(arrivals.observed());
    }
    let mut rootless: BTreeMap<ServiceId, (u64, Vec<ServiceId>, Asides, Examples)> = BTreeMap::new();
    for ((receiver, sender), missing) in ledger.missing.sorted() {
        // What was in doubt when it arrived may have been decided since.
        let lost = ledger.breaks.get(&(sender, receiver, Break::Lost));
        let blamed = lost.map_or(0, |lost| lost.causal.saturating_add(lost.window));
        let rest = missing.all.count.saturating_sub(blamed);
        if rest > 0 {
            let (count, senders, asides, examples) = rootless.entry(receiver).or_default();
            *count = count.saturating_add(rest);
            senders.push(sender);
            *asides = asides.and(missing.asides);
            missing.all.examples.iter().for_each(|sight| examples.add(*sight));
        }
    }
    for (receiver, (count, senders, asides, examples)) in rootless {
        let to = desk.service(receiver);
        let from = only(senders).map(|sender| desk.service(sender));
        let by = from.as_deref().map_or_else(String::new, |from| format!(" from {from}"));
        let of = received.get(&receiver).copied().unwrap_or_default();
        desk.file(Draft {
            service: Some(to.clone()),
            peer: from,
            count,
            of,
            examples: desk.examples(&examples),
            ..Draft::new(
                Code::ContextMissing,
                format!(
                    "{} of {}{by} reach {to} without a trace context: traces begin here{}",
                    words::count(count),
                    words::counted(of, "request"),
                    beside(asides)
                ),
                format!("nothing, where traces are meant to begin at {to}; else instrument who sends"),
            )
        });
    }
}

/// How many requests a service sent to a peer with a context that must be ignored.
fn malformed_by(ledger: &Ledger, service: ServiceId, peer: ServiceId) -> u64 {
    let sent = ledger.malformed.sorted().into_iter().filter(|((to, from, _, _), _)| (*from, *to) == (service, peer));
    sent.fold(0, |sum: u64, (_, tally)| sum.saturating_add(tally.count))
}

/// How ids are written that are malformed: added to a message.
fn because(spellings: Spellings) -> String {
    if spellings.is_empty() { String::new() } else { format!(": it writes {spellings}") }
}

/// The sender made the header, so it is named as the peer of the receiver that must ignore it.
fn malformed(desk: &mut Desk<'_>, paths: &Paths) {
    type Reasons<'l> = Vec<(Format, Malformation, &'l Tally)>;
    let ledger = desk.inputs.ledger;
    let mut pairs: BTreeMap<(ServiceId, ServiceId, Code), Reasons<'_>> = BTreeMap::new();
    for ((receiver, sender, format, reason), tally) in ledger.malformed.sorted() {
        let code = if reason == Malformation::Duplicated { Code::ContextDuplicated } else { Code::ContextMalformed };
        pairs.entry((receiver, sender, code)).or_default().push((format, reason, tally));
    }
    for ((receiver, sender, code), reasons) in pairs {
        let (from, to) = (desk.service(sender), desk.service(receiver));
        let count = reasons.iter().fold(0, |sum: u64, (_, _, tally)| sum.saturating_add(tally.count));
        let of = ledger
            .requests()
            .filter(|((service, _, _), _)| *service == receiver)
            .fold(0, |sum: u64, (_, arrivals)| sum.saturating_add(arrivals.observed()));
        let mut examples = Examples::default();
        reasons.iter().flat_map(|(_, _, tally)| tally.examples.iter()).for_each(|sight| examples.add(*sight));
        let requests = words::counted(count, "request");
        let formats = reasons.iter().fold(Formats::NONE, |formats, (format, ..)| formats.and(Formats::of(*format)));
        let (message, remedy) = if code == Code::ContextDuplicated {
            (
                format!(
                    "{from} sends {requests} to {to} with more than one {formats}: receivers ignore them or take any"
                ),
                format!(
                    "find what adds a second {formats} at {from}: two instrumentations, or an agent beside the SDK"
                ),
            )
        } else {
            let spelled = ledger.spelled.get(&(receiver, sender)).copied().unwrap_or_default();
            let mut sources: Vec<&str> = formats.iter().map(Format::source).collect();
            sources.dedup();
            let list: Vec<String> = reasons
                .iter()
                .map(|(_, reason, tally)| format!("{} {}", reason.as_str(), words::count(tally.count)))
                .collect();
            (
                format!(
                    "{from} sends {requests} to {to} with a {formats} that receivers must ignore ({}){}",
                    list.join(", "),
                    because(spelled.malformed)
                ),
                format!("correct what writes {formats} at {from} ({})", sources.join("; ")),
            )
        };
        let role = if desk.role(sender) == Role::External { Role::External } else { desk.role(receiver) };
        desk.file(Draft {
            case: Case::Peer(role),
            service: Some(to),
            peer: Some(from),
            count,
            of,
            examples: desk.examples(&examples),
            // Where the sender had a context, it is lost with the one that must be ignored.
            path: paths.most(desk.inputs, (sender, receiver, Break::Lost)),
            ..Draft::new(code, message, remedy)
        });
    }
}
