//! Responses: errors and slow ones come in with what is known of their requests; what became of their traces is counted.

use observer_core::audit::ledger::{Fate, Fates, Sight};
use observer_core::context::{Sampled, WeightClass};
use observer_core::ids::{ConnectionId, ServiceId, TenantId};
use observer_core::message::{Message, ResponseHead};
use observer_core::names::Names;
use observer_core::propagation::Answer;

use super::super::link::Link;
use super::super::parties::{EndAt, Known, Parties};
use super::Stages;
use crate::output::snapshot::ResponseCount;

impl Stages {
    /// A service answers a request.
    pub(super) fn response(
        &mut self,
        message: &Message<'_>,
        head: &ResponseHead<'_>,
        connection: ConnectionId,
        (link, known): (&mut Link, &mut Known),
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let at = message.at;
        link.client = Some(message.from.other());
        let left_out = link.answers_left_out(message.exchange);
        if let Some(unread) = link.unread(message, connection) {
            self.propagation.answer_arrives(unread);
        }
        let server = parties.party(known, (message.from, true), ends, None, &mut self.names);
        let Some(owner) = server.observed() else { return };
        if !left_out {
            let asked = link.answers_preflight(message.exchange);
            self.answers_browser(message, (head, asked), owner.service, known, ends, parties);
        }
        let answer = Answer {
            at,
            workload: owner.workload,
            connection,
            number: message.exchange,
            status: head.status.unwrap_or_default(),
            slow_from: self.latency.least(),
        };
        let seen = self.propagation.response_out(&answer);
        let Some(seen) = seen.filter(|_| !left_out) else { return };
        let client = parties.party(known, (message.from.other(), false), ends, None, &mut self.names);
        let decision = |unsampled| if unsampled { Sampled::NotSampled } else { Sampled::Sampled };
        // A weight may be raised where the response is made; or before, and what came is echoed.
        let weight = match self.extractors.weight(head.headers, head.complete) {
            raised if WeightClass::of(raised) == WeightClass::Keep => raised,
            _ => seen.weight,
        };
        let fate = Fate::of(seen.unsampled.map(decision), weight);
        let trace = seen.trace.map(|trace| (trace.trace_id, trace.parent_id));
        let (service, tenant) = (owner.service, seen.tenant.unwrap_or(Names::UNKNOWN_TENANT));
        let sight = Sight { at, trace, peer: client.service() };
        if seen.is_error {
            self.ledger.error(service, tenant, fate, sight);
        }
        let threshold = self.latency.threshold(self.names.service_name(service), self.names.tenant_name(tenant));
        if let (Some(took), Some(threshold)) = (seen.took, threshold)
            && took > threshold
        {
            self.ledger.slow(service, tenant, fate, threshold, sight);
        }
    }

    /// Error responses by what became of their trace.
    pub(in crate::pipeline) fn errors(&self) -> Vec<ResponseCount> {
        self.by_decision(self.ledger.errors())
    }

    /// Responses that took longer than was declared, by what became of their trace.
    pub(in crate::pipeline) fn slow(&self) -> Vec<ResponseCount> {
        self.by_decision(self.ledger.slow_responses())
    }

    fn by_decision(&self, fates: impl Iterator<Item = ((ServiceId, TenantId), Fates)>) -> Vec<ResponseCount> {
        let mut rows = Vec::new();
        for ((service, tenant), fates) in fates {
            let counts = [
                (Some(Sampled::Sampled), fates.sampled + fates.below_one.count),
                (Some(Sampled::NotSampled), fates.unsampled.count),
                (None, fates.undecided),
            ];
            rows.extend(counts.into_iter().filter(|(_, count)| *count > 0).map(|(sampled, count)| ResponseCount {
                service: self.names.service_name(service).to_owned(),
                tenant: self.names.tenant_name(tenant).to_owned(),
                sampled,
                count,
            }));
        }
        rows
    }
}
