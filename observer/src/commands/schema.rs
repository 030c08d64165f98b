//! `observer schema`: the JSON Schema of the audit report.

use observer_core::audit::report::Report;

use crate::cli::exit::{Failure, Outcome, Status};
use crate::cli::write_out;

/// Prints the schema.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn run() -> Outcome {
    let schema = schemars::schema_for!(Report);
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Failure::wrong(error.to_string()))?;
    write_out(&format!("{text}\n"))?;
    Ok(Status::Clean)
}
