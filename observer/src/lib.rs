//! The runtime sampling observer: what trace sampling really happens on this host.

pub mod attribute;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod output;
pub mod pattern;
pub mod pipeline;
