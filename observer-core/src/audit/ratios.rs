//! Ratios: series and rules come in; the rows of the report, verdicts and `ratio-under` and `ratio-over` go out.
//!
//! A verdict blames the one who decides. `started` is judged by every rule; `forwarded` only by rules that set a sampler which
//! ignores its parent; `received` by tenant rules alone, and only over traces that enter the observed services there. All else
//! is inherited and accuses nobody.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::Settings;
use super::desk::{Desk, Draft};
use super::ledger::Arrivals;
use super::report::{Code, Ratio};
use super::severity::Case;
use super::words;
use crate::declared::{Resolution, Rule, SourceKind};
use crate::ids::{ServiceId, TenantId};
use crate::names::Names;
use crate::sampling::interval::Interval;
use crate::sampling::series::{Counts, Share};
use crate::sampling::verdict::Declared;
use crate::sampling::{Point, Verdict};

/// One series.
type Key = (ServiceId, TenantId, Point);

/// What is remembered of the series from report to report: an alarm holds for the run and the version of the rule, though the
/// counts may fall back later, and a rule that changes is judged by what came after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    tracks: FxHashMap<Key, Track>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// The bits of the declared ratio and of the tolerance.
    version: Option<(u64, u64)>,
    /// What was counted under other versions.
    before: Share,
    alarm: Option<Verdict>,
    /// The last verdict and interval, and what they were made from: most series of a large report stand still.
    verdict: Option<(Share, u64, Verdict)>,
    interval: Option<(Share, u64, Interval)>,
}

impl Track {
    fn judge(&mut self, declared: &Declared, share: Share) -> (Verdict, Share) {
        let version = Some((declared.ratio.to_bits(), declared.tolerance.to_bits()));
        if self.version != version {
            let before = if self.version.is_some() { share } else { Share::default() };
            *self = Self { version, before, interval: self.interval, ..Self::default() };
        }
        let since = Share {
            traces: share.traces.saturating_sub(self.before.traces),
            sampled: share.sampled.saturating_sub(self.before.sampled),
        };
        if let Some(alarm) = self.alarm {
            return (alarm, since);
        }
        let verdict = match self.verdict {
            Some((made_from, with, verdict)) if made_from == since && with == declared.alpha.to_bits() => verdict,
            _ => declared.judge(since),
        };
        self.verdict = Some((since, declared.alpha.to_bits(), verdict));
        if matches!(verdict, Verdict::Under | Verdict::Over) {
            self.alarm = Some(verdict);
        }
        (verdict, since)
    }

    fn interval(&mut self, share: Share, alpha: f64) -> Interval {
        match self.interval {
            Some((made_from, with, interval)) if made_from == share && with == alpha.to_bits() => interval,
            _ => {
                let interval = Interval::of(share, alpha);
                self.interval = Some((share, alpha.to_bits(), interval));
                interval
            }
        }
    }
}

/// The ratios of a report, and how many traces each rule was compared with.
pub(super) struct Ratios {
    pub(super) rows: Vec<Ratio>,
    pub(super) matched: BTreeMap<usize, u64>,
}

/// Which rule a series is compared with.
enum Judged<'r> {
    By(usize, &'r Rule, f64, Share),
    Not(Verdict),
}

/// Writes the ratios and files what is wrong with them.
pub(super) fn ratios(desk: &mut Desk<'_>, memory: &mut Memory) -> Ratios {
    let inputs = desk.inputs;
    let arrivals = arrivals(desk);
    let mut series: Vec<(Key, Counts)> = inputs
        .traces
        .series()
        .iter()
        .map(|(service, tenant, point, counts)| ((service, tenant, point), *counts))
        .collect();
    series.sort_by(|(a, _), (b, _)| {
        let name = |key: &Key| (inputs.names.service_name(key.0), inputs.names.tenant_name(key.1), key.2);
        name(a).cmp(&name(b))
    });

    let mut ratios = Ratios { rows: Vec::with_capacity(series.len()), matched: BTreeMap::new() };
    let mut accused: Option<(ServiceId, TenantId, Verdict)> = None;
    for ((service, tenant, point), counts) in series {
        let track = memory.tracks.entry((service, tenant, point)).or_default();
        let Settings { tolerance, false_alarm_rate } = inputs.settings;
        let interval = track.interval(counts.all, false_alarm_rate);
        let mut row = Ratio {
            service: desk.service(service),
            tenant: desk.tenant(tenant),
            point,
            traces: counts.all.traces,
            sampled: counts.all.sampled,
            deferred: counts.deferred,
            ratio: ratio(counts.all),
            lower: interval.lower,
            upper: interval.upper,
            threshold: None,
            coverage: coverage(point, &counts, arrivals.get(&(service, tenant)).copied().unwrap_or_default()),
            declared: None,
            source: None,
            verdict: Verdict::Undeclared,
        };
        match judged(desk, (service, tenant, point), &counts) {
            Judged::Not(verdict) => row.verdict = verdict,
            Judged::By(place, rule, declared_ratio, share) => {
                let declared = Declared { ratio: declared_ratio, tolerance, alpha: false_alarm_rate };
                let (verdict, since) = track.judge(&declared, share);
                row.declared = Some(declared_ratio);
                row.source = Some(rule.source.clone());
                row.verdict = verdict;
                let matched = ratios.matched.entry(place).or_default();
                *matched = matched.saturating_add(share.traces);
                // One wrong sampler is one finding: what it does to roots it does to what it forwards.
                let accusation = (service, tenant, verdict);
                if matches!(verdict, Verdict::Under | Verdict::Over) && accused != Some(accusation) {
                    accused = Some(accusation);
                    let interval = Interval::of(since, false_alarm_rate);
                    let measured = Measured { share: since, interval, coverage: row.coverage };
                    accuse(desk, (service, tenant, point), rule, &declared, &measured, verdict);
                }
            }
        }
        ratios.rows.push(row);
    }
    ratios
}

fn judged<'r>(desk: &Desk<'r>, (service, tenant, point): Key, counts: &Counts) -> Judged<'r> {
    let inputs = desk.inputs;
    let names = (inputs.names.service_name(service), inputs.names.tenant_name(tenant));
    let any = || inputs.rules.resolve(names.0, names.1);
    let by = |resolution, share| match resolution {
        // Tenants past the limit are added up there: no one rule is theirs.
        _ if tenant == Names::OVERFLOW_TENANT => Judged::Not(Verdict::Undeclared),
        Resolution::Conflicting(_) => Judged::Not(Verdict::Conflicting),
        Resolution::Undeclared => Judged::Not(Verdict::Undeclared),
        Resolution::Rule(place) => match inputs.rules.rule(place).and_then(|rule| Some((rule, rule.ratio?))) {
            Some((rule, ratio)) => Judged::By(place, rule, ratio, share),
            None => Judged::Not(Verdict::Undeclared),
        },
    };
    match point {
        Point::Started => by(any(), counts.all),
        Point::Forwarded => match any() {
            Resolution::Rule(place) if inputs.rules.rule(place).is_some_and(sets_a_sampler_that_ignores_parents) => {
                by(Resolution::Rule(place), counts.all)
            }
            _ => Judged::Not(Verdict::Inherited),
        },
        Point::Received if counts.foreign.traces == 0 => Judged::Not(Verdict::Inherited),
        Point::Received => match inputs.rules.resolve_tenant_rule(names.0, names.1) {
            // Only the service's own sampler is declared, and it does not decide on what arrives.
            Resolution::Undeclared if any() != Resolution::Undeclared => Judged::Not(Verdict::Inherited),
            resolution => by(resolution, counts.foreign),
        },
        Point::Exported => Judged::Not(Verdict::Undeclared),
    }
}

/// A tenant rule says which share of a tenant's traces is to be kept, not what a sampler does with its parent's decision.
fn sets_a_sampler_that_ignores_parents(rule: &Rule) -> bool {
    rule.kind != SourceKind::TenantRules && rule.sampler.ignores_parent()
}

fn ratio(share: Share) -> Option<f64> {
    (share.traces > 0).then(|| share.sampled as f64 / share.traces as f64)
}

fn arrivals(desk: &Desk<'_>) -> FxHashMap<(ServiceId, TenantId), Arrivals> {
    let mut sums: FxHashMap<_, Arrivals> = FxHashMap::default();
    for ((service, tenant, _), arrivals) in desk.inputs.ledger.requests() {
        let sum = sums.entry((service, tenant)).or_default();
        *sum = sum.and(arrivals);
    }
    sums
}

/// At `started` the share of requests without context of which the decision is known, elsewhere the share of requests of which
/// the head was seen; `None` where no request shows it.
fn coverage(point: Point, counts: &Counts, arrivals: Arrivals) -> Option<f64> {
    let (part, whole) = match point {
        Point::Started => (counts.all.traces.saturating_add(counts.deferred), arrivals.without_context()),
        Point::Received | Point::Forwarded | Point::Exported => (arrivals.observed(), arrivals.total()),
    };
    (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
}

/// The counts that an accusation rests on.
struct Measured {
    share: Share,
    interval: Interval,
    coverage: Option<f64>,
}

/// The coverage below which a finding says that its ratio rests on a part.
const COVERAGE_TOLD: f64 = 0.95;

fn accuse(
    desk: &mut Desk<'_>,
    (service, tenant, point): Key,
    rule: &Rule,
    declared: &Declared,
    &Measured { share, interval, coverage }: &Measured,
    verdict: Verdict,
) {
    let (service_name, tenant_name) = (desk.service(service), desk.tenant(tenant));
    let measured = ratio(share).unwrap_or_default();
    let sender = (point == Point::Received)
        .then(|| desk.inputs.traces.series().only_sender(service, tenant).map(|sender| desk.service(sender)))
        .flatten();
    let within = words::percent_within(measured, interval);
    let traces = words::counted(share.traces, "trace");
    let declared_ratio = words::percent(declared.ratio);
    let source = &rule.source;
    let what = match point {
        Point::Started => {
            format!("{service_name} samples {within} of {traces} that it starts for tenant {tenant_name}")
        }
        Point::Received => {
            let from = sender.as_deref().unwrap_or("senders that are not observed");
            format!("{from} sampled {within} of {traces} of tenant {tenant_name} that reach {service_name}")
        }
        Point::Forwarded | Point::Exported => {
            format!("{service_name} samples {within} of {traces} of tenant {tenant_name} that it passes on")
        }
    };
    let rests = coverage.filter(|coverage| *coverage < COVERAGE_TOLD).map_or_else(String::new, |coverage| {
        format!("; this rests on {} of the requests that show it", words::percent(coverage))
    });
    let decider = if point == Point::Received {
        sender.clone().unwrap_or_else(|| format!("whoever sends to {service_name}"))
    } else {
        service_name.clone()
    };
    let remedy = match rule.kind {
        SourceKind::TenantRules => format!(
            "make the sampler of {decider} use {} for tenant {tenant_name}, or correct {source}",
            declared.ratio
        ),
        SourceKind::ProcessEnvironment => format!(
            "look for a sampler that the code of {decider} sets, which wins over the environment; or correct {source}"
        ),
    };
    desk.file(Draft {
        case: Case::Ratio { measured, declared: declared.ratio },
        service: Some(service_name),
        tenant: Some(tenant_name),
        peer: sender,
        count: share.sampled,
        of: share.traces,
        ..Draft::new(
            if verdict == Verdict::Under { Code::RatioUnder } else { Code::RatioOver },
            format!("{what}; {declared_ratio} declared at {source}{rests}"),
            remedy,
        )
    });
}
