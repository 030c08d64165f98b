//! Connections: packets of several taps come in, pieces of numbered connections go out.

use std::net::IpAddr;

use crate::ids::SocketId;
use crate::time::Timestamp;

mod ends;
mod one;
mod table;

pub use one::Connection;
pub use table::{ConnectionCounters, Connections, Sight};

/// An address and port of a flow. IPv4 addresses mapped into IPv6 are kept as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The IP address.
    pub ip: IpAddr,
    /// The TCP port.
    pub port: u16,
}

/// Who sent a packet to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
}

/// Where the two directions of a connection begin: the sequence numbers of their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginnings {
    /// Of what the local end sends.
    pub sent: u32,
    /// Of what it receives.
    pub received: u32,
}

/// The payload of one TCP packet as a tap saw it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// When.
    pub at: Timestamp,
    /// Between whom.
    pub flow: Flow,
    /// Sequence number of the first payload byte.
    pub seq: u32,
    /// Sequence number behind the last byte that the sender had received of the other end; `None` where it said none.
    pub ack: Option<u32>,
    /// Payload bytes on the wire.
    pub wire_len: u32,
    /// The first of these, as many as were captured.
    pub bytes: &'a [u8],
    /// As [`Piece::link`](crate::decode::Piece::link).
    pub link: Option<u32>,
    /// Where it was seen.
    pub tap: Tap,
    /// Whether the sender closes its direction or resets the connection with it.
    pub closes: bool,
    /// Whether it resets the connection.
    pub resets: bool,
    /// The kernel's name for a flow of which the source can be told to leave something out (`Source::leave_out`): a looped one
    /// as the receiver sees it, or one that carries a stream. Zero where there is none.
    pub token: u64,
}

/// Why a connection is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opaque {
    /// TLS records (RFC 8446 section 5.1).
    Tls,
    /// FastCGI; the flow leads from its client.
    FastCgi,
    /// None that is known; the flow leads to the socket that received it as its first payload.
    Unknown,
}

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// Leaving this socket of this host. `looped`: over the loopback device, so that the receiver is on this host too.
    Egress {
        /// The sender.
        socket: SocketId,
        /// Whether the receiver will be on this host.
        looped: bool,
    },
    /// Reaching this socket of this host.
    Ingress {
        /// The receiver.
        socket: SocketId,
        /// Whether the sender is on this host.
        looped: bool,
    },
    /// On an interface or in a capture file, once for both ends.
    Wire,
}
