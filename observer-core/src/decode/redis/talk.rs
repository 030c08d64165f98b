//! What both directions know of each other: requests go in, the one that a reply answers comes out, with whether that is certain.
//! The rules stand at the top of [`super`].

use std::collections::VecDeque;

use super::command::Shape;
use super::place::Place;
use crate::decode::ahead::is_ahead;
use crate::message::End;

/// Entries that are remembered of what was asked; neighbours that are of no interest share one.
pub(super) const ASKED_MAX: usize = 128;
/// Keys of a request that a reply is compared with.
pub(super) const KEYS_MAX: usize = 32;
/// Requests and replies after which bytes that are none do not refute the protocol any more.
const PROOF: u32 = 4;

/// What a request wants to have.
#[derive(Debug)]
pub(super) struct Take {
    pub(super) shape: Shape,
    pub(super) waits: bool,
    pub(super) keys: Keys,
    /// Where the reply does not name it.
    pub(super) place: Place,
}

/// The keys that a reply may name, as hashes.
#[derive(Debug, Default)]
pub(super) struct Keys {
    hashes: Vec<u32>,
    too_many: bool,
}

impl Keys {
    pub(super) fn add(&mut self, key: &[u8]) {
        if self.hashes.len() < KEYS_MAX {
            self.hashes.push(hash(key));
        } else {
            self.too_many = true;
        }
    }

    /// Whether this key is known to be one.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.hashes.contains(&hash(key))
    }

    /// Whether this key may be one.
    pub(super) fn may_have(&self, key: &[u8]) -> bool {
        self.too_many || self.has(key)
    }
}

fn hash(key: &[u8]) -> u32 {
    crc32c::crc32c(key)
}

/// What is to be known of a request to read its reply.
#[derive(Debug)]
pub(super) enum Asked {
    /// Nothing.
    Other,
    Ping,
    Multi,
    Discard,
    Exec,
    Take(Box<Take>),
}

/// Requests of one kind that follow one another.
#[derive(Debug)]
struct Entry {
    /// Where the first of them begins.
    start: u32,
    /// What the client had received when it sent them.
    received: Option<u32>,
    asked: Asked,
    /// How many; of all but [`Asked::Other`] one.
    count: u32,
}

/// What a reply answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// This request.
    To(Asked),
    /// None that was seen.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) client: End,
    entries: VecDeque<Entry>,
    /// What was queued since MULTI.
    transaction: VecDeque<Asked>,
    trust: Trust,
    pub(super) stand: Stand,
    /// What the client had received when it sent its last request.
    pub(super) received: Option<u32>,
    /// The client listens to channels.
    pub(super) subscribed: bool,
    /// What the client said of replies (CLIENT REPLY).
    pub(super) replies: Replies,
    pub(super) course: Course,
    proof: u32,
}

/// How sure it is which reply answers which request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Doubt,
    /// Nothing seemed to be outstanding once, and no surplus reply came since.
    QuietOnce,
    Certain,
}

/// What the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Requests and replies.
    Talk,
    /// What follows is no conversation.
    Feed,
    /// It is not Redis.
    Refuted,
}

/// Where the replies stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is not known where one begins.
    Adrift,
    /// One began.
    Within,
    /// The next one begins here.
    At(u32),
}

/// Which requests are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    /// Not the next one.
    Skip,
    Off,
}

impl Talk {
    pub(super) fn new(client: End) -> Self {
        Self {
            client,
            entries: VecDeque::new(),
            transaction: VecDeque::new(),
            trust: Trust::Doubt,
            stand: Stand::Adrift,
            received: None,
            subscribed: false,
            replies: Replies::On,
            course: Course::Talk,
            proof: 0,
        }
    }

    /// A request begins, of which the sender had received what is before `ack`.
    pub(super) fn request_begins(&mut self, ack: Option<u32>) {
        self.received = ack;
        if self.entries.is_empty() && ack.is_some() {
            match self.stand {
                Stand::At(next) if ack == Some(next) => {
                    self.trust = if self.trust == Trust::Doubt { Trust::QuietOnce } else { Trust::Certain };
                }
                Stand::At(_) | Stand::Within => {}
                Stand::Adrift => self.trust = Trust::QuietOnce,
            }
        }
    }

    /// A request was sent that begins at `start`. Whether so many wait for an answer that they are forgotten.
    pub(super) fn ask(&mut self, asked: Asked, start: u32) -> bool {
        match self.replies {
            Replies::On => {}
            Replies::Skip => {
                self.replies = Replies::On;
                return false;
            }
            Replies::Off => return false,
        }
        let received = self.received;
        let last = self.entries.back_mut().filter(|entry| entry.received == received);
        if let (Asked::Other, Some(Entry { asked: Asked::Other, count, .. })) = (&asked, last) {
            *count = count.saturating_add(1);
            return false;
        }
        let full = self.entries.len() >= ASKED_MAX;
        if full {
            self.doubt();
        }
        self.entries.push_back(Entry { start, received, asked, count: 1 });
        full
    }

    /// A reply begins; its sender had received what is before `ack`.
    pub(super) fn answer(&mut self, ack: Option<u32>) -> Answer {
        let came_before = |entry: &Entry| ack.is_some_and(|ack| !is_ahead(ack, entry.start));
        let Some(entry) = self.entries.front_mut().filter(|entry| !came_before(entry)) else {
            self.surplus();
            return Answer::Nothing;
        };
        if entry.count > 1 {
            entry.count = entry.count.saturating_sub(1);
            return Answer::To(Asked::Other);
        }
        self.entries.pop_front().map_or(Answer::Nothing, |entry| Answer::To(entry.asked))
    }

    /// Whether messages of channels may come as arrays here.
    pub(super) fn may_hear(&self) -> bool {
        self.subscribed && self.entries.front().is_none_or(|entry| matches!(entry.asked, Asked::Ping))
    }

    /// What looked like a message answers a PING.
    pub(super) fn pong(&mut self) {
        if self.entries.pop_front().is_none() {
            self.surplus();
        }
    }

    /// Whether replies are known to answer what they seem to.
    pub(super) fn is_certain(&self) -> bool {
        self.trust == Trust::Certain
    }

    /// A request was put off until EXEC; whether so many are that they are forgotten.
    pub(super) fn queue(&mut self, asked: Asked) -> bool {
        let full = self.transaction.len() >= ASKED_MAX;
        if full {
            self.transaction.clear();
        }
        self.transaction.push_back(asked);
        full
    }

    /// A transaction begins, or was given up.
    pub(super) fn clear_queue(&mut self) {
        self.transaction.clear();
    }

    /// A transaction of so many requests ran: whether these are known.
    pub(super) fn is_queued(&self, count: u64) -> bool {
        self.transaction.len() as u64 == count
    }

    /// The next request of the transaction.
    pub(super) fn queued(&mut self) -> Asked {
        self.transaction.pop_front().unwrap_or(Asked::Other)
    }

    /// A reply came that nobody seems to have asked for, or that answers something else.
    pub(super) fn surplus(&mut self) {
        self.trust = Trust::Doubt;
    }

    /// It is not known any more what was asked.
    pub(super) fn doubt(&mut self) {
        self.surplus();
        self.entries.clear();
        self.transaction.clear();
    }

    /// Replies are missing before this place: only what was asked by a client that had received as much is answered behind it.
    pub(super) fn doubt_before(&mut self, seq: u32) {
        self.surplus();
        self.entries.retain(|entry| entry.received.is_some_and(|received| !is_ahead(seq, received)));
        self.transaction.clear();
    }

    /// A request or a reply was read.
    pub(super) fn prove(&mut self) {
        self.proof = self.proof.saturating_add(1);
    }

    /// Bytes came that are none.
    pub(super) fn disprove(&mut self) {
        if self.proof < PROOF {
            self.course = Course::Refuted;
        }
        self.proof = self.proof.min(PROOF).saturating_sub(1);
    }

    /// Drops everything that is held.
    pub(super) fn forget(&mut self) {
        self.surplus();
        self.entries = VecDeque::new();
        self.transaction = VecDeque::new();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let entries = self.entries.capacity().saturating_mul(size_of::<Entry>());
        let transaction = self.transaction.capacity().saturating_mul(size_of::<Asked>());
        let asked = self.entries.iter().map(|entry| &entry.asked).chain(&self.transaction);
        asked.map(Asked::buffered_bytes).fold(entries.saturating_add(transaction), usize::saturating_add)
    }
}

impl Asked {
    fn buffered_bytes(&self) -> usize {
        let Self::Take(take) = self else { return 0 };
        size_of::<Take>()
            .saturating_add(take.keys.hashes.capacity().saturating_mul(size_of::<u32>()))
            .saturating_add(take.place.topic.len())
    }
}
