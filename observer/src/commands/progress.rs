//! How a look is going comes in; a bar, or plain lines where nobody watches a terminal, goes out on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::stderr_is_terminal;
use crate::pipeline::Progress;

/// How often a plain line is written where standard error is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Shows progress towards a known end.
#[derive(Debug)]
pub(super) enum Meter {
    Bar(ProgressBar),
    Plain { what: String, written: Instant },
}

impl Meter {
    /// A meter of `what`, that ends at `end`.
    pub(super) fn new(what: String, end: u64) -> Self {
        if !stderr_is_terminal() {
            return Self::Plain { what, written: Instant::now() };
        }
        let bar = ProgressBar::with_draw_target(Some(end), ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3} %  {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Self::Bar(bar)
    }

    /// Shows that `done` of the end is reached and what was found by then.
    pub(super) fn show(&mut self, done: u64, progress: Progress) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(found(progress));
            }
            Self::Plain { what, written } => {
                if written.elapsed() >= PLAIN_EVERY {
                    *written = Instant::now();
                    eprintln!("{what}: {}", found(progress));
                }
            }
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn found(progress: Progress) -> String {
    let Progress { messages, services, tenants, breaks } = progress;
    format!("{messages} messages, {services} services, {tenants} tenants, {breaks} breaks")
}
