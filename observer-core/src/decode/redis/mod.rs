//! Redis (RESP2 and RESP3): pieces of both directions come in, the work that is sent and that arrives goes out, each with the
//! headers that somebody wants. All else that Redis is used for is passed over by its length and need not be shown.
//!
//! # What is work
//!
//! *Arriving* ([`Way::Fetched`](crate::message::Way)):
//! - Entries of streams, by XREAD, XREADGROUP, XCLAIM and XAUTOCLAIM. Their headers are the fields with the names of headers.
//! - What a client waits for in a list or a sorted set (BLPOP, BRPOP, BLMOVE, BRPOPLPUSH, BLMPOP, BZPOPMIN, BZPOPMAX, BZMPOP): nobody
//!   waits for data.
//! - What is taken from a list without waiting (LPOP, RPOP, LMOVE, RPOPLPUSH, LMPOP), if it is a message of kombu or stands where
//!   RQ keeps the ids of jobs: a worker in a hurry takes jobs like this. Other values are data.
//! - Messages of channels that somebody listens to.
//! - Jobs of `BullMQ`, which its scripts take. What it says in its sorted set of markers is no job.
//!
//! *Sent* ([`Way::Produced`](crate::message::Way)), told when it is sent, whether it is accepted or not: entries by XADD, messages of
//! kombu and ids of jobs of RQ by LPUSH and RPUSH, envelopes by PUBLISH, jobs by the scripts of `BullMQ`. Not what kombu puts back
//! because a worker died.
//!
//! An *envelope* is JSON with an object called `headers`, a message of kombu (Celery) one with `properties` too; its headers are
//! read, nothing else of it is kept. Other values tell nothing of their context: a record of which it is *not observed*, never
//! absent. So are ids of jobs: what RQ knows of a job is pickled in a hash.
//!
//! What sorted sets give without waiting is data (a rate limit, a leaderboard); so are entries by XRANGE, results, events and what
//! workers tell each other ([`place`]).
//!
//! # Which reply answers which request
//!
//! Replies come in the order of the requests, those of a transaction together at its end; what is said in channels comes at any
//! time, as a push, or as an array where a client listens. No reply answers a request that its sender had not received
//! (its acknowledgement number).
//!
//! Where a connection is joined, or bytes were missing, replies to what was not seen may be under way. The pairs are *certain* again
//! once a client that had received everything, and waited for nothing that was seen, asked, got exactly as many replies as it
//! sent requests, and asked again. Until then only such replies are told as name a key of the request that they would answer; of
//! others that may bring work only that they may, as records that are not observed, none in number.
//!
//! # What is missing
//!
//! Bytes that are needed and not there are waited for, then given up ([`stream`](super::stream)). Within a value all goes on behind it,
//! and what it would tell is not observed. Elsewhere a direction is *adrift*: a request is believed again where a piece begins
//! with a known command, a reply where a piece begins at what the client had received when it asked last. Entries that are
//! missing at the end of a list count as not observed.
//!
//! # What is taken for given
//!
//! No client sends a request behind one that waits. Behind a loss no piece of a value begins with a whole header of a known command, and
//! no piece that begins where a client had received everything is in the midst of a reply. Requests are arrays: nobody types them.

mod adding;
mod command;
mod entries;
mod envelope;
mod fields;
mod nesting;
mod place;
mod reading;
mod replies;
mod requests;
mod resp;
mod talk;
mod telling;
mod wishing;

use self::replies::Replies;
use self::requests::Requests;
use self::talk::{Course, Talk};
use self::telling::Context;
use super::stream::Stream;
use super::{Output, Piece};
use crate::message::End;
use crate::time::Timestamp;

/// What could not be decoded, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Places where requests are missing: nobody knows how many.
    pub requests_cut: u64,
    /// Places where replies are missing.
    pub replies_cut: u64,
    /// Bytes that stand where a request or reply must begin and are none.
    pub not_redis: u64,
    /// Replies to requests that were not seen.
    pub unpaired: u64,
    /// How often the reorder buffer was full: what it waited for was then taken for lost.
    pub reorder_overflow: u64,
    /// How often so many requests waited for an answer that they were forgotten.
    pub evicted: u64,
}

/// What the first bytes of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// A request.
    Request,
    /// A message of a channel.
    Message,
    /// More bytes will tell.
    Perhaps,
    /// Neither.
    No,
}

/// Whether a piece of a connection of which nothing is known begins with a request, or with a message of a channel. Other replies
/// tell nothing by themselves.
pub fn recognise(bytes: &[u8]) -> Recognition {
    match command::begins(bytes) {
        Some(true) => Recognition::Request,
        _ if command::begins_with_message(bytes) => Recognition::Message,
        Some(false) => Recognition::No,
        None => Recognition::Perhaps,
    }
}

/// The decoder of one connection. It holds at most, for each direction, a value of [`RecordBounds::batch_bytes`](super::RecordBounds)
/// or as many bytes of headers, and 128 KiB of pieces that came too early; for both 256 requests. A usual connection holds 1 KiB.
#[derive(Debug)]
pub struct Redis {
    requests: Stream<Requests>,
    replies: Option<Stream<Replies>>,
    talk: Talk,
}

impl Redis {
    /// A decoder for a connection of which `client` sends the requests.
    pub fn new(client: End) -> Self {
        Self { requests: Stream::new(client, Requests::new()), replies: None, talk: Talk::new(client) }
    }

    /// Takes the next piece and tells every record that is complete with it.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if self.talk.course != Course::Talk {
            return;
        }
        self.overdue(piece.at, out);
        let Self { requests, replies, talk } = self;
        if piece.from == talk.client {
            requests.piece(piece, &mut Context { talk, out });
        } else if piece.wire_len > 0 {
            let replies = replies.get_or_insert_with(|| {
                let is_message = requests.is_new() && command::begins_with_message(piece.bytes);
                talk.subscribed |= is_message;
                Stream::new(piece.from, Replies::new(is_message))
            });
            replies.piece(piece, &mut Context { talk, out });
        }
        self.free_if_deaf();
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        let Self { requests, replies, talk } = self;
        requests.overdue(now, &mut Context { talk, out });
        if let Some(replies) = replies {
            replies.overdue(now, &mut Context { talk, out });
        }
        self.free_if_deaf();
    }

    /// The end `from` closed its direction, or the connection was reset. A piece that comes late is still taken.
    pub(super) fn closed(&mut self, from: End, out: &mut Output<'_>) {
        let Self { requests, replies, talk } = self;
        if from == talk.client {
            requests.closed(&mut Context { talk, out });
        } else {
            if let Some(replies) = replies {
                replies.closed(&mut Context { talk, out });
            }
            self.talk.forget();
        }
    }

    /// Whether what came is not Redis: nothing will be told, and the protocol is to be recognised anew.
    pub fn is_refuted(&self) -> bool {
        self.talk.course == Course::Refuted
    }

    /// Whether what follows is no conversation (MONITOR, replication): nothing will be told again.
    pub fn is_quiet(&self) -> bool {
        self.talk.course == Course::Feed
    }

    /// Where the first byte of `from` is that will be needed, if some before it are not. Pieces that end before it may be left out.
    pub(super) fn unneeded(&self, from: End) -> Option<u32> {
        if from == self.talk.client {
            self.requests.unneeded::<Context<'_, '_>>()
        } else {
            self.replies.as_ref()?.unneeded::<Context<'_, '_>>()
        }
    }

    /// Bytes held in buffers for this connection, besides the value itself.
    pub fn buffered_bytes(&self) -> usize {
        let requests = self.requests.buffered_bytes().saturating_add(self.requests.parser.buffered_bytes());
        let replies = self.replies.as_ref();
        let replies =
            replies.map_or(0, |replies| replies.buffered_bytes().saturating_add(replies.parser.buffered_bytes()));
        requests.saturating_add(replies).saturating_add(self.talk.buffered_bytes())
    }

    /// Nothing more will be read: nothing need be held.
    fn free_if_deaf(&mut self) {
        if self.talk.course != Course::Talk {
            self.requests.forget();
            self.requests.parser = Requests::new();
            self.replies = None;
            self.talk.forget();
        }
    }
}
