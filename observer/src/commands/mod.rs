//! The commands: parsed arguments come in, the stages run, an exit status goes out.

mod audits;
pub mod diagnose;
pub mod doctor;
mod edge;
mod line;
mod live;
mod progress;
pub mod replay;
pub mod run;
pub mod schema;

use std::path::Path;

use crate::cli::exit::Failure;
use crate::config::Config;

/// The configuration that the command line names, or the defaults; what of it is not honoured is logged.
fn configuration(path: Option<&Path>) -> Result<Config, Failure> {
    let config = path.map_or_else(|| Ok(Config::default()), Config::load)?;
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    Ok(config)
}
