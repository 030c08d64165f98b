//! x
pub mod boundary;
pub mod environment;
pub mod process;
pub mod program;
pub mod sock_diag;
pub mod survey;
pub mod tables;
