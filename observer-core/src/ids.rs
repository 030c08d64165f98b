//! Identifiers: newtypes, so that a trace id is never taken for a span id, nor a service for a workload.

use std::fmt;

/// A W3C trace id: 16 bytes, never zero (W3C trace-context section 3.2.2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// A span id, in a header the parent id: 8 bytes, never zero (W3C trace-context section 3.2.2.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

impl TraceId {
    /// The low half: all of an id of 64 bits.
    #[expect(clippy::cast_possible_truncation, reason = "the low half")]
    pub fn low(self) -> u64 {
        self.0 as u64
    }

    /// The high half; zero in an id of 64 bits.
    pub fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Whether both may name one trace: they are equal, or one of them is only the low half of the other, as formats with ids of
    /// 64 bits carry it (Datadog; B3 and Jaeger of older libraries).
    pub fn is_same(self, other: Self) -> bool {
        self.low() == other.low() && (self.high() == other.high() || self.high() == 0 || other.high() == 0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}
impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}
impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A socket of this host: the kernel's socket cookie (`bpf_get_socket_cookie`), never reused while the host is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// One connection, numbered by the observer in the order in which connections were first seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One request and its response on one connection: the connection, and the number of the request on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId {
    /// The connection that carries the exchange.
    pub connection: ConnectionId,
    /// Counts the requests of the connection as they were seen, from zero.
    pub number: u64,
}

/// A set of processes that may hold the same sockets: a container, a unit, workers that share a listening socket; in a
/// capture file an address. Flights and hops are kept by workload; names only label and add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub u32);

/// A service name, interned in [`crate::names::Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// A tenant, interned in [`crate::names::Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);
