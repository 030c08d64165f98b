//! Intervals: a count of sampled traces comes in, an interval of the ratio goes out that may be looked at after every trace.
//!
//! The beta-mixture confidence sequence: `M_n(p) = B(a+S, b+n-S) / (B(a,b) p^S (1-p)^(n-S))` is a martingale with mean 1 where
//! `p` is the true ratio, so by Ville's inequality the set of all `p` with `M_n(p) < 1/alpha` holds the true ratio at every `n`
//! at once with probability `1 - alpha`. With `a = b = 1/2` (Jeffreys) it loses least in the worst case, and it does not depend
//! on any declared ratio.

use super::series::Share;

/// Both parameters of the mixing beta distribution.
const MIXTURE: f64 = 0.5;
/// Halvings of the search: an end of the interval is exact to 2^-60 of its side.
const HALVINGS: u32 = 60;

/// An interval of a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The lower end, 0 to 1.
    pub lower: f64,
    /// The upper end, 0 to 1.
    pub upper: f64,
}

impl Interval {
    /// What is known without data.
    pub const UNKNOWN: Self = Self { lower: 0.0, upper: 1.0 };

    /// Whether both have a ratio in common.
    pub fn meets(self, other: Self) -> bool {
        self.lower <= other.upper && other.lower <= self.upper
    }

    /// The interval that misses the true ratio at any moment of a run with probability `alpha` at most.
    pub fn of(share: Share, alpha: f64) -> Self {
        if share.traces == 0 {
            return Self::UNKNOWN;
        }
        let sampled = share.sampled.min(share.traces) as f64;
        let unsampled = share.traces.saturating_sub(share.sampled) as f64;
        let ratio = sampled / (sampled + unsampled);
        let evidence = ln_beta(MIXTURE + sampled, MIXTURE + unsampled) - ln_beta(MIXTURE, MIXTURE) + libm::log(alpha);
        let excluded = |p: f64| evidence - times_ln(sampled, p) - times_ln(unsampled, 1.0 - p) >= 0.0;
        Self {
            lower: if sampled == 0.0 { 0.0 } else { search(0.0, ratio, excluded) },
            upper: if unsampled == 0.0 { 1.0 } else { search(1.0, ratio, excluded) },
        }
    }
}

/// The border between the `excluded` end and the ratio itself, which never is excluded; on the excluded side of it.
fn search(mut outer: f64, mut inner: f64, excluded: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(outer, inner);
        if excluded(middle) {
            outer = middle;
        } else {
            inner = middle;
        }
    }
    outer
}

fn ln_beta(a: f64, b: f64) -> f64 {
    libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b)
}

/// `count * ln(p)`, with `0 * ln(0) = 0`.
pub(super) fn times_ln(count: f64, p: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * libm::log(p) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::verdict::tests::Random;

    fn interval(sampled: u64, traces: u64) -> (f64, f64) {
        let Interval { lower, upper } = Interval::of(Share { traces, sampled }, 0.001);
        (lower, upper)
    }

    fn close(actual: (f64, f64), expected: (f64, f64)) {
        let apart = (actual.0 - expected.0).abs().max((actual.1 - expected.1).abs());
        assert!(apart < 5e-5, "{actual:?} is not {expected:?}");
    }

    #[test]
    fn the_figures_of_the_audit_format_are_reproduced() {
        close(interval(58, 600), (0.0510, 0.1606));
    }

    #[test]
    fn without_data_and_at_the_ends_it_is_exact() {
        assert_eq!(interval(0, 0), (0.0, 1.0));
        assert_eq!(interval(0, 50).0.to_bits(), 0.0_f64.to_bits());
        assert_eq!(interval(50, 50).1.to_bits(), 1.0_f64.to_bits());
        // One trace alone excludes nothing but the neighbourhood of the other end: B(3/2, 1/2) / B(1/2, 1/2) = 1/2 = p / 1000.
        close(interval(1, 1), (0.0005, 1.0));
        close(interval(0, 1), (0.0, 0.9995));
    }

    #[test]
    fn it_holds_the_ratio_mirrors_its_complement_and_narrows() {
        for (sampled, traces) in [(1, 2), (3, 10), (1, 1000), (999, 1000), (500_000, 1_000_000), (10, 1_000_000_000)] {
            let (lower, upper) = interval(sampled, traces);
            let ratio = sampled as f64 / traces as f64;
            assert!(lower < ratio && ratio < upper, "{sampled} of {traces}: {lower} {upper}");
            let mirrored = interval(traces - sampled, traces);
            close((1.0 - mirrored.1, 1.0 - mirrored.0), (lower, upper));
            let more = interval(sampled * 10, traces * 10);
            assert!(more.0 > lower && more.1 < upper);
        }
    }

    #[test]
    fn a_more_careful_interval_is_wider() {
        let share = Share { traces: 200, sampled: 20 };
        let (loose, careful) = (Interval::of(share, 0.05), Interval::of(share, 0.001));
        assert!(careful.lower < loose.lower && careful.upper > loose.upper);
        // Clopper-Pearson for one look at 95 % is [0.0623, 0.1502]: one that holds at all looks is wider, not twice as wide.
        assert!(loose.lower < 0.0623 && loose.lower > 0.0623 / 2.0, "{loose:?}");
        assert!(loose.upper > 0.1502 && loose.upper < 0.1502 * 2.0, "{loose:?}");
    }

    #[test]
    fn it_misses_the_truth_at_no_moment_of_nearly_all_runs() {
        const RUNS: u32 = 300;
        let mut random = Random(7);
        for ratio in [0.5, 0.1] {
            let mut missed = 0;
            for _ in 0..RUNS {
                let mut share = Share::default();
                // Every trace counts; it is looked at whenever the count has grown by a tenth.
                let mut next_look = 1;
                let mut out = false;
                while share.traces < 2_000 {
                    share.traces += 1;
                    share.sampled += u64::from(random.chance(ratio));
                    if share.traces >= next_look {
                        next_look = share.traces + share.traces / 10 + 1;
                        let interval = Interval::of(share, 0.05);
                        out |= interval.lower > ratio || interval.upper < ratio;
                    }
                }
                missed += u32::from(out);
            }
            assert!(missed <= RUNS / 20, "{ratio}: {missed} of {RUNS} runs");
        }
    }
}
