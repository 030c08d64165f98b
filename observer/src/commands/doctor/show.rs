//! What doctor found comes in, a table for a person goes out.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::{Check, Examination, State};
use crate::output::table::Style;

/// The examination for a person.
pub(super) fn table(examination: &Examination, style: Style) -> String {
    let sections = [
        ("THIS HOST", &examination.host),
        ("SOURCES", &examination.sources),
        ("TLS LIBRARIES", &examination.tls),
        ("WHAT WILL NOT BE SEEN", &examination.unseen),
    ];
    let mut text = String::new();
    for (title, checks) in sections.into_iter().filter(|(_, checks)| !checks.is_empty()) {
        let _ = write!(text, "{title}\n{}\n\n", section(checks, style));
    }
    text.push_str(if examination.plaintext {
        "Plaintext HTTP can be observed here: observer diagnose\n"
    } else {
        "Plaintext HTTP cannot be observed live here; observer replay works on capture files all the same.\n"
    });
    text
}

fn section(checks: &[Check], style: Style) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(style.width);
    if style.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for check in checks {
        let (word, color) = match check.state {
            State::Ok => ("ok", Color::Green),
            State::Note => ("note", Color::Yellow),
            State::No => ("NO", Color::Red),
        };
        let detail = match &check.remedy {
            Some(remedy) => format!("{}\n→ {remedy}", check.detail),
            None => check.detail.clone(),
        };
        table.add_row([
            Cell::new(&check.name),
            Cell::new(word).fg(color).add_attribute(Attribute::Bold),
            Cell::new(detail),
        ]);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
