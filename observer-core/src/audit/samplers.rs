//! Samplers: series, what explains them, and hops come in; the sampler of a service goes out where there is no doubt, and what is wrong
//! with it: `sampler-mismatch`, `ratio-changed` and `ids-not-random`.

use std::collections::BTreeMap;

use super::desk::{Desk, Draft};
use super::ledger::index;
use super::report::{Code, SamplerSeen};
use super::words;
use crate::declared::{Resolution, Rule, Sampler, SourceKind};
use crate::ids::ServiceId;
use crate::names::UNKNOWN;
use crate::propagation::Outcome;
use crate::sampling::Point;
use crate::sampling::evidence::{Evidence, Explained};
use crate::sampling::interval::Interval;
use crate::sampling::series::Share;

/// Traces that show a decision without exception: a sampler of nine in ten does so 32 times once in thirty runs, one of three
/// in four once in ten thousand.
const ROOTS_MIN: u64 = 32;
/// Traces that are passed on with the decision that a root of this service would not make.
const INHERITED_MIN: u64 = 8;

#[derive(Clone, Debug, Default)]
struct Seen {
    started: Share,
    forwarded: Share,
    flipped: u64,
    /// What explains the decisions at the root, tenant by tenant.
    explained: Vec<Explained>,
    /// Traces that were passed on with a decision that the service would not have made.
    inherited: u64,
}

/// What was seen of each service.
fn seen(desk: &Desk<'_>) -> BTreeMap<ServiceId, Seen> {
    let mut services: BTreeMap<ServiceId, Seen> = BTreeMap::new();
    let series = desk.inputs.traces.series();
    for (service, tenant, class, point, counts) in series.iter() {
        let seen = services.entry(service).or_default();
        let share = match point {
            Point::Started => &mut seen.started,
            Point::Forwarded => &mut seen.forwarded,
            Point::Received | Point::Exported => continue,
        };
        share.traces = share.traces.saturating_add(counts.all.traces);
        share.sampled = share.sampled.saturating_add(counts.all.sampled);
        if point == Point::Started
            && let Some(evidence) = series.evidence(service, tenant, class)
        {
            seen.explained.extend(evidence.trusted(desk.inputs.settings.false_alarm_rate));
            seen.inherited = seen.inherited.saturating_add(evidence.overruled());
        }
    }
    for ((service, _), outcomes) in desk.inputs.ledger.hops() {
        let seen = services.entry(service).or_default();
        let flipped = outcomes.get(index(Outcome::Flipped)).copied().unwrap_or_default();
        seen.flipped = seen.flipped.saturating_add(flipped);
    }
    services
}

/// The samplers that are certain, sorted by service.
pub(super) fn rows(desk: &Desk<'_>) -> Vec<SamplerSeen> {
    let mut rows: Vec<SamplerSeen> = seen(desk)
        .into_iter()
        .filter_map(|(service, seen)| {
            let sampler = sampler(&seen)?;
            let sum = |of: fn(&Explained) -> u64| seen.explained.iter().map(of).fold(0, u64::saturating_add);
            let ratio = match sampler {
                Sampler::AlwaysOn | Sampler::ParentBasedAlwaysOn => Some(1.0),
                Sampler::AlwaysOff | Sampler::ParentBasedAlwaysOff => Some(0.0),
                _ => only_ratio(&seen.explained),
            };
            let (agree, disagree) = match ratio {
                Some(_) if seen.explained.is_empty() => (seen.started.traces.saturating_add(seen.forwarded.traces), 0),
                _ => (sum(|explained| explained.agree), sum(|explained| explained.disagree)),
            };
            let name = desk.service(service);
            Some(SamplerSeen { service: name, sampler: sampler.as_str().to_owned(), ratio, agree, disagree })
        })
        .collect();
    rows.sort_by(|a, b| a.service.cmp(&b.service));
    rows
}

/// The ratio of all tenants, where there is only one.
fn only_ratio(explained: &[Explained]) -> Option<f64> {
    let ratio = |explained: &Explained| explained.configured;
    let first = explained.iter().find_map(ratio)?;
    explained.iter().all(|other| (other.interval.lower..=other.interval.upper).contains(&first)).then_some(first)
}

fn sampler(seen: &Seen) -> Option<Sampler> {
    let Seen { started, forwarded, flipped, ref explained, inherited } = *seen;
    if started.traces < ROOTS_MIN {
        return None;
    }
    let unsampled = forwarded.traces.saturating_sub(forwarded.sampled);
    let all = started.sampled == started.traces;
    let none = started.sampled == 0;
    match (all, none) {
        (true, _) if flipped == 0 && unsampled >= INHERITED_MIN => Some(Sampler::ParentBasedAlwaysOn),
        (true, _) if flipped >= INHERITED_MIN && unsampled == 0 => Some(Sampler::AlwaysOn),
        (_, true) if flipped == 0 && forwarded.sampled >= INHERITED_MIN => Some(Sampler::ParentBasedAlwaysOff),
        (_, true) if flipped >= INHERITED_MIN && forwarded.sampled == 0 => Some(Sampler::AlwaysOff),
        _ if explained.is_empty() => None,
        _ if flipped == 0 && inherited >= INHERITED_MIN => Some(Sampler::ParentBasedTraceIdRatio),
        // Where nothing arrives there is no parent to follow.
        _ if flipped >= INHERITED_MIN && inherited == 0 || forwarded.traces == 0 => Some(Sampler::TraceIdRatio),
        _ => None,
    }
}

/// Files what is wrong with samplers.
pub(super) fn findings(desk: &mut Desk<'_>) {
    let inputs = desk.inputs;
    let alpha = inputs.settings.false_alarm_rate;
    let series = inputs.traces.series();
    let mut started: Vec<_> = series
        .iter()
        .filter(|(_, _, _, point, _)| *point == Point::Started)
        .map(|(key, tenant, class, ..)| (key, tenant, class))
        .collect();
    started.sort_unstable_by_key(|(service, tenant, class)| (*service, *tenant, *class as u8));
    for (service, tenant, class) in started {
        let Some(evidence) = series.evidence(service, tenant, class) else { continue };
        let (name, tenant) = (desk.service(service), desk.tenant(tenant));
        changed(desk, (&name, &tenant), evidence, alpha);
        uneven(desk, (&name, &tenant), evidence, alpha);
    }
    for (service, seen) in seen(desk) {
        mismatch(desk, service, &seen);
    }
}

/// The ratio of a service changed while it was observed.
fn changed(desk: &mut Desk<'_>, (service, tenant): (&str, &str), evidence: &Evidence, alpha: f64) {
    let (Some(change), Some(now)) = (evidence.change(), evidence.trusted(alpha)) else { return };
    let at = change.at.to_rfc3339();
    let (before, after) = (said(&change.from), said(&now));
    let family = if change.from.family == now.family {
        String::new()
    } else {
        format!(", and its sampler from that of {} to that of {}", change.from.family.makers(), now.family.makers())
    };
    let share = evidence.share();
    desk.file(Draft {
        service: Some(service.to_owned()),
        tenant: Some(tenant.to_owned()),
        count: share.sampled,
        of: share.traces,
        ..Draft::new(
            Code::RatioChanged,
            format!("{service} changed its ratio for tenant {tenant} from {before} to {after} about {at}{family}"),
            format!("where nobody meant it: look at what was deployed or configured for {service} then"),
        )
    });
}

fn said(explained: &Explained) -> String {
    let Interval { lower, upper } = explained.interval;
    explained
        .configured
        .map_or_else(|| format!("{} to {}", words::percent(lower), words::percent(upper)), words::percent)
}

/// The trace ids of a service are not spread evenly over what its sampler reads of them.
fn uneven(desk: &mut Desk<'_>, (service, tenant): (&str, &str), evidence: &Evidence, alpha: f64) {
    let Some(explained) = evidence.explained(alpha).filter(|explained| !evidence.spreads(explained, alpha)) else {
        return;
    };
    let share = evidence.share();
    let sampled = words::percent(share.sampled as f64 / share.traces.max(1) as f64);
    desk.file(Draft {
        service: Some(service.to_owned()),
        tenant: Some(tenant.to_owned()),
        count: share.sampled,
        of: share.traces,
        ..Draft::new(
            Code::IdsNotRandom,
            format!(
                "the ids of traces that {service} starts for tenant {tenant} are not random where its sampler ({}) reads them: a ratio \
                 of {} samples {sampled} of {}",
                explained.family.makers(),
                said(&explained),
                words::counted(share.traces, "trace")
            ),
            format!("make whole ids of 128 random bits at {service}, or use a sampler that reads their last 7 bytes"),
        )
    });
}

/// The sampler of a service is not the one that its environment sets.
fn mismatch(desk: &mut Desk<'_>, service: ServiceId, seen: &Seen) {
    let inputs = desk.inputs;
    let name = desk.service(service);
    let Resolution::Rule(place) = inputs.rules.resolve(&name, UNKNOWN) else { return };
    let Some(rule) = inputs.rules.rule(place).filter(|rule| rule.kind == SourceKind::ProcessEnvironment) else {
        return;
    };
    let Some(runs) = sampler(seen).filter(|runs| differs(rule, *runs, seen, inputs.settings.false_alarm_rate)) else {
        return;
    };
    let declared = rule.ratio.filter(|_| !matches!(rule.sampler, Sampler::AlwaysOn | Sampler::AlwaysOff));
    let declared = declared.map_or_else(String::new, |ratio| format!(" {ratio}"));
    let effect = match runs {
        Sampler::AlwaysOn | Sampler::AlwaysOff | Sampler::TraceIdRatio if seen.flipped > 0 => format!(
            ": it overrules its callers on {}, whose traces are cut there",
            words::counted(seen.flipped, "request")
        ),
        _ => String::new(),
    };
    desk.file(Draft {
        service: Some(name.clone()),
        count: seen.started.sampled,
        of: seen.started.traces,
        ..Draft::new(
            Code::SamplerMismatch,
            format!(
                "{name} is declared {}{declared} at {} and runs {}{effect}",
                rule.sampler.as_str(),
                rule.source,
                runs.as_str()
            ),
            format!(
                "look for a sampler that the code of {name} sets, which wins over the environment; or correct {}",
                rule.source
            ),
        )
    });
}

/// Whether a sampler is another one than declared, beyond what chance makes of few traces.
fn differs(rule: &Rule, runs: Sampler, seen: &Seen, alpha: f64) -> bool {
    let follows = |sampler: Sampler| !sampler.ignores_parent();
    match (rule.sampler, runs) {
        (Sampler::Unknown, _) => false,
        (declared, runs) if declared == runs => false,
        // Where nothing arrives there is no parent to follow.
        (declared, _) if seen.forwarded.traces == 0 && follows(declared) => false,
        (
            Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio,
            Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio,
        ) => true,
        (Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio, _) => {
            // All or nothing may be chance where the ratio is near to it.
            let interval = Interval::of(seen.started, alpha);
            rule.ratio.is_some_and(|ratio| !interval.meets(Interval { lower: ratio, upper: ratio }))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_no_doubt_is_named() {
        let case = |started: (u64, u64), forwarded: (u64, u64), flipped| {
            let share = |(traces, sampled)| Share { traces, sampled };
            let (started, forwarded) = (share(started), share(forwarded));
            sampler(&Seen { started, forwarded, flipped, ..Seen::default() })
        };
        assert_eq!(case((100, 100), (50, 20), 0), Some(Sampler::ParentBasedAlwaysOn));
        assert_eq!(case((100, 100), (50, 50), 20), Some(Sampler::AlwaysOn));
        assert_eq!(case((100, 0), (50, 20), 0), Some(Sampler::ParentBasedAlwaysOff));
        assert_eq!(case((100, 0), (50, 0), 20), Some(Sampler::AlwaysOff));
        assert_eq!(case((100, 100), (50, 50), 0), None, "all parents were sampled too");
        assert_eq!(case((10, 10), (50, 20), 0), None, "too few roots");
        assert_eq!(case((100, 10), (50, 20), 0), None, "some ratio");
    }
}
