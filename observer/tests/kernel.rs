//! Live tests: the programs in this kernel, real sockets. They need root, and fail without it.
//!
//! One binary that needs no network but loopback, so that it can be run in a virtual machine of another kernel.
#![allow(missing_docs)]

#[path = "kernel/loopback.rs"]
mod loopback;
#[path = "kernel/seen.rs"]
mod seen;
