//! One direction of a connection: its bytes come in, in order, the messages in them go out. The rules stand at the top of [`super`].

use memchr::memchr;

use super::headers::Block;
use super::line::{self, LINE_BYTES_MAX, LINE_END, Line};
use super::{HEADERS_BYTES_MAX, PROOF_LINES};
use crate::decode::Output;
use crate::decode::gathering::Gathering;
use crate::decode::http1::start_line::Role;
use crate::decode::pair::{self, Course, Half as _, Standing};
use crate::decode::stream::{Parser, Run};
use crate::message::{End, Header, Message, MessageBody, Protocol, Record, Way};
use crate::time::Timestamp;

/// What stands next. `left` counts bytes of a message that are to come, with the line end behind it.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Line,
    /// The rest of a line that nobody needs and that is too long to be held.
    LongLine,
    /// Headers, as long as `len`, of a message.
    Headers {
        subject: Box<str>,
        len: usize,
        left: u64,
    },
    /// Bytes of a message that nobody needs.
    Rest {
        left: u64,
    },
    /// Bytes are missing, so anything: a line is looked for where a piece begins.
    Adrift,
}

/// One direction.
#[derive(Debug)]
pub(in crate::decode) struct Half {
    role: Role,
    from: End,
    expected: Expected,
    /// The beginning of a line.
    line: Vec<u8>,
    gathered: Gathering,
    /// When the first byte of the line was seen.
    at: Timestamp,
    course: Course,
}

impl Half {
    /// It is not known any more where lines begin.
    fn drift(&mut self) {
        self.forget();
        self.course.standing = Standing::Lost;
    }

    /// Bytes stand where a line must stand or a message end that do not.
    fn no_line(&mut self, out: &mut Output<'_>) {
        let anomalies = &mut out.shared.anomalies.nats;
        anomalies.not_nats = anomalies.not_nats.saturating_add(1);
        self.drift();
        self.course.standing = Standing::Broken;
    }

    /// Takes bytes off `rest`, at least one, as far as they are of one line or part of a message.
    fn step(&mut self, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        match &self.expected {
            Expected::Adrift => *rest = &[],
            Expected::Line => {
                if self.line.is_empty() {
                    self.at = at;
                }
                self.line(rest, out);
            }
            Expected::LongLine => {
                let end = memchr(b'\n', rest);
                *rest = end.and_then(|end| rest.get(end.saturating_add(1)..)).unwrap_or_default();
                if end.is_some() {
                    self.ended();
                }
            }
            Expected::Headers { len, .. } => {
                let len = *len;
                self.headers(len, rest, out);
            }
            Expected::Rest { left } => {
                let left = *left;
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (taken, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                *rest = behind;
                let left = left.saturating_sub(len as u64);
                // Of the line end as much as is there.
                let end = taken.get(len.saturating_sub(LINE_END.len())..).unwrap_or_default();
                match left {
                    0 if LINE_END.ends_with(end) => self.ended(),
                    0 => self.no_line(out),
                    _ => self.expected = Expected::Rest { left },
                }
            }
        }
    }

    /// A line, or what is there of it.
    fn line(&mut self, rest: &mut &[u8], out: &mut Output<'_>) {
        let Some((line, behind)) = memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end)) else {
            self.line.extend_from_slice(rest);
            *rest = &[];
            if self.line.len() > LINE_BYTES_MAX {
                self.long_line(out);
            }
            return;
        };
        *rest = behind.strip_prefix(b"\n").unwrap_or(behind);
        if self.line.is_empty() {
            return self.say(line, out);
        }
        let mut whole = std::mem::take(&mut self.line);
        whole.extend_from_slice(line);
        self.say(&whole, out);
    }

    /// A line is longer than any that announces a message.
    fn long_line(&mut self, out: &mut Output<'_>) {
        let line = std::mem::take(&mut self.line);
        if Line::of(&line, self.role) == Some(Line::Other) {
            self.open();
            self.expected = Expected::LongLine;
        } else {
            self.no_line(out);
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
                self.course.standing = Standing::Foreign;
                return self.forget();
            }
            Some(Line::Message(_)) | None => return self.no_line(out),
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
                self.expected = Expected::Headers { subject: subject.into(), len, left };
            }
            Some(_) => self.tell(&subject, unread, out),
        }
    }

    /// The headers of a message, or what is there of them.
    fn headers(&mut self, len: usize, rest: &mut &[u8], out: &mut Output<'_>) {
        let mut gathered = std::mem::take(&mut self.gathered);
        if let Some(block) = gathered.take(rest, len) {
            let Expected::Headers { subject, left, .. } = std::mem::replace(&mut self.expected, Expected::Line) else {
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

    /// A line or a message ended where it had to.
    fn ended(&mut self) {
        self.expected = Expected::Line;
        self.course.ended();
    }

    fn tell<'s>(&self, subject: &'s str, body: impl FnOnce(Way, &'s str) -> MessageBody<'s>, out: &mut Output<'_>) {
        let way = match self.role {
            Role::Requests => Way::Produced,
            Role::Responses => Way::Fetched,
        };
        let body = body(way, subject);
        (out.tell)(Message { at: self.at, from: self.from, exchange: None, protocol: Protocol::Nats, body });
    }

    /// Of the headers that stand next some are missing.
    fn lose_headers(&mut self, out: &mut Output<'_>) {
        if let Expected::Headers { subject, .. } = std::mem::replace(&mut self.expected, Expected::Adrift) {
            self.tell(&subject, unread, out);
        }
    }
}

fn told<'s>(way: Way, topic: &'s str, headers: &'s [Header<'s>], complete: bool) -> MessageBody<'s> {
    MessageBody::Record(Record { way, topic, headers, complete })
}

fn unread(way: Way, topic: &str) -> MessageBody<'_> {
    MessageBody::UnobservedRecords { way, topic, count: 1 }
}

impl pair::Half for Half {
    const PROOF: u64 = PROOF_LINES;

    fn new(role: Role, from: End) -> Self {
        Self {
            role,
            from,
            expected: Expected::Line,
            line: Vec::new(),
            gathered: Gathering::default(),
            at: Timestamp(0),
            course: Course::default(),
        }
    }

    fn join(&mut self) {
        self.expected = Expected::Adrift;
    }

    fn course(&self) -> Course {
        self.course
    }

    fn forget(&mut self) {
        self.line = Vec::new();
        self.gathered.clear();
        self.expected = Expected::Adrift;
    }

    fn buffered_bytes(&self) -> usize {
        let subject = if let Expected::Headers { subject, .. } = &self.expected { subject.len() } else { 0 };
        self.line.capacity().saturating_add(self.gathered.buffered_bytes()).saturating_add(subject)
    }
}

impl Parser<Output<'_>> for Half {
    fn bytes(&mut self, run: &Run<'_>, out: &mut Output<'_>) {
        if self.expected == Expected::Adrift && run.begins && line::begins(run.bytes, self.role) {
            self.expected = Expected::Line;
        }
        // Behind INFO a client may go on in TLS: the record of a handshake (RFC 8446 section 5.1).
        if self.course == Course::default() && self.role == Role::Requests && run.bytes.starts_with(b"\x16\x03") {
            self.course.standing = Standing::Foreign;
            return self.forget();
        }
        let mut rest = run.bytes;
        while !rest.is_empty() && self.course.standing != Standing::Foreign {
            self.step(&mut rest, run.at, out);
        }
    }

    fn gap(&mut self, count: u64, out: &mut Output<'_>) {
        let left = match self.expected {
            Expected::Adrift => return,
            Expected::Line | Expected::LongLine => 0,
            Expected::Rest { left } => left,
            Expected::Headers { left, .. } => {
                let left = left.saturating_sub(self.gathered.count() as u64);
                self.lose_headers(out);
                left
            }
        };
        self.gathered.clear();
        match left.checked_sub(count) {
            Some(0) => self.expected = Expected::Line,
            Some(left) => self.expected = Expected::Rest { left },
            None => {
                let anomalies = &mut out.shared.anomalies.nats;
                anomalies.lines_missed = anomalies.lines_missed.saturating_add(1);
                self.drift();
            }
        }
    }

    fn end(&mut self, out: &mut Output<'_>) {
        self.lose_headers(out);
        self.forget();
    }

    fn spare(&self) -> u64 {
        if let Expected::Rest { left } = self.expected { left } else { 0 }
    }

    fn is_adrift(&self) -> bool {
        self.expected == Expected::Adrift
    }

    fn overflow(out: &mut Output<'_>) {
        let overflow = &mut out.shared.anomalies.reorder_overflow;
        *overflow = overflow.saturating_add(1);
    }
}
