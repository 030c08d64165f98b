//! A tap in miniature: bytes of two ends go in, pieces come out; and what a decoder
//! tells of them as lines of text.

use std::fmt::Write;

use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared};
use observer_core::message::{End, Interest, Message, MessageBody};
use observer_core::time::Timestamp;

/// A piece that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) at: u64,
    pub(crate) from: End,
    pub(crate) seq: u32,
    pub(crate) ack: Option<u32>,
    pub(crate) wire_len: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) link: Option<u32>,
}

impl Owned {
    pub(crate) fn end(&self) -> u32 {
        self.seq.wrapping_add(self.wire_len)
    }
}

/// The sequence numbers with which the ends begin: both wrap soon.
const FIRST_SEQ: [u32; 2] = [u32::MAX - 60, u32::MAX - 200];

/// Cuts each run of bytes into segments; `segment(len)` tells the next segment's length of `len` bytes that are left.
pub(crate) fn cut(runs: &[(End, Vec<u8>)], mut segment: impl FnMut(usize) -> usize) -> Vec<Owned> {
    cut_by_content(runs, |bytes| segment(bytes.len()))
}

/// The same, where `segment(bytes)` sees the bytes that are left.
pub(crate) fn cut_by_content(runs: &[(End, Vec<u8>)], mut segment: impl FnMut(&[u8]) -> usize) -> Vec<Owned> {
    let mut next = FIRST_SEQ;
    let mut pieces = Vec::new();
    for (from, bytes) in runs {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(segment(rest).clamp(1, rest.len()));
            let ack = Some(next[usize::from(*from == End::First)]);
            let seq = &mut next[usize::from(*from == End::Second)];
            let wire_len = u32::try_from(piece.len()).expect("a segment");
            pieces.push(Owned {
                at: pieces.len() as u64 * 1000,
                from: *from,
                seq: *seq,
                ack,
                wire_len,
                bytes: piece.to_vec(),
                link: None,
            });
            *seq = seq.wrapping_add(wire_len);
            rest = after;
        }
    }
    pieces
}

/// The header names of the tests.
pub(crate) fn interest() -> Interest {
    Interest::new(["x-tenant-id"])
}

/// What is told of pieces, a line a message, and what is counted.
pub(crate) fn tell(fidelity: Fidelity, pieces: &[Owned]) -> (Vec<String>, Anomalies) {
    let mut shared = Shared::default();
    let lines = tell_with(fidelity, pieces, &mut shared);
    (lines, shared.anomalies)
}

/// The same, for one connection of several.
pub(crate) fn tell_with(fidelity: Fidelity, pieces: &[Owned], shared: &mut Shared) -> Vec<String> {
    let (interest, mut lines) = (interest(), Vec::new());
    let mut conversation = Conversation::new(fidelity);
    for piece in pieces {
        let Owned { at, from, seq, ack, wire_len, ref bytes, link } = *piece;
        let piece = Piece { at: Timestamp(at), from, seq, ack, wire_len, bytes, link };
        conversation.piece(&piece, &interest, shared, &mut |message| lines.push(line(&message, &interest)));
        assert!(conversation.buffered_bytes() <= 600 * 1024, "{}", conversation.buffered_bytes());
    }
    for from in [End::First, End::Second] {
        let at = Timestamp(pieces.last().map_or(0, |piece| piece.at));
        conversation.closed(from, at, &interest, shared, &mut |message| lines.push(line(&message, &interest)));
    }
    assert_eq!(conversation.buffered_bytes(), 0, "buffers are freed when a conversation ends");
    lines
}

fn line(message: &Message<'_>, interest: &Interest) -> String {
    let mut line = String::new();
    let end = if message.from == End::First { ">" } else { "<" };
    let exchange = message.exchange.map_or("-".into(), |number| number.to_string());
    let protocol = message.protocol.as_str();
    let (what, headers, complete) = match &message.body {
        MessageBody::Request(head) => (format!("{} {}", head.method, head.path), head.headers, head.complete),
        MessageBody::Response(head) => {
            let upgraded = if head.upgraded { " upgraded" } else { "" };
            (
                format!("{}{upgraded}", head.status.map_or("?".into(), |status| status.to_string())),
                head.headers,
                head.complete,
            )
        }
        MessageBody::Unobserved { count } => (format!("unobserved {count}"), &[][..], true),
        MessageBody::Record(record) => (format!("{:?} {}", record.way, record.topic), record.headers, record.complete),
        MessageBody::UnobservedRecords { way, topic, count } => {
            (format!("{way:?} {topic} unobserved {count}"), &[][..], true)
        }
    };
    let _ = write!(line, "{end} {exchange} {protocol} {what}{}", if complete { "" } else { " incomplete" });
    for header in headers {
        let _ = write!(line, " | {}: {}", interest.name(header.name), header.value.escape_ascii());
    }
    line
}
