//! Through the fields of one message, however it is cut: bytes come in, what its fields say goes out. What nobody needs is
//! passed over by arithmetic; record batches are left to [`super::batches`].

use super::gather::{Gather, big_endian};
use super::schema::{Field, Kind, Schema};

/// The longest name of a topic (org.apache.kafka.common.internals.Topic, MAX_NAME_LENGTH).
pub(super) const TOPIC_BYTES_MAX: usize = 249;
/// How deep structures stand in one another: message, topics, partitions, transactions.
const DEPTH_MAX: usize = 4;

/// The place of a message up to which it was read.
#[derive(Debug)]
pub(super) struct Walk {
    version: i16,
    flexible: bool,
    levels: [Level; DEPTH_MAX],
    depth: usize,
    need: Need,
    gather: Gather<16>,
    name: Vec<u8>,
    topic_id: Option<u128>,
    partition: i32,
}

/// A structure that is being read, of which `left` are to come, this one included.
#[derive(Clone, Copy, Debug)]
struct Level {
    fields: &'static [Field],
    next: usize,
    left: u32,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// The rest of the header, but for its tagged fields: so many bytes.
    Header(u64),
    /// The next field of the structure, or its end.
    Next,
    Field(Kind),
    /// So many bytes that nobody needs.
    Skip(u64),
    /// So many bytes of the name of a topic.
    Name(usize),
    /// The number of tagged fields; `ends`: whether a structure ends with them, or the header of the message.
    Tags {
        ends: bool,
    },
    Tag {
        left: u32,
        ends: bool,
    },
    TagLength {
        left: u32,
        ends: bool,
    },
    TagValue {
        length: u32,
        left: u32,
        ends: bool,
    },
    Nothing,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Everything that was given.
    Starved,
    /// A tagged field of the message itself.
    Tag(u32),
    /// The broker that fetches.
    Replica(i32),
    /// The id of the topic.
    TopicId,
    /// A partition begins.
    Partition,
    /// The first offset that is asked for of the partition.
    Offset(i64),
    /// The producer of an aborted transaction.
    Producer(i64),
    /// The first offset of its transaction.
    FirstOffset(i64),
    /// Record batches of the partition: so many bytes that the caller takes off before it goes on.
    Records(u32),
    /// The end of the message.
    End,
    /// What was read contradicts itself.
    Broken,
}

impl Walk {
    /// A walk through a message of which the header's tagged fields, if `flexible`, come next, after `skip` bytes.
    pub(super) fn new(schema: &Schema, version: i16, flexible: bool, skip: u64) -> Self {
        let top = Level { fields: schema.fields, next: 0, left: 1 };
        Self {
            version,
            flexible,
            levels: [top; DEPTH_MAX],
            depth: 1,
            need: Need::Header(skip),
            gather: Gather::default(),
            name: Vec::new(),
            topic_id: None,
            partition: 0,
        }
    }

    /// The name of the topic; empty where it has none.
    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or_default()
    }

    /// The id of the topic.
    pub(super) fn topic_id(&self) -> Option<u128> {
        self.topic_id
    }

    /// The number of the partition.
    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// How many of the next bytes are needed by nobody.
    pub(super) fn spare(&self) -> u64 {
        match self.need {
            Need::Header(left) | Need::Skip(left) => left,
            Need::TagValue { length, .. } => u64::from(length),
            Need::Nothing => u64::MAX,
            _ => 0,
        }
    }

    /// Passes over bytes that are [`Self::spare`].
    pub(super) fn skip(&mut self, count: u64) {
        match &mut self.need {
            Need::Header(left) | Need::Skip(left) => *left = left.saturating_sub(count),
            Need::TagValue { length, .. } => *length = length.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX)),
            _ => {}
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.name.capacity()
    }

    /// Reads on until there is something to tell, or no more input.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Event {
        loop {
            let event = match self.need {
                Need::Header(left) => {
                    let left = left.saturating_sub(take(input, left));
                    self.need = Need::Header(left);
                    if left > 0 {
                        return Event::Starved;
                    }
                    self.need = if self.flexible { Need::Tags { ends: false } } else { Need::Next };
                    None
                }
                Need::Next => self.next_field(),
                Need::Field(kind) => self.field(kind, input),
                Need::Skip(left) => {
                    let left = left.saturating_sub(take(input, left));
                    self.need = Need::Skip(left);
                    if left > 0 {
                        return Event::Starved;
                    }
                    self.need = Need::Next;
                    None
                }
                Need::Name(left) => self.name_bytes(left, input),
                Need::Tags { ends } => match self.gather.varint(input) {
                    None => return Event::Starved,
                    Some(Err(_)) => return self.broken(),
                    Some(Ok(left)) => self.tag(left, ends),
                },
                Need::Tag { left, ends } => match self.gather.varint(input) {
                    None => return Event::Starved,
                    Some(Err(_)) => return self.broken(),
                    Some(Ok(tag)) => {
                        self.need = Need::TagLength { left, ends };
                        (ends && self.depth == 1).then_some(Event::Tag(tag))
                    }
                },
                Need::TagLength { left, ends } => match self.gather.varint(input) {
                    None => return Event::Starved,
                    Some(Err(_)) => return self.broken(),
                    Some(Ok(length)) => {
                        self.need = Need::TagValue { length, left, ends };
                        None
                    }
                },
                Need::TagValue { length, left, ends } => {
                    let taken = take(input, u64::from(length));
                    let length = length.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                    self.need = Need::TagValue { length, left, ends };
                    if length > 0 {
                        return Event::Starved;
                    }
                    self.tag(left.saturating_sub(1), ends)
                }
                Need::Nothing => return Event::End,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// Goes on to the next field, or to the next structure, or to what follows the structures.
    fn next_field(&mut self) -> Option<Event> {
        let (version, flexible) = (self.version, self.flexible);
        let Some(level) = self.level() else {
            self.need = Need::Nothing;
            return None;
        };
        while let Some(field) = level.fields.get(level.next) {
            level.next = level.next.saturating_add(1);
            if field.is_in(version) {
                self.need = Need::Field(field.kind);
                return None;
            }
        }
        if flexible {
            self.need = Need::Tags { ends: true };
        } else {
            self.end_structure();
        }
        None
    }

    fn end_structure(&mut self) {
        self.need = Need::Next;
        let Some(level) = self.level() else { return };
        level.left = level.left.saturating_sub(1);
        level.next = 0;
        if level.left == 0 {
            self.depth = self.depth.saturating_sub(1);
        }
    }

    /// So many tagged fields are to come.
    fn tag(&mut self, left: u32, ends: bool) -> Option<Event> {
        if left > 0 {
            self.need = Need::Tag { left, ends };
        } else if ends {
            self.end_structure();
        } else {
            self.need = Need::Next;
        }
        None
    }

    fn field(&mut self, kind: Kind, input: &mut &[u8]) -> Option<Event> {
        match kind {
            Kind::Fixed(width) => self.need = Need::Skip(u64::from(width)),
            Kind::Text | Kind::Topic => {
                let length = match self.length(input, 2) {
                    Ok(length) => length.unwrap_or(0),
                    Err(event) => return Some(event),
                };
                if let Kind::Text = kind {
                    self.need = Need::Skip(u64::from(length));
                } else {
                    self.name.clear();
                    self.topic_id = None;
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    if length > TOPIC_BYTES_MAX {
                        return Some(self.broken());
                    }
                    self.need = Need::Name(length);
                }
            }
            Kind::Numbers(width) => match self.length(input, 4) {
                Ok(count) => self.need = Need::Skip(u64::from(count.unwrap_or(0)).saturating_mul(u64::from(width))),
                Err(event) => return Some(event),
            },
            Kind::Structures(fields) => {
                let left = match self.length(input, 4) {
                    Ok(count) => count.unwrap_or(0),
                    Err(event) => return Some(event),
                };
                self.need = Need::Next;
                if left > 0 {
                    let level = Level { fields, next: 0, left };
                    let Some(free) = self.levels.get_mut(self.depth) else { return Some(self.broken()) };
                    *free = level;
                    self.depth = self.depth.saturating_add(1);
                }
            }
            Kind::Records => {
                let length = match self.length(input, 4) {
                    Ok(length) => length.unwrap_or(0),
                    Err(event) => return Some(event),
                };
                self.need = Need::Next;
                return (length > 0).then_some(Event::Records(length));
            }
            Kind::TopicId => {
                let Some(bytes) = self.gather.take(input, 16) else { return Some(Event::Starved) };
                self.topic_id = bytes.first_chunk().copied().map(u128::from_be_bytes);
                self.need = Need::Next;
                return Some(Event::TopicId);
            }
            Kind::Partition => {
                let Some(number) = self.number(input, 4) else { return Some(Event::Starved) };
                self.partition = narrow(number);
                return Some(Event::Partition);
            }
            Kind::Replica => return Some(self.number(input, 4).map(narrow).map_or(Event::Starved, Event::Replica)),
            Kind::Offset => return Some(self.number(input, 8).map_or(Event::Starved, Event::Offset)),
            Kind::Producer => return Some(self.number(input, 8).map_or(Event::Starved, Event::Producer)),
            Kind::FirstOffset => return Some(self.number(input, 8).map_or(Event::Starved, Event::FirstOffset)),
        }
        None
    }

    /// Takes bytes of the name of a topic.
    fn name_bytes(&mut self, left: usize, input: &mut &[u8]) -> Option<Event> {
        let (taken, rest) = input.split_at_checked(left).unwrap_or((input, &[]));
        self.name.extend_from_slice(taken);
        *input = rest;
        let left = left.saturating_sub(taken.len());
        self.need = Need::Name(left);
        if left > 0 {
            return Some(Event::Starved);
        }
        self.need = Need::Next;
        if self.name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) {
            None
        } else {
            Some(self.broken())
        }
    }

    /// A number of so many bytes, the field that it is being read.
    fn number(&mut self, input: &mut &[u8], width: usize) -> Option<i64> {
        let number = self.gather.take(input, width).map(big_endian)?;
        self.need = Need::Next;
        Some(number)
    }

    /// A length of `width` bytes, or a compact one; `None` where there is nothing.
    fn length(&mut self, input: &mut &[u8], width: usize) -> Result<Option<u32>, Event> {
        if self.flexible {
            return match self.gather.varint(input) {
                None => Err(Event::Starved),
                Some(Err(_)) => Err(self.broken()),
                Some(Ok(length)) => Ok(length.checked_sub(1)),
            };
        }
        let bytes = self.gather.take(input, width).ok_or(Event::Starved)?;
        let absent = bytes.iter().all(|&byte| byte == 0xff);
        let length = big_endian(bytes);
        let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
        match (absent, negative) {
            (true, _) => Ok(None),
            (false, true) => Err(self.broken()),
            (false, false) => Ok(u32::try_from(length).ok()),
        }
    }

    fn broken(&mut self) -> Event {
        self.need = Need::Nothing;
        Event::Broken
    }

    fn level(&mut self) -> Option<&mut Level> {
        self.levels.get_mut(self.depth.checked_sub(1)?)
    }
}

/// Takes at most so many bytes off `input`; returns how many.
fn take(input: &mut &[u8], count: u64) -> u64 {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (taken, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
    *input = rest;
    taken.len() as u64
}

/// The number of 32 bits that four bytes were.
fn narrow(number: i64) -> i32 {
    u32::try_from(number).map_or(0, u32::cast_signed)
}
