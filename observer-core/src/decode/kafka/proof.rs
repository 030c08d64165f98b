//! Whether a connection is proven to be Kafka; until then what it tells is held back, within bounds.

use super::{Anomalies, Body, Message, Output, Topic, Way};
use crate::message::{End, Header, HeaderName};
use crate::time::Timestamp;

/// Requests that follow one another without a byte between them and prove a connection without any response.
pub const PROOF_REQUESTS: u32 = 8;
/// Bytes of records that are held back while nothing is proven. A connection that begins with a produce request has one of some
/// 16 KiB under way (batch.size of Java's client), most of it keys and values.
pub const HELD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, Default)]
pub(super) struct Proof {
    given: bool,
    requests: u32,
    held: Vec<Held>,
    bytes: usize,
}

/// A message that was copied.
#[derive(Debug)]
struct Held {
    at: Timestamp,
    from: End,
    way: Way,
    name: Box<str>,
    topic_id: Option<u128>,
    partition: i32,
    headers: Vec<(HeaderName, Box<[u8]>)>,
    /// Of records that are not observed, their number.
    unobserved: Option<u64>,
}

impl Proof {
    pub(super) fn is_given(&self) -> bool {
        self.given
    }

    /// A request follows the last one.
    pub(super) fn follows(&mut self, out: &mut Output<'_>) {
        self.requests = self.requests.saturating_add(1);
        if self.requests >= PROOF_REQUESTS {
            self.give(out);
        }
    }

    /// It is Kafka: tells what was held back.
    pub(super) fn give(&mut self, out: &mut Output<'_>) {
        self.given = true;
        self.bytes = 0;
        for held in std::mem::take(&mut self.held) {
            held.tell(out);
        }
    }

    /// Tells a message, or holds it back.
    pub(super) fn tell(&mut self, message: Message<'_>, anomalies: &mut Anomalies, tell: &mut dyn FnMut(Message<'_>)) {
        if self.given {
            return tell(message);
        }
        let bytes = Held::bytes(&message);
        if self.bytes.saturating_add(bytes) > HELD_BYTES_MAX {
            anomalies.unproven = anomalies.unproven.saturating_add(Held::new(&message).count());
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.held.push(Held::new(&message));
    }

    /// No proof can be had any more for what is held back.
    pub(super) fn give_up(&mut self, out: &mut Output<'_>) {
        for held in std::mem::take(&mut self.held) {
            out.anomalies.unproven = out.anomalies.unproven.saturating_add(held.count());
        }
        self.bytes = 0;
    }

    pub(super) fn forget(&mut self) {
        self.held = Vec::new();
        self.bytes = 0;
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let spare = self.held.capacity().saturating_sub(self.held.len()).saturating_mul(size_of::<Held>());
        self.bytes.saturating_add(spare)
    }
}

impl Held {
    /// How many bytes a message takes here.
    fn bytes(message: &Message<'_>) -> usize {
        let name = if let Topic::Name(name) = message.topic { name.len() } else { 0 };
        let headers = match message.body {
            Body::Record { headers } => headers,
            Body::Unobserved { .. } => &[],
        };
        let values = headers.iter().map(|header| header.value.len()).fold(0, usize::saturating_add);
        let entries = headers.len().saturating_mul(size_of::<(HeaderName, Box<[u8]>)>());
        size_of::<Self>().saturating_add(name).saturating_add(values).saturating_add(entries)
    }

    fn new(message: &Message<'_>) -> Self {
        let Message { at, from, way, topic, partition, ref body } = *message;
        let (name, topic_id) = match topic {
            Topic::Name(name) => (name.into(), None),
            Topic::Id(id) => (Box::default(), Some(id)),
        };
        let (headers, unobserved) = match body {
            Body::Record { headers } => {
                (headers.iter().map(|header| (header.name, header.value.into())).collect(), None)
            }
            Body::Unobserved { count } => (Vec::new(), Some(*count)),
        };
        Self { at, from, way, name, topic_id, partition, headers, unobserved }
    }

    /// How many records it tells of.
    fn count(&self) -> u64 {
        self.unobserved.unwrap_or(1)
    }

    fn tell(&self, out: &mut Output<'_>) {
        let Self { at, from, way, ref name, topic_id, partition, ref headers, unobserved } = *self;
        let headers: Vec<Header<'_>> = headers.iter().map(|(name, value)| Header { name: *name, value }).collect();
        let body = match unobserved {
            Some(count) => Body::Unobserved { count },
            None => Body::Record { headers: &headers },
        };
        let topic = topic_id.map_or(Topic::Name(name), Topic::Id);
        (out.tell)(Message { at, from, way, topic, partition, body });
    }
}
