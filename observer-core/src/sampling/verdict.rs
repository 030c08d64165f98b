//! Verdicts: counts and a declared ratio come in, match, under, over or insufficient goes out.
//!
//! A mixture of sequential probability ratio tests against a band of tolerance. With `lower` and `upper` the edges of the
//! band, each alternative below the band bets against the lower edge and each above it against the upper edge. Every one of these
//! likelihood ratios is a supermartingale for every ratio inside the band, hence so is their mean, and by Ville's inequality
//! it ever reaches `1/alpha` with probability `alpha` at most. The test depends on the counts alone, so it may be looked at
//! whenever one likes.

use super::Verdict;
use super::interval::{Interval, times_ln};
use super::series::Share;

/// The alternatives on one side of the band: their odds divided by the odds of its edge (or the reverse above it). Chosen for
/// departures from a twentieth to a factor of thirty, each with its share of the bets: halves and tenths are what people configure by
/// mistake, and a tenth takes longest.
const ODDS: [(f64, f64); 9] = [
    (1.0 / 30.0, 0.05),
    (0.1, 0.1),
    (0.2, 0.05),
    (1.0 / 3.0, 0.05),
    (0.5, 0.25),
    (2.0 / 3.0, 0.1),
    (0.8, 0.05),
    (0.9, 0.3),
    (0.95, 0.05),
];

/// A declared ratio, how far one may lie from it, and how rarely a sound one may be accused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Declared {
    /// The declared ratio, 0 to 1.
    pub ratio: f64,
    /// Relative: a measured ratio may lie in `ratio * (1 ± tolerance)`.
    pub tolerance: f64,
    /// The chance of a false alarm over a whole run, for this series.
    pub alpha: f64,
}

impl Declared {
    /// The ratios that are no departure.
    pub fn band(&self) -> Interval {
        let lower = (self.ratio * (1.0 - self.tolerance)).clamp(0.0, 1.0);
        let upper = (self.ratio * (1.0 + self.tolerance)).clamp(0.0, 1.0);
        Interval { lower, upper }
    }

    /// What the counts say: `Under`, `Over`, `Match` or `Insufficient`.
    ///
    /// `Match` needs more than the absence of an alarm: the interval must meet the band and exclude half and twice the declared
    /// ratio. Where twice is no ratio, or hardly a departure (from 0.9), it must exclude half the unsampled share instead;
    /// of a declared zero, one half.
    pub fn judge(&self, share: Share) -> Verdict {
        let (below, above) = self.ln_evidence(share);
        if ln_sum(below, above) >= -libm::log(self.alpha) {
            return if below > above { Verdict::Under } else { Verdict::Over };
        }
        let interval = Interval::of(share, self.alpha);
        let band = self.band();
        let meets = interval.meets(band);
        let least = (self.ratio / 2.0).min(band.lower);
        let halved_unsampled = f64::midpoint(1.0, self.ratio);
        let most = if self.ratio == 0.0 { halved_unsampled } else { (self.ratio * 2.0).min(halved_unsampled) };
        let most = most.max(band.upper);
        let excludes_least = least <= 0.0 || interval.lower > least;
        let excludes_most = most >= 1.0 || interval.upper < most;
        if share.traces > 0 && meets && excludes_least && excludes_most {
            Verdict::Match
        } else {
            Verdict::Insufficient
        }
    }

    /// The logarithms of the two parts of the test, for departures below and above the band; together they start at 1.
    fn ln_evidence(&self, share: Share) -> (f64, f64) {
        let band = self.band();
        let sampled = share.sampled.min(share.traces) as f64;
        let unsampled = share.traces.saturating_sub(share.sampled) as f64;
        let (below_possible, above_possible) = (band.lower > 0.0, band.upper < 1.0);
        // Where there is no ratio on one side of the band, the other side gets all the weight.
        let side_weight = if below_possible && above_possible { 0.5 } else { 1.0 };
        let side = |possible: bool, edge: f64, hits: f64, misses: f64| {
            if !possible {
                return f64::NEG_INFINITY;
            }
            // `edge` is the least share of hits: where it is all, one miss refutes it.
            if edge >= 1.0 {
                return if misses > 0.0 { f64::INFINITY } else { libm::log(side_weight) };
            }
            let odds = edge / (1.0 - edge);
            ODDS.iter().fold(f64::NEG_INFINITY, |sum, (factor, share)| {
                let alternative = odds * factor / (1.0 + odds * factor);
                let bet = times_ln(hits, alternative / edge) + times_ln(misses, (1.0 - alternative) / (1.0 - edge));
                ln_sum(sum, bet + libm::log(share * side_weight))
            })
        };
        let below = side(below_possible, band.lower, sampled, unsampled);
        let above = side(above_possible, 1.0 - band.upper, unsampled, sampled);
        (below, above)
    }
}

/// `ln(e^a + e^b)`.
pub(super) fn ln_sum(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high == f64::INFINITY { high } else { high + libm::log1p(libm::exp(low - high)) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// SplitMix64 (Steele, Lea, Flood 2014): a seed gives the same run on every machine.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        }

        pub(crate) fn chance(&mut self, ratio: f64) -> bool {
            ((self.next() >> 11) as f64) < ratio * (1_u64 << 53) as f64
        }
    }

    fn declared(ratio: f64, tolerance: f64) -> Declared {
        Declared { ratio, tolerance, alpha: 0.001 }
    }

    fn judge(ratio: f64, tolerance: f64, sampled: u64, traces: u64) -> Verdict {
        declared(ratio, tolerance).judge(Share { traces, sampled })
    }

    /// The number of traces after which an alarm is raised, looked for after each; `None` within `most`.
    fn delay(declared: &Declared, truth: f64, most: u64, random: &mut Random) -> Option<u64> {
        let mut share = Share::default();
        let limit = -libm::log(declared.alpha);
        while share.traces < most {
            share.traces += 1;
            share.sampled += u64::from(random.chance(truth));
            let (below, above) = declared.ln_evidence(share);
            if ln_sum(below, above) >= limit {
                return Some(share.traces);
            }
        }
        None
    }

    fn median_delay(declared: &Declared, truth: f64, runs: usize) -> u64 {
        let mut random = Random(1);
        let mut delays: Vec<u64> =
            (0..runs).map(|_| delay(declared, truth, 20_000, &mut random).unwrap_or(u64::MAX)).collect();
        delays.sort_unstable();
        delays[runs / 2]
    }

    #[test]
    fn verdicts_by_counts() {
        use Verdict::{Insufficient, Match, Over, Under};
        let cases = [
            // declared, tolerance, sampled, traces
            (0.1, 0.1, 0, 0, Insufficient),
            (0.1, 0.1, 3, 30, Insufficient),
            (0.1, 0.1, 58, 600, Match),
            (0.1, 0.1, 300, 600, Over),
            (0.1, 0.1, 10, 600, Under),
            (0.1, 0.1, 51, 1_000, Under),
            (0.5, 0.1, 250, 500, Match),
            (0.9, 0.1, 900, 1_000, Match),
            (0.9, 0.0, 1_000, 1_000, Over),
            (0.001, 0.1, 0, 500, Insufficient),
            (0.001, 0.1, 100, 100_000, Match),
            (0.1, 0.1, 105_000, 1_000_000, Match),
            (0.1, 0.1, 120_000, 1_000_000, Over),
        ];
        for (ratio, tolerance, sampled, traces, expected) in cases {
            assert_eq!(
                judge(ratio, tolerance, sampled, traces),
                expected,
                "{ratio} ± {tolerance}: {sampled} of {traces}"
            );
        }
    }

    #[test]
    fn one_contradiction_refutes_all_or_nothing() {
        assert_eq!(judge(1.0, 0.0, 99, 100), Verdict::Under);
        assert_eq!(judge(1.0, 0.0, 100, 100), Verdict::Match);
        assert_eq!(judge(0.0, 0.1, 1, 100), Verdict::Over);
        assert_eq!(judge(0.0, 0.1, 0, 100), Verdict::Match);
        assert_eq!(judge(0.0, 0.1, 0, 2), Verdict::Insufficient);
        // Within a tolerance of a tenth nine of ten is still all.
        assert_eq!(judge(1.0, 0.1, 99, 100), Verdict::Match);
        assert_eq!(judge(1.0, 0.1, 50, 100), Verdict::Under);
    }

    #[test]
    fn the_test_starts_at_one() {
        for ratio in [0.0, 0.001, 0.1, 0.95, 1.0] {
            let (below, above) = declared(ratio, 0.1).ln_evidence(Share::default());
            assert!(ln_sum(below, above).abs() < 1e-9, "{ratio}");
        }
    }

    #[test]
    fn half_the_declared_ratio_is_found_within_492_traces_in_the_median() {
        let median = median_delay(&declared(0.1, 0.0), 0.05, 201);
        assert!(median <= 492, "{median}");
        // The band costs time: 0.05 is told from 0.09, not from 0.1.
        let median = median_delay(&declared(0.1, 0.1), 0.05, 101);
        assert!(median <= 750, "{median}");
    }

    #[test]
    fn a_sound_sampler_is_accused_in_at_most_the_configured_share_of_runs() {
        const RUNS: u32 = 400;
        let mut random = Random(3);
        // A rate that so many runs can show; in the middle of the band and at its edges.
        for (ratio, tolerance, truth) in [(0.1, 0.0, 0.1), (0.1, 0.1, 0.09), (0.02, 0.0, 0.02), (0.5, 0.1, 0.55)] {
            let strict = Declared { ratio, tolerance, alpha: 0.05 };
            let mut alarms = 0;
            for _ in 0..RUNS {
                let mut share = Share::default();
                let mut next_look = 1;
                let mut alarmed = false;
                while share.traces < 3_000 {
                    share.traces += 1;
                    share.sampled += u64::from(random.chance(truth));
                    if share.traces >= next_look {
                        next_look = share.traces + share.traces / 20 + 1;
                        alarmed |= matches!(strict.judge(share), Verdict::Under | Verdict::Over);
                    }
                }
                alarms += u32::from(alarmed);
            }
            assert!(alarms <= RUNS / 20, "{ratio} ± {tolerance}, in truth {truth}: {alarms} of {RUNS}");
        }
    }
}
