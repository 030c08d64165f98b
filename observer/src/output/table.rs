//! The report comes in, what a person reads at once goes out: what is wrong first, then the numbers behind it.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent, presets};
use observer_core::audit::report::{Finding, Report, Severity};
use observer_core::sampling::Verdict;

use super::text::{count, percent, plural, safe};

/// Rows of one section that a person still reads; all of them are in the JSON.
const ROWS_MAX: usize = 60;
/// Examples of one finding.
const EXAMPLES_MAX: usize = 2;
/// Below this many columns the tables leave out what can be done without.
const WIDE: u16 = 100;

/// How the report is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: u16,
    /// Whether to use colours.
    pub color: bool,
}

/// The report for a person.
pub fn render(report: &Report, style: Style) -> String {
    let page = Page { style };
    let mut blocks = vec![page.header(report), page.findings(report)];
    blocks.extend(page.ratios(report));
    blocks.extend(page.samplers(report));
    blocks.extend(page.hops(report));
    blocks.extend(page.requests(report));
    blocks.extend(page.weights(report));
    blocks.extend(page.errors(report));
    blocks.extend(page.rules(report));
    blocks.push(footer(report));
    let mut text = blocks.join("\n\n");
    text.push('\n');
    text
}

struct Page {
    style: Style,
}

/// A column: its heading, and whether it holds numbers.
type Column = (&'static str, bool);

impl Page {
    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.style.width);
        if self.style.color {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        table
    }

    fn lines(table: &Table) -> String {
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// A section with a title, headings and at most [`ROWS_MAX`] rows; nothing without rows.
    fn section(&self, title: &str, columns: &[Column], rows: Vec<Vec<Cell>>) -> Option<String> {
        if rows.is_empty() {
            return None;
        }
        let left_out = rows.len().saturating_sub(ROWS_MAX);
        let mut table = self.table();
        table.set_style(TableComponent::HeaderLines, '─');
        table.set_header(columns.iter().map(|(heading, _)| Cell::new(heading).add_attribute(Attribute::Bold)));
        for (index, (_, number)) in columns.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_padding((0, 2));
                if *number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.add_rows(rows.into_iter().take(ROWS_MAX));
        let mut text = format!("{title}\n{}", Self::lines(&table));
        if left_out > 0 {
            text.push_str(&format!("\n… and {left_out} more: --format json shows all"));
        }
        Some(text)
    }

    fn header(&self, report: &Report) -> String {
        let Report { observer, window, capture, .. } = report;
        let environment = report.environment.as_ref().map_or_else(String::new, |name| format!(" · {}", safe(name)));
        let lost = if capture.lost == 0 { "nothing lost".to_owned() } else { format!("{} LOST", count(capture.lost)) };
        let sources = if capture.sources.is_empty() { "no source".to_owned() } else { capture.sources.join(", ") };
        let undecodable = match capture.undecodable {
            0 => String::new(),
            heads => format!(" · {} not decodable", plural(heads, "head")),
        };
        let mut table = self.table();
        for line in [
            format!("Sampling audit of {} (kernel {}){environment}", safe(&observer.host), safe(&observer.kernel)),
            format!("{} to {} ({:.1} s)", window.start, window.end, window.seconds),
            format!(
                "{sources} · {} · {} · {lost}{undecodable}",
                plural(capture.messages, "message"),
                plural(capture.events, "event")
            ),
        ] {
            table.add_row([line]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 0));
        }
        Self::lines(&table)
    }

    fn findings(&self, report: &Report) -> String {
        if report.findings.is_empty() {
            return "FINDINGS\nnone".to_owned();
        }
        let mut findings: Vec<&Finding> = report.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let left_out = findings.len().saturating_sub(ROWS_MAX);
        let mut table = self.table();
        for finding in findings.into_iter().take(ROWS_MAX) {
            let severity = finding.severity.as_str().to_uppercase();
            let severity = Cell::new(severity).fg(color_of(finding.severity)).add_attribute(Attribute::Bold);
            table.add_row([severity, Cell::new(described(finding))]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
        }
        let mut text = format!("FINDINGS\n{}", Self::lines(&table));
        if left_out > 0 {
            text.push_str(&format!("\n… and {left_out} more: --format json shows all"));
        }
        text
    }

    fn ratios(&self, report: &Report) -> Option<String> {
        let wide = self.style.width >= WIDE;
        let partial = wide && report.ratios.iter().any(|line| line.coverage.is_some_and(|coverage| coverage < 0.9995));
        let mut columns = vec![("service", false), ("tenant", false), ("point", false), ("traces", true)];
        if wide {
            columns.push(("sampled", true));
        }
        columns.push(("ratio", true));
        if wide {
            columns.push(("interval", true));
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
            row.push(Cell::new(line.ratio.map_or_else(|| "-".to_owned(), percent)));
            if wide {
                row.push(Cell::new(format!(
                    "{} – {}",
                    percent(line.lower).trim_end_matches(" %"),
                    percent(line.upper)
                )));
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

    fn samplers(&self, report: &Report) -> Option<String> {
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
    fn hops(&self, report: &Report) -> Option<String> {
        type Read = fn(&observer_core::audit::report::Hops) -> u64;
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

    fn requests(&self, report: &Report) -> Option<String> {
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

    fn weights(&self, report: &Report) -> Option<String> {
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

    fn errors(&self, report: &Report) -> Option<String> {
        let columns = [("service", false), ("tenant", false), ("error responses", true), ("not sampled", true)];
        let rows = report
            .errors
            .iter()
            .map(|line| vec![name(&line.service), name(&line.tenant), number(line.responses), bad(line.unsampled)]);
        self.section("ERRORS", &columns, rows.collect())
    }

    fn rules(&self, report: &Report) -> Option<String> {
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

/// What a finding says, one thing a line.
fn described(finding: &Finding) -> String {
    let mut head =
        serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
    if let Some(service) = &finding.service {
        head.push_str(&format!("  {}", safe(service)));
    }
    if let Some(peer) = &finding.peer {
        head.push_str(&format!(" → {}", safe(peer)));
    }
    if let Some(tenant) = &finding.tenant {
        head.push_str(&format!("  tenant {}", safe(tenant)));
    }
    if finding.of > 0 {
        head.push_str(&format!("  {} of {}", count(finding.count), count(finding.of)));
    } else if finding.count > 0 {
        head.push_str(&format!("  {} ×", count(finding.count)));
    }
    let mut lines = vec![head, safe(&finding.message).into_owned()];
    if !finding.remedy.is_empty() {
        lines.push(format!("fix: {}", safe(&finding.remedy)));
    }
    for example in finding.examples.iter().take(EXAMPLES_MAX) {
        let trace = example.trace_id.as_ref().map_or_else(String::new, |id| format!("trace {} ", safe(id)));
        lines.push(format!("e.g. {trace}at {}", safe(&example.at)));
    }
    lines.join("\n")
}

fn footer(report: &Report) -> String {
    let summary = &report.summary;
    let verdict = if summary.critical + summary.warning + summary.info == 0 {
        "nothing wrong".to_owned()
    } else {
        format!(
            "{} critical, {}, {} info",
            count(summary.critical),
            plural(summary.warning, "warning"),
            count(summary.info)
        )
    };
    format!(
        "{verdict} · {}, {}, {}",
        plural(summary.services, "service"),
        plural(summary.tenants, "tenant"),
        plural(summary.rules, "rule")
    )
}

fn color_of(severity: Severity) -> Color {
    match severity {
        Severity::Critical => Color::Red,
        Severity::Warning => Color::Yellow,
        Severity::Info => Color::Blue,
    }
}

fn name(text: &str) -> Cell {
    Cell::new(safe(text))
}

fn number(value: u64) -> Cell {
    Cell::new(count(value))
}

/// A count that should be zero.
fn bad(value: u64) -> Cell {
    if value == 0 { number(value) } else { number(value).fg(Color::Red) }
}
