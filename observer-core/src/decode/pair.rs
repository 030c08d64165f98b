//! Both directions of a connection, each read for itself: pieces go to their direction, and what is not proven and was lost is
//! told to be recognised anew.

use super::http1::start_line::Role;
use super::parts::{Direction, Parts, Standing};
use super::stream::Stream;
use super::{Output, Piece};
use crate::message::End;
use crate::time::Timestamp;

/// Both directions.
#[derive(Debug)]
pub(super) struct Pair<P: Parts> {
    client: End,
    requests: Stream<Direction<P>>,
    responses: Stream<Direction<P>>,
    is_refuted: bool,
}

impl<P: Parts> Pair<P> {
    /// A connection that was recognised by what comes first now.
    pub(super) fn new(client: End) -> Self {
        Self {
            client,
            requests: Stream::new(client, Direction::new(Role::Requests, client)),
            responses: Stream::new(client.other(), Direction::new(Role::Responses, client.other())),
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
        if stream.is_new() && !other.is_new() && !other.parser.course.is_opened {
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
        let courses = [self.requests.parser.course, self.responses.parser.course];
        let is_any = |standing| courses.iter().any(|course| course.standing == standing);
        let (is_lost, is_broken, is_foreign) =
            (is_any(Standing::Lost), is_any(Standing::Broken), is_any(Standing::Foreign));
        let is_proven = courses.iter().map(|course| course.sound).fold(0, u64::saturating_add) >= P::PROOF;
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
