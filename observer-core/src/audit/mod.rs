//! Audit: ratios, hops and rules come in; findings and the report go out. The report is a plain value, every output a
//! rendering of it.

pub mod report;
