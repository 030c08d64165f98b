//! `observer schema`: the JSON Schema of the audit report.

use crate::cli::exit::{Outcome, Status};
use crate::cli::write_out;

/// Prints the schema.
///
/// # Errors
///
/// Standard output cannot be written.
pub fn run() -> Outcome {
    write_out(&format!("{}\n", observer_core::audit::schema().trim_end()))?;
    Ok(Status::Clean)
}
