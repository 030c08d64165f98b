//! Corrections: hops whose outcome changed after it was told come in, one line a service, peer and change goes out.

use super::{Evidence, Outcome, Route};
use crate::context::TraceContext;
use crate::ids::ServiceId;
use crate::time::Timestamp;

/// Examples that one correction carries at most.
const EXAMPLES_MAX: usize = 3;

/// One hop, for a person to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// When it was sent.
    pub at: Timestamp,
    /// What it carries.
    pub sent: Option<TraceContext>,
    /// What the request that caused it carried, where only one can have.
    pub cause: Option<TraceContext>,
}

/// Hops that were told with one outcome and have another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Who sent them.
    pub service: ServiceId,
    /// To whom.
    pub peer: ServiceId,
    /// The outcome that was told.
    pub from: Outcome,
    /// The one that holds.
    pub to: Outcome,
    /// How that was decided.
    pub evidence: Evidence,
    /// How many.
    pub count: u64,
    /// How many of them carry no context.
    pub bare: u64,
    /// Some of them.
    pub examples: Vec<Example>,
    /// How the traces that should have gone on came to who sent them, with how many of the hops each, as far as that was told.
    pub routes: Vec<(Route, u64)>,
}

/// Corrections that were not fetched yet, in the order in which they must be applied. A class changes its mind a few times
/// at most, and hops that are proven one by one are added up, so there are never many.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    pending: Vec<Correction>,
}

impl Corrections {
    /// Hops of a class.
    pub(super) fn add(
        &mut self,
        (service, peer): (ServiceId, ServiceId),
        (from, to): (Outcome, Outcome),
        count: u64,
        (examples, routes): (&[Example], &[(Route, u64)]),
    ) {
        // A class is lost, or restarted.
        let bare = if from == Outcome::Lost || to == Outcome::Lost { count } else { 0 };
        let (evidence, examples, routes) = (Evidence::Window, examples.to_vec(), routes.to_vec());
        self.push(Correction { service, peer, from, to, evidence, count, bare, examples, routes });
    }

    /// One hop whose cause is proven.
    pub(super) fn prove(
        &mut self,
        (service, peer): (ServiceId, ServiceId),
        (from, to): (Outcome, Outcome),
        example: &Example,
        reached: Route,
    ) {
        let (evidence, bare) = (Evidence::Causal, u64::from(example.sent.is_none()));
        let (examples, routes) = (vec![*example], vec![(reached, 1)]);
        self.push(Correction { service, peer, from, to, evidence, count: 1, bare, examples, routes });
    }

    fn push(&mut self, correction: Correction) {
        if correction.count == 0 {
            return;
        }
        let Correction { service, peer, from, to, evidence, count, bare, .. } = correction;
        let newest = self.pending.iter_mut().rev().find(|pending| (pending.service, pending.peer) == (service, peer));
        if let Some(newest) = newest.filter(|newest| (newest.from, newest.to, newest.evidence) == (from, to, evidence))
        {
            newest.count = newest.count.saturating_add(count);
            newest.bare = newest.bare.saturating_add(bare);
            let room = EXAMPLES_MAX.saturating_sub(newest.examples.len());
            newest.examples.extend(correction.examples.into_iter().take(room));
            for (route, count) in correction.routes {
                match newest.routes.iter_mut().find(|(known, _)| *known == route) {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => newest.routes.push((route, count)),
                }
            }
        } else {
            self.pending.push(correction);
        }
    }

    pub(super) fn take(&mut self) -> Vec<Correction> {
        std::mem::take(&mut self.pending)
    }
}
