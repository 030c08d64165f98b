//! Corrections: hops whose outcome changed after it was told come in, one line a service, peer and change goes out.

use super::{Outcome, Route};
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
    /// How many.
    pub count: u64,
    /// Some of them.
    pub examples: Vec<Example>,
    /// How the traces that should have gone on came to who sent them, with how many of the hops each, as far as that was told.
    pub routes: Vec<(Route, u64)>,
}

/// Corrections that were not fetched yet, in the order in which they must be applied. A class changes its mind a few times
/// at most, so there are never many.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    pending: Vec<Correction>,
}

impl Corrections {
    pub(super) fn add(
        &mut self,
        (service, peer): (ServiceId, ServiceId),
        (from, to): (Outcome, Outcome),
        count: u64,
        (examples, routes): (&[Example], &[(Route, u64)]),
    ) {
        if count == 0 {
            return;
        }
        let newest = self.pending.iter_mut().rev().find(|pending| (pending.service, pending.peer) == (service, peer));
        if let Some(newest) = newest.filter(|newest| (newest.from, newest.to) == (from, to)) {
            newest.count = newest.count.saturating_add(count);
            let room = EXAMPLES_MAX.saturating_sub(newest.examples.len());
            newest.examples.extend(examples.iter().take(room));
            for &(route, count) in routes {
                match newest.routes.iter_mut().find(|(known, _)| *known == route) {
                    Some((_, sum)) => *sum = sum.saturating_add(count),
                    None => newest.routes.push((route, count)),
                }
            }
        } else {
            let (examples, routes) = (examples.to_vec(), routes.to_vec());
            self.pending.push(Correction { service, peer, from, to, count, examples, routes });
        }
    }

    pub(super) fn take(&mut self) -> Vec<Correction> {
        std::mem::take(&mut self.pending)
    }
}
