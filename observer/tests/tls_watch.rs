//! Processes that use TLS libraries, found in this kernel as they start, load and end. Needs root, and fails without it.
#![allow(missing_docs, unreachable_pub)]

#[path = "tls_watch/containers.rs"]
mod containers;
#[path = "tls_watch/files.rs"]
mod files;
#[path = "tls_watch/hosts.rs"]
mod hosts;
#[path = "tls_watch/leave.rs"]
mod leave;
#[path = "tls_watch/processes.rs"]
mod processes;
#[path = "tls_watch/running.rs"]
mod running;
