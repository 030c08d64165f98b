//! The log: lines for the operator, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::exit::Failure;

/// Starts logging at a level (`warn`) or with a filter (`warn,observer::capture=debug`).
pub(super) fn start(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::builder().parse(filter).map_err(|_| {
        Failure::wrong(format!("--log {filter}: no log level; give off, error, warn, info, debug or trace"))
    })?;
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .init();
    Ok(())
}
