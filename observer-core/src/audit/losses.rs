//! Weights and lost traces: what became of weights, error responses and slow ones come in; their rows go out, and what is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::desk::{Desk, Draft, only};
use super::ledger::{Fates, Gate, Side, Tally};
use super::report::{Code, Errors, Slow, Weights};
use super::tally::Examples;
use super::words;
use crate::ids::{ServiceId, TenantId};
use crate::propagation::WeightOutcome;

/// Weights by service and tenant, sorted by name.
pub(super) fn weight_rows(desk: &Desk<'_>) -> Vec<Weights> {
    let mut rows: BTreeMap<(String, String), Weights> = BTreeMap::new();
    for ((service, tenant, _, outcome), count) in desk.inputs.ledger.weights() {
        let (service, tenant) = (desk.service(service), desk.tenant(tenant));
        let row = rows.entry((service.clone(), tenant.clone())).or_default();
        (row.service, row.tenant) = (service, tenant);
        let sum = match outcome {
            WeightOutcome::Kept => &mut row.kept,
            WeightOutcome::Missing => &mut row.missing,
            WeightOutcome::Changed => &mut row.changed,
            WeightOutcome::Malformed => &mut row.malformed,
            WeightOutcome::OutOfRange => &mut row.out_of_range,
        };
        *sum = sum.saturating_add(count);
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
            below_one: errors.below_one.count,
        })
        .collect();
    rows.sort_by(|a, b| (&a.service, &a.tenant).cmp(&(&b.service, &b.tenant)));
    rows
}

/// Slow responses by service and tenant, sorted by name.
pub(super) fn slow_rows(desk: &Desk<'_>) -> Vec<Slow> {
    let mut rows: Vec<Slow> = desk
        .inputs
        .ledger
        .slow
        .sorted()
        .into_iter()
        .map(|((service, tenant), slow)| Slow {
            service: desk.service(service),
            tenant: desk.tenant(tenant),
            threshold_seconds: slow.threshold.as_secs_f64(),
            responses: slow.fates.total(),
            unsampled: slow.fates.unsampled.count,
            below_one: slow.fates.below_one.count,
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
    peers: Vec<ServiceId>,
    several_peers: bool,
}

impl Sum {
    fn add(&mut self, tenant: TenantId, tally: &Tally) {
        self.count = self.count.saturating_add(tally.count);
        if tally.count > 0 {
            self.tenants.push(tenant);
        }
        self.several_peers |= tally.several_peers;
        self.peers.extend(tally.examples.iter().next().map(|sight| sight.peer));
        tally.examples.iter().for_each(|sight| self.examples.add(*sight));
    }

    /// The one at the other end, where there is only one.
    fn peer(&self) -> Option<ServiceId> {
        only(self.peers.iter().copied()).filter(|_| !self.several_peers)
    }
}

/// Files `weight-missing`, `weight-changed`, `weight-invalid`, `weight-unsampled`, `weight-not-exposed`, `error-unsampled` and
/// `slow-unsampled`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    weights(desk);
    promised(desk);
    gates(desk);
    let ledger = desk.inputs.ledger;
    for ((service, tenant), errors) in ledger.errors.sorted() {
        unsampled(desk, Code::ErrorUnsampled, (service, tenant), errors, None);
    }
    for ((service, tenant), slow) in ledger.slow.sorted() {
        unsampled(desk, Code::SlowUnsampled, (service, tenant), &slow.fates, Some(slow.threshold));
    }
}

fn weights(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    let mut forwarded: BTreeMap<(ServiceId, Side), u64> = BTreeMap::new();
    let mut wrong: BTreeMap<(ServiceId, Side, Code), Sum> = BTreeMap::new();
    for ((service, tenant, side, outcome), tally) in ledger.weights.sorted() {
        let sum = forwarded.entry((service, side)).or_default();
        *sum = sum.saturating_add(tally.count);
        let code = match outcome {
            WeightOutcome::Kept => continue,
            WeightOutcome::Missing => Code::WeightMissing,
            WeightOutcome::Changed => Code::WeightChanged,
            WeightOutcome::Malformed | WeightOutcome::OutOfRange => Code::WeightInvalid,
        };
        wrong.entry((service, side, code)).or_default().add(tenant, tally);
    }
    for ((service, side, code), mut sum) in wrong {
        sum.of = forwarded.get(&(service, side)).copied().unwrap_or_default();
        let Requests { name, other, share } = Requests::of(desk, service, &sum);
        let (message, remedy) = match (code, side) {
            (Code::WeightMissing, _) => (
                format!("{name} drops the weight on {share} to {other}: what is computed from it counts too little"),
                format!("forward the weight header, or its baggage member, with every call of {name}"),
            ),
            (Code::WeightChanged, _) => (
                format!("{name} sends another weight than it received on {share} to {other}"),
                format!(
                    "forward the weight unchanged in {name}, or raise it to 1 on an error; only the service that starts the trace sets it"
                ),
            ),
            (_, Side::Sender) => (
                format!("{name} sends {share} to {other} with a weight that is no number from 0 to 1,000,000"),
                format!("send a finite decimal number from {name}"),
            ),
            (_, Side::Receiver) => (
                format!("{share} reach {name} from {other} with a weight that is no number from 0 to 1,000,000"),
                format!("send a finite decimal number from {other}"),
            ),
        };
        file(desk, name, sum, Draft::new(code, message, remedy));
    }
}

/// Weights of 1 or more whose traces are not sampled.
fn promised(desk: &mut Desk<'_>) {
    let mut sums: BTreeMap<(ServiceId, Side), Sum> = BTreeMap::new();
    for ((service, tenant, side), fates) in desk.inputs.ledger.promised.sorted() {
        let sum = sums.entry((service, side)).or_default();
        sum.of = sum.of.saturating_add(fates.total());
        sum.add(tenant, &fates.unsampled);
    }
    for ((service, side), sum) in sums.into_iter().filter(|(_, sum)| sum.count > 0) {
        let Requests { name, other, share } = Requests::of(desk, service, &sum);
        let (what, sender) = match side {
            Side::Sender => (format!("{name} sends {share} of weight 1 or more to {other} as not sampled"), &name),
            Side::Receiver => (format!("{share} of weight 1 or more reach {name} from {other} as not sampled"), &other),
        };
        let draft = Draft::new(
            Code::WeightUnsampled,
            format!("{what}: what such a weight promises to keep is lost"),
            format!("set the sampled flag in {sender} wherever it sets or raises a weight to 1 or more"),
        );
        file(desk, name, sum, draft);
    }
}

/// Trace headers that browsers keep from scripts.
fn gates(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    for ((service, gate), gated) in ledger.gates.sorted().into_iter().filter(|(_, gated)| gated.shut.count > 0) {
        let name = desk.service(service);
        let headers = gated.headers.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
        let count = words::count(gated.shut.count);
        let (message, list) = match gate {
            Gate::Expose => (
                format!(
                    "{count} of {} of {name} to browsers carry {headers}, which Access-Control-Expose-Headers does not name: \
                     scripts cannot read it",
                    words::counted(gated.of, "response")
                ),
                "Access-Control-Expose-Headers",
            ),
            Gate::Allow => (
                format!(
                    "{count} of {} to {name} ask for {headers}, which Access-Control-Allow-Headers omits: browsers do not send \
                     such requests",
                    words::counted(gated.of, "preflight")
                ),
                "Access-Control-Allow-Headers",
            ),
        };
        desk.file(Draft {
            service: Some(name.clone()),
            count: gated.shut.count,
            of: gated.of,
            examples: desk.examples(&gated.shut.examples),
            ..Draft::new(Code::WeightNotExposed, message, format!("add {headers} to {list} in {name}"))
        });
    }
}

/// Requests of a finding, in words.
struct Requests {
    name: String,
    /// The one at the other end, where there is only one.
    other: String,
    share: String,
}

impl Requests {
    fn of(desk: &Desk<'_>, service: ServiceId, sum: &Sum) -> Self {
        Self {
            name: desk.service(service),
            other: sum.peer().map_or_else(|| "others".to_owned(), |peer| desk.service(peer)),
            share: format!("{} of {}", words::count(sum.count), words::counted(sum.of, "request")),
        }
    }
}

fn file(desk: &mut Desk<'_>, name: String, sum: Sum, draft: Draft) {
    desk.file(Draft {
        service: Some(name),
        peer: sum.peer().map(|peer| desk.service(peer)),
        tenant: only(sum.tenants).map(|tenant| desk.tenant(tenant)),
        count: sum.count,
        of: sum.of,
        examples: desk.examples(&sum.examples),
        ..draft
    });
}

/// Responses of a service to a tenant whose traces should have been kept. `threshold`: they are slow ones, and took longer.
fn unsampled(
    desk: &mut Desk<'_>,
    code: Code,
    (service, tenant): (ServiceId, TenantId),
    fates: &Fates,
    threshold: Option<Duration>,
) {
    let lost = fates.lost();
    if lost == 0 {
        return;
    }
    let (name, tenant) = (desk.service(service), desk.tenant(tenant));
    let ratio = words::percent(lost as f64 / fates.total() as f64);
    let (kind, longer, what) = match threshold {
        None => ("error response", String::new(), "errors"),
        Some(threshold) => ("response", format!(" that took longer than {threshold:?}"), "slow requests"),
    };
    let share = format!("{} of {}", words::count(lost), words::counted(fates.total(), kind));
    let why = match (fates.unsampled.count, fates.below_one.count) {
        (_, 0) => "belong to traces that are not sampled: there is nothing to look at".to_owned(),
        (0, _) => "carry a weight below 1: whoever samples by weights may drop them".to_owned(),
        (unsampled, below_one) => format!(
            "are lost: {} belong to traces that are not sampled, {} carry a weight below 1",
            words::count(unsampled),
            words::count(below_one)
        ),
    };
    let mut remedies = Vec::new();
    if fates.unsampled.count > 0 {
        remedies.push(format!(
            "keep {what} whatever the ratio: sample {name} fully and keep {what} by tail sampling in the collector"
        ));
    }
    if fates.below_one.count > 0 {
        remedies.push(format!("raise the weight to 1 on {what} in {name}, and in what it answers"));
    }
    let mut examples = fates.unsampled.examples;
    fates.below_one.examples.iter().for_each(|sight| examples.add(*sight));
    desk.file(Draft {
        service: Some(name.clone()),
        tenant: Some(tenant.clone()),
        count: lost,
        of: fates.total(),
        examples: desk.examples(&examples),
        ..Draft::new(
            code,
            format!("{share} ({ratio}) of {name} for tenant {tenant}{longer} {why}"),
            remedies.join("; "),
        )
    });
}
