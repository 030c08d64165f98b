//! Formats: what each service is sent and what it goes on with come in; out goes who sends its context in formats that nobody
//! reads, and whose formats contradict each other.
//!
//! That a service does not read a format is shown by its own hops: requests brought their context in nothing else, it started
//! new traces because of them, sent these in none of the formats that it was brought, and not once went on with a trace that
//! came in these formats alone.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft};
use super::ledger::{Disagreement, HopRow, Ledger, Unread};
use super::report::{Code, Propagators};
use super::severity::Case;
use super::words;
use crate::context::{Formats, Spellings};
use crate::ids::ServiceId;
use crate::names::Names;
use crate::propagation::Outcome;

/// Traces that a service must have started because of requests in a format before it is said not to read it; also the requests
/// of one sender.
const PROOF_MIN: u64 = 20;

/// The formats that services provably do not read, each with the hops that show it.
#[derive(Debug, Default)]
pub(super) struct Unknown(BTreeMap<ServiceId, BTreeMap<Formats, Unread>>);

impl Unknown {
    pub(super) fn of(ledger: &Ledger) -> Self {
        let mut unknown = Self::default();
        for ((service, brought), unread) in ledger.unread_formats.sorted() {
            let is_one = service != Names::OVERFLOW_SERVICE;
            if is_one && unread.restarts >= PROOF_MIN && !unread.sent.meets(brought) {
                unknown.0.entry(service).or_default().insert(brought, *unread);
            }
        }
        let mut restarts: BTreeMap<ServiceId, u64> = BTreeMap::new();
        for ((service, _), row) in ledger.hops.sorted() {
            if let Some(formats) = unknown.0.get_mut(&service) {
                formats.retain(|&brought, _| !row.carried.iter().any(|carried| carried.is_within(brought)));
                let sum = restarts.entry(service).or_default();
                *sum = sum.saturating_add(row.outcome(Outcome::Restarted));
            }
        }
        // Hops that were told as restarted may have been withdrawn since.
        unknown.0.retain(|service, formats| {
            !formats.is_empty() && restarts.get(service).is_some_and(|&restarts| restarts >= PROOF_MIN)
        });
        unknown
    }

    /// Whether every trace that the service started on a hop, as far as that can be said, is explained by formats that it does
    /// not read: who sends them is told, and the hop is no other fault.
    pub(super) fn explains(&self, service: ServiceId, row: &HopRow) -> bool {
        let Some(formats) = self.0.get(&service) else { return false };
        let mut strange = row.strange.iter().peekable();
        row.familiar == 0 && strange.peek().is_some() && strange.all(|brought| formats.contains_key(&brought))
    }
}

/// The formats in which each service is seen to send contexts, sorted by name. What it is declared to send is not read yet.
pub(super) fn propagators(desk: &Desk<'_>) -> Vec<Propagators> {
    let mut sent: BTreeMap<String, Formats> = BTreeMap::new();
    for ((service, _), row) in desk.inputs.ledger.hops.sorted() {
        if !row.sent.is_empty() {
            let formats = sent.entry(desk.service(service)).or_default();
            *formats = formats.and(row.sent);
        }
    }
    let names = |formats: Formats| formats.iter().map(|format| format.propagator().to_owned()).collect();
    let rows = sent.into_iter();
    rows.map(|(service, formats)| Propagators { service, declared: Vec::new(), seen: names(formats) }).collect()
}

/// Files `format-mismatch`, and `context-duplicated` where formats contradict each other.
pub(super) fn findings(desk: &mut Desk<'_>, unknown: &Unknown) {
    for (&reader, formats) in &unknown.0 {
        mismatch(desk, reader, formats);
    }
    disagreements(desk);
}

fn mismatch(desk: &mut Desk<'_>, reader: ServiceId, formats: &BTreeMap<Formats, Unread>) {
    let ledger = desk.inputs.ledger;
    let to = desk.service(reader);
    let sent = formats.values().fold(Formats::NONE, |sent, unread| sent.and(unread.sent));
    let mut told = Formats::NONE;
    for ((sender, peer), row) in ledger.hops.sorted() {
        let within = formats.keys().filter(|brought| brought.is_within(row.sent));
        let covered = within.fold(Formats::NONE, |covered, &brought| covered.and(brought));
        if peer != reader || row.with_context < PROOF_MIN || row.sent.is_empty() || covered != row.sent {
            continue;
        }
        told = told.and(row.sent);
        let from = desk.service(sender);
        let headers = row.sent;
        desk.file(Draft {
            case: Case::Peer(desk.role(reader)),
            service: Some(from.clone()),
            peer: Some(to.clone()),
            count: row.with_context,
            of: row.outcomes.iter().fold(0, |sum: u64, &count| sum.saturating_add(count)),
            ..Draft::new(
                Code::FormatMismatch,
                format!(
                    "{from} sends its trace context on {} to {to} as {headers}, which {to} does not read: it starts new traces, and sends \
                     them as {sent}",
                    words::counted(row.with_context, "request")
                ),
                format!(
                    "let {from} send {sent} too, or {to} read {headers} (OTEL_PROPAGATORS of either){}",
                    or_spelling(ledger.spelled.get(&(reader, sender)).map_or(Spellings::NONE, |spelled| spelled.valid))
                ),
            )
        });
    }
    let rest = formats.iter().filter(|(brought, _)| !brought.is_within(told));
    let (headers, restarts) = rest.fold((Formats::NONE, 0_u64), |(headers, restarts), (&brought, unread)| {
        (headers.and(brought), restarts.saturating_add(unread.restarts))
    });
    if restarts > 0 {
        desk.file(Draft {
            service: Some(to.clone()),
            count: restarts,
            of: restarts,
            ..Draft::new(
                Code::FormatMismatch,
                format!(
                    "requests bring their trace context to {to} as {headers}, which it does not read: it starts new traces on {}, and \
                     sends them as {sent}",
                    words::counted(restarts, "request")
                ),
                format!(
                    "add {headers} to OTEL_PROPAGATORS of {to}, where the traces of its senders are meant to go on{}",
                    or_spelling(ledger.spellings_to(reader))
                ),
            )
        });
    }
}

/// How ids are written in an unusual way, which may be what is wrong: added to a message.
pub(super) fn spelled(spellings: Spellings) -> String {
    if spellings.is_empty() {
        return String::new();
    }
    format!("; the requests bring {spellings}, which some libraries ignore")
}

/// The same, and what to do: added to a remedy.
fn or_spelling(spellings: Spellings) -> String {
    if spellings.is_empty() {
        return String::new();
    }
    format!("{}: let their senders write all 32 digits in lower case", spelled(spellings))
}

fn disagreements(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    for ((receiver, sender, disagreement), disagreeing) in ledger.disagreements.sorted() {
        let (from, to) = (desk.service(sender), desk.service(receiver));
        let (count, formats) = (disagreeing.tally.count, disagreeing.formats);
        let requests = words::counted(count, "request");
        let message = match disagreement {
            Disagreement::Decision => format!(
                "{from} sends {requests} to {to} with one trace as {formats}, sampled by one and not by another: whether it is kept \
                 depends on what {to} reads"
            ),
            Disagreement::Trace => format!(
                "{from} sends {requests} to {to} with different traces as {formats}: which one goes on depends on what {to} reads"
            ),
        };
        desk.file(Draft {
            case: Case::Disagreement(disagreement),
            service: Some(to),
            peer: Some(from.clone()),
            count,
            of: count,
            examples: desk.examples(&disagreeing.tally.examples),
            ..Draft::new(
                Code::ContextDuplicated,
                message,
                format!("write every format from one context at {from}, and do not pass on the headers of its requests unchanged"),
            )
        });
    }
}
