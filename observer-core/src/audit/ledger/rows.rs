//! The rows of the ledger: what each counts, and which of its labels gives way where a table is full.

use super::Sight;
use crate::audit::tally::{Examples, Labels};
use crate::connection::Opaque;
use crate::context::Malformation;
use crate::ids::{ServiceId, TenantId};
use crate::message::Protocol;
use crate::names::Names;
use crate::propagation::{Outcome, WeightOutcome};

/// How the trace context of a request arrived: the value of the `context` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// A valid one.
    Valid,
    /// None.
    Missing,
    /// One that a receiver must ignore.
    Malformed,
    /// The head was not fully seen.
    Unobserved,
}

impl Arrival {
    /// The label value, for example `missing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unobserved => "unobserved",
        }
    }
}

/// Requests by how their context arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// With a valid context.
    pub valid: u64,
    /// Without one.
    pub missing: u64,
    /// With one that a receiver must ignore.
    pub malformed: u64,
    /// Of which the head was not fully seen.
    pub unobserved: u64,
}

impl Arrivals {
    pub(super) fn add(&mut self, arrival: Arrival, count: u64) {
        let counter = match arrival {
            Arrival::Valid => &mut self.valid,
            Arrival::Missing => &mut self.missing,
            Arrival::Malformed => &mut self.malformed,
            Arrival::Unobserved => &mut self.unobserved,
        };
        *counter = counter.saturating_add(count);
    }

    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            valid: self.valid.saturating_add(other.valid),
            missing: self.missing.saturating_add(other.missing),
            malformed: self.malformed.saturating_add(other.malformed),
            unobserved: self.unobserved.saturating_add(other.unobserved),
        }
    }

    /// Requests that came without a context that the receiver can use.
    pub fn without_context(&self) -> u64 {
        self.missing.saturating_add(self.malformed)
    }

    /// Requests of which the head was seen.
    pub fn observed(&self) -> u64 {
        self.valid.saturating_add(self.without_context())
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.observed().saturating_add(self.unobserved)
    }
}

/// A way in which a hop breaks the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Break {
    /// No context.
    Lost,
    /// A new trace.
    Restarted,
    /// Sampled, though the request that caused it was not.
    FlippedOn,
    /// Not sampled, though the request that caused it was.
    FlippedOff,
}

/// Hops by outcome, in the order of [`Outcome::ALL`].
pub type Outcomes = [u64; Outcome::ALL.len()];

/// Breaks of one kind between two services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broken {
    /// How often, by proof.
    pub causal: u64,
    /// How often, by the window of requests in flight.
    pub window: u64,
    /// The first few.
    pub examples: Examples,
}

/// A count with its first few examples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// The first few.
    pub examples: Examples,
}

impl Tally {
    pub(super) fn add(&mut self, sight: Sight) {
        self.count = self.count.saturating_add(1);
        self.examples.add(sight);
    }
}

/// Requests without a context, between two services.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missing {
    /// All.
    pub all: Tally,
    /// Those whose sender is known to have had a context.
    pub sender_had_context: u64,
}

/// Error responses of a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorResponses {
    /// Those of sampled traces.
    pub sampled: u64,
    /// Those of traces that are not sampled.
    pub unsampled: Tally,
    /// Those of traces whose decision is deferred or not known.
    pub undecided: u64,
}

impl ErrorResponses {
    /// All.
    pub fn total(&self) -> u64 {
        self.sampled.saturating_add(self.unsampled.count).saturating_add(self.undecided)
    }
}

/// The place of an outcome in [`Outcome::ALL`].
pub(in crate::audit) fn index(outcome: Outcome) -> usize {
    Outcome::ALL.iter().position(|&known| known == outcome).unwrap_or_default()
}

impl Labels for (ServiceId, TenantId, Protocol) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT, self.2)
    }
}
impl Labels for (ServiceId, ServiceId, Malformation) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2)
    }
}
impl Labels for (ServiceId, ServiceId) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE)
    }
}
impl Labels for (ServiceId, ServiceId, Break) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_SERVICE, self.2)
    }
}
impl Labels for (ServiceId, TenantId, WeightOutcome) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT, self.2)
    }
}
impl Labels for (ServiceId, TenantId) {
    fn overflow(self) -> Self {
        (self.0, Names::OVERFLOW_TENANT)
    }
}
impl Labels for (ServiceId, Opaque) {
    fn overflow(self) -> Self {
        (Names::OVERFLOW_SERVICE, self.1)
    }
}
