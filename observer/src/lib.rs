//! The runtime sampling observer: what trace sampling really happens on this host.
// No panics on input. Tests may say what they mean.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod attribute;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod output;
pub mod pattern;
pub mod pipeline;
pub mod tls;
