//! The lines of one direction and what they announce: what is needed of them comes in, messages go out. The rules stand at the top of
//! [`super`].

use memchr::memchr;

use super::headers::Block;
use super::line::{self, LINE_BYTES_MAX, LINE_END, Line};
use super::{HEADERS_BYTES_MAX, PROOF_LINES};
use crate::decode::Output;
use crate::decode::http1::start_line::Role;
use crate::decode::parts::{Direction, Expected, Parts};
use crate::message::{Header, Message, MessageBody, Protocol, Record, Way};
use crate::time::Timestamp;

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::decode) enum Needed {
    Line,
    /// The rest of a line that nobody needs and that is too long to be held.
    LongLine,
    /// Headers, as long as `len`, of a message of which `left` bytes are to come, with the line end behind it.
    Headers {
        subject: Box<str>,
        len: usize,
        left: u64,
    },
}

/// What is kept of one direction.
#[derive(Debug, Default)]
pub(in crate::decode) struct Lines {
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Parts for Lines {
    type Needed = Needed;

    const PROOF: u64 = PROOF_LINES;
    const FIRST: Needed = Needed::Line;
    const NEXT: Needed = Needed::Line;

    fn begins(bytes: &[u8], role: Role) -> bool {
        line::begins(bytes, role)
    }

    /// Behind INFO a client may go on in TLS: the record of a handshake (RFC 8446 section 5.1).
    fn is_foreign(bytes: &[u8], role: Role) -> bool {
        role == Role::Requests && bytes.starts_with(b"\x16\x03")
    }

    fn may_end(bytes: &[u8]) -> bool {
        // Of the line end as much as is there.
        LINE_END.ends_with(bytes.get(bytes.len().saturating_sub(LINE_END.len())..).unwrap_or_default())
    }

    fn step(direction: &mut Direction<Self>, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        match direction.expected {
            Expected::Needed(Needed::Line) => {
                if direction.parts.line.is_empty() {
                    direction.at = at;
                }
                direction.line(rest, out);
            }
            Expected::Needed(Needed::LongLine) => {
                let end = memchr(b'\n', rest);
                *rest = end.and_then(|end| rest.get(end.saturating_add(1)..)).unwrap_or_default();
                if end.is_some() {
                    direction.ended();
                }
            }
            Expected::Needed(Needed::Headers { len, .. }) => direction.headers(len, rest, out),
            Expected::Rest { .. } | Expected::Adrift => {}
        }
    }

    fn miss(direction: &mut Direction<Self>, out: &mut Output<'_>) -> u64 {
        direction.lose_headers(out)
    }

    fn end(direction: &mut Direction<Self>, out: &mut Output<'_>) {
        direction.lose_headers(out);
    }

    fn lose(&mut self) {
        self.forget();
    }

    fn forget(&mut self) {
        self.line = Vec::new();
    }

    fn buffered_bytes(direction: &Direction<Self>) -> usize {
        let subject = match &direction.expected {
            Expected::Needed(Needed::Headers { subject, .. }) => subject.len(),
            _ => 0,
        };
        direction.parts.line.capacity().saturating_add(subject)
    }

    fn count_missed(out: &mut Output<'_>) {
        let missed = &mut out.shared.anomalies.nats.lines_missed;
        *missed = missed.saturating_add(1);
    }

    fn count_broken(out: &mut Output<'_>) {
        let broken = &mut out.shared.anomalies.nats.not_nats;
        *broken = broken.saturating_add(1);
    }
}

impl Direction<Lines> {
    /// A line, or what is there of it.
    fn line(&mut self, rest: &mut &[u8], out: &mut Output<'_>) {
        let Some((line, behind)) = memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) else {
            self.parts.line.extend_from_slice(rest);
            *rest = &[];
            if self.parts.line.len() > LINE_BYTES_MAX {
                self.long_line(out);
            }
            return;
        };
        *rest = behind.strip_prefix(b"\n").unwrap_or(behind);
        if self.parts.line.is_empty() {
            return self.say(line, out);
        }
        let mut whole = std::mem::take(&mut self.parts.line);
        whole.extend_from_slice(line);
        self.say(&whole, out);
    }

    /// A line is longer than any that announces a message.
    fn long_line(&mut self, out: &mut Output<'_>) {
        let line = std::mem::take(&mut self.parts.line);
        if Line::of(&line, self.role) == Some(Line::Other) {
            self.open();
            self.expected = Expected::Needed(Needed::LongLine);
        } else {
            self.broken(out);
        }
    }

    /// Takes a line.
    fn say(&mut self, line: &[u8], out: &mut Output<'_>) {
        let message = match Line::of(line.strip_suffix(b"\r").unwrap_or(line), self.role) {
            Some(Line::Message(message)) if line.len() <= LINE_BYTES_MAX => message,
            Some(Line::Other) => {
                self.open();
                return self.ended();
            }
            Some(Line::BetweenServers) => {
                return self.foreign();
            }
            Some(Line::Message(_)) | None => return self.broken(out),
        };
        let left = (message.len as u64).saturating_add(LINE_END.len() as u64);
        self.expected = Expected::Rest { left };
        if !message.is_told() {
            return;
        }
        let subject = String::from_utf8_lossy(message.subject);
        match message.headers {
            // nats.js announces headers of no length where it has none.
            None | Some(0) => self.tell(&subject, |way, topic| told(way, topic, &[], true), out),
            Some(len) if len <= HEADERS_BYTES_MAX => {
                self.expected = Expected::Needed(Needed::Headers { subject: subject.into(), len, left });
            }
            Some(_) => self.tell(&subject, unread, out),
        }
    }

    /// The headers of a message, or what is there of them.
    fn headers(&mut self, len: usize, rest: &mut &[u8], out: &mut Output<'_>) {
        let mut gathered = std::mem::take(&mut self.gathered);
        if let Some(block) = gathered.take(rest, len) {
            let Expected::Needed(Needed::Headers { subject, left, .. }) =
                std::mem::replace(&mut self.expected, Expected::Adrift)
            else {
                return;
            };
            self.expected = Expected::Rest { left: left.saturating_sub(len as u64) };
            match Block::of(block, out.interest) {
                Some(Block::Headers { headers, complete }) => {
                    self.tell(&subject, |way, topic| told(way, topic, &headers, complete), out);
                }
                Some(Block::Status) => {}
                None => {
                    let malformed = &mut out.shared.anomalies.nats.malformed;
                    *malformed = malformed.saturating_add(1);
                    self.tell(&subject, unread, out);
                }
            }
        }
        self.gathered = gathered;
    }

    /// A line that carries no message is what an end says first, if it is the first.
    fn open(&mut self) {
        self.course.is_opened |= self.course.sound == 0;
    }

    fn tell<'s>(&self, subject: &'s str, body: impl FnOnce(Way, &'s str) -> MessageBody<'s>, out: &mut Output<'_>) {
        let body = body(self.way(), subject);
        (out.tell)(Message { at: self.at, from: self.from, exchange: None, protocol: Protocol::Nats, body });
    }

    /// Of the headers that stand next some are missing; returns how many bytes of the message were to come.
    fn lose_headers(&mut self, out: &mut Output<'_>) -> u64 {
        let Expected::Needed(Needed::Headers { subject, left, .. }) =
            std::mem::replace(&mut self.expected, Expected::Adrift)
        else {
            return 0;
        };
        self.tell(&subject, unread, out);
        left.saturating_sub(self.gathered.count() as u64)
    }
}

fn told<'s>(way: Way, topic: &'s str, headers: &'s [Header<'s>], complete: bool) -> MessageBody<'s> {
    MessageBody::Record(Record { way, topic, headers, complete })
}

fn unread(way: Way, topic: &str) -> MessageBody<'_> {
    MessageBody::UnobservedRecords { way, topic, count: 1 }
}
