//! Requests and responses, from header to end: what they hold is read as far as anybody needs it, and passed over otherwise.

use super::api::Api;
use super::batches::{Batches, Found};
use super::frame::{Request, Response};
use super::half::{Expected, Half, Reading, Trust};
use super::offsets::Key;
use super::placing::Context;
use super::schema::Schema;
use super::talk::Place;
use super::walk::{Event, Walk};
use super::{Output, Role};

/// The tagged field of a fetch request that tells which broker asks (ReplicaState, since version 15).
const REPLICA_STATE_TAG: u32 = 1;

impl Half {
    /// The header of a request was read.
    pub(super) fn request(&mut self, request: Request, trust: Trust, context: &mut Context<'_, '_>) {
        let Context { talk, out, .. } = context;
        let believed = match trust {
            Trust::Follows { client_len, correlation } => {
                request.is_plausible() && request.may_follow(client_len, correlation)
            }
            Trust::Certain | Trust::Doubtful if talk.proof.is_given() => request.is_sound(),
            Trust::Certain | Trust::Doubtful => request.is_plausible() && talk.may_ask(request),
        };
        if !believed {
            return self.no_message(trust, context);
        }
        let api = request.api;
        let holds_batches = matches!(api.key, Api::FETCH | Api::PRODUCE | Api::SHARE_FETCH);
        let reads = !holds_batches || is_version_known(Schema::of_request(api), api, out);
        talk.ask(request, out);
        talk.proof.follows(out);
        let schema = Schema::of_request(api).filter(|_| reads);
        let client_len = u64::try_from(request.client_len()).unwrap_or(0);
        let reading = schema.map(|schema| Walk::new(schema, api.version, api.is_flexible(), client_len));
        self.begin(reading, api, request.left(), context);
    }

    /// The header of a response was read.
    pub(super) fn response(&mut self, response: Response, trust: Trust, context: &mut Context<'_, '_>) {
        let Context { bounds, talk, requests: Some(requests), out } = context else { return };
        let Response { correlation, .. } = response;
        let unseen = response.is_sound() && response.may_follow(talk.last_answered, talk.last_asked);
        // What waits in the other direction for missing bytes: the broker had them.
        while unseen && !talk.asked.awaits(correlation) && requests.is_waiting() {
            requests.settle(&mut Context { bounds: *bounds, talk, requests: None, out });
        }
        if talk.refuted {
            return;
        }
        let api = if response.is_sound() { talk.asked.answer(correlation) } else { None };
        let Some(api) = api else {
            if trust != Trust::Certain || !unseen {
                return self.no_message(trust, context);
            }
            out.anomalies.unpaired = out.anomalies.unpaired.saturating_add(1);
            talk.last_answered = correlation;
            return self.begin(None, Api { key: -1, version: 0 }, response.left(), context);
        };
        if response.counts() {
            talk.last_answered = correlation;
        }
        // A record may hold a request with just this number; then other bytes follow it before any response does.
        if requests.parser.header.bytes().is_empty() && !requests.is_waiting() {
            talk.proof.give(out);
        }
        let wanted = Schema::of_response(api).filter(|_| api.key != Api::FETCH || !talk.follower);
        // Of a fetch the request was counted.
        let schema = wanted.filter(|schema| schema.has(api.version));
        let reading = schema.map(|schema| Walk::new(schema, api.version, api.is_flexible(), 0));
        self.begin(reading, api, response.left(), context);
    }

    /// Takes bytes of a message of which `left` were to come.
    pub(super) fn body(&mut self, bytes: &[u8], left: u64, context: &mut Context<'_, '_>) {
        if self.role == Role::Requests {
            context.talk.hear(bytes);
        }
        self.read(bytes, context);
        self.passed(left.saturating_sub(bytes.len() as u64), context);
    }

    /// So many bytes are missing of a message of which `left` were to come.
    pub(super) fn miss(&mut self, count: u64, left: u64, context: &mut Context<'_, '_>) {
        let Context { talk, out, .. } = context;
        let role = self.role;
        if role == Role::Requests {
            talk.mishear();
        }
        if let Some(mut reading) = self.reading.take() {
            let Reading { api, walk, batches } = &mut *reading;
            let (mut hidden, mut lost) = (false, false);
            if let Some(batches) = batches {
                let within = count.min(batches.left());
                let missed = batches.miss(within);
                if let Some(header) = missed.batch {
                    talk.unread(Place { role, at: self.at, walk }, &header, out);
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
                    (Api::FETCH, Role::Requests) => talk.offsets.forget(),
                    (Api::FETCH | Api::PRODUCE, _) => hidden = true,
                    _ => {}
                }
            } else {
                self.reading = Some(reading);
            }
            out.anomalies.batches_hidden = out.anomalies.batches_hidden.saturating_add(u64::from(hidden));
        }
        self.passed(left.saturating_sub(count), context);
    }

    /// The header of a message is missing: it is not known any more where messages begin.
    pub(super) fn lose_track(&mut self, trust: Trust, context: &mut Context<'_, '_>) {
        let known = u64::from(trust == Trust::Certain);
        context.out.anomalies.headers_cut = context.out.anomalies.headers_cut.saturating_add(known);
        self.lose_messages(context);
    }

    /// Bytes stand where a message must begin that are none.
    fn no_message(&mut self, trust: Trust, context: &mut Context<'_, '_>) {
        if trust == Trust::Certain {
            context.out.anomalies.not_kafka = context.out.anomalies.not_kafka.saturating_add(1);
            context.refute();
        }
        self.lose_messages(context);
    }

    fn lose_messages(&mut self, context: &mut Context<'_, '_>) {
        if self.role == Role::Requests {
            context.talk.lose_track(context.out);
        }
        self.drift();
    }

    /// A message begins of which `left` bytes are to come.
    fn begin(&mut self, walk: Option<Walk>, api: Api, left: u64, context: &mut Context<'_, '_>) {
        self.reading = walk.map(|walk| Box::new(Reading { api, walk, batches: None }));
        if self.role == Role::Responses {
            context.talk.aborted.clear();
        }
        self.passed(left, context);
    }

    /// So many bytes of a message are still to come.
    fn passed(&mut self, left: u64, context: &mut Context<'_, '_>) {
        self.expected = Expected::Body { left };
        if left > 0 || context.talk.refuted {
            return;
        }
        self.read(&[], context);
        if self.reading.take().is_some() {
            context.contradiction();
        }
        self.expected = Expected::Header(Trust::Certain);
    }

    /// Reads bytes of a message as far as anybody needs them.
    fn read(&mut self, bytes: &[u8], context: &mut Context<'_, '_>) {
        let Context { bounds, talk, out, .. } = context;
        let Some(reading) = &mut self.reading else { return };
        let Reading { api, walk, batches } = &mut **reading;
        let mut rest = bytes;
        loop {
            if let Some(some) = batches {
                let place = Place { role: self.role, at: self.at, walk };
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
                    talk.follower |= api.key == Api::FETCH && self.role == Role::Requests && tag == REPLICA_STATE_TAG;
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
                    self.reading = None;
                    return;
                }
                Event::End | Event::Broken => {
                    self.reading = None;
                    return context.contradiction();
                }
            }
            out.anomalies.evicted = out.anomalies.evicted.saturating_add(evicted);
        }
    }
}

impl Context<'_, '_> {
    /// A message contradicts itself.
    fn contradiction(&mut self) {
        self.out.anomalies.malformed = self.out.anomalies.malformed.saturating_add(1);
        self.refute();
    }

    /// What came is not Kafka, unless it is proven to be.
    fn refute(&mut self) {
        self.talk.refuted |= !self.talk.proof.is_given();
    }
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
