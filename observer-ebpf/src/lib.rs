//! The boundary between the kernel programs and user space, defined once: records, flow slots, losses, names and the rules by
//! which the first bytes of a payload are told apart. Compiles for BPF and for the host; no program and no map is here.
#![no_std]
#![forbid(unsafe_code)]

pub mod broker;
pub mod flow;
pub mod frame;
pub mod loss;
pub mod opening;
pub mod program;
pub mod record;

/// The longest head that is followed, in bytes, from its first byte on: the bound of the decoder too.
pub const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Flow directions that are remembered at once; a power of two, because a flow's slot is the low bits of its fingerprint.
/// 64 bytes each make 4 MiB of kernel memory.
pub const FLOW_SLOTS: u32 = 1 << 16;
/// Connections to brokers that are remembered at once, so that both directions are known by one; a power of two.
pub const PAIR_SLOTS: u32 = 1 << 14;
/// Connections on which something like Redis passed that are remembered at once, the most recently used ones. Of one that is
/// forgotten the next payload is told of as if it were the first, which may hide a client once more.
pub const REDIS_CONNECTIONS_MAX: u32 = 1 << 14;
/// Bytes of the ring buffer unless the loader sets another size.
pub const RING_BYTES: u32 = 8 << 20;

/// `Map` names in the object.
pub mod map {
    /// The ring buffer of [`crate::record::Record`]s.
    pub const RECORDS: &str = "RECORDS";
    /// The array of [`crate::flow::FlowSlot`]s.
    pub const FLOWS: &str = "FLOWS";
    /// The counters of [`crate::loss::Loss`], one a CPU.
    pub const LOSSES: &str = "LOSSES";
    /// The bitmap of wanted ports: 65,536 bits in 1,024 words.
    pub const PORTS: &str = "PORTS";
}

/// Names of the constants that the loader sets before the programs are verified.
pub mod global {
    /// `u8`: not zero where the bitmap of ports applies.
    pub const PORTS_LIMITED: &str = "PORTS_LIMITED";
    /// `u32`: bytes that may wait in the ring before user space is woken.
    pub const WAKE_BYTES: &str = "WAKE_BYTES";
    /// `u32`: bytes that may wait in the ring before socket events are given up in favour of packets.
    pub const SOCKET_EVENT_BYTES: &str = "SOCKET_EVENT_BYTES";
}
