//! The frames of one direction: what is needed of them comes in, messages go out. The rules stand at the top of [`super`].

use super::channels::{Announced, Channels};
use super::frame::{self, END, Frame, HEADER_BYTES, Kind, PROTOCOL_HEADER};
use super::method::{ARGUMENTS_BYTES_MAX, Id, Route};
use super::properties::Properties;
use super::{CONTENT_BYTES_MAX, PROOF_FRAMES};
use crate::decode::Output;
use crate::decode::http1::start_line::Role;
use crate::decode::parts::{Direction, Expected, Parts};
use crate::message::{Message, MessageBody, Protocol, Record};
use crate::time::Timestamp;

/// Class and method.
const ID_BYTES: usize = 4;

/// What is read. `left` counts the bytes of a frame that are to come, with the octet that ends it, and those that are gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Needed {
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
}

impl Parts for Channels {
    type Needed = Needed;

    const PROOF: u64 = PROOF_FRAMES;
    const FIRST: Needed = Needed::Start;
    const NEXT: Needed = Needed::Frame;

    fn begins(bytes: &[u8], role: Role) -> bool {
        frame::begins(bytes, role)
    }

    fn may_end(bytes: &[u8]) -> bool {
        bytes.last() == Some(&END)
    }

    fn step(direction: &mut Direction<Self>, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        let Expected::Needed(needed) = direction.expected else { return };
        match needed {
            Needed::Start => direction.start(rest, at, out),
            Needed::Frame => {
                if direction.gathered.count() == 0 {
                    direction.at = at;
                }
                let Some(frame) = direction.gathered.take(rest, HEADER_BYTES).map(Frame::at) else { return };
                match frame {
                    Some(frame) => direction.begin(frame, out),
                    None => direction.broken(out),
                }
            }
            Needed::Id { channel, left } => {
                let Some(id) = direction.gathered.take(rest, ID_BYTES).and_then(Id::at) else { return };
                direction.method(id, channel, left.saturating_sub(ID_BYTES as u64), out);
            }
            Needed::Arguments { id, channel, left } => {
                let Some([arguments @ .., end]) = direction.gathered.take(rest, usize::try_from(left).unwrap_or(0))
                else {
                    return;
                };
                let route = Route::of(id, arguments).filter(|_| *end == END);
                let announced = route.map(|route| Announced::new(channel, direction.at, route.way, route.topic()));
                let Some(announced) = announced else { return direction.broken(out) };
                direction.ended();
                if let Some(earlier) = direction.parts.announce(announced) {
                    direction.never_came(&earlier, out);
                }
            }
            Needed::Content { channel, left } => direction.content(channel, left, rest, out),
        }
    }

    fn miss(direction: &mut Direction<Self>, out: &mut Output<'_>) -> u64 {
        let Expected::Needed(needed) = direction.expected else { return 0 };
        let left = match needed {
            Needed::Start | Needed::Frame => return 0,
            Needed::Id { left, .. } | Needed::Arguments { left, .. } => left,
            Needed::Content { channel, left } => {
                direction.unread(channel, out);
                left
            }
        };
        left.saturating_sub(direction.gathered.count() as u64)
    }

    fn end(direction: &mut Direction<Self>, out: &mut Output<'_>) {
        if let Expected::Needed(Needed::Content { channel, .. }) = direction.expected {
            direction.unread(channel, out);
        }
        for announced in direction.parts.drain() {
            direction.never_came(&announced, out);
        }
    }

    fn lose(&mut self) {
        self.doubt();
    }

    fn forget(&mut self) {
        self.drain();
    }

    fn buffered_bytes(direction: &Direction<Self>) -> usize {
        direction.parts.buffered_bytes()
    }

    fn count_missed(out: &mut Output<'_>) {
        let missed = &mut out.shared.anomalies.amqp.frames_missed;
        *missed = missed.saturating_add(1);
    }

    fn count_broken(out: &mut Output<'_>) {
        let broken = &mut out.shared.anomalies.amqp.not_amqp;
        *broken = broken.saturating_add(1);
    }
}

impl Direction<Channels> {
    /// The first bytes that an end sends.
    fn start(&mut self, rest: &mut &[u8], at: Timestamp, out: &mut Output<'_>) {
        let first = if self.gathered.count() > 0 { PROTOCOL_HEADER.first() } else { rest.first() };
        if self.role == Role::Responses || first != PROTOCOL_HEADER.first() {
            self.expected = Expected::Needed(Needed::Frame);
            return Channels::step(self, rest, at, out);
        }
        let Some(header) = self.gathered.take(rest, PROTOCOL_HEADER.len()) else { return };
        if header == PROTOCOL_HEADER {
            self.course.is_opened = true;
            self.expected = Expected::Needed(Needed::Frame);
        } else {
            self.broken(out);
        }
    }

    fn begin(&mut self, frame: Frame, out: &mut Output<'_>) {
        let (channel, left) = (frame.channel, frame.left());
        self.expected = match frame.kind {
            Kind::Method => Expected::Needed(Needed::Id { channel, left }),
            Kind::Content if self.parts.is_untold(channel) => {
                self.parts.take(channel);
                Expected::Rest { left }
            }
            Kind::Content if left > CONTENT_BYTES_MAX => {
                self.unread(channel, out);
                Expected::Rest { left }
            }
            Kind::Content => Expected::Needed(Needed::Content { channel, left }),
            Kind::Body | Kind::Heartbeat => Expected::Rest { left },
        };
    }

    fn method(&mut self, id: Id, channel: u16, left: u64, out: &mut Output<'_>) {
        let sends = id.sender().is_none_or(|sender| sender.may_be(self.role));
        self.expected = if !sends {
            return self.broken(out);
        } else if !id.carries_content() {
            Expected::Rest { left }
        } else if left <= ARGUMENTS_BYTES_MAX && channel > 0 {
            Expected::Needed(Needed::Arguments { id, channel, left })
        } else {
            return self.broken(out);
        };
    }

    /// The header of a message.
    fn content(&mut self, channel: u16, left: u64, rest: &mut &[u8], out: &mut Output<'_>) {
        let Self { gathered, parts: channels, from, .. } = self;
        let Some([payload @ .., end]) = gathered.take(rest, usize::try_from(left).unwrap_or(0)) else { return };
        if *end != END {
            return self.broken(out);
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

    /// The header of a message passed unread.
    fn unread(&mut self, channel: u16, out: &mut Output<'_>) {
        match self.parts.take(channel) {
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
