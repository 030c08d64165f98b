//! The JSON Schema of the audit report, made from the types that write it.

use super::report::Report;

/// The schema as pretty-printed JSON (draft 2020-12), for `observer schema`.
pub fn schema() -> String {
    format!("{:#}\n", schemars::schema_for!(Report).to_value())
}
