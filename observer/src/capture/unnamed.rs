//! Requests that came before their socket: packets without a socket come in, and go out again once the connection's socket is
//! named.
//!
//! Where data completes a handshake (`TCP_DEFER_ACCEPT`) the kernel sees the first request reach the listener; the accepted
//! socket is named a moment later. Such packets wait for that moment, or until the wait is over.

use std::time::{Duration, Instant};

use observer_ebpf::record::{Kind, Record};

/// Packets that may wait: a burst of new connections between two records of the same CPU is far shorter.
const WAITING_MAX: usize = 256;
/// How long a packet waits: the socket is named by the same soft interrupt, or never (the handshake failed).
const WAIT: Duration = Duration::from_millis(100);

/// The packets that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Unnamed(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    record: Record,
    bytes: Vec<u8>,
    since: Instant,
}

impl Unnamed {
    /// Keeps a packet; where the table is full the oldest is told as it is.
    pub(super) fn keep(&mut self, record: Record, bytes: &[u8], tell: impl FnOnce(&Record, &[u8])) {
        if self.0.len() >= WAITING_MAX {
            let oldest = self.0.remove(0);
            tell(&oldest.record, &oldest.bytes);
        }
        self.0.push(Waiting { record, bytes: bytes.to_vec(), since: Instant::now() });
    }

    /// A connection was accepted: tells what reached it before, with its socket.
    pub(super) fn named(&mut self, accepted: &Record, mut tell: impl FnMut(&Record, &[u8])) {
        debug_assert_eq!(accepted.kind, Kind::Accepted as u8);
        self.0.retain_mut(|waiting| {
            if !reaches(&waiting.record, accepted) {
                return true;
            }
            waiting.record.socket = accepted.socket;
            tell(&waiting.record, &waiting.bytes);
            false
        });
    }

    /// Tells what has waited too long.
    pub(super) fn expire(&mut self, now: Instant, mut tell: impl FnMut(&Record, &[u8])) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|waiting| {
            let waits = now.duration_since(waiting.since) < WAIT;
            if !waits {
                tell(&waiting.record, &waiting.bytes);
            }
            waits
        });
    }
}

/// Whether a packet goes to the local end of a connection, from its remote end.
fn reaches(packet: &Record, connection: &Record) -> bool {
    (packet.destination_port, packet.source_port) == (connection.source_port, connection.destination_port)
        && packet.destination == connection.source
        && packet.source == connection.destination
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(port: u16) -> Record {
        Record {
            at_ns: 1,
            socket: 0,
            cgroup: 7,
            token: 0,
            source: [1; 16],
            destination: [2; 16],
            source_port: port,
            destination_port: 80,
            seq: 5,
            wire_len: 3,
            captured: 3,
            kind: Kind::Packet as u8,
            flags: 1,
            ack: 0,
            link: 0,
        }
    }

    fn accepted(port: u16, socket: u64) -> Record {
        let packet = packet(port);
        Record {
            socket,
            source: packet.destination,
            destination: packet.source,
            source_port: packet.destination_port,
            destination_port: port,
            kind: Kind::Accepted as u8,
            ..packet
        }
    }

    #[test]
    fn a_packet_is_told_once_its_connection_has_a_socket_and_others_wait() {
        let mut unnamed = Unnamed::default();
        unnamed.keep(packet(1000), b"one", |_, _| panic!("nothing is full"));
        unnamed.keep(packet(1001), b"two", |_, _| panic!("nothing is full"));
        let mut told = Vec::new();
        unnamed.named(&accepted(1001, 42), |record, bytes| told.push((record.socket, bytes.to_vec())));
        unnamed.named(&accepted(1002, 43), |record, bytes| told.push((record.socket, bytes.to_vec())));
        assert_eq!(told, [(42, b"two".to_vec())]);
    }

    #[test]
    fn a_packet_that_is_never_named_is_told_without_a_socket() {
        let mut unnamed = Unnamed::default();
        unnamed.keep(packet(1000), b"one", |_, _| panic!("nothing is full"));
        let mut told = Vec::new();
        unnamed.expire(Instant::now() + WAIT, |record, _| told.push(record.socket));
        unnamed.expire(Instant::now() + WAIT, |record, _| told.push(record.socket));
        assert_eq!(told, [0]);
    }

    #[test]
    fn a_full_table_tells_the_oldest() {
        let mut unnamed = Unnamed::default();
        let mut told = Vec::new();
        for port in 0..=u16::try_from(WAITING_MAX).unwrap() {
            unnamed.keep(packet(port), b"", |record, _| told.push(record.source_port));
        }
        assert_eq!(told, [0]);
    }
}
