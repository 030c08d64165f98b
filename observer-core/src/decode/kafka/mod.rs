//! Kafka (<https://kafka.apache.org/protocol>): pieces of both directions come in, the records that are produced and fetched go
//! out, each with the headers that somebody wants. Keys, values and everything else are passed over.
//!
//! # What is read
//!
//! Produce requests since version 3 and fetch responses since version 4, which carry record batch v2 (KIP-98, Kafka 0.11), up to
//! the versions that name topics by id (KIP-516); metadata responses that tell the names of these ids; fetch requests, for the
//! offsets from which on a consumer wants records. A response is read with the version of the request that it answers. All else
//! is passed over by its length and need not be shown; nor need batches of more than [`RecordBounds::batch_bytes`], but for their first
//! 61 bytes.
//!
//! Not told are what no application sees: control batches, records before the offset that a consumer asked for, records of
//! aborted transactions where the broker lists these, and everything that brokers fetch from one another.
//!
//! # What is missing
//!
//! Bytes that are needed and not there are waited for, [`REORDER_WAIT_MAX`](super::REORDER_WAIT_MAX) long, then given up.
//! - Of a batch that is too long or not all there, the header tells the number of records: these are not observed, and what
//!   follows is found by the length.
//! - Where the header of a batch is missing too, the number is not known: [`Anomalies::batches_hidden`]. What follows the batches
//!   of the partition is found where that length is known, else the next message. The offsets before and behind do not tell the
//!   number either: the ends of transactions take some, compaction leaves gaps, and other producers write in between; the sequence
//!   numbers of idempotent producers (KIP-98) begin anew with every producer id and may have gone on over another connection.
//! - Where the header of a message is missing, its direction is *adrift*. A request is believed again where the known client
//!   id, a later number, and another such request behind it or the end of a piece prove one ([`search`]); a response where the
//!   beginning of a piece tells a number that waits for an answer.
//!
//! Records are told of batches with the right checksum alone, so what is believed wrongly cannot make any up.
//!
//! # How sure it is that this is Kafka
//!
//! A connection is recognised by a request at the beginning of a piece ([`recognise`]), and *proven* by a response with the number
//! of a request, or by [`PROOF_REQUESTS`] requests that follow one another: acks may not be asked for. Before that records are
//! held back; and bytes that are none where a message must begin refute it ([`Kafka::is_refuted`]).
//!
//! # What is taken for given
//!
//! Behind a loss: no record holds a request of the same client, with a number that is still to come, at whose ends pieces begin and
//! end. On a connection that is joined in the middle: no piece begins with a request, of any client, that is part of a record and has
//! a number that waits for an answer.

mod aborted;
mod api;
mod asked;
mod batch;
mod batches;
mod codec;
mod frame;
mod gather;
mod half;
mod offsets;
mod placing;
mod proof;
mod reading;
mod records;
mod schema;
mod search;
mod talk;
mod topics;
mod walk;

use self::half::Half;
use self::placing::Context;
pub use self::proof::{HELD_BYTES_MAX, PROOF_REQUESTS};
pub use self::records::HEADERS_MAX;
use self::talk::Talk;
pub use self::topics::{TOPICS_MAX, TopicNames};
use super::stream::Stream;
use super::{Piece, RecordBounds};
pub use crate::message::Way;
use crate::message::{End, Header, Interest};
use crate::time::Timestamp;

/// What a connection tells, in the order of the wire.
#[derive(Debug)]
pub struct Message<'a> {
    /// When the first byte of the request or response was seen.
    pub at: Timestamp,
    /// The end that sent the records: the client what is produced, the broker what is fetched.
    pub from: End,
    /// Which way the records go.
    pub way: Way,
    /// The topic.
    pub topic: Topic<'a>,
    /// The number of the partition.
    pub partition: i32,
    /// What was seen of the records.
    pub body: Body<'a>,
}

/// The topic of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// Its name.
    Name(&'a str),
    /// Its id (KIP-516), where no metadata were seen that tell the name.
    Id(u128),
}

/// What was seen of records.
#[derive(Debug)]
pub enum Body<'a> {
    /// One record.
    Record {
        /// Its headers of [`Interest`], in the order of the wire, repeated ones repeatedly; values as they were sent.
        headers: &'a [Header<'a>],
    },
    /// So many records passed of which the headers were not read.
    Unobserved {
        /// How many.
        count: u64,
    },
}

/// What could not be decoded, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Places where batches are missing of which nobody knows how many records they held.
    pub batches_hidden: u64,
    /// Places where the header of a request or response is missing.
    pub headers_cut: u64,
    /// Bytes that stand where a request or response must begin and are none.
    pub not_kafka: u64,
    /// Requests, responses and batches that contradict themselves: lengths, checksums, compression.
    pub malformed: u64,
    /// Requests that carry batches, or ask for some, in a version that is not known, or as a share group (KIP-932).
    pub unknown_versions: u64,
    /// Records, or sets of them, in the formats of before Kafka 0.11, which have no headers.
    pub old_formats: u64,
    /// Responses to requests that were not seen.
    pub unpaired: u64,
    /// How often the reorder buffer was full: what it waited for was then taken for lost.
    pub reorder_overflow: u64,
    /// Entries that were dropped where a table was full: requests that may be answered, offsets of partitions, aborted
    /// transactions, names of topics; and headers of a record beyond the first [`HEADERS_MAX`].
    pub evicted: u64,
    /// Records that were never proven to be some, and those that were too many to be held back until then.
    pub unproven: u64,
}

/// Where a decoder puts what it finds, and what it shares with the others.
pub struct Output<'o> {
    /// The headers that are wanted.
    pub interest: &'o Interest,
    /// The names of topics.
    pub topics: &'o mut TopicNames,
    /// What could not be decoded.
    pub anomalies: &'o mut Anomalies,
    /// Takes the messages.
    pub tell: &'o mut dyn FnMut(Message<'_>),
}

/// What the first bytes of a piece are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// A request.
    Request,
    /// More bytes will tell.
    Perhaps,
    /// No request.
    No,
}

/// Whether a piece of a connection of which nothing is known begins with a request. Responses tell nothing by themselves.
pub fn recognise(bytes: &[u8]) -> Recognition {
    if search::begins(bytes) {
        Recognition::Request
    } else if search::may_begin(bytes) {
        Recognition::Perhaps
    } else {
        Recognition::No
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Requests,
    Responses,
}

/// The decoder of one connection. It holds at most, for each direction, a batch of [`RecordBounds::batch_bytes`] and 128 KiB of pieces
/// that came too early; for both the numbers of 256 requests, the offsets of 1,024 partitions, 256 aborted transactions and
/// [`HELD_BYTES_MAX`] of records that are not proven: some 500 KiB, where a usual connection has 2. While a batch is
/// decompressed, [`RecordBounds::records_bytes`] and up to 8 MiB of window besides.
#[derive(Debug)]
pub struct Kafka {
    bounds: RecordBounds,
    requests: Stream<Half>,
    responses: Stream<Half>,
    talk: Talk,
}

impl Kafka {
    /// A decoder for a connection of which `client` sends the requests.
    pub fn new(bounds: RecordBounds, client: End) -> Self {
        let (requests, responses) = (Half::new(Role::Requests), Half::new(Role::Responses));
        Self {
            bounds,
            requests: Stream::new(client, requests),
            responses: Stream::new(client.other(), responses),
            talk: Talk::new(client),
        }
    }

    /// Takes the next piece and tells every record that is complete with it.
    pub fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if piece.wire_len == 0 || self.talk.refuted {
            return;
        }
        self.overdue(piece.at, out);
        let (stream, mut context) = self.direction(piece.from, out);
        stream.piece(piece, &mut context);
        self.free_if_refuted();
    }

    /// Gives up what has been waited for too long at `now`. Calling it is needed only where a connection falls silent; each piece
    /// does the same.
    pub fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        for from in [self.talk.client, self.talk.client.other()] {
            let (stream, mut context) = self.direction(from, out);
            stream.overdue(now, &mut context);
        }
        self.free_if_refuted();
    }

    /// The end `from` closed its direction, or the connection was reset: tells what can only be told at the end. A piece that comes
    /// late is still taken.
    pub fn closed(&mut self, from: End, out: &mut Output<'_>) {
        let (stream, mut context) = self.direction(from, out);
        stream.closed(&mut context);
        if from != self.talk.client {
            if !self.talk.refuted {
                self.talk.proof.give_up(out);
            }
            self.talk.forget();
        }
    }

    /// Whether what came is not Kafka: nothing will be told, and the protocol is to be recognised anew.
    pub fn is_refuted(&self) -> bool {
        self.talk.refuted
    }

    /// Where the first byte of `from` is that will be needed, if some before it are not. Pieces that end before it may be left out.
    pub fn unneeded(&self, from: End) -> Option<u32> {
        let stream = if from == self.talk.client { &self.requests } else { &self.responses };
        stream.unneeded::<Context<'_, '_>>()
    }

    /// Whether the client was seen to fetch.
    pub fn fetches(&self) -> bool {
        self.talk.fetches
    }

    /// The end that sends requests.
    pub fn client(&self) -> End {
        self.talk.client
    }

    /// Whether the first request that was seen is the first of the connection: it asks for versions (KIP-35), or its number is zero or
    /// one.
    pub fn is_whole(&self) -> bool {
        self.talk.is_whole()
    }

    /// Whether it is proven that this is Kafka.
    pub fn is_proven(&self) -> bool {
        self.talk.proof.is_given()
    }

    /// Bytes held in buffers for this connection, besides the value itself.
    pub fn buffered_bytes(&self) -> usize {
        [&self.requests, &self.responses]
            .map(|stream| stream.buffered_bytes().saturating_add(stream.parser.buffered_bytes()))
            .into_iter()
            .fold(self.talk.buffered_bytes(), usize::saturating_add)
    }

    fn free_if_refuted(&mut self) {
        if self.talk.refuted {
            for stream in [&mut self.requests, &mut self.responses] {
                stream.forget();
                stream.parser.drift();
            }
            self.talk.forget();
        }
    }

    /// The direction of the end `from`, and what it needs.
    fn direction<'k, 'o>(&'k mut self, from: End, out: &'k mut Output<'o>) -> (&'k mut Stream<Half>, Context<'k, 'o>) {
        let Self { bounds, requests, responses, talk } = self;
        let bounds = *bounds;
        if from == talk.client {
            (requests, Context { bounds, talk, requests: None, out })
        } else {
            (responses, Context { bounds, talk, requests: Some(requests), out })
        }
    }
}
