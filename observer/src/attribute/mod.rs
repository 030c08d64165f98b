//! x
pub mod boundary;
pub mod environment;
pub mod process;
pub mod program;
