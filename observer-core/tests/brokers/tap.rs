//! A tap in miniature: bytes of two ends go in, pieces come out; and what a conversation tells of them as lines of text.

use std::fmt::Write;

use observer_core::decode::{Anomalies, Conversation, Fidelity, Piece, Shared};
use observer_core::message::{End, Interest, Message, MessageBody, Protocol, Record, Way};
use observer_core::time::Timestamp;

/// A piece that owns its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) at: u64,
    pub(crate) from: End,
    pub(crate) seq: u32,
    pub(crate) wire_len: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Owned {
    pub(crate) fn borrow(&self) -> Piece<'_> {
        let Self { at, from, seq, wire_len, ref bytes } = *self;
        Piece { at: Timestamp(at), from, seq, ack: None, wire_len, bytes, link: None }
    }
}

/// What the ends send, a message or a few a run.
pub(crate) type Runs = Vec<(End, Vec<u8>)>;

/// The sequence numbers with which the ends begin: both wrap soon.
const FIRST_SEQ: [u32; 2] = [u32::MAX - 60, u32::MAX - 200];

/// Cuts each run of bytes into segments; `segment(bytes)` tells the next segment's length of the bytes that are left.
pub(crate) fn cut(runs: &[(End, Vec<u8>)], mut segment: impl FnMut(&[u8]) -> usize) -> Vec<Owned> {
    let mut next = FIRST_SEQ;
    let mut pieces = Vec::new();
    for (from, bytes) in runs {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(segment(rest).clamp(1, rest.len()));
            let seq = &mut next[usize::from(*from == End::Second)];
            let wire_len = u32::try_from(piece.len()).expect("a segment");
            pieces.push(Owned {
                at: pieces.len() as u64 * 1000,
                from: *from,
                seq: *seq,
                wire_len,
                bytes: piece.to_vec(),
            });
            *seq = seq.wrapping_add(wire_len);
            rest = after;
        }
    }
    pieces
}

/// What is told of a conversation, a line a message, and what is counted.
pub(crate) struct Told {
    pub(crate) lines: Vec<String>,
    pub(crate) anomalies: Anomalies,
    pub(crate) protocol: Option<Protocol>,
    /// The most bytes that were held.
    pub(crate) held_bytes: usize,
    /// Bytes that were shown.
    pub(crate) shown_bytes: usize,
}

/// Tells of pieces.
pub(crate) fn tell(pieces: &[Owned]) -> Told {
    tell_if(pieces, |_, _| true)
}

/// Tells of the pieces that are needed, as a tap shows that leaves out whatever it may.
pub(crate) fn tell_needed(pieces: &[Owned]) -> Told {
    tell_if(pieces, |conversation, piece| {
        let end = piece.seq.wrapping_add(piece.wire_len);
        conversation.unneeded(piece.from).is_none_or(|needed| needed.wrapping_sub(end).cast_signed() < 0)
    })
}

fn tell_if(pieces: &[Owned], mut shows: impl FnMut(&Conversation, &Owned) -> bool) -> Told {
    let interest = Interest::new(["x-tenant-id", "x-trace-weight"]);
    let (mut shared, mut lines) = (Shared::default(), Vec::new());
    let mut conversation = Conversation::new(Fidelity::Heads);
    let (mut held_bytes, mut shown_bytes) = (0, 0);
    let mut take = |message: Message<'_>| lines.extend(line(&message, &interest));
    for piece in pieces {
        if shows(&conversation, piece) {
            shown_bytes += piece.bytes.len();
            conversation.piece(&piece.borrow(), &interest, &mut shared, &mut take);
            held_bytes = held_bytes.max(conversation.buffered_bytes());
        }
    }
    let protocol = conversation.protocol();
    for from in [End::First, End::Second] {
        conversation.closed(from, Timestamp(0), &interest, &mut shared, &mut take);
    }
    assert_eq!(conversation.buffered_bytes(), 0, "buffers are freed when a conversation ends");
    Told { lines, anomalies: shared.anomalies, protocol, held_bytes, shown_bytes }
}

/// What is told of runs, where no byte is missing and nothing is strange.
pub(crate) fn lines(runs: &[(End, Vec<u8>)]) -> Vec<String> {
    let told = tell(&cut(runs, <[u8]>::len));
    assert_eq!(told.anomalies, Anomalies::default());
    told.lines
}

/// A message as a line; none for what is not of a broker.
fn line(message: &Message<'_>, interest: &Interest) -> Option<String> {
    let sign = |way: &Way| {
        if *way == Way::Produced { '>' } else { '<' }
    };
    match &message.body {
        MessageBody::Record(Record { way, topic, headers, complete }) => {
            let mut line = format!("{} {topic}", sign(way));
            for header in *headers {
                let _ = write!(line, " | {}: {}", interest.name(header.name), header.value.escape_ascii());
            }
            Some(if *complete { line } else { line + " | …" })
        }
        MessageBody::UnobservedRecords { way, topic, count } => {
            Some(format!("{} {topic} unobserved {count}", sign(way)))
        }
        MessageBody::Request(head) => Some(format!("request {}", head.path)),
        _ => None,
    }
}
