//! Times of the wire. They come in with the bytes; nothing in this crate asks a clock.

use std::time::Duration;

/// A moment, in nanoseconds since the Unix epoch (1970-01-01T00:00:00Z).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time from `earlier` to this moment; zero where `earlier` is later (packets of two CPUs may be out of order).
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved by `duration`, saturating at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// RFC 3339 in UTC with nanoseconds cut to milliseconds, for example `2026-01-01T00:00:00.000Z`.
    pub fn to_rfc3339(self) -> String {
        let milliseconds = i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(milliseconds)
            .map_or_else(|_| String::from("9999-12-31T23:59:59.999Z"), |time| format!("{time:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_as_rfc3339_in_utc() {
        assert_eq!(Timestamp(1_767_225_600_123_456_789).to_rfc3339(), "2026-01-01T00:00:00.123Z");
    }

    #[test]
    fn the_time_since_a_later_moment_is_zero() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
