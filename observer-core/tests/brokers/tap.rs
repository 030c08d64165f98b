//! A tap in miniature: pieces go in, what a conversation tells of them comes out as lines of text.

use std::fmt::Write;

use observer_core::decode::{Anomalies, Conversation, Fidelity, Shared};
use observer_core::message::{End, Interest, Message, MessageBody, Protocol, Record, Way};
use observer_core::time::Timestamp;

pub(crate) use crate::pieces::{Owned, cut};

/// What the ends send, a message or a few a run.
pub(crate) type Runs = Vec<(End, Vec<u8>)>;

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
        conversation.unneeded(piece.from).is_none_or(|needed| needed.wrapping_sub(piece.end()).cast_signed() < 0)
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
