//! Live tests: the programs in this kernel, real sockets. They need root, and fail without it.
//!
//! One binary that needs no network but loopback and no file of the repository, so that it can be run in a virtual machine of
//! another kernel, with `--test-threads=1`.
#![allow(missing_docs, unreachable_pub)]

#[path = "kernel/big.rs"]
mod big;
#[path = "kernel/calls.rs"]
mod calls;
#[path = "kernel/cgroup.rs"]
mod cgroup;
#[path = "kernel/ends.rs"]
mod ends;
#[path = "kernel/frames.rs"]
mod frames;
#[path = "kernel/go.rs"]
mod go;
#[path = "kernel/goroutines.rs"]
mod goroutines;
#[path = "kernel/headers.rs"]
mod headers;
#[path = "kernel/heads.rs"]
mod heads;
#[path = "kernel/namespaces.rs"]
mod namespaces;
#[path = "kernel/object.rs"]
mod object;
#[path = "kernel/opaque.rs"]
mod opaque;
#[path = "kernel/openssl.rs"]
mod openssl;
#[path = "kernel/pressure.rs"]
mod pressure;
#[path = "kernel/readers.rs"]
mod readers;
#[path = "kernel/reuse.rs"]
mod reuse;
#[path = "kernel/rustls.rs"]
mod rustls;
#[path = "kernel/seen.rs"]
mod seen;
#[path = "kernel/sockets.rs"]
mod sockets;
#[path = "kernel/streams.rs"]
mod streams;
#[path = "kernel/tls.rs"]
mod tls;
#[path = "kernel/wire.rs"]
mod wire;
