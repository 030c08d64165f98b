//! The sections of the table, one function each: the numbers of a report come in, rows go out.

use comfy_table::{Cell, Color};
use observer_core::audit::report::{Hops, Report, Threshold};
use observer_core::sampling::Verdict;

use super::{Page, ROWS_MAX, WIDE};
use crate::output::text::{count, percent, safe};

impl Page {
    pub(super) fn ratios(&self, report: &Report) -> Option<String> {
        let wide = self.style.width >= WIDE;
        let partial = wide && report.ratios.iter().any(|line| line.coverage.is_some_and(|coverage| coverage < 0.9995));
        let deferred = wide && report.ratios.iter().any(|line| line.deferred > 0);
        let explained = wide && report.ratios.iter().any(|line| line.threshold.is_some());
        let mut columns = vec![("service", false), ("tenant", false), ("point", false), ("traces", true)];
        if wide {
            columns.push(("sampled", true));
        }
        if deferred {
            columns.push(("deferred", true));
        }
        columns.push(("ratio", true));
        if wide {
            columns.push(("interval", true));
        }
        if explained {
            columns.push(("by trace id", true));
        }
        columns.push(("declared", true));
        if partial {
            columns.push(("coverage", true));
        }
        columns.push(("verdict", false));
        let mut ratios: Vec<_> = report.ratios.iter().collect();
        // Where not all fit, what is wrong comes first.
        if ratios.len() > ROWS_MAX {
            ratios.sort_by_key(|line| !matches!(line.verdict, Verdict::Under | Verdict::Over | Verdict::Conflicting));
        }
        let rows = ratios.into_iter().map(|line| {
            let mut row = vec![name(&line.service), name(&line.tenant), Cell::new(line.point.as_str())];
            row.push(number(line.traces));
            if wide {
                row.push(number(line.sampled));
            }
            if deferred {
                row.push(number(line.deferred));
            }
            row.push(Cell::new(line.ratio.map_or_else(|| "-".to_owned(), percent)));
            if wide {
                row.push(Cell::new(between(line.lower, line.upper)));
            }
            if explained {
                let said = |threshold: &Threshold| {
                    format!("{} {}", between(threshold.lower, threshold.upper), threshold.family)
                };
                row.push(Cell::new(line.threshold.as_ref().map_or_else(|| "-".to_owned(), said)));
            }
            row.push(Cell::new(line.declared.map_or_else(|| "-".to_owned(), percent)));
            if partial {
                row.push(Cell::new(line.coverage.map_or_else(|| "-".to_owned(), percent)));
            }
            let verdict = Cell::new(line.verdict.as_str());
            row.push(match line.verdict {
                Verdict::Under | Verdict::Over | Verdict::Conflicting => verdict.fg(Color::Red),
                Verdict::Match => verdict.fg(Color::Green),
                Verdict::Inherited | Verdict::Insufficient | Verdict::Undeclared => verdict,
            });
            row
        });
        self.section("RATIOS: sampled traces", &columns, rows.collect())
    }

    pub(super) fn samplers(&self, report: &Report) -> Option<String> {
        let columns = [("service", false), ("sampler", false), ("ratio", true), ("agree", true), ("disagree", true)];
        let rows = report.samplers.iter().map(|line| {
            let ratio = line.ratio.map_or_else(|| "-".to_owned(), percent);
            vec![
                name(&line.service),
                Cell::new(&line.sampler),
                Cell::new(ratio),
                number(line.agree),
                bad(line.disagree),
            ]
        });
        self.section("SAMPLERS: what each service really runs", &columns, rows.collect())
    }

    /// Only outcomes that occurred have a column.
    pub(super) fn hops(&self, report: &Report) -> Option<String> {
        type Read = fn(&Hops) -> u64;
        const OUTCOMES: [(&str, bool, Read); 9] = [
            ("continued", false, |line| line.continued),
            ("lost", true, |line| line.lost),
            ("restarted", true, |line| line.restarted),
            ("flipped", true, |line| line.flipped),
            ("passed", false, |line| line.passed_through),
            ("rooted", false, |line| line.rooted),
            ("background", false, |line| line.background),
            ("ambiguous", false, |line| line.ambiguous),
            ("unattributed", false, |line| line.unattributed),
        ];
        let seen: Vec<_> =
            OUTCOMES.iter().filter(|(_, _, read)| report.hops.iter().any(|line| read(line) > 0)).collect();
        let mut columns = vec![("from", false), ("to", false)];
        columns.extend(seen.iter().map(|(heading, _, _)| (*heading, true)));
        let rows = report.hops.iter().map(|line| {
            let mut row = vec![name(&line.service), name(&line.peer)];
            row.extend(seen.iter().map(|(_, broken, read)| if *broken { bad(read(line)) } else { number(read(line)) }));
            row
        });
        self.section("HOPS: what became of the context", &columns, rows.collect())
    }

    pub(super) fn requests(&self, report: &Report) -> Option<String> {
        let columns = [
            ("service", false),
            ("tenant", false),
            ("protocol", false),
            ("valid", true),
            ("missing", true),
            ("malformed", true),
            ("unobserved", true),
        ];
        let rows = report.requests.iter().map(|line| {
            vec![
                name(&line.service),
                name(&line.tenant),
                name(&line.protocol),
                number(line.valid),
                number(line.missing),
                bad(line.malformed),
                number(line.unobserved),
            ]
        });
        self.section("REQUESTS: by the context they arrived with", &columns, rows.collect())
    }

    pub(super) fn weights(&self, report: &Report) -> Option<String> {
        let columns = [
            ("service", false),
            ("tenant", false),
            ("kept", true),
            ("missing", true),
            ("changed", true),
            ("malformed", true),
            ("out of range", true),
        ];
        let rows = report.weights.iter().map(|line| {
            vec![
                name(&line.service),
                name(&line.tenant),
                number(line.kept),
                bad(line.missing),
                bad(line.changed),
                bad(line.malformed),
                bad(line.out_of_range),
            ]
        });
        self.section("WEIGHTS: what became of them", &columns, rows.collect())
    }

    pub(super) fn errors(&self, report: &Report) -> Option<String> {
        let mut columns = vec![("service", false), ("tenant", false), ("error responses", true), ("not sampled", true)];
        let weighed = report.errors.iter().any(|line| line.below_one > 0);
        if weighed {
            columns.push(("weight below 1", true));
        }
        let rows = report.errors.iter().map(|line| {
            let mut row = vec![name(&line.service), name(&line.tenant), number(line.responses), bad(line.unsampled)];
            if weighed {
                row.push(bad(line.below_one));
            }
            row
        });
        self.section("ERRORS", &columns, rows.collect())
    }

    pub(super) fn slow(&self, report: &Report) -> Option<String> {
        let columns = [
            ("service", false),
            ("tenant", false),
            ("longer than", true),
            ("responses", true),
            ("not sampled", true),
            ("weight below 1", true),
        ];
        let rows = report.slow.iter().map(|line| {
            vec![
                name(&line.service),
                name(&line.tenant),
                Cell::new(format!("{} s", line.threshold_seconds)),
                number(line.responses),
                bad(line.unsampled),
                bad(line.below_one),
            ]
        });
        self.section("SLOW: responses over the declared time", &columns, rows.collect())
    }

    pub(super) fn rules(&self, report: &Report) -> Option<String> {
        let columns = [
            ("declared by", false),
            ("service", false),
            ("tenant", false),
            ("sampler", false),
            ("ratio", true),
            ("traces", true),
        ];
        let every = |scope: &Option<String>| scope.as_deref().map_or_else(|| Cell::new("every"), name);
        let rows = report.rules.iter().map(|line| {
            let ratio = line.ratio.map_or_else(|| "-".to_owned(), percent);
            vec![
                name(&line.source),
                every(&line.service),
                every(&line.tenant),
                Cell::new(&line.sampler),
                Cell::new(ratio),
                number(line.matched),
            ]
        });
        self.section("RULES: what is declared", &columns, rows.collect())
    }
}

fn name(text: &str) -> Cell {
    Cell::new(safe(text))
}

fn number(value: u64) -> Cell {
    Cell::new(count(value))
}

/// A count that should be zero.
/// The ends of an interval of shares.
fn between(lower: f64, upper: f64) -> String {
    format!("{}–{}", percent(lower).trim_end_matches('%'), percent(upper))
}

fn bad(value: u64) -> Cell {
    if value == 0 { number(value) } else { number(value).fg(Color::Red) }
}
