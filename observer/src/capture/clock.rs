//! Times of the kernel: nanoseconds of CLOCK_MONOTONIC come in, moments since 1970 go out.

use std::time::{Duration, Instant};

use observer_core::time::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// How often the distance of the two clocks is measured anew: they drift apart by at most 500 ppm (`man 2 adjtimex`), 5 ms in
/// ten seconds, and leap by more only where someone sets the clock.
const REFRESH: Duration = Duration::from_secs(10);

/// Translates times of the kernel.
#[derive(Debug)]
pub struct Clock {
    offset_ns: i128,
    measured: Instant,
}

impl Clock {
    /// A clock that is set now.
    pub fn new() -> Self {
        Self { offset_ns: offset_ns(), measured: Instant::now() }
    }

    /// Measures the distance anew where that is due.
    pub fn refresh(&mut self) {
        if self.measured.elapsed() >= REFRESH {
            *self = Self::new();
        }
    }

    /// The moment of a time of the kernel.
    pub fn moment(&self, monotonic_ns: u64) -> Timestamp {
        Timestamp(u64::try_from(i128::from(monotonic_ns) + self.offset_ns).unwrap_or(0))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds from CLOCK_MONOTONIC to CLOCK_REALTIME: of three attempts the one that took the least time.
fn offset_ns() -> i128 {
    let attempt = || {
        let before = nanoseconds(ClockId::Monotonic);
        let real = nanoseconds(ClockId::Realtime);
        let after = nanoseconds(ClockId::Monotonic);
        (after - before, real - i128::midpoint(before, after))
    };
    [attempt(), attempt(), attempt()].into_iter().min().map_or(0, |(_, offset)| offset)
}

fn nanoseconds(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn the_moment_of_now_is_now() {
        let before = SystemTime::now();
        let moment = Clock::new().moment(u64::try_from(nanoseconds(ClockId::Monotonic)).unwrap());
        let after = SystemTime::now();
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        // The two clocks are read one after the other, so the offset is right to within the time that takes.
        let slack = u128::from(1_000_000u32);
        assert!(u128::from(moment.0) + slack >= since_1970(before));
        assert!(u128::from(moment.0) <= since_1970(after) + slack);
    }
}
