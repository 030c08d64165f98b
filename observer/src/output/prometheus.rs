//! The newest snapshot comes in, Prometheus metrics go out.

use std::sync::{Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use observer_core::audit::report::{Report, Severity};
use observer_core::propagation::Outcome;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use rustc_hash::FxHashMap;

use super::metrics::{self, Family, Kind};
use super::snapshot::{Extras, Shared, Snapshot};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A registry with everything that the observer shows.
///
/// # Errors
///
/// A name that Prometheus does not take; the table of metrics holds none.
pub fn registry(shared: Shared) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(ReportCollector::new(shared)?))?;
    Ok(registry)
}

/// The text that Prometheus scrapes, in UTF-8.
///
/// # Errors
///
/// A metric that cannot be written as text.
pub fn render(registry: &Registry) -> Result<Bytes, prometheus::Error> {
    let mut text = BytesMut::new().writer();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text.into_inner().freeze())
}

/// Renders the newest snapshot at each scrape.
#[derive(Debug)]
struct ReportCollector {
    shared: Shared,
    descriptions: Vec<Desc>,
    shown: Mutex<Series>,
}

/// The value of each series by name and label values.
type Series = FxHashMap<(&'static str, Vec<String>), f64>;

impl ReportCollector {
    fn new(shared: Shared) -> Result<Self, prometheus::Error> {
        let describe = |family: &&Family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, std::collections::HashMap::new())
        };
        let descriptions = metrics::ALL.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { shared, descriptions, shown: Mutex::default() })
    }
}

impl Collector for ReportCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(snapshot) = self.shared.newest() else { return Vec::new() };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        families(&snapshot, &mut shown)
    }
}

/// Every metric of a snapshot. `shown` is what the scrape before showed, and becomes what this one shows.
fn families(snapshot: &Snapshot, shown: &mut Series) -> Vec<MetricFamily> {
    let mut sheet = Sheet { families: Vec::new(), before: std::mem::take(shown), now: Series::default() };
    requests_and_traces(&mut sheet, &snapshot.report);
    ratios(&mut sheet, &snapshot.report);
    propagation(&mut sheet, &snapshot.report);
    from_extras(&mut sheet, &snapshot.extras);
    about_itself(&mut sheet, &snapshot.report);
    *shown = sheet.now;
    sheet.families
}

fn requests_and_traces(sheet: &mut Sheet, report: &Report) {
    sheet.family(&metrics::REQUESTS, |rows| {
        for line in &report.requests {
            let contexts = [
                ("valid", line.valid),
                ("missing", line.missing),
                ("malformed", line.malformed),
                ("unobserved", line.unobserved),
            ];
            for (context, count) in contexts {
                rows.count(&[&line.service, &line.tenant, &line.protocol, context], count);
            }
        }
    });
    sheet.family(&metrics::TRACES, |rows| {
        for line in &report.ratios {
            let decisions = [
                ("true", line.sampled),
                ("false", line.traces.saturating_sub(line.sampled)),
                ("deferred", line.deferred),
            ];
            for (sampled, count) in decisions {
                rows.count(&[&line.service, &line.tenant, line.point.as_str(), sampled], count);
            }
        }
    });
}

fn ratios(sheet: &mut Sheet, report: &Report) {
    sheet.family(&metrics::RATIO, |rows| {
        for line in &report.ratios {
            if let Some(ratio) = line.ratio {
                rows.value(&[&line.service, &line.tenant, line.point.as_str()], ratio);
            }
        }
    });
    sheet.family(&metrics::RATIO_LOWER, |rows| {
        for line in &report.ratios {
            rows.value(&[&line.service, &line.tenant, line.point.as_str()], line.lower);
        }
    });
    sheet.family(&metrics::RATIO_UPPER, |rows| {
        for line in &report.ratios {
            rows.value(&[&line.service, &line.tenant, line.point.as_str()], line.upper);
        }
    });
    sheet.family(&metrics::VERDICT, |rows| {
        for line in &report.ratios {
            rows.value(&[&line.service, &line.tenant, line.point.as_str(), line.verdict.as_str()], 1.0);
        }
    });
    sheet.family(&metrics::SAMPLER_INFO, |rows| {
        for line in &report.samplers {
            rows.value(&[&line.service, &line.sampler], 1.0);
        }
    });
}

fn propagation(sheet: &mut Sheet, report: &Report) {
    sheet.family(&metrics::HOPS, |rows| {
        for line in &report.hops {
            for outcome in Outcome::ALL {
                let count = match outcome {
                    Outcome::Continued => line.continued,
                    Outcome::PassedThrough => line.passed_through,
                    Outcome::Lost => line.lost,
                    Outcome::Restarted => line.restarted,
                    Outcome::Flipped => line.flipped,
                    Outcome::Rooted => line.rooted,
                    Outcome::Background => line.background,
                    Outcome::Ambiguous => line.ambiguous,
                    Outcome::Unattributed => line.unattributed,
                };
                rows.count(&[&line.service, &line.peer, outcome.as_str()], count);
            }
        }
    });
    sheet.family(&metrics::WEIGHTS, |rows| {
        for line in &report.weights {
            let outcomes = [
                ("kept", line.kept),
                ("missing", line.missing),
                ("changed", line.changed),
                ("malformed", line.malformed),
                ("out_of_range", line.out_of_range),
            ];
            for (outcome, count) in outcomes {
                rows.count(&[&line.service, &line.tenant, outcome], count);
            }
        }
    });
}

fn from_extras(sheet: &mut Sheet, extras: &Extras) {
    sheet.family(&metrics::DECLARED_RATIO, |rows| {
        for line in &extras.declared {
            rows.value(&[&line.service, &line.tenant, line.kind.as_str()], line.ratio);
        }
    });
    sheet.family(&metrics::MALFORMED, |rows| {
        for line in &extras.malformed {
            rows.count(&[&line.service, line.reason.as_str()], line.count);
        }
    });
    for (family, lines) in [(&metrics::ERROR_RESPONSES, &extras.errors), (&metrics::SLOW_RESPONSES, &extras.slow)] {
        sheet.family(family, |rows| {
            for line in lines {
                let sampled = line.sampled.map_or("unknown", |sampled| sampled.as_str());
                rows.count(&[&line.service, &line.tenant, sampled], line.count);
            }
        });
    }
    sheet.family(&metrics::EVENTS, |rows| {
        for source in &extras.sources {
            rows.count(&[source.source], source.events);
        }
    });
    sheet.family(&metrics::EVENTS_LOST, |rows| {
        for source in &extras.sources {
            for (reason, count) in &source.lost {
                rows.count(&[source.source, reason], *count);
            }
        }
    });
    let programs = || extras.sources.iter().flat_map(|source| &source.programs);
    sheet.family(&metrics::KERNEL_SECONDS, |rows| {
        for program in programs() {
            rows.value(&[&program.program], program.run_ns as f64 / 1e9);
        }
    });
    sheet.family(&metrics::KERNEL_RUNS, |rows| {
        for program in programs() {
            rows.count(&[&program.program], program.runs);
        }
    });
    let probes = || extras.sources.iter().flat_map(|source| &source.probes);
    sheet.family(&metrics::PROBE_HITS, |rows| {
        for cost in probes() {
            rows.count(&[&cost.command], cost.hits);
        }
    });
    sheet.family(&metrics::PROBE_COST, |rows| {
        for cost in probes() {
            rows.value(&[&cost.command], cost.a_second.as_secs_f64());
        }
    });
    let tables = || extras.sources.iter().flat_map(|source| &source.tables).chain(&extras.tables);
    sheet.family(&metrics::TRACKED, |rows| {
        for table in tables() {
            rows.count(&[table.table], table.tracked);
        }
    });
    sheet.family(&metrics::EVICTED, |rows| {
        for table in tables() {
            rows.count(&[table.table], table.evicted);
        }
    });
}

fn about_itself(sheet: &mut Sheet, report: &Report) {
    sheet.family(&metrics::FINDINGS, |rows| {
        let summary = &report.summary;
        let counts = [
            (Severity::Critical, summary.critical),
            (Severity::Warning, summary.warning),
            (Severity::Info, summary.info),
        ];
        for (severity, count) in counts {
            rows.count(&[severity.as_str()], count);
        }
    });
    sheet.family(&metrics::BUILD_INFO, |rows| {
        let environment = report.environment.as_deref().unwrap_or_default();
        rows.value(&[&report.observer.version, &report.observer.kernel, environment], 1.0);
    });
}

/// The families as they are filled.
struct Sheet {
    families: Vec<MetricFamily>,
    before: Series,
    now: Series,
}

impl Sheet {
    fn family(&mut self, family: &'static Family, fill: impl FnOnce(&mut Rows<'_>)) {
        let mut rows = Rows { family, metrics: Vec::new(), before: &self.before, now: &mut self.now };
        fill(&mut rows);
        let mut rendered = MetricFamily::default();
        rendered.set_name(family.name.to_owned());
        rendered.set_help(family.help.to_owned());
        rendered.set_field_type(match family.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
        });
        rendered.set_metric(rows.metrics);
        self.families.push(rendered);
    }
}

/// The series of one family.
struct Rows<'s> {
    family: &'static Family,
    metrics: Vec<Metric>,
    before: &'s Series,
    now: &'s mut Series,
}

impl Rows<'_> {
    fn count(&mut self, labels: &[&str], count: u64) {
        self.value(labels, count as f64);
    }

    fn value(&mut self, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let key = (self.family.name, labels.iter().map(ToString::to_string).collect());
        // A trace may move from the tenant `unknown` to the one that a later message names. A counter that falls looks like a
        // restart to Prometheus, so it waits until it is caught up with.
        let before = self.before.get(&key).copied().filter(|_| self.family.kind == Kind::Counter);
        let value = before.map_or(value, |before| value.max(before));
        // A series that comes twice would spoil the whole scrape.
        if self.now.insert(key, value).is_some() {
            return;
        }
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut metric = Metric::from_label(self.family.labels.iter().zip(labels).map(pair).collect());
        match self.family.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        self.metrics.push(metric);
    }
}
