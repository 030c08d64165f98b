//! Both directions of a connection, each read for itself: pieces go to their direction, and what is not proven and was lost is
//! told to be recognised anew.

use super::http1::start_line::Role;
use super::stream::{Parser, Stream};
use super::{Output, Piece};
use crate::message::End;
use crate::time::Timestamp;

/// What became of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// Whether it began with what an end says first on a connection: then the other direction begins with its first piece too.
    pub(super) is_opened: bool,
    /// Parts that ended where they had to.
    pub(super) sound: u64,
    pub(super) standing: Standing,
}

/// Whether it is, and always was, known where messages begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Standing {
    #[default]
    Sound,
    /// Bytes were missing.
    Lost,
    /// Bytes stood where they cannot.
    Broken,
    /// What is said is of another protocol that begins alike.
    Foreign,
}

impl Course {
    /// A part ended where it had to.
    pub(super) fn ended(&mut self) {
        self.sound = self.sound.saturating_add(1);
    }
}

/// A parser of one of two directions that need not know of each other.
pub(super) trait Half: for<'o> Parser<Output<'o>> {
    /// How many parts that ended where they must prove a connection.
    const PROOF: u64;

    /// What the end `from` says, from its first byte on.
    fn new(role: Role, from: End) -> Self;

    /// It is not known what the end said before its first piece.
    fn join(&mut self);

    fn course(&self) -> Course;

    /// Drops everything that is held.
    fn forget(&mut self);

    /// Bytes held in buffers.
    fn buffered_bytes(&self) -> usize;
}

/// Both directions.
#[derive(Debug)]
pub(super) struct Pair<H> {
    client: End,
    requests: Stream<H>,
    responses: Stream<H>,
    is_refuted: bool,
}

impl<H: Half> Pair<H> {
    /// A connection that was recognised by what comes first now.
    pub(super) fn new(client: End) -> Self {
        Self {
            client,
            requests: Stream::new(client, H::new(Role::Requests, client)),
            responses: Stream::new(client.other(), H::new(Role::Responses, client.other())),
            is_refuted: false,
        }
    }

    /// Takes the next piece.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        if self.is_refuted {
            return;
        }
        self.overdue(piece.at, out);
        let (stream, other) = if piece.from == self.client {
            (&mut self.requests, &self.responses)
        } else {
            (&mut self.responses, &self.requests)
        };
        if stream.is_new() && !other.is_new() && !other.parser.course().is_opened {
            stream.parser.join();
        }
        stream.piece(piece, out);
        self.reconsider(out);
    }

    /// Gives up what has been waited for too long at `now`.
    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        self.requests.overdue(now, out);
        self.responses.overdue(now, out);
        self.reconsider(out);
    }

    /// The end `from` closed its direction: tells what can only be told at the end.
    pub(super) fn closed(&mut self, from: End, out: &mut Output<'_>) {
        if from == self.client { self.requests.closed(out) } else { self.responses.closed(out) }
    }

    /// Whether what came is not of this protocol after all.
    pub(super) fn is_refuted(&self) -> bool {
        self.is_refuted
    }

    /// Where the first byte of `from` is that will be needed, if some before it are not.
    pub(super) fn unneeded(&self, from: End) -> Option<u32> {
        let stream = if from == self.client { &self.requests } else { &self.responses };
        stream.unneeded::<Output<'_>>()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        [&self.requests, &self.responses]
            .map(|stream| stream.buffered_bytes().saturating_add(stream.parser.buffered_bytes()))
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// What is not proven and was lost is recognised anew.
    fn reconsider(&mut self, out: &mut Output<'_>) {
        let courses = [self.requests.parser.course(), self.responses.parser.course()];
        let is_any = |standing| courses.iter().any(|course| course.standing == standing);
        let (is_lost, is_broken, is_foreign) =
            (is_any(Standing::Lost), is_any(Standing::Broken), is_any(Standing::Foreign));
        let is_proven = courses.iter().map(|course| course.sound).fold(0, u64::saturating_add) >= H::PROOF;
        if self.is_refuted || !(is_foreign || (is_lost || is_broken) && !is_proven) {
            return;
        }
        self.is_refuted = true;
        for stream in [&mut self.requests, &mut self.responses] {
            // What waits behind a loss may be read yet.
            while stream.is_waiting() && !is_broken && !is_foreign {
                stream.settle(out);
            }
            stream.forget();
            stream.parser.forget();
        }
    }
}
