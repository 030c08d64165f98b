//! The header of a message (AMQP 0-9-1 specification, sections 2.3.5.2 and 4.2.6.1): the payload of the frame comes in, wanted
//! headers go out.

use super::cursor::Cursor;
use crate::message::{Header, Interest};

/// Wanted headers that are told of one message; of more the first ones.
pub const HEADERS_MAX: usize = 32;

/// The class of messages.
const BASIC: u16 = 60;

/// Properties behind content type, content encoding and headers, in their order: delivery mode, priority, correlation id, reply-to,
/// expiration, message id, timestamp, type, user, application, cluster.
const OTHERS: [Property; 11] = [
    Property::Bytes(1),
    Property::Bytes(1),
    Property::Text,
    Property::Text,
    Property::Text,
    Property::Text,
    Property::Bytes(8),
    Property::Text,
    Property::Text,
    Property::Text,
    Property::Text,
];

#[derive(Clone, Copy)]
enum Property {
    Bytes(usize),
    Text,
}

/// What the header of a message holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Properties<'a> {
    /// Those of [`Interest`], in their order.
    pub(super) headers: Vec<Header<'a>>,
    /// Whether these are all: there were not too many, and each is text.
    pub(super) complete: bool,
}

impl<'a> Properties<'a> {
    /// The properties in the payload of a frame; `None` if these are none.
    pub(super) fn of(payload: &'a [u8], interest: &Interest) -> Option<Self> {
        let mut properties = Self { headers: Vec::new(), complete: true };
        read(payload, |name, value| {
            if !interest.may_begin(name) {
                return;
            }
            let Some(name) = interest.find(name) else { return };
            match value {
                Value::Text(value) if properties.headers.len() < HEADERS_MAX => {
                    properties.headers.push(Header { name, value });
                }
                Value::Text(_) | Value::Other => properties.complete = false,
                Value::Nothing => {}
            }
        })?;
        Some(properties)
    }
}

/// Whether these are the properties of a message.
pub(super) fn are_sound(payload: &[u8]) -> bool {
    read(payload, |_, _| {}).is_some()
}

/// What a header holds.
enum Value<'a> {
    Text(&'a [u8]),
    /// A number, a table and the like.
    Other,
    /// It is as good as absent.
    Nothing,
}

/// Reads properties to their end; `each` takes the headers.
fn read<'a>(payload: &'a [u8], mut each: impl FnMut(&'a [u8], Value<'a>)) -> Option<()> {
    let mut cursor = Cursor(payload);
    if cursor.short()? != BASIC || cursor.short()? != 0 {
        return None;
    }
    // The length of the body.
    cursor.take(8)?;
    let flags = cursor.short()?;
    // The two lowest bits: none is in use, and whether more flags follow, which basic has none of.
    if flags & 0b11 != 0 {
        return None;
    }
    let mut set = (2..16).rev().map(|bit| flags >> bit & 1 == 1);
    for _type_and_encoding in 0..2 {
        if set.next()? {
            cursor.short_string()?;
        }
    }
    if set.next()? {
        let mut table = Cursor(cursor.long_string()?);
        while !table.0.is_empty() {
            let name = table.short_string()?;
            each(name, value(&mut table)?);
        }
    }
    for (property, is_set) in OTHERS.into_iter().zip(set) {
        if is_set {
            match property {
                Property::Bytes(count) => cursor.take(count)?,
                Property::Text => cursor.short_string()?,
            };
        }
    }
    cursor.0.is_empty().then_some(())
}

/// The next value of a table: of RabbitMQ's types (<https://www.rabbitmq.com/amqp-0-9-1-errata>, section 3), which all clients use.
/// Text are long strings and byte arrays; `s` is a number there, not a short string.
fn value<'a>(table: &mut Cursor<'a>) -> Option<Value<'a>> {
    let len = match table.byte()? {
        b'S' | b'x' => return table.long_string().map(Value::Text),
        b'V' => return Some(Value::Nothing),
        // Tables and arrays.
        b'F' | b'A' => return table.long_string().map(|_| Value::Other),
        b't' | b'b' | b'B' => 1,
        b's' | b'u' | b'U' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'l' | b'L' | b'd' | b'T' => 8,
        _ => return None,
    };
    table.take(len).map(|_| Value::Other)
}
