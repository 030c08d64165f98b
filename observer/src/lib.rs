//! The runtime sampling observer: the parts of the program around the pure stages of `observer-core`.

pub mod capture;
