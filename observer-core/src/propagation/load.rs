//! How many requests are in flight at a workload over time: changes come in, averages go out.

use std::time::Duration;

use crate::time::Timestamp;

/// The long average looks back between this and twice this.
const LOOK_BACK: Duration = Duration::from_secs(10);

/// A point in time, and the requests in flight added up over time until then, in request-nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    at: Timestamp,
    area: u128,
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
        let mark = Mark { at, area: 0 };
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
        Mark { at: at.max(self.now.at), area: self.now.area.saturating_add(passed.saturating_mul(self.count.into())) }
    }

    /// The average over the last 10 to 20 s, or since the workload is known.
    pub(super) fn long_average(&mut self, at: Timestamp) -> f64 {
        let now = self.mark(at);
        let [old, young] = &mut self.marks;
        if now.at.since(young.at) >= LOOK_BACK {
            *old = std::mem::replace(young, now);
        }
        average(*old, now)
    }
}

/// The average between two marks; zero where no time lies between them.
pub(super) fn average(from: Mark, to: Mark) -> f64 {
    let passed = to.at.since(from.at).as_nanos();
    if passed == 0 { 0.0 } else { to.area.saturating_sub(from.area) as f64 / passed as f64 }
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
        assert!((average(start, load.mark(Timestamp(40))) - 0.5).abs() < 1e-12);
        assert!((load.long_average(Timestamp(80)) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_change_that_is_told_late_moves_no_time_back() {
        let mut load = Load::new(Timestamp(0));
        load.set(1, Timestamp(10));
        load.set(0, Timestamp(5));
        assert_eq!(load.mark(Timestamp(10)), Mark { at: Timestamp(10), area: 0 });
    }
}
