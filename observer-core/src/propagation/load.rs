//! How many requests are in flight at a workload over time: changes come in, averages go out.

use std::time::Duration;

use crate::time::Timestamp;

/// The long average looks back between this and twice this.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// A point in time, and what was added up until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: Timestamp,
    /// The requests in flight, in request-nanoseconds.
    area: u128,
    /// The time in which there were any, in nanoseconds.
    busy: u128,
}

/// What is in flight, at a moment or on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    /// Requests.
    pub(super) requests: f64,
    /// One where there are any, else zero; on average the share of the time.
    pub(super) busy: f64,
}

impl Use {
    pub(super) const NONE: Self = Self { requests: 0.0, busy: 0.0 };

    /// So many requests at a moment.
    pub(super) fn at_once(count: u32) -> Self {
        Self { requests: f64::from(count), busy: if count > 0 { 1.0 } else { 0.0 } }
    }

    /// The larger of two, each for itself.
    pub(super) fn max(self, other: Self) -> Self {
        Self { requests: self.requests.max(other.requests), busy: self.busy.max(other.busy) }
    }
}

impl Mark {
    /// The time from an earlier mark to this one.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.at.since(earlier.at)
    }
}

/// The number in flight, and its sum over time.
#[derive(Debug)]
pub(super) struct Load {
    count: u32,
    now: Mark,
    marks: [Mark; 2],
}

impl Load {
    pub(super) fn new(at: Timestamp) -> Self {
        let mark = Mark { at, area: 0, busy: 0 };
        Self { count: 0, now: mark, marks: [mark; 2] }
    }

    /// From `at` on, `count` are in flight.
    pub(super) fn set(&mut self, count: u32, at: Timestamp) {
        self.now = self.mark(at);
        self.count = count;
    }

    /// The sum until `at`; until the last change, where that is later.
    pub(super) fn mark(&self, at: Timestamp) -> Mark {
        let passed = at.since(self.now.at).as_nanos();
        Mark {
            at: at.max(self.now.at),
            area: self.now.area.saturating_add(passed.saturating_mul(self.count.into())),
            busy: self.now.busy.saturating_add(if self.count > 0 { passed } else { 0 }),
        }
    }

    /// The average over the last 10 to 20 s, or since the workload is known.
    pub(super) fn long_average(&mut self, at: Timestamp) -> Use {
        let now = self.mark(at);
        let [old, young] = &mut self.marks;
        if now.at.since(young.at) >= LOOK_BACK {
            *old = std::mem::replace(young, now);
        }
        average(*old, now)
    }
}

/// The average between two marks; nothing where no time lies between them.
pub(super) fn average(from: Mark, to: Mark) -> Use {
    let passed = to.at.since(from.at).as_nanos();
    if passed == 0 {
        return Use::NONE;
    }
    let of = |sum: u128| sum as f64 / passed as f64;
    Use { requests: of(to.area.saturating_sub(from.area)), busy: of(to.busy.saturating_sub(from.busy)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_counts_the_time_between_changes() {
        let mut load = Load::new(Timestamp(0));
        let start = load.mark(Timestamp(0));
        load.set(2, Timestamp(10));
        load.set(0, Timestamp(20));
        assert_eq!(average(start, load.mark(Timestamp(40))), Use { requests: 0.5, busy: 0.25 });
        assert_eq!(load.long_average(Timestamp(80)), Use { requests: 0.25, busy: 0.125 });
    }

    #[test]
    fn a_change_that_is_told_late_moves_no_time_back() {
        let mut load = Load::new(Timestamp(0));
        load.set(1, Timestamp(10));
        load.set(0, Timestamp(5));
        assert_eq!(load.mark(Timestamp(10)), Mark { at: Timestamp(10), area: 0, busy: 0 });
    }
}
