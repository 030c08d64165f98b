//! What is told of a value or an entry: what was read of it goes in, a record goes out.

use super::envelope::{Envelope, begins_like_kombu};
use super::place::{Class, Place};
use super::resp::Value;
use super::talk::Talk;
use crate::decode::Output;
use crate::message::{Header, Message, MessageBody, Protocol, Record, Way};
use crate::time::Timestamp;

/// What a parser puts its findings into.
pub(super) struct Context<'c, 'o> {
    pub(super) talk: &'c mut Talk,
    pub(super) out: &'c mut Output<'o>,
}

/// How values come that may be work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Added to a list: only ids of jobs and messages of kombu are work.
    Pushed,
    /// Said in a channel: only envelopes are.
    Published,
    /// Waited for, or heard in a channel: all are.
    Awaited,
    /// Taken where nothing might have been: as what is pushed.
    Polled,
}

impl Context<'_, '_> {
    /// Tells what is to be told of a value that stood at this place; where it is not `certain` that it did, that there may have been
    /// a record.
    pub(super) fn value(
        &mut self,
        at: Timestamp,
        place: &Place,
        manner: Manner,
        value: Option<Value<'_>>,
        certain: bool,
    ) {
        let way = match manner {
            Manner::Pushed | Manner::Published => Way::Produced,
            Manner::Awaited | Manner::Polled => Way::Fetched,
        };
        let record = |context: &mut Self, headers: &[Header<'_>], complete| {
            if certain {
                context.record(at, way, &place.topic, headers, complete);
            } else {
                context.perhaps(at, way, &place.topic);
            }
        };
        match place.class {
            Class::Nobody => return,
            Class::Ids => return record(self, &[], false),
            Class::Any => {}
        }
        let whole = value.filter(|value| value.whole);
        if let Some(envelope) = whole.and_then(|value| Envelope::read(value.bytes, self.out.interest)) {
            let is_work = match manner {
                Manner::Pushed => envelope.is_sent_by_kombu(),
                Manner::Polled => envelope.is_of_kombu(),
                Manner::Published | Manner::Awaited => true,
            };
            if is_work {
                record(self, &envelope.headers(), true);
            }
        } else if manner == Manner::Awaited
            || whole.is_none() && value.is_some_and(|value| begins_like_kombu(value.bytes))
        {
            record(self, &[], false);
        }
    }

    /// Tells a record.
    pub(super) fn record(&mut self, at: Timestamp, way: Way, topic: &str, headers: &[Header<'_>], complete: bool) {
        self.tell(at, way, MessageBody::Record(Record { way, topic, headers, complete }));
    }

    /// Tells that there may have been a record.
    pub(super) fn perhaps(&mut self, at: Timestamp, way: Way, topic: &str) {
        self.tell(at, way, MessageBody::UnobservedRecords { way, topic, count: 0 });
    }

    /// Tells that so many records were not read.
    pub(super) fn unobserved(&mut self, at: Timestamp, way: Way, topic: &str, count: u64) {
        if count > 0 {
            self.tell(at, way, MessageBody::UnobservedRecords { way, topic, count });
        }
    }

    fn tell(&mut self, at: Timestamp, way: Way, body: MessageBody<'_>) {
        let from = match way {
            Way::Produced => self.talk.client,
            Way::Fetched => self.talk.client.other(),
        };
        (self.out.tell)(Message { at, from, exchange: None, protocol: Protocol::Redis, body });
    }

    /// How many bytes of a value are kept.
    pub(super) fn value_bytes(&self) -> usize {
        self.out.shared.bounds.batch_bytes
    }

    pub(super) fn anomalies(&mut self) -> &mut super::Anomalies {
        &mut self.out.shared.anomalies.redis
    }
}
