//! A tap in miniature: pieces go in, what the decoder tells of them comes out as lines of text.

use std::fmt::Write;

use observer_core::decode::RecordBounds;
use observer_core::decode::kafka::{Anomalies, Body, Kafka, Message, Output, Topic, TopicNames, Way};
use observer_core::message::{End, Interest};

pub(crate) use crate::pieces::{Owned, cut};

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
