//! Responses to browsers: what they keep of a trace from the scripts that ask for it.

use observer_core::audit::ledger::{Gate, Sight};
use observer_core::ids::ServiceId;
use observer_core::message::{HeaderName, Message, ResponseHead};

use super::super::parties::{EndAt, Known, Parties};
use super::Stages;

impl Stages {
    /// A response of `service`; `asked`: the trace headers of the preflight that it answers. Who asks is taken for a browser, or
    /// what stands for one, unless it serves others: what a gateway passes on is judged where it leaves the gateway.
    pub(super) fn answers_browser(
        &mut self,
        message: &Message<'_>,
        (head, asked): (&ResponseHead<'_>, Option<Vec<HeaderName>>),
        service: ServiceId,
        known: &mut Known,
        ends: &[EndAt; 2],
        parties: &mut Parties,
    ) {
        let exposure = self.extractors.exposure(head);
        if asked.is_none() && exposure.is_none() {
            return;
        }
        let client = parties.party(known, (message.from.other(), false), ends, None, &mut self.names);
        if client.observed().is_some_and(|owner| self.workloads.contains(&owner.workload)) {
            return;
        }
        let sight = Sight { at: message.at, trace: None, peer: client.service() };
        let name = |name: HeaderName| self.interest.name(name);
        if let Some(asked) = asked {
            let omitted = self.extractors.omitted(&asked, head);
            self.ledger.gate(service, Gate::Allow, omitted.into_iter().map(name), sight);
        }
        if let Some((header, exposed)) = exposure {
            self.ledger.gate(service, Gate::Expose, (!exposed).then(|| name(header)), sight);
        }
    }
}
