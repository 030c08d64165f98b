//! Output: the report comes in; a table, JSON, Prometheus metrics and audit files go out. Each is one file, and none of them
//! decides anything.

pub mod audit;
pub mod http;
pub mod json;
pub mod metrics;
pub mod prometheus;
pub mod snapshot;
pub mod table;
mod text;

pub(crate) use text::safe;
