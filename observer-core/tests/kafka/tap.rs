//! A tap in miniature: bytes of two ends go in, pieces come out; and what the decoder tells of them as lines of text.

use std::fmt::Write;

use observer_core::decode::kafka::{Anomalies, Body, Kafka, Message, Output, Topic, TopicNames, Way};
use observer_core::decode::{Piece, RecordBounds};
use observer_core::message::{End, Interest};
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

/// The header names of the tests.
pub(crate) fn interest() -> Interest {
    Interest::new(["x-tenant-id", "x-trace-weight", "b3"])
}

/// What is told of pieces, a line a message, what is counted, and whether it is proven or refuted.
pub(crate) struct Told {
    pub(crate) lines: Vec<String>,
    pub(crate) anomalies: Anomalies,
    pub(crate) proven: bool,
    pub(crate) refuted: bool,
    /// The most bytes that were held.
    pub(crate) held_bytes: usize,
}

pub(crate) fn tell(bounds: RecordBounds, pieces: &[Owned]) -> Told {
    tell_with(bounds, pieces, &mut TopicNames::default())
}

pub(crate) fn tell_with(bounds: RecordBounds, pieces: &[Owned], topics: &mut TopicNames) -> Told {
    let (interest, mut anomalies, mut lines) = (interest(), Anomalies::default(), Vec::new());
    let mut kafka = Kafka::new(bounds, End::First);
    let mut held_bytes = 0;
    let mut take = |message: Message<'_>| lines.push(line(&message, &interest));
    let mut out = Output { interest: &interest, topics, anomalies: &mut anomalies, tell: &mut take };
    for piece in pieces {
        kafka.piece(&piece.borrow(), &mut out);
        held_bytes = held_bytes.max(kafka.buffered_bytes());
    }
    for from in [End::First, End::Second] {
        kafka.closed(from, &mut out);
    }
    let (proven, refuted) = (kafka.is_proven(), kafka.is_refuted());
    assert_eq!(kafka.buffered_bytes(), 0, "buffers are freed when a conversation ends");
    Told { lines, anomalies, proven, refuted, held_bytes }
}

/// What is told, where no byte is missing and nothing is strange.
pub(crate) fn lines(runs: &[(End, Vec<u8>)]) -> Vec<String> {
    let told = tell(RecordBounds::default(), &cut(runs, <[u8]>::len));
    assert_eq!(told.anomalies, Anomalies::default());
    told.lines
}

fn line(message: &Message<'_>, interest: &Interest) -> String {
    assert_eq!(message.from == End::First, message.way == Way::Produced);
    let end = if message.from == End::First { ">" } else { "<" };
    let topic = match message.topic {
        Topic::Name(name) => name.to_owned(),
        Topic::Id(id) => format!("{id:032x}"),
    };
    let mut line = format!("{end} {topic} {}", message.partition);
    match message.body {
        Body::Record { headers } => {
            for header in headers {
                let _ = write!(line, " | {}: {}", interest.name(header.name), header.value.escape_ascii());
            }
        }
        Body::Unobserved { count } => {
            let _ = write!(line, " unobserved {count}");
        }
    }
    line
}
