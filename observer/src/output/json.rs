//! The report comes in, its JSON goes out: the public format `sampling-audit/v1`.

use observer_core::audit::report::Report;

/// The report as JSON for people and programs, with a line end.
///
/// # Panics
///
/// Never: a report holds no map whose keys are not texts, and JSON has a spelling for everything else in it.
pub fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("a report is always JSON");
    text.push('\n');
    text
}
