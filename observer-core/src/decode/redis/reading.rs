//! Replies that may carry work, and messages of channels: their elements come in, records go out.

use super::command::Shape;
use super::entries::Entries;
use super::envelope::PREFIX_BYTES;
use super::nesting::Spot;
use super::place::{KEY_BYTES_MAX, Place};
use super::resp::{Aggregate, Value};
use super::talk::Take;
use super::telling::{Context, Manner};
use crate::message::Way;
use crate::time::Timestamp;

/// The longest first word of a message: `punsubscribe`.
const WORD_BYTES_MAX: usize = 16;

/// How a reply is read.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nobody needs to know.
    Nothing,
    Values(Box<Values>),
    Entries(Box<Entries>),
    Heard(Heard),
}

/// What is known of the reply that an element stands in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) at: Timestamp,
    /// Whether it answers what it seems to.
    pub(super) certain: bool,
}

impl Reading {
    /// The reply to what wants something.
    pub(super) fn of(take: Take) -> Self {
        match take.shape {
            Shape::Streams | Shape::Entries | Shape::Claimed => Self::Entries(Box::new(Entries::new(take))),
            _ => Self::Values(Box::new(Values { take, kind: None, key: None, open: 0, job: false })),
        }
    }

    /// An aggregate begins.
    pub(super) fn open(&mut self, spot: Spot, kind: Aggregate, len: u64, reply: Reply) {
        match self {
            Self::Nothing | Self::Heard(_) => {}
            Self::Values(values) => values.open(spot, kind, len),
            Self::Entries(entries) => entries.open(spot, kind, len, reply),
        }
    }

    /// How many bytes of the value that comes are kept at most, and of a longer one.
    pub(super) fn keeps(&self, spot: Spot, context: &Context<'_, '_>) -> (usize, usize) {
        match self {
            Self::Nothing => (0, 0),
            Self::Values(values) => values.keeps(spot, context),
            Self::Entries(entries) => (entries.keeps(spot), 0),
            Self::Heard(heard) => heard.keeps(spot, context),
        }
    }

    /// A value of `len` bytes; `None` where it is none or no text.
    pub(super) fn value(
        &mut self,
        spot: Spot,
        value: Option<Value<'_>>,
        len: u64,
        reply: Reply,
        context: &mut Context<'_, '_>,
    ) {
        match self {
            Self::Nothing => {}
            Self::Values(values) => values.value(spot, value, reply, context),
            Self::Entries(entries) => entries.value(spot, value, len, reply, context),
            Self::Heard(heard) => heard.value(spot, value, reply, context),
        }
    }

    /// An aggregate ended.
    pub(super) fn close(&mut self, spot: Spot, reply: Reply, context: &mut Context<'_, '_>) {
        if let Self::Entries(entries) = self {
            entries.close(spot, reply, context);
        }
    }

    /// The rest is missing.
    pub(super) fn cut(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        match self {
            Self::Nothing | Self::Heard(_) => {}
            Self::Values(values) => values.cut(reply, context),
            Self::Entries(entries) => entries.cut(reply, context),
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Nothing | Self::Heard(_) => 0,
            Self::Values(_) => size_of::<Values>(),
            Self::Entries(entries) => size_of::<Entries>().saturating_add(entries.buffered_bytes()),
        }
    }
}

/// Values taken from lists and sorted sets, and jobs.
#[derive(Debug)]
pub(super) struct Values {
    take: Take,
    /// What the reply is, and how many elements it has.
    kind: Option<(Aggregate, u64)>,
    /// The key that it names.
    key: Option<Place>,
    /// Values that are still to come in the list of values.
    open: u64,
    /// The fields of a job were seen.
    job: bool,
}

impl Values {
    fn open(&mut self, spot: Spot, kind: Aggregate, len: u64) {
        match (self.take.shape, spot.depth, spot.index) {
            (_, 0, _) => {
                self.kind = Some((kind, len));
                self.open = if self.take.shape == Shape::Values { len } else { 0 };
            }
            (Shape::KeyValues | Shape::KeyMembers, 1, 1) => self.open = len,
            (Shape::Job, 1, 0) => self.job = len > 0,
            _ => {}
        }
    }

    fn is_key(&self, spot: Spot) -> bool {
        let named = matches!(self.take.shape, Shape::KeyValue | Shape::KeyValues | Shape::KeyMembers);
        named && spot == Spot { depth: 1, index: 0 } && self.fits()
    }

    fn is_value(&self, spot: Spot) -> bool {
        match self.take.shape {
            Shape::Values => spot.depth == 0 || spot.depth == 1 && self.fits(),
            Shape::KeyValue => spot == Spot { depth: 1, index: 1 } && self.key.is_some(),
            Shape::KeyValues => spot.depth == 2 && self.key.is_some(),
            Shape::KeyMembers => spot.depth == 3 && spot.index == 0 && self.key.is_some(),
            Shape::Job => spot == Spot { depth: 1, index: 1 } && self.job && self.fits(),
            Shape::Streams | Shape::Entries | Shape::Claimed => false,
        }
    }

    /// Whether the reply has as many elements as it should.
    fn fits(&self) -> bool {
        match (self.take.shape, self.kind) {
            (Shape::KeyValue, Some((Aggregate::Array, len))) => matches!(len, 2 | 3),
            (Shape::KeyValues | Shape::KeyMembers, Some((Aggregate::Array, len))) => len == 2,
            (Shape::Job, Some((Aggregate::Array, len))) => len == 4,
            (Shape::Values, Some((Aggregate::Array, _))) => true,
            _ => false,
        }
    }

    fn keeps(&self, spot: Spot, context: &Context<'_, '_>) -> (usize, usize) {
        if self.is_key(spot) {
            (KEY_BYTES_MAX, 0)
        } else if self.is_value(spot) && self.take.shape != Shape::Job {
            (context.value_bytes(), PREFIX_BYTES)
        } else {
            (0, 0)
        }
    }

    fn value(&mut self, spot: Spot, value: Option<Value<'_>>, reply: Reply, context: &mut Context<'_, '_>) {
        let Some(value) = value else { return };
        if self.is_key(spot) {
            let keys = &self.take.keys;
            let is_asked =
                value.whole && if reply.certain { keys.may_have(value.bytes) } else { keys.has(value.bytes) };
            if is_asked {
                self.key = Some(Place::new(value.bytes));
            } else {
                // It answers what was not seen.
                context.talk.surplus();
                if Place::new(value.bytes).is_work() {
                    context.perhaps(reply.at, Way::Fetched, "");
                }
            }
        } else if self.is_value(spot) {
            self.open = self.open.saturating_sub(1);
            let (place, certain) = self.place(reply).map_or((&self.take.place, false), |place| (place, true));
            context.value(reply.at, place, self.manner(), Some(value), certain);
        }
    }

    /// Where the values stood; `None` where that is not known for sure.
    fn place(&self, reply: Reply) -> Option<&Place> {
        self.key.as_ref().or(Some(&self.take.place).filter(|_| reply.certain))
    }

    fn manner(&self) -> Manner {
        if self.take.waits { Manner::Awaited } else { Manner::Polled }
    }

    fn cut(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        let waited = self.take.waits;
        let Some(place) = self.place(reply).filter(|place| waited && place.is_work()) else { return };
        context.unobserved(reply.at, Way::Fetched, &place.topic, self.open);
    }
}

/// A message of a channel, or what else is said without being asked; or what looks like it.
#[derive(Debug)]
pub(super) struct Heard {
    /// Where the channel stands, of a message.
    channel_at: Option<u64>,
    channel: Option<Place>,
    /// It is no message but an answer, where these look alike (RESP2).
    pub(super) is_answer: bool,
}

impl Default for Heard {
    fn default() -> Self {
        Self { channel_at: None, channel: None, is_answer: true }
    }
}

impl Heard {
    fn keeps(&self, spot: Spot, context: &Context<'_, '_>) -> (usize, usize) {
        match (spot.depth, spot.index) {
            (1, 0) => (WORD_BYTES_MAX, 0),
            (1, index) if Some(index) == self.channel_at => (KEY_BYTES_MAX, 0),
            (1, index) if Some(index) == self.text_at() => (context.value_bytes(), PREFIX_BYTES),
            _ => (0, 0),
        }
    }

    fn value(&mut self, spot: Spot, value: Option<Value<'_>>, reply: Reply, context: &mut Context<'_, '_>) {
        if spot.depth != 1 {
            return;
        }
        let Some(value) = value else { return };
        match spot.index {
            0 => {
                self.channel_at = match value.bytes {
                    b"message" | b"smessage" => Some(1),
                    b"pmessage" => Some(2),
                    _ => None,
                };
                self.is_answer = self.channel_at.is_none() && !value.bytes.ends_with(b"subscribe");
            }
            index if Some(index) == self.channel_at => {
                self.channel = Some(if value.whole { Place::new(value.bytes) } else { Place::unknown() });
            }
            index if Some(index) == self.text_at() => {
                if let Some(channel) = &self.channel {
                    context.value(reply.at, channel, Manner::Awaited, Some(value), true);
                }
            }
            _ => {}
        }
    }

    fn text_at(&self) -> Option<u64> {
        self.channel_at?.checked_add(1)
    }
}
