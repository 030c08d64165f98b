//! XADD: its arguments come in, the headers of the entry go out.

use super::fields::Fields;
use super::place::{KEY_BYTES_MAX, Place};
use super::resp::Value;
use super::telling::Context;
use crate::message::Way;
use crate::time::Timestamp;

/// The longest option, threshold or id that is looked at.
const OPTION_BYTES_MAX: usize = 64;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Key,
    /// An option, or the id.
    Option,
    /// What MAXLEN or MINID takes.
    Threshold,
    /// So many arguments of an option.
    Skip(u8),
    /// Names and values.
    Name,
    Value,
}

/// An entry that is added to a stream.
#[derive(Debug)]
pub(super) struct Adding {
    next: Next,
    place: Option<Place>,
    fields: Fields,
}

impl Adding {
    pub(super) fn new() -> Self {
        Self { next: Next::Key, place: None, fields: Fields::default() }
    }

    /// How many bytes of the next argument are kept.
    pub(super) fn keeps(&self) -> usize {
        match self.next {
            Next::Key => KEY_BYTES_MAX,
            _ if !self.is_work() => 0,
            Next::Option | Next::Threshold => OPTION_BYTES_MAX,
            Next::Skip(_) => 0,
            Next::Name | Next::Value => self.fields.keeps(self.next == Next::Name),
        }
    }

    /// The next argument.
    pub(super) fn argument(&mut self, value: Value<'_>, len: u64, context: &Context<'_, '_>) {
        let text = value.bytes;
        self.next = match self.next {
            Next::Key => {
                self.place = Some(if value.whole { Place::new(text) } else { Place::unknown() });
                Next::Option
            }
            Next::Option => {
                let is = |option: &[u8]| text.eq_ignore_ascii_case(option);
                if is(b"MAXLEN") || is(b"MINID") {
                    Next::Threshold
                } else if is(b"LIMIT") || is(b"IDMPAUTO") {
                    Next::Skip(1)
                } else if is(b"IDMP") {
                    Next::Skip(2)
                } else if is(b"NOMKSTREAM") || is(b"KEEPREF") || is(b"DELREF") || is(b"ACKED") {
                    Next::Option
                } else {
                    Next::Name
                }
            }
            Next::Threshold if text == b"=" || text == b"~" => Next::Skip(1),
            Next::Skip(left) if left > 1 => Next::Skip(left.saturating_sub(1)),
            Next::Threshold | Next::Skip(_) => Next::Option,
            Next::Name => {
                self.fields.take(true, Some(value), len, context.out.interest);
                Next::Value
            }
            Next::Value => {
                self.fields.take(false, Some(value), len, context.out.interest);
                Next::Name
            }
        };
    }

    /// The request ended; or the rest of it is missing.
    pub(super) fn finish(&self, at: Timestamp, all: bool, context: &mut Context<'_, '_>) {
        if let Some(place) = self.place.as_ref().filter(|place| place.is_work()) {
            let complete = all && self.next == Next::Name && self.fields.is_complete();
            context.record(at, Way::Produced, &place.topic, &self.fields.headers(), complete);
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.fields.buffered_bytes().saturating_add(self.place.as_ref().map_or(0, |place| place.topic.len()))
    }

    fn is_work(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_work)
    }
}
