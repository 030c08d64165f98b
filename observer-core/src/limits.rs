//! Every bound of the pure stages in one place, with what it is derived from.

use std::time::Duration;

/// The longest head that is read, in bytes, per message; servers refuse heads far shorter (nginx 32 KiB,
/// Apache 8 KiB a line, Node 16 KiB).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long an arrived trace is remembered.
pub const ARRIVED_MEMORY: Duration = Duration::from_mins(10);
/// How long a request without a response can have caused a hop.
pub const CAUSE_MEMORY: Duration = Duration::from_secs(30);

/// The bounds that the configuration sets (`limits:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Distinct tenants kept by name.
    pub tenants: usize,
    /// Distinct services kept by name.
    pub services: usize,
    /// Bytes that all tables and buffers of the stages may hold together; the tables' sizes are derived from it.
    pub memory_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tenants: 1000, services: 500, memory_bytes: 128 * 1024 * 1024 }
    }
}
