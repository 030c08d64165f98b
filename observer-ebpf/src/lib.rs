//! The boundary between the kernel programs and user space, defined once: records, flow slots, losses, names and the rules by
//! which the first bytes of a payload are told apart. Compiles for BPF and for the host; no program and no map is here.
#![no_std]
#![forbid(unsafe_code)]

pub mod broker;
pub mod flow;
pub mod frame;
pub mod layout;
pub mod loss;
pub mod opening;
pub mod program;
pub mod record;

/// The longest head that is followed, in bytes, from its first byte on: the bound of the decoder too.
pub const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Flow directions that are remembered at once; a power of two. 64 bytes each make 4 MiB of kernel memory.
pub const FLOW_SLOTS: u32 = 1 << 16;
/// Slots of a set: each flow has one set, by the low bits of its fingerprint, and any slot of it; a power of two. Of 10,000
/// flows at once some 7 find their set full, where with one place each some 720 would find it taken.
pub const FLOW_WAYS: u32 = 4;
/// Connections to brokers that are remembered at once, so that both directions are known by one; a power of two.
pub const PAIR_SLOTS: u32 = 1 << 14;
/// Calls of TLS libraries that are under way at once: one a thread or goroutine that waits for something to read.
pub const TLS_CALLS: u32 = 1 << 16;
/// Sessions of TLS libraries that are remembered at once; the one that was quiet longest goes first.
pub const TLS_SESSIONS: u32 = 1 << 16;
/// Processes whose hits of probes are counted; the one that was quiet longest goes first.
pub const TLS_PROCESSES: u32 = 1 << 12;
/// Connections on which something like Redis passed that are remembered at once, the most recently used ones. Of one that is
/// forgotten the next payload is told of as if it were the first, which may hide a client once more.
pub const REDIS_CONNECTIONS_MAX: u32 = 1 << 14;
/// Processes at once whose reading threads are told.
pub const READERS_MAX: u32 = 64;
/// Goroutines that work for a request and are remembered at once; the one that did nothing longest goes first.
pub const GOROUTINES_MAX: u32 = 1 << 14;
/// Goroutines that are being made at once: one a thread.
pub const BIRTHS_MAX: u32 = 1 << 10;
/// Bytes of the ring buffer unless the loader sets another size.
pub const RING_BYTES: u32 = 8 << 20;

/// `Map` names in the object.
pub mod map {
    /// The ring buffer of [`crate::record::Record`]s.
    pub const RECORDS: &str = "RECORDS";
    /// What user space wants left out of flows ([`crate::flow::LeftOut`]): [`crate::FLOW_SLOTS`] words, that of a flow by the low bits of
    /// its fingerprint.
    pub const LEFT_OUT: &str = "LEFT_OUT";
    /// The counters of [`crate::loss::Loss`], one a CPU.
    pub const LOSSES: &str = "LOSSES";
    /// The bitmap of wanted ports: 65,536 bits in 1,024 words.
    pub const PORTS: &str = "PORTS";
    /// How often probes were hit, by process, one counter a CPU.
    pub const HITS: &str = "HITS";
    /// The processes whose reading threads are told, by their ids (tgid in the initial pid namespace).
    pub const READERS: &str = "READERS";
    /// Of the programs for TLS libraries alone: room that is taken as soon as the maps are made.
    pub const OF_TLS: [&str; 4] = ["CALLS", "SESSIONS", "DONE", HITS];
}

/// Names of the constants that the loader sets before the programs are verified.
pub mod global {
    /// `u8`: not zero where the bitmap of ports applies.
    pub const PORTS_LIMITED: &str = "PORTS_LIMITED";
    /// `u32`: bytes that may wait in the ring before user space is woken.
    pub const WAKE_BYTES: &str = "WAKE_BYTES";
    /// `u32`: bytes that may wait in the ring before socket events are given up in favour of packets.
    pub const SOCKET_EVENT_BYTES: &str = "SOCKET_EVENT_BYTES";
    /// `u8`: not zero where the offsets below are those of the kernel that runs.
    pub const MEMBERS_KNOWN: &str = "MEMBERS_KNOWN";
    /// `u32` each: offsets of [`crate::layout::Member`]s, in bytes.
    pub const MEMBERS: &str = "MEMBERS";
}
