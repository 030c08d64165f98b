//! Ratios: series and rules come in; the rows of the report, verdicts and `ratio-under` and `ratio-over` go out.
//!
//! A verdict blames the one who decides. `started` is judged by every rule; `forwarded` only by rules that set a sampler which
//! ignores its parent; `received` by tenant rules alone, and only over traces that enter the observed services there. All else
//! is inherited and accuses nobody.
//!
//! Where a tenant's traces have weights below 1 at a service, its rule is judged over those alone: from 1 on a trace must be kept,
//! and without a weight who samples by weights keeps it, too. That is told as `weight-missing`.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Settings;
use super::desk::{Desk, Draft};
use super::ledger::Arrivals;
use super::report::{ByWeight, Code, Portion, Ratio, Threshold};
use super::severity::Case;
use super::words;
use crate::context::WeightClass;
use crate::declared::{Resolution, Rule, SourceKind};
use crate::ids::{ServiceId, TenantId};
use crate::names::Names;
use crate::sampling::evidence::{Evidence, Explained};
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
    /// Which traces are judged.
    class: Option<WeightClass>,
    /// What was counted under other versions.
    before: Share,
    alarm: Option<Verdict>,
    /// The last verdict and interval, and what they were made from: most series of a large report stand still.
    verdict: Option<(Share, u64, Verdict)>,
    interval: Option<(Share, u64, Interval)>,
}

impl Track {
    fn judge(
        &mut self,
        declared: &Declared,
        class: WeightClass,
        share: Share,
        evidence: Option<&Evidence>,
    ) -> (Verdict, Share) {
        let version = Some((declared.ratio.to_bits(), declared.tolerance.to_bits()));
        let class = Some(class);
        if self.version != version || self.class != class {
            // Traces of a class that was not judged yet were counted under this rule.
            let judged_before = self.version.is_some() && self.version != version;
            let before = if judged_before { share } else { Share::default() };
            *self = Self { version, class, before, interval: self.interval, ..Self::default() };
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
            _ => {
                // What the sampler decided under another rule is no evidence against this one.
                let evidence = evidence.filter(|_| self.before == Share::default());
                let by_threshold = evidence.and_then(|evidence| by_threshold(evidence, &halved(declared)));
                by_threshold.unwrap_or_else(|| halved(declared).judge(since))
            }
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

/// Each of two tests may raise half of the false alarms.
fn halved(declared: &Declared) -> Declared {
    Declared { alpha: declared.alpha / 2.0, ..*declared }
}

/// What the threshold on trace ids says of a declared ratio, where it says something.
fn by_threshold(evidence: &Evidence, declared: &Declared) -> Option<Verdict> {
    let explained = evidence.explained(declared.alpha)?;
    let (interval, band) = (explained.interval, declared.band());
    if explained.is_forced {
        return None;
    }
    let is_wrong = declared.ratio > 0.0
        && declared.ratio < 1.0
        && evidence.ln_against(declared).is_some_and(|against| against >= -libm::log(declared.alpha));
    if is_wrong || !interval.meets(band) {
        let below = f64::midpoint(interval.lower, interval.upper) < declared.ratio;
        return Some(if below { Verdict::Under } else { Verdict::Over });
    }
    (interval.lower >= band.lower && interval.upper <= band.upper).then_some(Verdict::Match)
}

/// The ratios of a report, and how many traces each rule was compared with.
pub(super) struct Ratios {
    pub(super) rows: Vec<Ratio>,
    pub(super) matched: BTreeMap<usize, u64>,
}

/// The counts of a series in each class of weights, in the order of [`WeightClass::ALL`].
#[derive(Clone, Copy, Default)]
struct Classes([Counts; WeightClass::ALL.len()]);

impl Classes {
    fn of(&self, class: WeightClass) -> Counts {
        WeightClass::ALL
            .into_iter()
            .zip(self.0)
            .find(|(known, _)| *known == class)
            .map_or_else(Counts::default, |(_, counts)| counts)
    }

    fn all(&self) -> Counts {
        self.0.into_iter().fold(Counts::default(), Counts::and)
    }

    /// The traces that a rule decides on: those whose weight is below 1; where none has such a weight, those without one.
    fn judged(&self) -> (WeightClass, Counts) {
        match self.of(WeightClass::Below) {
            below if below.all.traces > 0 => (WeightClass::Below, below),
            _ => (WeightClass::Missing, self.of(WeightClass::Missing).and(self.of(WeightClass::Unobserved))),
        }
    }

    fn by_weight(&self) -> Option<ByWeight> {
        let [one_or_more, below_one, none, unobserved] = self.0.map(|counts| counts.all);
        let portion = |share: Share| Portion { traces: share.traces, sampled: share.sampled };
        (one_or_more.traces > 0 || below_one.traces > 0).then(|| ByWeight {
            one_or_more: portion(one_or_more),
            below_one: portion(below_one),
            none: portion(none),
            unobserved: portion(unobserved),
        })
    }
}

/// Which rule a series is compared with.
enum Judged<'r> {
    By(usize, &'r Rule, f64),
    Not(Verdict),
}

/// Writes the ratios and files what is wrong with them.
pub(super) fn ratios(desk: &mut Desk<'_>, memory: &mut Memory) -> Ratios {
    let inputs = desk.inputs;
    let arrivals = arrivals(desk);
    let mut classes: FxHashMap<Key, Classes> = FxHashMap::default();
    let mut weighed = FxHashSet::default();
    for (service, tenant, class, point, counts) in inputs.traces.series().iter() {
        let Classes(row) = classes.entry((service, tenant, point)).or_default();
        if let Some(slot) = row.get_mut(class as usize) {
            *slot = *counts;
        }
        if class == WeightClass::Below {
            weighed.insert(system(service, tenant));
        }
    }
    let mut series: Vec<(Key, Classes)> = classes.into_iter().collect();
    series.sort_by(|(a, _), (b, _)| {
        let name = |key: &Key| (inputs.names.service_name(key.0), inputs.names.tenant_name(key.1), key.2);
        name(a).cmp(&name(b))
    });

    let mut ratios = Ratios { rows: Vec::with_capacity(series.len()), matched: BTreeMap::new() };
    let mut accused: Option<(ServiceId, TenantId, Verdict)> = None;
    for ((service, tenant, point), classes) in series {
        let counts = classes.all();
        let track = memory.tracks.entry((service, tenant, point)).or_default();
        let Settings { tolerance, false_alarm_rate } = inputs.settings;
        let interval = track.interval(counts.all, false_alarm_rate);
        let evidence = (point == Point::Started)
            .then(|| inputs.traces.series().evidence(service, tenant, classes.judged().0))
            .flatten();
        let explained = evidence.and_then(|evidence| evidence.trusted(false_alarm_rate));
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
            threshold: explained.map(|explained| Threshold {
                lower: explained.interval.lower,
                upper: explained.interval.upper,
                family: explained.family.as_str().to_owned(),
            }),
            coverage: coverage(point, &counts, arrivals.get(&(service, tenant)).copied().unwrap_or_default()),
            declared: None,
            source: None,
            verdict: Verdict::Undeclared,
            by_weight: classes.by_weight(),
        };
        match judged(desk, (service, tenant, point), &counts) {
            Judged::Not(verdict) => row.verdict = verdict,
            Judged::By(place, rule, declared_ratio) => {
                let declared = Declared { ratio: declared_ratio, tolerance, alpha: false_alarm_rate };
                let shown = |counts: Counts| if point == Point::Received { counts.foreign } else { counts.all };
                let (class, judged) = classes.judged();
                let share = shown(judged);
                let (mut verdict, since) =
                    track.judge(&declared, class, share, evidence.filter(|_| explained.is_some()));
                let without = shown(classes.of(WeightClass::Missing));
                if weighed.contains(&system(service, tenant)) && declared.judge(without) == Verdict::Over {
                    let measured = Measured::new(without, WeightClass::Missing, false_alarm_rate, None);
                    forced(desk, (service, tenant, point), rule, &declared, &measured);
                    if class == WeightClass::Missing {
                        // The weight decided, not the sampler.
                        verdict = Verdict::Insufficient;
                    }
                }
                row.declared = Some(declared_ratio);
                row.source = Some(rule.source.clone());
                row.verdict = verdict;
                let matched = ratios.matched.entry(place).or_default();
                *matched = matched.saturating_add(share.traces);
                // One wrong sampler is one finding: what it does to roots it does to what it forwards.
                let accusation = (service, tenant, verdict);
                if matches!(verdict, Verdict::Under | Verdict::Over) && accused != Some(accusation) {
                    accused = Some(accusation);
                    let measured = Measured::new(since, class, false_alarm_rate, row.coverage);
                    accuse(desk, (service, tenant, point), rule, &declared, (&measured, explained.as_ref()), verdict);
                }
            }
        }
        ratios.rows.push(row);
    }
    ratios
}

/// What has one way to sample by weights: all services of a tenant; each service alone where nobody names the tenant.
fn system(service: ServiceId, tenant: TenantId) -> (TenantId, Option<ServiceId>) {
    (tenant, (tenant == Names::UNKNOWN_TENANT).then_some(service))
}

fn judged<'r>(desk: &Desk<'r>, (service, tenant, point): Key, counts: &Counts) -> Judged<'r> {
    let inputs = desk.inputs;
    let names = (inputs.names.service_name(service), inputs.names.tenant_name(tenant));
    let any = || inputs.rules.resolve(names.0, names.1);
    let by = |resolution| match resolution {
        // Tenants past the limit are added up there: no one rule is theirs.
        _ if tenant == Names::OVERFLOW_TENANT => Judged::Not(Verdict::Undeclared),
        Resolution::Conflicting(_) => Judged::Not(Verdict::Conflicting),
        Resolution::Undeclared => Judged::Not(Verdict::Undeclared),
        Resolution::Rule(place) => match inputs.rules.rule(place).and_then(|rule| Some((rule, rule.ratio?))) {
            Some((rule, ratio)) => Judged::By(place, rule, ratio),
            None => Judged::Not(Verdict::Undeclared),
        },
    };
    match point {
        Point::Started => by(any()),
        Point::Forwarded => match any() {
            Resolution::Rule(place) if inputs.rules.rule(place).is_some_and(sets_a_sampler_that_ignores_parents) => {
                by(Resolution::Rule(place))
            }
            _ => Judged::Not(Verdict::Inherited),
        },
        Point::Received if counts.foreign.traces == 0 => Judged::Not(Verdict::Inherited),
        Point::Received => match inputs.rules.resolve_tenant_rule(names.0, names.1) {
            // Only the service's own sampler is declared, and it does not decide on what arrives.
            Resolution::Undeclared if any() != Resolution::Undeclared => Judged::Not(Verdict::Inherited),
            resolution => by(resolution),
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
    /// That of all these traces.
    class: WeightClass,
    interval: Interval,
    coverage: Option<f64>,
}

impl Measured {
    fn new(share: Share, class: WeightClass, alpha: f64, coverage: Option<f64>) -> Self {
        Self { share, class, interval: Interval::of(share, alpha), coverage }
    }
}

/// The coverage below which a finding says that its ratio rests on a part.
const COVERAGE_TOLD: f64 = 0.95;

/// What was measured, in words.
struct Sentence {
    service: String,
    tenant: String,
    /// Who sent what was measured at `received`, where there is only one.
    sender: Option<String>,
    /// `checkout samples 5 % [4, 6] of 900 traces that it starts for tenant acme`
    what: String,
    /// Who decided on these traces.
    decider: String,
}

impl Sentence {
    /// `kind`: says which traces were measured, such as ` of weight below 1`.
    fn of(desk: &Desk<'_>, (service, tenant, point): Key, measured: &Measured, kind: &str) -> Self {
        let series = desk.inputs.traces.series();
        let (name, tenant_name) = (desk.service(service), desk.tenant(tenant));
        let sender = (point == Point::Received)
            .then(|| series.only_sender(service, tenant, measured.class).map(|sender| desk.service(sender)))
            .flatten();
        let within = words::percent_within(ratio(measured.share).unwrap_or_default(), measured.interval);
        let traces = format!("{}{kind}", words::counted(measured.share.traces, "trace"));
        let what = match point {
            Point::Started => format!("{name} samples {within} of {traces} that it starts for tenant {tenant_name}"),
            Point::Received => {
                let from = sender.as_deref().unwrap_or("senders that are not observed");
                format!("{from} sampled {within} of {traces} of tenant {tenant_name} that reach {name}")
            }
            Point::Forwarded | Point::Exported => {
                format!("{name} samples {within} of {traces} of tenant {tenant_name} that it passes on")
            }
        };
        let decider = match (point, &sender) {
            (Point::Received, Some(sender)) => sender.clone(),
            (Point::Received, None) => format!("whoever sends to {name}"),
            _ => name.clone(),
        };
        Self { service: name, tenant: tenant_name, sender, what, decider }
    }
}

fn accuse(
    desk: &mut Desk<'_>,
    key: Key,
    rule: &Rule,
    declared: &Declared,
    (measured, explained): (&Measured, Option<&Explained>),
    verdict: Verdict,
) {
    let below = if measured.class == WeightClass::Below { " of weight below 1" } else { "" };
    let Sentence { service, tenant, sender, what, decider } = Sentence::of(desk, key, measured, below);
    let declared_ratio = words::percent(declared.ratio);
    let source = &rule.source;
    let rests = measured.coverage.filter(|coverage| *coverage < COVERAGE_TOLD).map_or_else(String::new, |coverage| {
        format!("; this rests on {} of the requests that show it", words::percent(coverage))
    });
    let remedy = match rule.kind {
        SourceKind::TenantRules => {
            format!("make the sampler of {decider} use {} for tenant {tenant}, or correct {source}", declared.ratio)
        }
        SourceKind::ProcessEnvironment => format!(
            "look for a sampler that the code of {decider} sets, which wins over the environment; or correct {source}"
        ),
    };
    desk.file(Draft {
        case: Case::Ratio { measured: ratio(measured.share).unwrap_or_default(), declared: declared.ratio },
        service: Some(service),
        tenant: Some(tenant),
        peer: sender,
        count: measured.share.sampled,
        of: measured.share.traces,
        ..Draft::new(
            if verdict == Verdict::Under { Code::RatioUnder } else { Code::RatioOver },
            format!(
                "{what}{}; {declared_ratio} declared at {source}{rests}",
                explained.map_or_else(String::new, decides)
            ),
            remedy,
        )
    });
}

/// The sampler that the decisions show: added to a message.
fn decides(explained: &Explained) -> String {
    let Explained { family, interval, configured, .. } = explained;
    let ratio = configured.map_or_else(
        || format!("between {} and {}", words::percent(interval.lower), words::percent(interval.upper)),
        |ratio| format!("of {ratio}"),
    );
    format!(", as by a ratio {ratio} on trace ids ({})", family.makers())
}

/// Traces without a weight are sampled more often than the rule says, in a system that samples by weights.
fn forced(desk: &mut Desk<'_>, key: Key, rule: &Rule, declared: &Declared, measured: &Measured) {
    let Sentence { service, tenant, sender, what, decider } =
        Sentence::of(desk, key, measured, " (weight missing or malformed)");
    let declared_ratio = words::percent(declared.ratio);
    desk.file(Draft {
        service: Some(service),
        peer: sender,
        tenant: Some(tenant.clone()),
        count: measured.share.sampled,
        of: measured.share.traces,
        ..Draft::new(
            Code::WeightMissing,
            format!("{what}: that forces sampling; {declared_ratio} declared at {}", rule.source),
            format!("send a weight from 0 on with every request of tenant {tenant}, at {decider} or whoever calls it"),
        )
    });
}
