//! Paths: the routes of broken traces come in, with how many took each; out goes, for a hop that breaks them, the way that most of
//! them came.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Inputs;
use super::ledger::Break;
use super::report::Code;
use crate::ids::ServiceId;
use crate::propagation::Origin;

/// The way of traces to the service that breaks them, and where they would have gone: the way that most of them took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Path {
    /// How the traces came to the first of the services.
    pub begins: Begins,
    /// The services that the traces came through, the first one first; the last one breaks them.
    pub services: Vec<String>,
    /// Whom the service that breaks them sent the request that should have carried them.
    pub to: String,
    /// How many requests broke a trace that came this way.
    pub count: u64,
    /// Of how many whose way is known.
    pub of: u64,
}

/// How traces came to the first service of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Begins {
    /// It started them.
    Started,
    /// It is not observed: what came before it is not seen.
    Outside,
    /// Several handed them to it.
    Several,
    /// That was not seen.
    Unseen,
}

impl Path {
    /// One line for a person: `gateway → checkout → pricing ┄ discounts: the context ends at pricing (40 of 42 requests)`.
    pub fn line(&self, code: Code) -> String {
        let Self { begins, services, to, count, of } = self;
        let before = match begins {
            Begins::Started | Begins::Outside => "",
            Begins::Several => "(several) → ",
            Begins::Unseen => "… → ",
        };
        let culprit = services.last().map_or("", String::as_str);
        let what = match code {
            Code::TraceRestarted => "the trace ends",
            Code::DecisionFlipped => "the decision is turned around",
            _ => "the context ends",
        };
        let share = if count == of { String::new() } else { format!(" ({count} of {of} requests)") };
        format!("{before}{} ┄ {to}: {what} at {culprit}{share}", services.join(" → "))
    }
}

/// What is the same in ways that count as one: who outside sent a trace is not.
type Way = (Begins, Vec<ServiceId>);

/// The ways of all broken traces, by the hop and how it breaks them.
#[derive(Debug, Default)]
pub(super) struct Paths(BTreeMap<(ServiceId, ServiceId, Break), BTreeMap<Way, Took>>);

/// How many took a way.
#[derive(Debug, Default)]
struct Took {
    count: u64,
    /// Who sent them from outside.
    senders: BTreeSet<ServiceId>,
}

impl Paths {
    pub(super) fn of(inputs: &Inputs<'_>) -> Self {
        let mut paths = Self::default();
        for ((service, peer, kind, route), &count) in inputs.ledger.routes.sorted() {
            let (origin, mut services) = inputs.routes.services(route);
            if count == 0 || services.is_empty() {
                continue;
            }
            let begins = match origin {
                Origin::Started => Begins::Started,
                Origin::Outside => Begins::Outside,
                Origin::Several => Begins::Several,
                Origin::Unseen => Begins::Unseen,
            };
            let sender = (begins == Begins::Outside).then(|| services.remove(0));
            let took = paths.0.entry((service, peer, kind)).or_default().entry((begins, services)).or_default();
            took.count = took.count.saturating_add(count);
            took.senders.extend(sender);
        }
        paths
    }

    /// The way that most traces took which a hop breaks so.
    pub(super) fn most(&self, inputs: &Inputs<'_>, hop: (ServiceId, ServiceId, Break)) -> Option<Path> {
        let ways = self.0.get(&hop)?;
        let name = |service: &ServiceId| inputs.names.service_name(*service).to_owned();
        let named = |services: &[ServiceId]| services.iter().map(name).collect::<Vec<_>>();
        // Of ways that as many took the shorter one, then the first by name.
        let ((begins, services), took) = ways.iter().max_by_key(|((begins, services), took)| {
            let length = services.len().saturating_add(usize::from(*begins == Begins::Outside));
            (took.count, Reverse((length, named(services), *begins)))
        })?;
        let (mut begins, mut services) = (*begins, named(services));
        if begins == Begins::Outside {
            match took.senders.first() {
                Some(sender) if took.senders.len() == 1 => services.insert(0, name(sender)),
                _ => begins = Begins::Several,
            }
        }
        let of = ways.values().fold(0, |sum: u64, took| sum.saturating_add(took.count));
        Some(Path { begins, services, to: name(&hop.1), count: took.count, of })
    }
}
