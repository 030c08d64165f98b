//! Which workloads are asked for their threads: hops in doubt come in, the workloads for which that costs what it is worth go out.
//!
//! Windows have the first try, for they cost nothing. Then threads are told until no hop stays in doubt, nothing can be shown, or the time
//! is over; and not again for a while, longer each time that it was in vain.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::goroutines::Goroutines;
use super::threads::Threads;
use crate::ids::WorkloadId;
use crate::time::Timestamp;

/// Hops in doubt that are worth it, and how long they must have been coming.
const DOUBTS_MIN: u32 = 20;
const PATIENCE: Duration = Duration::from_secs(3);
/// Without a hop in doubt for so long there is no doubt.
const CALM: Duration = Duration::from_secs(5);
/// How long threads are told at the most.
const WATCH: Duration = Duration::from_secs(30);
/// How long they are not told afterwards: twice as long each time that it was in vain, up to the longest.
const REST: Duration = Duration::from_mins(1);
const REST_MAX: Duration = Duration::from_hours(1);
/// Workloads whose threads are told at once.
const WATCHED_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Hops in doubt are counted.
    Counts,
    /// Threads are told.
    Watches {
        until: Timestamp,
    },
    Rests {
        until: Timestamp,
    },
}

#[derive(Debug)]
struct Watch {
    phase: Phase,
    doubts: u32,
    first: Timestamp,
    last: Timestamp,
    /// Hops that were decided in this watch.
    decided: u32,
    rest: Duration,
}

/// The workloads with hops in doubt.
#[derive(Debug, Default)]
pub(super) struct Watches {
    all: FxHashMap<WorkloadId, Watch>,
    /// How many are watched.
    watched: usize,
}

impl Watches {
    /// A hop is in doubt.
    pub(super) fn doubts(&mut self, workload: WorkloadId, at: Timestamp) {
        let watch = self.all.entry(workload).or_insert_with(|| Watch {
            phase: Phase::Counts,
            doubts: 0,
            first: at,
            last: at,
            decided: 0,
            rest: REST,
        });
        if watch.last.after(CALM) <= at {
            (watch.doubts, watch.first) = (0, at);
        }
        watch.doubts = watch.doubts.saturating_add(1);
        watch.last = at;
    }

    /// A hop that was in doubt is decided.
    pub(super) fn decided(&mut self, workload: WorkloadId) {
        if let Some(watch) = self.all.get_mut(&workload) {
            watch.decided = watch.decided.saturating_add(1);
        }
    }

    /// Whether the threads of any workload are told.
    pub(super) fn is_on(&self) -> bool {
        self.watched > 0
    }

    /// Whether those of this one are.
    pub(super) fn watches(&self, workload: WorkloadId) -> bool {
        self.is_on() && self.all.get(&workload).is_some_and(Watch::is_on)
    }

    /// The workloads whose threads are told.
    pub(super) fn watched(&self) -> impl Iterator<Item = WorkloadId> {
        self.all.iter().filter(|(_, watch)| watch.is_on()).map(|(workload, _)| *workload)
    }

    /// Lets time pass; forgets workloads that are not `known`.
    pub(super) fn tick(
        &mut self,
        now: Timestamp,
        (threads, goroutines): (&mut Threads, &mut Goroutines),
        known: impl Fn(WorkloadId) -> bool,
    ) {
        self.all.retain(|&workload, _| known(workload));
        let mut watched = self.all.values().filter(|watch| watch.is_on()).count();
        for (&workload, watch) in &mut self.all {
            match watch.phase {
                Phase::Counts => {
                    let lasts = watch.first.after(PATIENCE) <= now && watch.last.after(CALM) > now;
                    if watch.doubts >= DOUBTS_MIN && lasts && watched < WATCHED_MAX {
                        watch.phase = Phase::Watches { until: now.after(WATCH) };
                        watch.decided = 0;
                        watched = watched.saturating_add(1);
                    }
                }
                Phase::Watches { until } => {
                    // Goroutines need some time to be told: a program is looked into first.
                    let follows = goroutines.tells_of(workload) || until.since(now) > WATCH.saturating_sub(CALM);
                    let hopeless = threads.is_hopeless(workload) && !follows;
                    if until <= now || watch.last.after(CALM) <= now || hopeless {
                        watch.rest = match watch.decided {
                            _ if hopeless => REST_MAX,
                            0 => watch.rest.saturating_mul(2).min(REST_MAX),
                            _ => REST,
                        };
                        watch.phase = Phase::Rests { until: now.after(watch.rest) };
                        watch.doubts = 0;
                        goroutines.leaves(workload);
                        watched = watched.saturating_sub(1);
                    }
                }
                Phase::Rests { until } if until <= now => watch.phase = Phase::Counts,
                Phase::Rests { .. } => {}
            }
        }
        if watched == 0 && self.watched > 0 {
            threads.forget();
            goroutines.forget();
        }
        self.watched = watched;
    }
}

impl Watch {
    fn is_on(&self) -> bool {
        matches!(self.phase, Phase::Watches { .. })
    }
}
