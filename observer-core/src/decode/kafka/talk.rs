//! What is known of a connection beyond its bytes, and what is told of its batches: batches go in, records go out.

use super::aborted::Aborted;
use super::api::Api;
use super::asked::Asked;
use super::batch::Header as BatchHeader;
use super::codec;
use super::frame::Request;
use super::offsets::{Key, Offsets};
use super::proof::Proof;
use super::records::Records;
use super::search::Known;
use super::walk::Walk;
use super::{Body, Message, Output, Role, Topic, Way};
use crate::decode::RecordBounds;
use crate::message::End;
use crate::time::Timestamp;

/// The longest client id that is kept.
const CLIENT_ID_BYTES_MAX: usize = 255;

#[derive(Debug)]
pub(super) struct Talk {
    pub(super) client: End,
    pub(super) asked: Asked,
    pub(super) offsets: Offsets,
    pub(super) aborted: Aborted,
    /// The client has asked for records.
    pub(super) fetches: bool,
    /// What the first request that was seen asks for, and its number.
    first: Option<(i16, i32)>,
    /// The client is a broker that keeps copies.
    pub(super) follower: bool,
    pub(super) proof: Proof,
    pub(super) refuted: bool,
    client_id: ClientId,
    /// The length of the client id, -1 for none, once a request was seen.
    client_len: Option<i16>,
    /// The number of the last request, and of the last one that was answered; -1 before.
    pub(super) last_asked: i32,
    pub(super) last_answered: i32,
}

/// What a client calls itself, the same in all its requests.
#[derive(Debug, Default)]
struct ClientId {
    bytes: Vec<u8>,
    /// How many bytes are to come.
    left: usize,
    is_known: bool,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'w> {
    pub(super) role: Role,
    pub(super) at: Timestamp,
    pub(super) walk: &'w Walk,
}

impl Talk {
    pub(super) fn new(client: End) -> Self {
        Self {
            client,
            asked: Asked::default(),
            offsets: Offsets::default(),
            aborted: Aborted::default(),
            fetches: false,
            first: None,
            follower: false,
            proof: Proof::default(),
            refuted: false,
            client_id: ClientId::default(),
            client_len: None,
            last_asked: -1,
            last_answered: -1,
        }
    }

    /// Whether a request may be the next one of the client, as far as nothing is proven.
    pub(super) fn may_ask(&self, request: Request) -> bool {
        let same_client = self.client_len.is_none_or(|len| len == request.client_len());
        same_client && (request.correlation > self.last_asked || !request.counts())
    }

    /// A request was seen.
    pub(super) fn ask(&mut self, request: Request, out: &mut Output<'_>) {
        self.fetches |= request.api.key == Api::FETCH;
        self.first.get_or_insert((request.api.key, request.correlation));
        let evicted = self.asked.ask(request.correlation, request.api);
        out.anomalies.evicted = out.anomalies.evicted.saturating_add(u64::from(evicted));
        if request.counts() {
            self.last_asked = request.correlation;
        }
        self.client_len = Some(request.client_len());
        let len = usize::try_from(request.client_len()).unwrap_or(0);
        if !self.client_id.is_known && len <= CLIENT_ID_BYTES_MAX {
            self.client_id = ClientId { bytes: Vec::with_capacity(len), left: len, is_known: len == 0 };
        }
    }

    /// Whether the first request that was seen is the first of the connection.
    pub(super) fn is_whole(&self) -> bool {
        // Over another connection some clients do not ask for versions again, but count anew, from zero or one.
        self.first.is_some_and(|(key, number)| key == Api::API_VERSIONS || matches!(number, 0 | 1))
    }

    /// The next bytes of a request, client id first.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        let ClientId { bytes: id, left, is_known } = &mut self.client_id;
        if *left > 0 {
            let part = bytes.get(..*left).unwrap_or(bytes);
            id.extend_from_slice(part);
            *left = left.saturating_sub(part.len());
            *is_known = *left == 0;
        }
    }

    /// Bytes of a request are missing.
    pub(super) fn mishear(&mut self) {
        if !self.client_id.is_known {
            self.client_id = ClientId::default();
        }
    }

    /// What is known of the client.
    pub(super) fn known(&self) -> Option<Known<'_>> {
        let ClientId { bytes, is_known, .. } = &self.client_id;
        let client_id = is_known.then_some(&bytes[..]);
        self.proof.is_given().then_some(Known { client_id, correlation: self.last_asked })
    }

    /// Requests are missing: what the client asked for may have changed.
    pub(super) fn lose_track(&mut self, out: &mut Output<'_>) {
        self.offsets.forget();
        self.mishear();
        if !self.proof.is_given() {
            if !self.refuted {
                self.proof.give_up(out);
            }
            self.proof = Proof::default();
            self.asked.forget();
            self.client_id = ClientId::default();
            (self.client_len, self.last_asked) = (None, -1);
        }
    }

    /// Drops everything that is held.
    pub(super) fn forget(&mut self) {
        self.asked.forget();
        self.offsets.forget();
        self.aborted.forget();
        self.proof.forget();
        self.client_id = ClientId::default();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let client_id = self.client_id.bytes.capacity();
        [self.asked.buffered_bytes(), self.offsets.buffered_bytes(), self.aborted.buffered_bytes(), client_id]
            .into_iter()
            .fold(self.proof.buffered_bytes(), usize::saturating_add)
    }

    /// Tells the records of a whole batch.
    pub(super) fn batch(
        &mut self,
        place: Place<'_>,
        header: &BatchHeader,
        payload: &[u8],
        bounds: RecordBounds,
        out: &mut Output<'_>,
    ) {
        if self.is_for_nobody(place, header) {
            return;
        }
        let records = match header.codec().filter(|_| header.is_intact(payload)) {
            Some(codec) => codec::records(codec, payload, bounds.records_bytes),
            None => None,
        };
        let Some(records) = records else {
            out.anomalies.malformed = out.anomalies.malformed.saturating_add(1);
            return self.unobserved(place, header, header.count(), out);
        };
        let first = self.first_wanted(place);
        let mut seen = 0_u32;
        let (mut rest, mut headers) = (Records::new(&records), Vec::new());
        while seen < header.count() {
            let Some(record) = rest.next(out.interest, &mut headers) else { break };
            let offset = header.base_offset().saturating_add(record.offset_delta);
            if !(header.base_offset()..=header.last_offset()).contains(&offset) {
                break;
            }
            seen = seen.saturating_add(1);
            if offset >= first {
                out.anomalies.evicted = out.anomalies.evicted.saturating_add(record.dropped);
                self.tell(place, Body::Record { headers: &headers }, out);
            }
        }
        let left = header.count().saturating_sub(seen);
        if left > 0 {
            let cut = records.len() >= bounds.records_bytes;
            out.anomalies.malformed = out.anomalies.malformed.saturating_add(u64::from(!cut));
            self.unobserved(place, header, left, out);
        }
    }

    /// Tells that a batch was not read.
    pub(super) fn unread(&mut self, place: Place<'_>, header: &BatchHeader, out: &mut Output<'_>) {
        if !self.is_for_nobody(place, header) {
            self.unobserved(place, header, header.count(), out);
        }
    }

    /// Whether no application sees this batch.
    fn is_for_nobody(&mut self, place: Place<'_>, header: &BatchHeader) -> bool {
        let dropped = place.role == Role::Responses && self.aborted.drops(header);
        dropped || header.is_control()
    }

    /// Tells that the last `count` records of a batch are not observed, as far as they are wanted.
    fn unobserved(&mut self, place: Place<'_>, header: &BatchHeader, count: u32, out: &mut Output<'_>) {
        let first = self.first_wanted(place).max(header.base_offset());
        let span = header.last_offset().saturating_sub(first).saturating_add(1);
        let count = u64::from(count).min(u64::try_from(span).unwrap_or(0));
        if count > 0 {
            self.tell(place, Body::Unobserved { count }, out);
        }
    }

    /// The first offset that the consumer wants of the partition; of a producer's records all are meant.
    fn first_wanted(&self, place: Place<'_>) -> i64 {
        match place.role {
            Role::Requests => i64::MIN,
            Role::Responses => self.offsets.of(place.key()),
        }
    }

    fn tell(&mut self, place: Place<'_>, body: Body<'_>, out: &mut Output<'_>) {
        let (from, way) = match place.role {
            Role::Requests => (self.client, Way::Produced),
            Role::Responses => (self.client.other(), Way::Fetched),
        };
        let Place { at, walk, .. } = place;
        let partition = walk.partition();
        let Output { topics, anomalies, tell, .. } = out;
        let topic = match walk.topic_id() {
            Some(id) => topics.name(id).map_or(Topic::Id(id), Topic::Name),
            None => Topic::Name(walk.name()),
        };
        self.proof.tell(Message { at, from, way, topic, partition, body }, anomalies, *tell);
    }
}

impl Place<'_> {
    fn key(self) -> Key {
        Key::new(self.walk.name(), self.walk.topic_id(), self.walk.partition())
    }
}
