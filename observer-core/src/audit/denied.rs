//! Denied traces: how the contexts that each sender brings were decided comes in; out goes who never has a trace sampled, though the same
//! tenant's traces are sampled where others begin them.
//!
//! Load balancers and function platforms do that which write a `traceparent` of their own and decide nothing: its flags are always `00`, and
//! samplers that follow their parent keep nothing of what comes through them.

use std::collections::BTreeSet;

use super::desk::{Desk, Draft};
use super::ledger::Decided;
use super::report::Code;
use super::words;
use crate::declared::Resolution;
use crate::ids::{ServiceId, TenantId};
use crate::names::Names;
use crate::sampling::Point;
use crate::sampling::interval::Interval;
use crate::sampling::series::Share;

/// Contexts of a sender before anything is said of it.
const PROOF_MIN: u64 = 100;
/// The sender must provably sample less than this part of what others do.
const PART: f64 = 0.1;

/// Files `decision-inconsistent`.
pub(super) fn findings(desk: &mut Desk<'_>) {
    let ledger = desk.inputs.ledger;
    // Who goes on with traces that arrive decides nothing of them.
    let goes_on: BTreeSet<ServiceId> =
        ledger.requests().filter(|(_, arrivals)| arrivals.valid > 0).map(|((service, _, _), _)| service).collect();
    for ((receiver, sender, tenant), decided) in ledger.decided.sorted() {
        let named = [receiver, sender].iter().all(|service| *service != Names::OVERFLOW_SERVICE);
        if named && tenant != Names::OVERFLOW_TENANT && !goes_on.contains(&sender) {
            denied(desk, (receiver, sender, tenant), decided);
        }
    }
}

fn denied(desk: &mut Desk<'_>, (receiver, sender, tenant): (ServiceId, ServiceId, TenantId), decided: &Decided) {
    let count = decided.not_sampled.count;
    if decided.sampled > 0 || count < PROOF_MIN || [receiver, sender].iter().any(|it| keeps_none(desk, *it, tenant)) {
        return;
    }
    let others = others(desk, sender, tenant);
    let alpha = desk.inputs.settings.false_alarm_rate;
    let least = Interval::of(others, alpha).lower;
    // The chance that none of so many is sampled, where even a part of the others' ratio is.
    if libm::log1p(-least * PART) * count as f64 > libm::log(alpha) {
        return;
    }
    let (from, to) = (desk.service(sender), desk.service(receiver));
    let ratio = words::percent(others.sampled as f64 / others.traces as f64);
    desk.file(Draft {
        service: Some(to.clone()),
        peer: Some(from.clone()),
        tenant: Some(desk.tenant(tenant)),
        count,
        of: count,
        examples: desk.examples(&decided.not_sampled.examples),
        ..Draft::new(
            Code::DecisionInconsistent,
            format!(
                "none of {} that {from} sends to {to} with a context is sampled (flags 00), though {ratio} of the traces that others begin \
                 are: where samplers follow their parent, nothing that comes from {from} is kept",
                words::counted(count, "request")
            ),
            format!(
                "switch on sampling where {from} begins traces; where it is a load balancer or function platform that decides nothing, \
                 switch off the traceparent that it writes, or let {to} decide anew on what comes from there"
            ),
        )
    });
}

/// The traces of a tenant that are begun elsewhere.
fn others(desk: &Desk<'_>, sender: ServiceId, tenant: TenantId) -> Share {
    let begun = desk
        .inputs
        .traces
        .series()
        .iter()
        .filter(|(service, whose, _, point, _)| *service != sender && *whose == tenant && *point == Point::Started);
    begun.fold(Share::default(), |sum, (.., counts)| Share {
        traces: sum.traces.saturating_add(counts.all.traces),
        sampled: sum.sampled.saturating_add(counts.all.sampled),
    })
}

/// Whether it is declared that no trace of the tenant is sampled there.
fn keeps_none(desk: &Desk<'_>, service: ServiceId, tenant: TenantId) -> bool {
    let rules = desk.inputs.rules;
    match rules.resolve(desk.inputs.names.service_name(service), desk.inputs.names.tenant_name(tenant)) {
        Resolution::Rule(place) => rules.rule(place).and_then(|rule| rule.ratio).is_some_and(|ratio| ratio <= 0.0),
        _ => false,
    }
}
