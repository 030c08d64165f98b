//! Entries of streams: elements of a reply come in, a record for each entry goes out.

use super::command::Shape;
use super::fields::Fields;
use super::nesting::Spot;
use super::place::{KEY_BYTES_MAX, Place};
use super::reading::Reply;
use super::resp::{Aggregate, Value};
use super::talk::Take;
use super::telling::Context;
use crate::message::Way;

/// A reply with entries.
#[derive(Debug)]
pub(super) struct Entries {
    take: Take,
    /// The reply is a map (RESP3), so that keys and lists of entries stand by turns.
    is_map: bool,
    /// The depth of the list of entries that is open.
    list: Option<usize>,
    /// The stream of these; `None` where it is not known for sure.
    stream: Option<Place>,
    /// Entries that are still to come.
    left: u64,
    /// The entry that is open has fields: one that was deleted has none.
    has_fields: bool,
    fields: Fields,
}

impl Entries {
    pub(super) fn new(take: Take) -> Self {
        Self { take, is_map: false, list: None, stream: None, left: 0, has_fields: false, fields: Fields::default() }
    }

    pub(super) fn open(&mut self, spot: Spot, kind: Aggregate, len: u64, reply: Reply) {
        if spot.depth == 0 {
            self.is_map = kind == Aggregate::Map;
        }
        let Some(list) = self.list else {
            if self.is_list(spot) {
                self.list = Some(spot.depth);
                self.left = len;
                if self.take.shape != Shape::Streams && reply.certain {
                    self.stream = Some(self.take.place.clone());
                }
            }
            return;
        };
        match spot.depth.saturating_sub(list) {
            1 => (self.has_fields, self.fields) = (false, Fields::default()),
            2 if spot.index == 1 => self.has_fields = true,
            _ => {}
        }
    }

    pub(super) fn keeps(&self, spot: Spot) -> usize {
        if self.is_key(spot) {
            return KEY_BYTES_MAX;
        }
        let is_field = self.list.is_some_and(|list| spot.depth.saturating_sub(list) == 3) && self.has_fields;
        if is_field && self.is_told() { self.fields.keeps(is_name(spot)) } else { 0 }
    }

    pub(super) fn value(
        &mut self,
        spot: Spot,
        value: Option<Value<'_>>,
        len: u64,
        reply: Reply,
        context: &mut Context<'_, '_>,
    ) {
        if self.is_key(spot) {
            let keys = &self.take.keys;
            let key = value.filter(|value| value.whole).map(|value| value.bytes);
            let key = key.filter(|key| if reply.certain { keys.may_have(key) } else { keys.has(key) });
            self.stream = key.map(Place::new);
            if key.is_none() {
                context.talk.surplus();
            }
        } else if let Some(list) = self.list {
            match spot.depth.saturating_sub(list) {
                // An entry of which only the id is told, or nothing.
                1 => self.left = self.left.saturating_sub(1),
                3 if self.has_fields => self.fields.take(is_name(spot), value, len, context.out.interest),
                _ => {}
            }
        }
    }

    pub(super) fn close(&mut self, spot: Spot, reply: Reply, context: &mut Context<'_, '_>) {
        let Some(list) = self.list else { return };
        if spot.depth == list {
            self.list = None;
        } else if spot.depth.saturating_sub(list) == 1 {
            self.left = self.left.saturating_sub(1);
            match &self.stream {
                Some(stream) if self.has_fields && stream.is_work() => {
                    let headers = self.fields.headers();
                    context.record(reply.at, Way::Fetched, &stream.topic, &headers, self.fields.is_complete());
                }
                None if self.has_fields && self.take.place.is_work() => {
                    context.perhaps(reply.at, Way::Fetched, &self.take.place.topic);
                }
                _ => {}
            }
            self.fields = Fields::default();
        }
    }

    /// The rest is missing: of the entries the number is known.
    pub(super) fn cut(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        if self.list.is_some()
            && let Some(stream) = self.stream.as_ref().filter(|stream| stream.is_work())
        {
            context.unobserved(reply.at, Way::Fetched, &stream.topic, self.left);
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.fields.buffered_bytes()
    }

    fn is_told(&self) -> bool {
        self.stream.as_ref().is_some_and(Place::is_work)
    }

    fn is_key(&self, spot: Spot) -> bool {
        self.take.shape == Shape::Streams
            && self.list.is_none()
            && if self.is_map { spot.depth == 1 && is_name(spot) } else { spot.depth == 2 && spot.index == 0 }
    }

    fn is_list(&self, spot: Spot) -> bool {
        match self.take.shape {
            Shape::Streams if self.is_map => spot.depth == 1 && !is_name(spot),
            Shape::Streams => spot.depth == 2 && spot.index == 1,
            Shape::Claimed => spot.depth == 1 && spot.index == 1,
            _ => spot.depth == 0,
        }
    }
}

fn is_name(spot: Spot) -> bool {
    spot.index.is_multiple_of(2)
}
