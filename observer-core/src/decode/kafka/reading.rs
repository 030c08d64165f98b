//! Requests and responses, from header to end: what they hold is read as far as anybody needs it, and passed over otherwise.

use super::api::Api;
use super::batches::{Batches, Found};
use super::frame::{Request, Response};
use super::half::{Expected, Reading, Trust};
use super::offsets::Key;
use super::schema::Schema;
use super::talk::Place;
use super::walk::{Event, Walk};
use super::{Kafka, Output, Role};

/// The tagged field of a fetch request that tells which broker asks (ReplicaState, since version 15).
const REPLICA_STATE_TAG: u32 = 1;

impl Kafka {
    /// The header of a request was read.
    pub(super) fn request(&mut self, request: Request, trust: Trust, out: &mut Output<'_>) {
        let believed = match trust {
            Trust::Follows { client_len, correlation } => {
                request.is_plausible() && request.may_follow(client_len, correlation)
            }
            Trust::Certain | Trust::Doubtful if self.talk.proof.is_given() => request.is_sound(),
            Trust::Certain | Trust::Doubtful => request.is_plausible() && self.talk.may_ask(request),
        };
        if !believed {
            return self.no_message(Role::Requests, trust, out);
        }
        let api = request.api;
        let holds_batches = matches!(api.key, Api::FETCH | Api::PRODUCE | Api::SHARE_FETCH);
        let reads = !holds_batches || Self::is_version_known(Schema::of_request(api), api, out);
        self.talk.ask(request, out);
        self.talk.proof.follows(out);
        let schema = Schema::of_request(api).filter(|_| reads);
        let client_len = u64::try_from(request.client_len()).unwrap_or(0);
        let reading = schema.map(|schema| Walk::new(schema, api.version, api.is_flexible(), client_len));
        self.begin(Role::Requests, reading, api, request.left(), out);
    }

    /// The header of a response was read.
    pub(super) fn response(&mut self, response: Response, trust: Trust, out: &mut Output<'_>) {
        let Response { correlation, .. } = response;
        let unseen = response.is_sound() && response.may_follow(self.talk.last_answered, self.talk.last_asked);
        // What waits in the other direction for missing bytes: the broker had them.
        while unseen && !self.talk.asked.awaits(correlation) && self.requests.ahead.is_some() {
            self.settle(Role::Requests, out);
        }
        if self.talk.refuted {
            return;
        }
        let api = if response.is_sound() { self.talk.asked.answer(correlation) } else { None };
        let Some(api) = api else {
            if trust != Trust::Certain || !unseen {
                return self.no_message(Role::Responses, trust, out);
            }
            out.anomalies.unpaired = out.anomalies.unpaired.saturating_add(1);
            self.talk.last_answered = correlation;
            return self.begin(Role::Responses, None, Api { key: -1, version: 0 }, response.left(), out);
        };
        if response.counts() {
            self.talk.last_answered = correlation;
        }
        // A record may hold a request with just this number; then other bytes follow it before any response does.
        if self.requests.header.bytes().is_empty() && self.requests.ahead.is_none() {
            self.talk.proof.give(out);
        }
        let wanted = Schema::of_response(api).filter(|_| api.key != Api::FETCH || !self.talk.follower);
        // Of a fetch the request was counted.
        let schema = wanted.filter(|schema| schema.has(api.version));
        let reading = schema.map(|schema| Walk::new(schema, api.version, api.is_flexible(), 0));
        self.begin(Role::Responses, reading, api, response.left(), out);
    }

    /// Takes bytes of a message of which `left` were to come.
    pub(super) fn body(&mut self, role: Role, bytes: &[u8], left: u64, out: &mut Output<'_>) {
        if role == Role::Requests {
            self.talk.hear(bytes);
        }
        self.read(role, bytes, out);
        self.passed(role, left.saturating_sub(bytes.len() as u64), out);
    }

    /// So many bytes are missing of a message of which `left` were to come.
    pub(super) fn miss(&mut self, role: Role, count: u64, left: u64, out: &mut Output<'_>) {
        if role == Role::Requests {
            self.talk.mishear();
        }
        let half = if role == Role::Requests { &mut self.requests } else { &mut self.responses };
        if let Some(mut reading) = half.reading.take() {
            let Reading { api, walk, batches } = &mut *reading;
            let (mut hidden, mut lost) = (false, false);
            if let Some(batches) = batches {
                let within = count.min(batches.left());
                let missed = batches.miss(within);
                if let Some(header) = missed.batch {
                    self.talk.unread(Place { role, at: half.at, walk }, &header, out);
                }
                hidden = missed.more;
                lost = within < count;
            } else if walk.spare() >= count {
                walk.skip(count);
            } else {
                lost = true;
            }
            if lost {
                // The message may have gone on with other partitions.
                match (api.key, role) {
                    (Api::FETCH, Role::Requests) => self.talk.offsets.forget(),
                    (Api::FETCH | Api::PRODUCE, _) => hidden = true,
                    _ => {}
                }
            } else {
                half.reading = Some(reading);
            }
            out.anomalies.batches_hidden = out.anomalies.batches_hidden.saturating_add(u64::from(hidden));
        }
        self.passed(role, left.saturating_sub(count), out);
    }

    /// The header of a message is missing: it is not known any more where messages begin.
    pub(super) fn lose_track(&mut self, role: Role, trust: Trust, out: &mut Output<'_>) {
        let known = u64::from(trust == Trust::Certain);
        out.anomalies.headers_cut = out.anomalies.headers_cut.saturating_add(known);
        self.drift(role, out);
    }

    /// Bytes stand where a message must begin that are none.
    fn no_message(&mut self, role: Role, trust: Trust, out: &mut Output<'_>) {
        if trust == Trust::Certain {
            out.anomalies.not_kafka = out.anomalies.not_kafka.saturating_add(1);
            self.refute();
        }
        self.drift(role, out);
    }

    fn drift(&mut self, role: Role, out: &mut Output<'_>) {
        if role == Role::Requests {
            self.talk.lose_track(out);
        }
        self.half_mut(role).drift();
    }

    /// What came is not Kafka, unless it is proven to be.
    fn refute(&mut self) {
        self.talk.refuted |= !self.talk.proof.is_given();
    }

    /// Whether a message with batches can be read.
    fn is_version_known(schema: Option<&Schema>, api: Api, out: &mut Output<'_>) -> bool {
        let known = schema.is_some_and(|schema| schema.has(api.version));
        if !known {
            let reason = if schema.is_some_and(|schema| schema.is_before(api.version)) {
                &mut out.anomalies.old_formats
            } else {
                &mut out.anomalies.unknown_versions
            };
            *reason = reason.saturating_add(1);
        }
        known
    }

    /// A message begins of which `left` bytes are to come.
    fn begin(&mut self, role: Role, walk: Option<Walk>, api: Api, left: u64, out: &mut Output<'_>) {
        self.half_mut(role).reading = walk.map(|walk| Box::new(Reading { api, walk, batches: None }));
        if role == Role::Responses {
            self.talk.aborted.clear();
        }
        self.passed(role, left, out);
    }

    /// So many bytes of a message are still to come.
    fn passed(&mut self, role: Role, left: u64, out: &mut Output<'_>) {
        self.half_mut(role).expected = Expected::Body { left };
        if left > 0 || self.talk.refuted {
            return;
        }
        self.read(role, &[], out);
        if self.half_mut(role).reading.take().is_some() {
            self.contradiction(out);
        }
        self.half_mut(role).expected = Expected::Header(Trust::Certain);
    }

    /// Reads bytes of a message as far as anybody needs them.
    fn read(&mut self, role: Role, bytes: &[u8], out: &mut Output<'_>) {
        let Self { requests, responses, talk, bounds } = self;
        let half = if role == Role::Requests { requests } else { responses };
        let Some(reading) = &mut half.reading else { return };
        let Reading { api, walk, batches } = &mut **reading;
        let mut rest = bytes;
        loop {
            if let Some(some) = batches {
                let place = Place { role, at: half.at, walk };
                match some.next(&mut rest, bounds.batch_bytes) {
                    Found::Starved => return,
                    Found::End => *batches = None,
                    Found::Batch { header, payload } => talk.batch(place, &header, payload, *bounds, out),
                    Found::Gathered { header } => talk.batch(place, &header, some.payload(), *bounds, out),
                    Found::Unread { header } => talk.unread(place, &header, out),
                    Found::Old => out.anomalies.old_formats = out.anomalies.old_formats.saturating_add(1),
                    Found::Broken => out.anomalies.malformed = out.anomalies.malformed.saturating_add(1),
                }
                continue;
            }
            let mut evicted = 0;
            match walk.next(&mut rest) {
                Event::Starved => return,
                Event::Records(length) => *batches = Some(Batches::new(length)),
                Event::Tag(tag) => {
                    talk.follower |= api.key == Api::FETCH && role == Role::Requests && tag == REPLICA_STATE_TAG;
                }
                Event::Replica(broker) => talk.follower = broker >= 0,
                Event::TopicId if api.key == Api::METADATA => {
                    if let Some(id) = walk.topic_id() {
                        evicted = u64::from(out.topics.learn(id, walk.name()));
                    }
                }
                Event::TopicId => {}
                Event::Partition => talk.aborted.clear(),
                Event::Offset(offset) => {
                    evicted = talk.offsets.ask(Key::new(walk.name(), walk.topic_id(), walk.partition()), offset);
                }
                Event::Producer(producer) => evicted = u64::from(!talk.aborted.producer(producer)),
                Event::FirstOffset(offset) => talk.aborted.first_offset(offset),
                Event::End if rest.is_empty() => {
                    half.reading = None;
                    return;
                }
                Event::End | Event::Broken => {
                    half.reading = None;
                    return self.contradiction(out);
                }
            }
            out.anomalies.evicted = out.anomalies.evicted.saturating_add(evicted);
        }
    }

    /// A message contradicts itself.
    fn contradiction(&mut self, out: &mut Output<'_>) {
        out.anomalies.malformed = out.anomalies.malformed.saturating_add(1);
        self.refute();
    }
}
