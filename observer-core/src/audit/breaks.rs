//! Breaks: hops and arrivals come in; the hops of the report go out, and where and by whom the context is broken.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft, only};
use super::ledger::{Break, Broken, Outcomes, Tally, index};
use super::report::{Code, Evidence, Hops};
use super::severity::{Case, Role};
use super::tally::Examples;
use super::words;
use crate::context::Malformation;
use crate::ids::ServiceId;
use crate::propagation::Outcome;

/// Hops by service and peer, sorted by name.
pub(super) fn rows(desk: &Desk<'_>) -> Vec<Hops> {
    let mut rows: Vec<Hops> = desk
        .inputs
        .ledger
        .hops()
        .map(|((service, peer), outcomes)| {
            let of = |outcome| of(&outcomes, outcome);
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
pub(super) fn findings(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    for ((service, peer, kind), broken) in ledger.breaks.sorted() {
        let outcomes = ledger.hops.get(&(service, peer)).copied().unwrap_or_default();
        broken_hop(desk, service, peer, kind, broken, decided(&outcomes));
    }
    missing(desk);
    malformed(desk);
}

fn broken_hop(desk: &mut Desk<'_>, service: ServiceId, peer: ServiceId, kind: Break, broken: &Broken, of: u64) {
    let count = broken.causal.saturating_add(broken.window);
    let (from, to) = (desk.service(service), desk.service(peer));
    let share = format!("{} of {}", words::count(count), words::counted(of, "request"));
    let (code, message, remedy) = match kind {
        Break::Lost => (
            Code::ContextLost,
            format!(
                "{from} drops the trace context on {share} to {to}, though each was caused by a request that had one"
            ),
            format!(
                "instrument the client with which {from} calls {to}, and check its OTEL_PROPAGATORS (tracecontext,baggage)"
            ),
        ),
        Break::Restarted => (
            Code::TraceRestarted,
            format!("{from} starts a new trace on {share} to {to}, though each was caused by a request that had one"),
            format!(
                "make {from} take the context of its requests: instrument its server, check OTEL_PROPAGATORS, and that no \
                     root span is forced"
            ),
        ),
        Break::FlippedOn => (
            Code::DecisionFlipped,
            format!("{from} turns not sampled into sampled on {share} to {to}: traces that begin in the middle"),
            format!("set a parent-based sampler in {from} (OTEL_TRACES_SAMPLER=parentbased_traceidratio)"),
        ),
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
        ..Draft::new(code, message, remedy)
    });
}

/// Requests without a context: one finding a receiver for those whose sender had none to give, and one a pair for those whose
/// sender had, unless the sender is blamed for the loss already.
fn missing(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    let mut received: BTreeMap<ServiceId, u64> = BTreeMap::new();
    for ((service, _, _), arrivals) in ledger.requests() {
        let sum = received.entry(service).or_default();
        *sum = sum.saturating_add(arrivals.observed());
    }
    let mut rootless: BTreeMap<ServiceId, (u64, Vec<ServiceId>, Examples)> = BTreeMap::new();
    for ((receiver, sender), missing) in ledger.missing.sorted() {
        let had = missing.sender_had_context;
        let had_none = missing.all.count.saturating_sub(had);
        if had_none > 0 {
            let (count, senders, examples) = rootless.entry(receiver).or_default();
            *count = count.saturating_add(had_none);
            senders.push(sender);
            missing.all.examples.iter().for_each(|sight| examples.add(*sight));
        }
        if had > 0 && ledger.breaks.get(&(sender, receiver, Break::Lost)).is_none() {
            let (from, to) = (desk.service(sender), desk.service(receiver));
            let of = received.get(&receiver).copied().unwrap_or_default();
            desk.file(Draft {
                case: Case::SenderHadContext(true),
                service: Some(to.clone()),
                peer: Some(from.clone()),
                count: had,
                of,
                examples: desk.examples(&missing.all.examples),
                ..Draft::new(
                    Code::ContextMissing,
                    format!(
                        "{} from {from} reach {to} without the trace context that {from} had",
                        words::counted(had, "request")
                    ),
                    format!("instrument the client with which {from} calls {to}"),
                )
            });
        }
    }
    for (receiver, (count, senders, examples)) in rootless {
        let to = desk.service(receiver);
        let from = only(senders).map(|sender| desk.service(sender));
        let by = from.as_deref().map_or_else(String::new, |from| format!(" from {from}"));
        let of = received.get(&receiver).copied().unwrap_or_default();
        desk.file(Draft {
            case: Case::SenderHadContext(false),
            service: Some(to.clone()),
            peer: from,
            count,
            of,
            examples: desk.examples(&examples),
            ..Draft::new(
                Code::ContextMissing,
                format!(
                    "{} of {}{by} reach {to} without a trace context: traces begin here",
                    words::count(count),
                    words::counted(of, "request")
                ),
                format!("nothing, where traces are meant to begin at {to}; else instrument who sends"),
            )
        });
    }
}

/// The sender made the header, so it is named as the peer of the receiver that must ignore it.
fn malformed(desk: &mut Desk<'_>) {
    type Reasons<'l> = Vec<(Malformation, &'l Tally)>;
    let ledger = desk.inputs.ledger;
    let mut pairs: BTreeMap<(ServiceId, ServiceId, Code), Reasons<'_>> = BTreeMap::new();
    for ((receiver, sender, reason), tally) in ledger.malformed.sorted() {
        let code = if reason == Malformation::Duplicated { Code::ContextDuplicated } else { Code::ContextMalformed };
        pairs.entry((receiver, sender, code)).or_default().push((reason, tally));
    }
    for ((receiver, sender, code), reasons) in pairs {
        let (from, to) = (desk.service(sender), desk.service(receiver));
        let count = reasons.iter().fold(0, |sum: u64, (_, tally)| sum.saturating_add(tally.count));
        let of = ledger
            .requests()
            .filter(|((service, _, _), _)| *service == receiver)
            .fold(0, |sum: u64, (_, arrivals)| sum.saturating_add(arrivals.observed()));
        let mut examples = Examples::default();
        reasons.iter().flat_map(|(_, tally)| tally.examples.iter()).for_each(|sight| examples.add(*sight));
        let requests = words::counted(count, "request");
        let (message, remedy) = if code == Code::ContextDuplicated {
            (
                format!(
                    "{from} sends {requests} to {to} with more than one traceparent: receivers ignore them or take any"
                ),
                format!(
                    "find what adds a second traceparent at {from}: two instrumentations, or an agent beside the SDK"
                ),
            )
        } else {
            let list: Vec<String> = reasons
                .iter()
                .map(|(reason, tally)| format!("{} {}", reason.as_str(), words::count(tally.count)))
                .collect();
            (
                format!(
                    "{from} sends {requests} to {to} with a traceparent that receivers must ignore ({})",
                    list.join(", ")
                ),
                format!("correct what writes traceparent at {from} (W3C Trace Context, section 3.2)"),
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
            ..Draft::new(code, message, remedy)
        });
    }
}
