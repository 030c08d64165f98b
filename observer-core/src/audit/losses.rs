//! Weights and lost traces: what became of weights and the error responses come in; their rows go out, and what is lost.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft, only};
use super::ledger::Tally;
use super::report::{Code, Errors, Weights};
use super::tally::Examples;
use super::words;
use crate::ids::{ServiceId, TenantId};
use crate::propagation::WeightOutcome;

/// Weights by service and tenant, sorted by name.
pub(super) fn weight_rows(desk: &Desk<'_>) -> Vec<Weights> {
    let mut rows: BTreeMap<(String, String), Weights> = BTreeMap::new();
    for ((service, tenant, outcome), count) in desk.inputs.ledger.weights() {
        let (service, tenant) = (desk.service(service), desk.tenant(tenant));
        let row = rows.entry((service.clone(), tenant.clone())).or_default();
        (row.service, row.tenant) = (service, tenant);
        *match outcome {
            WeightOutcome::Kept => &mut row.kept,
            WeightOutcome::Missing => &mut row.missing,
            WeightOutcome::Changed => &mut row.changed,
            WeightOutcome::Malformed => &mut row.malformed,
            WeightOutcome::OutOfRange => &mut row.out_of_range,
        } = count;
    }
    rows.into_values().collect()
}

/// Error responses by service and tenant, sorted by name.
pub(super) fn error_rows(desk: &Desk<'_>) -> Vec<Errors> {
    let mut rows: Vec<Errors> = desk
        .inputs
        .ledger
        .errors()
        .map(|((service, tenant), errors)| Errors {
            service: desk.service(service),
            tenant: desk.tenant(tenant),
            responses: errors.total(),
            unsampled: errors.unsampled.count,
        })
        .collect();
    rows.sort_by(|a, b| (&a.service, &a.tenant).cmp(&(&b.service, &b.tenant)));
    rows
}

/// Several tallies of one service put together.
#[derive(Default)]
struct Sum {
    count: u64,
    of: u64,
    tenants: Vec<TenantId>,
    examples: Examples,
}

impl Sum {
    fn add(&mut self, tenant: TenantId, tally: &Tally) {
        self.count = self.count.saturating_add(tally.count);
        if tally.count > 0 {
            self.tenants.push(tenant);
        }
        tally.examples.iter().for_each(|sight| self.examples.add(*sight));
    }
}

/// Files `weight-missing`, `weight-changed`, `weight-invalid` and `error-unsampled`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    weights(desk);
    errors(desk);
}

fn weights(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    let mut forwarded: BTreeMap<ServiceId, u64> = BTreeMap::new();
    let mut wrong: BTreeMap<(ServiceId, Code), Sum> = BTreeMap::new();
    for ((service, tenant, outcome), tally) in ledger.weights.sorted() {
        let sum = forwarded.entry(service).or_default();
        *sum = sum.saturating_add(tally.count);
        let code = match outcome {
            WeightOutcome::Kept => continue,
            WeightOutcome::Missing => Code::WeightMissing,
            WeightOutcome::Changed => Code::WeightChanged,
            WeightOutcome::Malformed | WeightOutcome::OutOfRange => Code::WeightInvalid,
        };
        wrong.entry((service, code)).or_default().add(tenant, tally);
    }
    for ((service, code), sum) in wrong {
        let name = desk.service(service);
        let of = forwarded.get(&service).copied().unwrap_or_default();
        let peers = sum.examples.iter().map(|sight| sight.peer);
        let peer = only(peers).map(|peer| desk.service(peer));
        let share = format!("{} of {}", words::count(sum.count), words::counted(of, "request"));
        let other = peer.as_deref().unwrap_or("others");
        let (message, remedy) = match code {
            Code::WeightMissing => (
                format!("{name} drops the weight on {share} to {other}: what is computed from it counts too little"),
                format!("forward the weight header, or its baggage member, with every call of {name}"),
            ),
            Code::WeightChanged => (
                format!("{name} sends another weight than it received on {share} to {other}"),
                format!("forward the weight unchanged in {name}; only the service that starts the trace sets it"),
            ),
            _ => (
                format!("{share} reach {name} from {other} with a weight that is no number from 0 to 1,000,000"),
                format!("send a finite decimal number from {other}"),
            ),
        };
        desk.file(Draft {
            service: Some(name),
            tenant: only(sum.tenants).map(|tenant| desk.tenant(tenant)),
            peer,
            count: sum.count,
            of,
            examples: desk.examples(&sum.examples),
            ..Draft::new(code, message, remedy)
        });
    }
}

fn errors(desk: &mut Desk<'_>) {
    let mut services: BTreeMap<ServiceId, Sum> = BTreeMap::new();
    for ((service, tenant), errors) in desk.inputs.ledger.errors.sorted() {
        let sum = services.entry(service).or_default();
        sum.of = sum.of.saturating_add(errors.total());
        sum.add(tenant, &errors.unsampled);
    }
    for (service, sum) in services.into_iter().filter(|(_, sum)| sum.count > 0) {
        let name = desk.service(service);
        let share = format!("{} of {}", words::count(sum.count), words::counted(sum.of, "error response"));
        desk.file(Draft {
            service: Some(name.clone()),
            tenant: only(sum.tenants).map(|tenant| desk.tenant(tenant)),
            count: sum.count,
            of: sum.of,
            examples: desk.examples(&sum.examples),
            ..Draft::new(
                Code::ErrorUnsampled,
                format!("{share} of {name} belong to traces that are not sampled: there is nothing to look at"),
                format!("keep errors whatever the ratio: sample {name} fully and keep errors by tail sampling in the collector"),
            )
        });
    }
}
