//! The report comes in, what a person reads at once goes out: what is wrong first, then the numbers behind it.

mod sections;

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableComponent, presets};
use observer_core::audit::report::{Finding, Report, Severity};

use super::text::{count, plural, safe};

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
    blocks.extend(page.slow(report));
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
                column.set_padding((0, if index + 1 < columns.len() { 2 } else { 0 }));
                if *number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        table.add_rows(rows.into_iter().take(ROWS_MAX));
        let mut text = format!("{title}\n{}", Self::lines(&table));
        if left_out > 0 {
            let _ = write!(text, "\n… and {left_out} more: --format json shows all");
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
            let _ = write!(text, "\n… and {left_out} more: --format json shows all");
        }
        text
    }
}

/// What a finding says, one thing a line.
fn described(finding: &Finding) -> String {
    let mut head =
        serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
    if let Some(service) = &finding.service {
        let _ = write!(head, "  {}", safe(service));
    }
    if let Some(peer) = &finding.peer {
        let _ = write!(head, " → {}", safe(peer));
    }
    if let Some(tenant) = &finding.tenant {
        let _ = write!(head, "  tenant {}", safe(tenant));
    }
    if finding.of > 0 {
        let _ = write!(head, "  {} of {}", count(finding.count), count(finding.of));
    } else if finding.count > 1 {
        let _ = write!(head, "  {} ×", count(finding.count));
    }
    let mut lines = vec![head, safe(&finding.message).into_owned()];
    lines.extend(finding.path.iter().map(|path| format!("path: {}", safe(&path.line(finding.code)))));
    lines.extend(finding.runs.iter().map(|runs| format!("runs: {}", safe(&runs.line()))));
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
