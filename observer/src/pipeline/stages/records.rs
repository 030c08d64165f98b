//! Records that pass through brokers: a hop of who sends one to its topic, a request that reaches who receives it from there.

use std::fmt::Write;

use observer_core::ids::ServiceId;
use observer_core::message::{End, Message, Protocol, Record, RequestHead, Way};
use observer_core::names::Names;
use observer_core::propagation::{Hidden, Owner, Route, is_telemetry_topic};
use observer_core::time::Timestamp;

use super::super::link::Link;
use super::super::parties::{EndAt, Known, Parties, Party, UNSPECIFIED};
use super::super::place;
use super::{Request, Stages, WORKLOADS_MAX};

impl Stages {
    /// A record passes between a client and a broker. The broker itself neither receives it nor sends it on, nor does what passes
    /// it on to a broker: what a producer sends goes to the topic, what a consumer receives comes from there.
    pub(super) fn record(
        &mut self,
        message: &Message<'_>,
        record: &Record<'_>,
        (link, known): (&mut Link, &mut Known),
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let Record { way, topic, headers, complete } = *record;
        let head = RequestHead { method: "", path: topic, headers, complete };
        let client = self.client_of_broker(message, way, (link, known), ends, parties);
        let topic = self.topic(message.protocol, topic);
        let Some(owner) = client else { return };
        let client = Party::Observed(owner);
        let uncounted = is_telemetry_topic(head.path) || self.is_ignored(&head);
        let context = self.extractors.extract(&head);
        self.prefetch(&context, &[client]);
        if context.trace.valid().is_some() && !uncounted {
            self.ledger.takes_part(topic);
        }
        let tenant = self.tenant(&head, client, parties);
        let Message { at, protocol, .. } = *message;
        let unread = None;
        let request = Request {
            at,
            protocol,
            exchange: None,
            head: &head,
            context: &context,
            tenant,
            unread,
            sockets: [None; 2],
            uncounted,
        };
        match way {
            Way::Produced => {
                let ambiguous = parties.is_ambiguous(&ends[place(message.from)]);
                let route = self.sent(&request, client, topic, ambiguous);
                let all = self.fed.entry(topic).or_insert(route);
                if *all == Route::UNSEEN {
                    *all = route;
                } else if route != Route::UNSEEN {
                    *all = self.propagation.shared(*all, route);
                }
            }
            Way::Fetched => self.received(&request, owner, Party::Peer(topic), Route::UNSEEN),
        }
    }

    /// A connection to a broker is older than the observer: what the broker sent before may be in work.
    pub(in crate::pipeline) fn joined_broker_late(
        &mut self,
        at: Timestamp,
        known: &mut Known,
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        for end in [End::First, End::Second] {
            if let Some(owner) = parties.party(known, (end, false), ends, None, &mut self.names).observed() {
                self.hide(owner.workload, Hidden::JoinedLate, at);
            }
        }
    }

    /// The first sight of a connection is what its receiver, unless it serves there, may have asked a broker for: work that nothing is
    /// known of.
    pub(in crate::pipeline) fn unasked(
        &mut self,
        at: Timestamp,
        receiver: End,
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let party = parties.party(&mut Known::default(), (receiver, false), ends, None, &mut self.names);
        let Some(owner) = party.observed() else { return };
        if !parties.serves(owner.workload, ends[place(receiver)].address) {
            self.hide(owner.workload, Hidden::JoinedLate, at);
        }
    }

    /// Records pass of which the headers were not read.
    pub(super) fn unobserved_records(
        &mut self,
        message: &Message<'_>,
        (way, topic, count): (Way, &str, u64),
        (link, known): (&mut Link, &mut Known),
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let client = self.client_of_broker(message, way, (link, known), ends, parties);
        let topic = self.topic(message.protocol, topic);
        let Some(owner) = client else { return };
        match way {
            Way::Produced => self.ledger.unattributed(owner.service, topic, count),
            Way::Fetched => {
                if count > 0 {
                    self.ledger.unobserved(owner.service, message.protocol, count);
                }
                self.hide(owner.workload, Hidden::Loss, message.at);
            }
        }
    }

    fn client_of_broker(
        &mut self,
        message: &Message<'_>,
        way: Way,
        (link, known): (&mut Link, &mut Known),
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) -> Option<Owner> {
        let client = if way == Way::Produced { message.from } else { message.from.other() };
        link.client = Some(client);
        if way == Way::Fetched {
            link.fetches();
        }
        let owner = parties.party(known, (client, false), ends, None, &mut self.names).observed()?;
        let passes_on = self.brokers.contains(&(owner.workload, message.protocol)) && {
            // A container may hold both a broker and its client.
            let broker = parties.party(known, (client.other(), true), ends, None, &mut self.names);
            broker.service() != owner.service
        };
        (!passes_on).then_some(owner)
    }

    /// An end of a connection serves records to the other: a broker, or what passes records on to one.
    pub(in crate::pipeline) fn serves_records(
        &mut self,
        protocol: Protocol,
        end: End,
        known: &mut Known,
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let Some(owner) = parties.party(known, (end, true), ends, None, &mut self.names).observed() else { return };
        let end = &ends[place(end)];
        // The address below a session of some libraries is not known.
        let serves = end.address == UNSPECIFIED || parties.serves(owner.workload, end.address);
        if serves && !parties.is_ambiguous(end) && self.brokers.len() < WORKLOADS_MAX {
            self.brokers.insert((owner.workload, protocol));
        }
    }

    /// A topic as a peer: `kafka:orders`.
    fn topic(&mut self, protocol: Protocol, topic: &str) -> ServiceId {
        let topic = if topic.is_empty() { "?" } else { topic };
        let (written, id) = &mut self.topic;
        let known = written.strip_prefix(protocol.as_str()).and_then(|rest| rest.strip_prefix(':'));
        // The records of a batch come one after another. A name that found no room is counted each time.
        if known != Some(topic) || *id == Names::OVERFLOW_SERVICE {
            written.clear();
            let _ = write!(written, "{}:{topic}", protocol.as_str());
            *id = self.names.peer(written);
        }
        *id
    }
}

#[cfg(test)]
mod tests {
    use observer_core::limits::Limits;

    use super::*;
    use crate::config::Config;

    #[test]
    fn a_topic_has_one_name_in_each_protocol_whatever_stood_before_it() {
        let mut stages = Stages::new(&Config::default());
        let (kafka, nats) = (Protocol::Kafka, Protocol::Nats);
        for (protocol, topic, name) in [
            (kafka, "orders", "kafka:orders"),
            (kafka, "orders", "kafka:orders"),
            (nats, "orders", "nats:orders"),
            (kafka, "order", "kafka:order"),
            (kafka, "", "kafka:?"),
            (kafka, "?", "kafka:?"),
            (kafka, "orders", "kafka:orders"),
        ] {
            let id = stages.topic(protocol, topic);
            assert_eq!(stages.names.service_name(id), name);
        }
    }

    #[test]
    fn each_record_of_a_topic_without_room_is_counted() {
        let limits = Limits { services: 1, ..Limits::default() };
        let mut stages = Stages::new(&Config { limits, ..Config::default() });
        let [known, ..] = ["orders", "late", "late"].map(|topic| stages.topic(Protocol::Kafka, topic));
        assert_eq!((stages.topic(Protocol::Kafka, "orders"), stages.names.services_overflowed()), (known, 2));
    }
}
