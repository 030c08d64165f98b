//! The runtime sampling observer: everything but the command line's entry.
pub mod attribute;
pub mod capture;
