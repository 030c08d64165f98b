//! A tap in miniature: pieces go in, what a conversation tells of them comes out as lines of text.

use std::fmt::Write;

use observer_core::decode::{Anomalies, Conversation, Fidelity, Shared};
use observer_core::message::{End, Interest, Message, MessageBody};
use observer_core::time::Timestamp;

pub(crate) use crate::pieces::{Owned, cut};

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
        conversation.piece(&piece.borrow(), &interest, shared, &mut |message| lines.push(line(&message, &interest)));
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
