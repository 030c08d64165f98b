//! The streams of a connection: requests come in, and what answers them finds them again by their stream.

use std::collections::VecDeque;

use crate::message::Protocol;
use crate::time::Timestamp;

/// Open streams of one connection; the oldest make room. Servers allow 100 to 256 at once where they set a limit.
pub(super) const STREAMS_MAX: usize = 1024;

/// An open stream of which the request was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    /// The number of its exchange.
    pub(super) exchange: u64,
    pub(super) protocol: Protocol,
    /// Whether the content type was seen, so that `protocol` is certain.
    pub(super) protocol_seen: bool,
    /// Whether the method is CONNECT.
    pub(super) connects: bool,
    pub(super) answer: Answer,
}

/// What there is of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Awaited,
    /// Its head; it is told when the trailers tell the status of gRPC, or when that takes long.
    Held {
        at: Timestamp,
        /// The HTTP status.
        status: Option<u16>,
    },
    /// It was told.
    Told,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    /// In the order of their ids.
    open: VecDeque<Stream>,
    /// The highest stream that a client is known to have opened; 0 at the beginning of a connection, `None` where that was
    /// not seen.
    highest: Option<u32>,
    asked: u64,
    held: usize,
    /// No held response is older.
    held_since: Timestamp,
}

impl Streams {
    /// The connection begins, after `asked` requests in another protocol.
    pub(super) fn begin(&mut self, asked: u64) {
        self.highest = self.highest.or(Some(0));
        self.asked = self.asked.max(asked);
    }

    pub(super) fn highest(&self) -> Option<u32> {
        self.highest
    }

    /// Whether a client has not opened this stream yet, as far as is known.
    pub(super) fn is_new(&self, id: u32) -> bool {
        self.highest.is_none_or(|highest| id > highest)
    }

    /// How many streams a client has opened, if it opens this one, since the highest that is known: one after another.
    pub(super) fn opened_with(&self, id: u32) -> u64 {
        self.highest.map_or(1, |highest| u64::from(id.saturating_sub(highest).saturating_add(1) / 2))
    }

    /// A client has opened this stream.
    pub(super) fn opened(&mut self, id: u32) {
        self.highest = Some(self.highest.map_or(id, |highest| highest.max(id)));
    }

    /// The number of the next exchange.
    pub(super) fn ask(&mut self) -> u64 {
        let number = self.asked;
        self.asked = self.asked.saturating_add(1);
        number
    }

    /// Adds a stream; returns the one that made room for it.
    pub(super) fn add(&mut self, stream: Stream) -> Option<Stream> {
        let oldest = if self.open.len() >= STREAMS_MAX { self.open.pop_front() } else { None };
        if let Some(Stream { answer: Answer::Held { .. }, .. }) = oldest {
            self.held = self.held.saturating_sub(1);
        }
        let at = self.open.partition_point(|open| open.id < stream.id);
        self.open.insert(at, stream);
        oldest
    }

    pub(super) fn get(&self, id: u32) -> Option<Stream> {
        self.open.get(self.place(id)?).copied()
    }

    /// Remembers what there is of a response.
    pub(super) fn answer(&mut self, id: u32, answer: Answer) {
        let Some(stream) = self.place(id).and_then(|place| self.open.get_mut(place)) else { return };
        let before = std::mem::replace(&mut stream.answer, answer);
        if let Answer::Held { at, .. } = answer {
            self.held_since = if self.held == 0 { at } else { self.held_since.min(at) };
            self.held = self.held.saturating_add(1);
        }
        if let Answer::Held { .. } = before {
            self.held = self.held.saturating_sub(1);
        }
    }

    /// Takes a stream out that has ended.
    pub(super) fn end(&mut self, id: u32) -> Option<Stream> {
        let stream = self.place(id).and_then(|place| self.open.remove(place))?;
        if let Answer::Held { .. } = stream.answer {
            self.held = self.held.saturating_sub(1);
        }
        Some(stream)
    }

    /// The newest stream above `id`.
    pub(super) fn newest_above(&self, id: u32) -> Option<u32> {
        self.open.back().map(|stream| stream.id).filter(|&newest| newest > id)
    }

    /// The stream of the response that was held first, if that was at `until` or before.
    pub(super) fn held_until(&mut self, until: Timestamp) -> Option<u32> {
        if self.held == 0 || self.held_since > until {
            return None;
        }
        let held = |stream: &Stream| match stream.answer {
            Answer::Held { at, .. } => Some((at, stream.id)),
            _ => None,
        };
        let (at, id) = self.open.iter().filter_map(held).min()?;
        self.held_since = at;
        (at <= until).then_some(id)
    }

    /// Whether anything is open.
    pub(super) fn any(&self) -> Option<u32> {
        self.open.front().map(|stream| stream.id)
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.open.capacity().saturating_mul(size_of::<Stream>())
    }

    /// Frees what is reserved.
    pub(super) fn shrink(&mut self) {
        self.open.shrink_to_fit();
    }

    fn place(&self, id: u32) -> Option<usize> {
        // The newest stream is the one that is asked for most often.
        if self.open.back().is_some_and(|stream| stream.id == id) {
            return self.open.len().checked_sub(1);
        }
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(id: u32) -> Stream {
        Stream {
            id,
            exchange: u64::from(id),
            protocol: Protocol::Grpc,
            protocol_seen: true,
            connects: false,
            answer: Answer::Awaited,
        }
    }

    #[test]
    fn streams_are_found_by_their_id_and_the_oldest_make_room() {
        let mut streams = Streams::default();
        for id in (1..).step_by(2).take(STREAMS_MAX) {
            assert!(streams.add(stream(id)).is_none());
        }
        assert_eq!(streams.add(stream(9001)).map(|oldest| oldest.id), Some(1));
        assert_eq!(streams.end(777).map(|stream| stream.exchange), Some(777));
        assert!(streams.end(777).is_none() && streams.get(1).is_none() && streams.get(9001).is_some());
    }

    #[test]
    fn streams_are_opened_one_after_another() {
        let mut streams = Streams::default();
        assert!(streams.is_new(1) && streams.opened_with(77) == 1);
        streams.begin(0);
        assert_eq!([1, 3, 7].map(|id| streams.opened_with(id)), [1, 2, 4]);
        streams.opened(7);
        assert!(!streams.is_new(7) && streams.opened_with(9) == 1 && streams.opened_with(13) == 3);
    }

    #[test]
    fn held_responses_come_out_in_the_order_of_their_time() {
        let mut streams = Streams::default();
        for (id, at) in [(1, 30), (3, 10), (5, 20)] {
            streams.add(stream(id));
            streams.answer(id, Answer::Held { at: Timestamp(at), status: Some(200) });
        }
        let mut order = Vec::new();
        while let Some(id) = streams.held_until(Timestamp(25)) {
            streams.answer(id, Answer::Told);
            order.push(id);
        }
        assert_eq!(order, [3, 5]);
        assert_eq!(streams.held, 1);
    }
}
