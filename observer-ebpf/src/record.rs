//! What the kernel hands to user space: one [`Record`] an event, followed by the captured bytes. User space reads it by copy.

/// What a record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Payload of a TCP packet.
    Packet = 1,
    /// A flow that carries TLS records.
    Tls = 2,
    /// `connect()`: `destination` is where to, `token` the process; captured is its command name ([`COMMAND_BYTES`]).
    Connects = 4,
    /// `bind()`: `source` is the local address, `token` the process.
    Binds = 5,
    /// A connection that this host opened: `source` is the local end.
    Connected = 6,
    /// A connection that this host accepted: `source` is the local end.
    Accepted = 7,
    /// A socket is closed.
    Released = 8,
    /// A flow that carries FastCGI requests.
    FastCgi = 9,
    /// The first payload that a socket receives begins nothing that is known.
    Unknown = 10,
    /// A session of a TLS library is given up: `socket` is its number, `token` the process.
    SessionEnds = 11,
    /// A session of a TLS library is first seen: `token` is its number, `seq` the process, `source` the local end and `socket` the
    /// cookie where they are known.
    SessionBegins = 12,
    /// A payload of a connection on which its receiver has sent nothing since the programs run: it may be an answer of Redis, to
    /// a client that waited for it, or a request.
    Unasked = 13,
    /// A thread has read from a TCP socket: `socket` is that, `token` the process (its higher half) and the thread, `seq` the
    /// sequence number behind the last byte that was read.
    Reads = 14,
    /// A goroutine is about to send a request over HTTP/1: `socket` is where, `token` its process. `source` is, in two words, the socket of
    /// the connection that its work came by and when the turn began in which that was served (nanoseconds of CLOCK_MONOTONIC), zeros where
    /// it works for nobody; `seq` is the number of births between the goroutine that serves that connection and this one, `wire_len` how often this one
    /// or one between them called anybody before.
    GoCalls = 15,
}

impl Kind {
    /// The kind of this number, if there is one.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Packet,
            2 => Self::Tls,
            4 => Self::Connects,
            5 => Self::Binds,
            6 => Self::Connected,
            7 => Self::Accepted,
            8 => Self::Released,
            9 => Self::FastCgi,
            10 => Self::Unknown,
            11 => Self::SessionEnds,
            12 => Self::SessionBegins,
            13 => Self::Unasked,
            14 => Self::Reads,
            15 => Self::GoCalls,
            _ => return None,
        })
    }
}

/// Seen leaving a socket (cgroup egress).
pub const TAP_EGRESS: u8 = 0;
/// Seen reaching a socket (cgroup ingress).
pub const TAP_INGRESS: u8 = 1;
/// Seen on an interface (socket filter).
pub const TAP_WIRE: u8 = 2;
/// Seen at a function of a TLS library, in clear.
pub const TAP_TLS: u8 = 3;
/// The bits of `flags` that hold the tap.
pub const TAP_MASK: u8 = 3;
/// The packet travels over the loopback device.
pub const FLAG_LOOPED: u8 = 4;
/// The packet carries FIN or RST.
pub const FLAG_CLOSES: u8 = 8;
/// The packet carries RST.
pub const FLAG_RESETS: u8 = 16;
/// The packet acknowledges: without it `ack` says nothing.
pub const FLAG_ACKNOWLEDGES: u8 = 32;
/// Somebody waits at the socket that is read: another thread, or a set of descriptors (epoll).
pub const FLAG_AWAITED: u8 = 64;

/// Bytes of a command name, zeros at its end included (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMMAND_BYTES: usize = 16;

/// One event. Numbers are in the byte order of the host; addresses as on the wire, IPv4 mapped into IPv6 (RFC 4291 section
/// 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Record {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// Socket cookie; zero where it is not known.
    pub socket: u64,
    /// Cgroup v2 id; zero where it is not known.
    pub cgroup: u64,
    /// Of a packet: the fingerprint of the flow where it is looped and at its receiver, or carries a stream; else zero. Of a
    /// socket event: the process id, or zero.
    pub token: u64,
    /// The sender's, or local, address.
    pub source: [u8; 16],
    /// The receiver's, or remote, address.
    pub destination: [u8; 16],
    /// The sender's, or local, port.
    pub source_port: u16,
    /// The receiver's, or remote, port.
    pub destination_port: u16,
    /// Sequence number of the first byte of this record; of an established connection, of the first that the local end sends.
    pub seq: u32,
    /// Payload bytes on the wire from `seq` on that this record stands for; of an established connection, the sequence number
    /// of the first byte that the local end receives.
    pub wire_len: u32,
    /// How many of them follow this header.
    pub captured: u16,
    /// A [`Kind`].
    pub kind: u8,
    /// The tap and the `FLAG_` bits.
    pub flags: u8,
    /// Of a packet: the sequence number behind the last byte that its sender had received of the other end.
    pub ack: u32,
    /// Of HTTP/2 the sequence number from which to `seq` there are only frames that no decoder needs; zero where that is not
    /// known, and of everything else.
    pub link: u32,
}

/// Bytes of a [`Record`] in the ring.
pub const RECORD_BYTES: usize = core::mem::size_of::<Record>();
const _: () = assert!(RECORD_BYTES == 88, "no padding: every byte that leaves the kernel is written");

impl Record {
    /// Reads a record and the bytes captured with it; `None` where the ring holds something else.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<RECORD_BYTES>()?;
        let quad = |at: usize| -> Option<u64> { Some(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?)) };
        let word = |at: usize| -> Option<u32> { Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?)) };
        let half = |at: usize| -> Option<u16> { Some(u16::from_ne_bytes(head.get(at..at + 2)?.try_into().ok()?)) };
        let record = Self {
            at_ns: quad(0)?,
            socket: quad(8)?,
            cgroup: quad(16)?,
            token: quad(24)?,
            source: head.get(32..48)?.try_into().ok()?,
            destination: head.get(48..64)?.try_into().ok()?,
            source_port: half(64)?,
            destination_port: half(66)?,
            seq: word(68)?,
            wire_len: word(72)?,
            captured: half(76)?,
            kind: *head.get(78)?,
            flags: *head.get(79)?,
            ack: word(80)?,
            link: word(84)?,
        };
        Some((record, rest.get(..usize::from(record.captured))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_field_by_field_at_any_alignment() {
        let mut bytes = [0u8; 1 + RECORD_BYTES + 3];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8;
        }
        bytes[1 + 76..1 + 78].copy_from_slice(&2u16.to_ne_bytes());
        let (record, captured) = Record::read(&bytes[1..]).unwrap();
        assert_eq!(record.at_ns, u64::from_ne_bytes([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(record.source[0], 33);
        assert_eq!(record.destination[15], 64);
        assert_eq!(record.seq, u32::from_ne_bytes([69, 70, 71, 72]));
        assert_eq!((record.kind, record.flags), (79, 80));
        assert_eq!(record.ack, u32::from_ne_bytes([81, 82, 83, 84]));
        assert_eq!(record.link, u32::from_ne_bytes([85, 86, 87, 88]));
        assert_eq!(captured, [89, 90]);
    }

    #[test]
    fn a_record_that_claims_more_bytes_than_follow_is_refused() {
        let mut bytes = [0u8; RECORD_BYTES + 3];
        bytes[76..78].copy_from_slice(&4u16.to_ne_bytes());
        assert_eq!(Record::read(&bytes), None);
        assert_eq!(Record::read(&bytes[..40]), None);
    }
}
