//! What the edges render: the report of a moment and the observer's own numbers at that moment, shared with the threads that
//! serve them. How they are rendered is not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use observer_core::audit::report::Report;
use observer_core::context::{Malformation, Sampled};
use observer_core::declared::SourceKind;
use observer_core::time::Timestamp;

use crate::capture::SourceCounters;

/// The report of a moment, and what the metrics show beside it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The report.
    pub report: Report,
    /// The rest.
    pub extras: Extras,
}

/// What the metrics show and the report does not. Every count is since the start of the observer and never falls.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// What each source has delivered, lost and cost.
    pub sources: Vec<SourceCounters>,
    /// Ratios that rules declare for observed services.
    pub declared: Vec<DeclaredRatio>,
    /// Malformed contexts.
    pub malformed: Vec<MalformedCount>,
    /// Error responses by what became of their trace.
    pub errors: Vec<ResponseCount>,
    /// Responses that took longer than was declared, by what became of their trace.
    pub slow: Vec<ResponseCount>,
    /// How full the tables are.
    pub tables: Vec<TableUse>,
}

/// The ratio that holds for a service and tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredRatio {
    /// The service.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// What declares it.
    pub kind: SourceKind,
    /// The ratio.
    pub ratio: f64,
}

/// Malformed contexts that reached a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedCount {
    /// The service.
    pub service: String,
    /// Why.
    pub reason: Malformation,
    /// How many.
    pub count: u64,
}

/// Responses of a service whose traces should have been kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseCount {
    /// The service.
    pub service: String,
    /// The tenant.
    pub tenant: String,
    /// What became of the trace; `None` where the request named none.
    pub sampled: Option<Sampled>,
    /// How many.
    pub count: u64,
}

/// How full a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableUse {
    /// The value of the `table` label, for example `connections`.
    pub table: &'static str,
    /// Entries now.
    pub tracked: u64,
    /// Entries that were evicted or refused for want of room.
    pub evicted: u64,
}

/// The newest snapshot and a sign of life, shared between the line and the edges.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    snapshot: Arc<ArcSwapOption<Snapshot>>,
    alive_at: Arc<AtomicU64>,
}

impl Shared {
    /// Shows a new snapshot.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Some(Arc::new(snapshot)));
    }

    /// The newest snapshot; `None` before the first.
    pub fn newest(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// The line was at work at `now`.
    pub fn alive(&self, now: Timestamp) {
        self.alive_at.store(now.0, Ordering::Relaxed);
    }

    /// When the line was last at work.
    pub fn last_alive(&self) -> Timestamp {
        Timestamp(self.alive_at.load(Ordering::Relaxed))
    }
}
