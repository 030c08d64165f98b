//! Samplers: series and hops come in; the sampler of a service goes out where simple counts leave no doubt: all or nothing at
//! the root, and the parent's decision kept. Ratios are not told from other mixtures here.

use std::collections::BTreeMap;

use super::desk::Desk;
use super::ledger::index;
use super::report::SamplerSeen;
use crate::declared::Sampler;
use crate::ids::ServiceId;
use crate::propagation::Outcome;
use crate::sampling::Point;
use crate::sampling::series::Share;

/// Traces that show a decision without exception: a sampler of nine in ten does so 32 times once in thirty runs, one of three
/// in four once in ten thousand.
const ROOTS_MIN: u64 = 32;
/// Traces that are passed on with the decision that a root of this service would not make.
const INHERITED_MIN: u64 = 8;

#[derive(Default)]
struct Seen {
    started: Share,
    forwarded: Share,
    flipped: u64,
}

/// The samplers that are certain, sorted by service.
pub(super) fn rows(desk: &Desk<'_>) -> Vec<SamplerSeen> {
    let mut services: BTreeMap<ServiceId, Seen> = BTreeMap::new();
    for (service, _, _, point, counts) in desk.inputs.traces.series().iter() {
        let seen = services.entry(service).or_default();
        let share = match point {
            Point::Started => &mut seen.started,
            Point::Forwarded => &mut seen.forwarded,
            Point::Received | Point::Exported => continue,
        };
        share.traces = share.traces.saturating_add(counts.all.traces);
        share.sampled = share.sampled.saturating_add(counts.all.sampled);
    }
    for ((service, _), outcomes) in desk.inputs.ledger.hops() {
        let seen = services.entry(service).or_default();
        let flipped = outcomes.get(index(Outcome::Flipped)).copied().unwrap_or_default();
        seen.flipped = seen.flipped.saturating_add(flipped);
    }
    let mut rows: Vec<SamplerSeen> = services
        .into_iter()
        .filter_map(|(service, seen)| {
            let sampler = sampler(&seen)?;
            let ratio = match sampler {
                Sampler::AlwaysOn | Sampler::ParentBasedAlwaysOn => Some(1.0),
                Sampler::AlwaysOff | Sampler::ParentBasedAlwaysOff => Some(0.0),
                _ => None,
            };
            let agree = seen.started.traces.saturating_add(seen.forwarded.traces);
            let name = desk.service(service);
            Some(SamplerSeen { service: name, sampler: sampler.as_str().to_owned(), ratio, agree, disagree: 0 })
        })
        .collect();
    rows.sort_by(|a, b| a.service.cmp(&b.service));
    rows
}

fn sampler(seen: &Seen) -> Option<Sampler> {
    let Seen { started, forwarded, flipped } = *seen;
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
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leaves_no_doubt_is_named() {
        let case = |started: (u64, u64), forwarded: (u64, u64), flipped| {
            let share = |(traces, sampled)| Share { traces, sampled };
            sampler(&Seen { started: share(started), forwarded: share(forwarded), flipped })
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
