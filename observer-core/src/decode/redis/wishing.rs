//! Requests that take something: their arguments come in, what the reply is to be read as goes out.

use super::command::{Keys as Where, Shape, Taking};
use super::place::{Class, KEY_BYTES_MAX, Place};
use super::resp::{Value, number};
use super::talk::{Asked, Keys, Take};

/// The longest number that is read.
const NUMBER_BYTES_MAX: usize = 20;

/// The keys of a request that takes something.
#[derive(Debug)]
pub(super) struct Wishing {
    taking: Taking,
    /// Where the keys begin, and behind the last one.
    keys_at: (u64, u64),
    keys: Keys,
    place: Place,
}

impl Wishing {
    /// Of a request with so many elements.
    pub(super) fn new(taking: Taking, len: u64) -> Self {
        let keys_at = match taking.keys {
            Where::First => (1, 2),
            Where::AllButLast => (1, len.saturating_sub(1)),
            Where::Counted(_) | Where::Streams(_) => (u64::MAX, u64::MAX),
        };
        Self { taking, keys_at, keys: Keys::default(), place: Place::unknown() }
    }

    /// How many bytes of the argument at this place are kept.
    pub(super) fn keeps(&self, index: u64) -> usize {
        let is_key = index >= self.keys_at.0 && index < self.keys_at.1;
        let is_mark = match self.taking.keys {
            Where::Counted(at) => index == at,
            Where::Streams(from) => self.keys_at.0 == u64::MAX && index >= from,
            Where::First | Where::AllButLast => false,
        };
        match (is_key, is_mark) {
            (true, _) => KEY_BYTES_MAX,
            (false, true) => NUMBER_BYTES_MAX,
            (false, false) => 0,
        }
    }

    /// The argument at this place of a request with so many elements.
    pub(super) fn argument(&mut self, index: u64, len: u64, value: Value<'_>) {
        let behind = index.saturating_add(1);
        if index >= self.keys_at.0 {
            if index < self.keys_at.1 && value.whole {
                self.keys.add(value.bytes);
                if self.taking.keys == Where::First {
                    self.place = Place::new(value.bytes);
                }
            }
            return;
        }
        match self.taking.keys {
            Where::Counted(at) if at == index => {
                let count = number(value.bytes).unwrap_or(0);
                self.keys_at = (behind, behind.saturating_add(count));
            }
            Where::Streams(from) if index >= from && value.bytes.eq_ignore_ascii_case(b"STREAMS") => {
                // Names, and as many ids.
                let count = len.saturating_sub(behind) / 2;
                self.keys_at = (behind, behind.saturating_add(count));
            }
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Asked {
        let Taking { shape, waits, .. } = self.taking;
        Asked::Take(Box::new(Take { shape, waits, keys: self.keys, place: self.place }))
    }
}

/// The first keys of a script. Those of BullMQ are known by what they end in, in an order that no two scripts share
/// (`src/commands` of bullmq).
#[derive(Debug, Default)]
pub(super) struct Script {
    /// How many keys there are.
    count: u64,
    /// What the first four end in.
    ends: [End; 4],
    /// The first key without its end.
    queue: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Other,
    Wait,
    Active,
    Paused,
    Marker,
    Meta,
    Id,
}

/// What a script does with work.
#[derive(Debug)]
pub(super) enum Does {
    Nothing,
    /// Adds a job to this queue.
    Adds(Place),
    /// Takes a job.
    Takes(Asked),
}

impl Script {
    /// How many bytes of the argument at this place are kept.
    pub(super) fn keeps(&self, index: u64) -> usize {
        match index {
            2 => NUMBER_BYTES_MAX,
            3..=6 if index < self.count.saturating_add(3) => KEY_BYTES_MAX,
            _ => 0,
        }
    }

    /// The argument at this place.
    pub(super) fn argument(&mut self, index: u64, value: Value<'_>) {
        if index == 2 {
            self.count = number(value.bytes).unwrap_or(0);
            return;
        }
        let Some(end) =
            index.checked_sub(3).and_then(|at| self.ends.get_mut(usize::try_from(at).unwrap_or(usize::MAX)))
        else {
            return;
        };
        if index >= self.count.saturating_add(3) || !value.whole {
            return;
        }
        let colon = value.bytes.iter().rposition(|&byte| byte == b':');
        let Some((queue, name)) = colon.and_then(|at| value.bytes.split_at_checked(at)) else { return };
        *end = End::of(name);
        if index == 3 && *end != End::Other {
            self.queue = queue.into();
        } else if *queue != *self.queue {
            *end = End::Other;
        }
    }

    pub(super) fn finish(&self) -> Does {
        let place = || Place { class: Class::Ids, ..Place::new(&self.queue) };
        match self.ends {
            [End::Wait, End::Paused, End::Meta, End::Id] | [End::Marker, End::Meta, End::Id, _] => Does::Adds(place()),
            [End::Wait, End::Active, ..] => {
                let take = Take { shape: Shape::Job, waits: true, keys: Keys::default(), place: place() };
                Does::Takes(Asked::Take(Box::new(take)))
            }
            _ => Does::Nothing,
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.queue.len()
    }
}

impl End {
    fn of(name: &[u8]) -> Self {
        match name {
            b":wait" => Self::Wait,
            b":active" => Self::Active,
            b":paused" => Self::Paused,
            b":marker" => Self::Marker,
            b":meta" => Self::Meta,
            b":id" => Self::Id,
            _ => Self::Other,
        }
    }
}
