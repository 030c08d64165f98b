//! The report comes in, its JSON goes out: the public format `sampling-audit/v1`.

use observer_core::audit::report::Report;

/// The report as JSON for people and programs, with a line end.
///
/// # Errors
///
/// A value that JSON has no spelling for; no report holds one.
pub fn render(report: &Report) -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    Ok(text)
}
