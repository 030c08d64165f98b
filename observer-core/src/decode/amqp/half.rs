//! One direction of a connection: its bytes come in, in order, the messages in them go out. The rules stand at the top of [`super`].

use super::channels::{Announced, Channels};
use super::frame::{self, END, Frame, HEADER_BYTES, Kind, PROTOCOL_HEADER};
use super::method::{ARGUMENTS_BYTES_MAX, Id, Route};
use super::properties::Properties;
use super::{CONTENT_BYTES_MAX, PROOF_FRAMES};
use crate::decode::Output;
use crate::decode::gathering::Gathering;
use crate::decode::http1::start_line::Role;
use crate::decode::pair::{self, Course, Half as _, Standing};
use crate::decode::stream::{Parser, Run};
use crate::message::{End, Message, MessageBody, Protocol, Record, Way};
use crate::time::Timestamp;

/// Class and method.
const ID_BYTES: usize = 4;

/// What stands next. `left` counts the bytes of a frame that are to come, with the octet that ends it, and those that are
/// [`Half::gathered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The protocol header, or a frame.
    Start,
    Frame,
    /// Class and method of a frame.
    Id {
        channel: u16,
        left: u64,
    },
    /// The arguments of a method that a message follows.
    Arguments {
        id: Id,
        channel: u16,
        left: u64,
    },
    /// The header of a message.
    Content {
        channel: u16,
        left: u64,
    },
    /// The rest of a frame that nobody needs.
    Rest {
        left: u64,
    },
    /// Bytes are missing, so anything: a frame is looked for where a piece begins.
    Adrift,
}

/// One direction.
#[derive(Debug)]
pub(in crate::decode) struct Half {
    role: Role,
    from: End,
    expected: Expected,
    gathered: Gathering,
    channels: Channels,
    /// When the first byte of the frame was seen.
    at: Timestamp,
    course: Course,
}

impl Half {
    /// Which way messages go that this end sends.
    fn way(&self) -> Way {
        match self.role {
            Role::Requests => Way::Produced,
            Role::Responses => Way::Fetched,
        }
    }

    /// It is not known any more where frames begin.
    fn drift(&mut self) {
        self.expected = Expected::Adrift;
        self.gathered.clear();
        self.channels.doubt();
        self.course.standing = Standing::Lost;
    }

    /// Bytes stand where a frame must begin or end that are none.
    fn no_frame(&mut self, out: &mut Output<'_>) {
        let anomalies = &mut out.shared.anomalies.amqp;
        anomalies.not_amqp = anomalies.not_amqp.saturating_add(1);
        self.drift();
        self.course.standing = Standing::Broken;
    }

    /// Takes bytes off `rest`, at least one, as far as they are of one part of a frame.
    fn step(&mut self, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        match self.expected {
            Expected::Adrift => *rest = &[],
            Expected::Start => self.start(rest, at, out),
            Expected::Frame => {
                if self.gathered.count() == 0 {
                    self.at = at;
                }
                let Some(frame) = self.gathered.take(rest, HEADER_BYTES).map(Frame::at) else { return };
                match frame {
                    Some(frame) => self.begin(frame, out),
                    None => self.no_frame(out),
                }
            }
            Expected::Id { channel, left } => {
                let Some(id) = self.gathered.take(rest, ID_BYTES).and_then(Id::at) else { return };
                self.method(id, channel, left.saturating_sub(ID_BYTES as u64), out);
            }
            Expected::Arguments { id, channel, left } => {
                let Some([arguments @ .., end]) = self.gathered.take(rest, usize::try_from(left).unwrap_or(0)) else {
                    return;
                };
                let route = Route::of(id, arguments).filter(|_| *end == END);
                let announced = route.map(|route| Announced::new(channel, self.at, route.way, route.topic()));
                let Some(announced) = announced else { return self.no_frame(out) };
                self.ended();
                if let Some(earlier) = self.channels.announce(announced) {
                    self.never_came(&earlier, out);
                }
            }
            Expected::Content { channel, left } => self.content(channel, left, rest, out),
            Expected::Rest { left } => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                let (taken, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                *rest = behind;
                let left = left.saturating_sub(len as u64);
                match taken.last() {
                    _ if left > 0 => self.expected = Expected::Rest { left },
                    Some(&END) => self.ended(),
                    _ => self.no_frame(out),
                }
            }
        }
    }

    /// The first bytes that an end sends.
    fn start(&mut self, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        let first = if self.gathered.count() > 0 { PROTOCOL_HEADER.first() } else { rest.first() };
        if self.role == Role::Responses || first != PROTOCOL_HEADER.first() {
            self.expected = Expected::Frame;
            return self.step(rest, at, out);
        }
        let Some(header) = self.gathered.take(rest, PROTOCOL_HEADER.len()) else { return };
        if header == PROTOCOL_HEADER {
            self.course.is_opened = true;
            self.expected = Expected::Frame;
        } else {
            self.no_frame(out);
        }
    }

    fn begin(&mut self, frame: Frame, out: &mut Output<'_>) {
        let (channel, left) = (frame.channel, frame.left());
        self.expected = match frame.kind {
            Kind::Method => Expected::Id { channel, left },
            Kind::Content if self.channels.is_untold(channel) => {
                self.channels.take(channel);
                Expected::Rest { left }
            }
            Kind::Content if left > CONTENT_BYTES_MAX => {
                self.unread(channel, out);
                Expected::Rest { left }
            }
            Kind::Content => Expected::Content { channel, left },
            Kind::Body | Kind::Heartbeat => Expected::Rest { left },
        };
    }

    fn method(&mut self, id: Id, channel: u16, left: u64, out: &mut Output<'_>) {
        let sends = id.sender().is_none_or(|sender| sender.may_be(self.role));
        self.expected = if !sends {
            return self.no_frame(out);
        } else if !id.carries_content() {
            Expected::Rest { left }
        } else if left <= ARGUMENTS_BYTES_MAX && channel > 0 {
            Expected::Arguments { id, channel, left }
        } else {
            return self.no_frame(out);
        };
    }

    /// The header of a message.
    fn content(&mut self, channel: u16, left: u64, rest: &mut &[u8], out: &mut Output<'_>) {
        let Self { gathered, channels, from, .. } = self;
        let Some([payload @ .., end]) = gathered.take(rest, usize::try_from(left).unwrap_or(0)) else { return };
        if *end != END {
            return self.no_frame(out);
        }
        let Output { interest, shared, tell } = out;
        match channels.take(channel) {
            Some(Announced { at, way, topic, is_certain: true, .. }) => {
                if let Some(topic) = topic {
                    let properties = Properties::of(payload, interest);
                    let body = if let Some(Properties { headers, complete }) = &properties {
                        MessageBody::Record(Record { way, topic: &topic, headers, complete: *complete })
                    } else {
                        let malformed = &mut shared.anomalies.amqp.malformed;
                        *malformed = malformed.saturating_add(1);
                        MessageBody::UnobservedRecords { way, topic: &topic, count: 1 }
                    };
                    tell(Message { at, from: *from, exchange: None, protocol: Protocol::Amqp, body });
                }
            }
            // Its method was not seen, so nobody knows where it goes.
            Some(_) | None => self.tell_unread("", out),
        }
        self.ended();
    }

    /// The frame ended where it had to.
    fn ended(&mut self) {
        self.expected = Expected::Frame;
        self.course.ended();
    }

    /// The header of a message passed unread.
    fn unread(&mut self, channel: u16, out: &mut Output<'_>) {
        match self.channels.take(channel) {
            Some(Announced { topic, is_certain: true, .. }) => {
                if let Some(topic) = topic {
                    self.tell_unread(&topic, out);
                }
            }
            Some(_) | None => self.tell_unread("", out),
        }
    }

    /// A message was announced, and its header was not seen.
    fn never_came(&self, announced: &Announced, out: &mut Output<'_>) {
        if let Some(topic) = &announced.topic {
            self.tell_unread(topic, out);
        }
    }

    fn tell_unread(&self, topic: &str, out: &mut Output<'_>) {
        let body = MessageBody::UnobservedRecords { way: self.way(), topic, count: 1 };
        (out.tell)(Message { at: self.at, from: self.from, exchange: None, protocol: Protocol::Amqp, body });
    }
}

impl pair::Half for Half {
    const PROOF: u64 = PROOF_FRAMES;

    fn new(role: Role, from: End) -> Self {
        Self {
            role,
            from,
            expected: Expected::Start,
            gathered: Gathering::default(),
            channels: Channels::default(),
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
        self.gathered.clear();
        self.channels.drain();
        self.expected = Expected::Adrift;
    }

    fn buffered_bytes(&self) -> usize {
        self.gathered.buffered_bytes().saturating_add(self.channels.buffered_bytes())
    }
}

impl Parser<Output<'_>> for Half {
    fn bytes(&mut self, run: &Run<'_>, out: &mut Output<'_>) {
        if self.expected == Expected::Adrift && run.begins && frame::begins(run.bytes, self.role) {
            self.expected = Expected::Frame;
        }
        let mut rest = run.bytes;
        while !rest.is_empty() {
            self.step(&mut rest, run.at, out);
        }
    }

    fn gap(&mut self, count: u64, out: &mut Output<'_>) {
        let left = match self.expected {
            Expected::Adrift => return,
            Expected::Start | Expected::Frame => 0,
            Expected::Rest { left } => left,
            Expected::Id { left, .. } | Expected::Arguments { left, .. } | Expected::Content { left, .. } => {
                left.saturating_sub(self.gathered.count() as u64)
            }
        };
        self.gathered.clear();
        if let (Expected::Content { channel, .. }, true) = (self.expected, count > 0) {
            self.unread(channel, out);
        }
        match left.checked_sub(count) {
            Some(0) => self.expected = Expected::Frame,
            Some(left) => self.expected = Expected::Rest { left },
            None => {
                let anomalies = &mut out.shared.anomalies.amqp;
                anomalies.frames_missed = anomalies.frames_missed.saturating_add(1);
                self.drift();
            }
        }
    }

    fn end(&mut self, out: &mut Output<'_>) {
        if let Expected::Content { channel, .. } = self.expected {
            self.unread(channel, out);
        }
        for announced in self.channels.drain() {
            self.never_came(&announced, out);
        }
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
