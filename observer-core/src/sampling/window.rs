//! One family of samplers: where traces lie on its scale and how each was decided come in; which thresholds explain the decisions, and
//! how well, goes out.
//!
//! A sampler by ratio decides `position < threshold`. Supposed is that it does so but for a share of its decisions, whatever the trace:
//! some are forced (debugging, errors), some dropped. For each threshold and share that gives the probability of all decisions; its mean
//! over the thresholds against what the best coin gives is the evidence for the family, and by Ville's inequality a threshold is excluded
//! once that mean exceeds the best that it has itself by `1 / alpha`, at any moment.
//!
//! Only where thresholds are still possible does it matter which of the decisions contradicts them: those few positions are kept, all
//! others are counted.

use arrayvec::ArrayVec;

use super::arithmetic::Family;
use super::interval::{Interval, times_ln};
use super::series::Share;
use super::verdict::{Declared, ln_sum};

/// Positions that are kept. The noisiest supposition needs some thirty.
const POINTS_MAX: usize = 64;
/// As many as are left where thresholds explain the decisions: more says that none does.
const POINTS_KEPT_MAX: usize = 48;
/// Shares of decisions that are made otherwise: of the traces that the threshold samples those dropped, of the others those forced.
const SUPPOSED: [Noise; 5] = [
    Noise { dropped: 1e-3, forced: 1e-3 },
    Noise { dropped: 1e-2, forced: 1e-2 },
    Noise { dropped: 5e-2, forced: 5e-2 },
    Noise { dropped: 1e-3, forced: 0.1 },
    Noise { dropped: 1e-3, forced: 0.3 },
];
/// How much less likely a threshold at the edge must be than the best one until it is given up for good: the logarithm of that, beside
/// that of the number of traces.
const GIVEN_UP: f64 = 12.0;
/// How much better more noise must explain the decisions before it is supposed: the logarithm of a thousand.
const NOISIER: f64 = 6.9;
/// The scale of positions here: 2^31.
const SCALE: f64 = 2_147_483_648.0;

/// Shares of decisions that a threshold does not explain.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Noise {
    /// Of the traces below the threshold, those that are not sampled.
    dropped: f64,
    /// Of the others, those that are.
    forced: f64,
}

impl Noise {
    /// As much as is put up with where nothing else is said.
    const BUDGET: Self = Self { dropped: 1e-2, forced: 1e-2 };
    /// Where more are decided otherwise.
    const OFTEN: Self = Self { dropped: 5e-2, forced: 5e-2 };
    /// Where some are sampled whatever the ratio.
    const FORCED: Self = Self { dropped: 1e-2, forced: 0.5 };
}

/// Decisions that contradict a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contradictions {
    /// Sampled above it.
    pub(super) forced: u64,
    /// Not sampled below it.
    pub(super) dropped: u64,
}

/// The logarithms of the four parts of a supposition.
#[derive(Clone, Copy, Debug)]
struct LnNoise {
    dropped: f64,
    kept: f64,
    forced: f64,
    left: f64,
}

impl From<Noise> for LnNoise {
    fn from(Noise { dropped, forced }: Noise) -> Self {
        let ln = libm::log;
        Self { dropped: ln(dropped), kept: ln(1.0 - dropped), forced: ln(forced), left: ln(1.0 - forced) }
    }
}

impl Contradictions {
    /// The logarithm of the probability of all decisions of `all`, of noise that is possible.
    fn ln_likelihood(self, all: Share, noise: LnNoise) -> f64 {
        let (below, above) = self.explained(all);
        self.forced as f64 * noise.forced
            + above * noise.left
            + self.dropped as f64 * noise.dropped
            + below * noise.kept
    }

    /// The same with the shares that make it largest, within a budget.
    fn ln_most_likely(self, all: Share, budget: Noise) -> f64 {
        let (below, above) = self.explained(all);
        let most = |contradicting: u64, explained: f64, most: f64| {
            let contradicting = contradicting as f64;
            if contradicting == 0.0 {
                return 0.0;
            }
            let share = (contradicting / (contradicting + explained)).min(most);
            times_ln(contradicting, share) + times_ln(explained, 1.0 - share)
        };
        most(self.dropped, below, budget.dropped) + most(self.forced, above, budget.forced)
    }

    fn sum(self) -> u64 {
        self.forced.saturating_add(self.dropped)
    }

    /// Sampled below the threshold, and not sampled above it.
    fn explained(self, all: Share) -> (f64, f64) {
        let unsampled = all.traces.saturating_sub(all.sampled);
        (all.sampled.saturating_sub(self.forced) as f64, unsampled.saturating_sub(self.dropped) as f64)
    }
}

/// Thresholds next to each other that the same decisions contradict.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Above this one, up to the next.
    from: u32,
    to: u32,
    contradictions: Contradictions,
}

/// What a family has seen.
#[derive(Clone, Debug)]
pub(super) struct Window {
    pub(super) family: Family,
    /// Thresholds that are possible, of 2^31.
    from: u32,
    to: u32,
    /// What contradicts all of them.
    outside: Contradictions,
    /// Positions between them in order, of 2^31; the lowest bit says whether the trace was sampled.
    points: ArrayVec<u32, POINTS_MAX>,
}

/// How well thresholds of a family explain the decisions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Explanation {
    /// The logarithm of the evidence against the best coin.
    pub(super) ln_evidence: f64,
    /// Whether many are sampled whatever the ratio.
    pub(super) is_forced: bool,
    /// What is put up with, by what explains the decisions.
    budget: Noise,
    ln_mean: f64,
}

impl Window {
    pub(super) fn new(family: Family) -> Self {
        Self { family, from: 0, to: 1 << 31, outside: Contradictions::default(), points: ArrayVec::new() }
    }

    /// Counts a decision; `all` has it. Whether thresholds can still explain what was decided.
    pub(super) fn add(&mut self, position: u64, sampled: bool, all: Share) -> bool {
        let point = point(position, sampled);
        match self.side(point) {
            Side::Below if !sampled => self.outside.dropped = self.outside.dropped.saturating_add(1),
            Side::Above if sampled => self.outside.forced = self.outside.forced.saturating_add(1),
            Side::Below | Side::Above => {}
            Side::Within => {
                let at = self.points.partition_point(|known| *known < point);
                if self.points.try_insert(at, point).is_ok() && self.points.is_full() {
                    self.give_up_edges(all);
                    return self.points.len() <= POINTS_KEPT_MAX;
                }
            }
        }
        true
    }

    /// Takes a decision back.
    pub(super) fn remove(&mut self, position: u64, sampled: bool) {
        let point = point(position, sampled);
        match self.side(point) {
            Side::Below if !sampled => self.outside.dropped = self.outside.dropped.saturating_sub(1),
            Side::Above if sampled => self.outside.forced = self.outside.forced.saturating_sub(1),
            Side::Below | Side::Above => {}
            Side::Within => {
                if let Ok(at) = self.points.binary_search(&point) {
                    self.points.remove(at);
                }
            }
        }
    }

    fn side(&self, point: u32) -> Side {
        let position = point >> 1;
        if position < self.from {
            Side::Below
        } else if position >= self.to {
            Side::Above
        } else {
            Side::Within
        }
    }

    /// Every possible threshold, from the lowest on.
    fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let sampled = self.points.iter().filter(|point| **point & 1 == 1).count() as u64;
        let mut now = self.outside;
        now.forced = now.forced.saturating_add(sampled);
        let mut from = self.from;
        let ends = self.points.iter().map(|point| (point >> 1, Some(point & 1 == 1)));
        ends.chain([(self.to, None)]).filter_map(move |(to, decision)| {
            let piece = Piece { from, to, contradictions: now };
            match decision {
                Some(true) => now.forced = now.forced.saturating_sub(1),
                Some(false) => now.dropped = now.dropped.saturating_add(1),
                None => {}
            }
            from = to;
            (piece.to > piece.from).then_some(piece)
        })
    }

    /// Gives up thresholds at either end that are hopeless whatever is supposed.
    fn give_up_edges(&mut self, all: Share) {
        let supposed = SUPPOSED.map(LnNoise::from);
        let best = supposed.map(|noise| {
            self.pieces()
                .fold(f64::NEG_INFINITY, |best, piece| best.max(piece.contradictions.ln_likelihood(all, noise)))
        });
        let margin = GIVEN_UP + libm::log(all.traces.max(1) as f64);
        let is_hopeless = |piece: &Piece| {
            let likely = |noise: &LnNoise| piece.contradictions.ln_likelihood(all, *noise);
            supposed.iter().zip(best).all(|(noise, best)| likely(noise) < best - margin)
        };
        let mut hopeful = self.pieces().filter(|piece| !is_hopeless(piece));
        let Some(first) = hopeful.next() else { return };
        let last = hopeful.last().unwrap_or(first);
        let (from, to) = (first.from, last.to);
        for point in std::mem::take(&mut self.points) {
            let (position, sampled) = (point >> 1, point & 1 == 1);
            if position < from {
                self.outside.dropped = self.outside.dropped.saturating_add(u64::from(!sampled));
            } else if position >= to {
                self.outside.forced = self.outside.forced.saturating_add(u64::from(sampled));
            } else {
                // There were as many before.
                self.points.push(point);
            }
        }
        (self.from, self.to) = (from, to);
    }

    /// How well thresholds explain all decisions.
    pub(super) fn explain(&self, all: Share) -> Explanation {
        let means = SUPPOSED.map(LnNoise::from).map(|noise| {
            self.ln_mean(|piece| {
                libm::log(f64::from(piece.to.saturating_sub(piece.from)) / SCALE)
                    + piece.contradictions.ln_likelihood(all, noise)
            })
        });
        let ln_mean = means.into_iter().fold(f64::NEG_INFINITY, ln_sum) - libm::log(SUPPOSED.len() as f64);
        let unsampled = all.traces.saturating_sub(all.sampled) as f64;
        let (sampled, traces) = (all.sampled as f64, all.traces as f64);
        let coin = times_ln(sampled, sampled / traces) + times_ln(unsampled, unsampled / traces);
        let [rarely, seldom, often, some, many] = means;
        let usual = ln_sum(rarely, seldom);
        let is_forced = some.max(many) > ln_sum(usual, often) + NOISIER;
        let budget = match () {
            () if is_forced => Noise::FORCED,
            () if often > usual + NOISIER => Noise::OFTEN,
            () => Noise::BUDGET,
        };
        Explanation { ln_evidence: ln_mean - coin, is_forced, budget, ln_mean }
    }

    /// The ratios whose threshold may have decided so: one that does is missed at any moment with probability `alpha` at most, as
    /// long as no more than the budget was decided otherwise.
    pub(super) fn interval(&self, all: Share, explanation: &Explanation, alpha: f64) -> Interval {
        let threshold = explanation.ln_mean + libm::log(alpha);
        let mut possible = self
            .pieces()
            .filter(|piece| piece.contradictions.ln_most_likely(all, explanation.budget) > threshold)
            .peekable();
        let Some(first) = possible.peek().copied() else { return Interval { lower: 1.0, upper: 0.0 } };
        let last = possible.last().unwrap_or(first);
        Interval { lower: f64::from(first.from) / SCALE, upper: f64::from(last.to) / SCALE }
    }

    /// The logarithm of a sum over all possible thresholds.
    fn ln_mean(&self, ln: impl Fn(Piece) -> f64) -> f64 {
        self.pieces().fold(f64::NEG_INFINITY, |sum, piece| ln_sum(sum, ln(piece)))
    }

    /// The logarithm of the evidence against every threshold in the band of tolerance of a declared ratio above 0 and below 1, as long
    /// as no more than the budget was decided otherwise; positive infinity where they were given up.
    ///
    /// Eight departures share the bets evenly but for one in 25 parts: nothing, a tenth, half, nine tenths of the odds, the reverse, and
    /// everything. Then two contradictions will do for each of these, where three are needed elsewhere.
    pub(super) fn ln_against(&self, declared: &Declared, all: Share) -> f64 {
        const DEPARTURES: [f64; 6] = [0.1, 0.5, 0.9, 1.0 / 0.9, 2.0, 10.0];
        const SHARE: f64 = 0.12;
        // Departures that are not among them, and decisions made otherwise.
        const ELSEWHERE: f64 = 0.04;
        const SUPPOSED: [(f64, Noise); 2] =
            [(0.9, Noise { dropped: 3e-4, forced: 3e-4 }), (0.1, Noise { dropped: 1e-2, forced: 1e-2 })];
        let [rarely, often] = SUPPOSED.map(|(part, noise)| (libm::log(part), LnNoise::from(noise)));
        let odds = declared.ratio / (1.0 - declared.ratio);
        let departures = DEPARTURES.map(|factor| SCALE * (odds * factor) / (1.0 + odds * factor));
        // Half of what is left is spread over all thresholds, half over those up to three times the declared one.
        let near = SCALE.min(3.0 * declared.ratio * SCALE);
        let alternatives = self.ln_mean(|piece| {
            let (from, to) = (f64::from(piece.from), f64::from(piece.to));
            let here = departures.iter().filter(|at| from < **at && **at <= to).count() as f64
                + f64::from(u8::from(piece.from == 0))
                + f64::from(u8::from(piece.to == 1 << 31));
            let spread = (to - from) / SCALE + (to.min(near) - from.min(near)) / near;
            let bets = here * SHARE + spread * ELSEWHERE / 2.0;
            let likely = |(part, noise)| part + piece.contradictions.ln_likelihood(all, noise);
            libm::log(bets) + ln_sum(likely(rarely), likely(often))
        });
        let band = declared.band();
        let declared = self
            .pieces()
            .filter(|piece| f64::from(piece.from) < band.upper * SCALE && f64::from(piece.to) >= band.lower * SCALE)
            .map(|piece| piece.contradictions.ln_most_likely(all, Noise::BUDGET))
            .fold(f64::NEG_INFINITY, f64::max);
        alternatives - declared
    }

    /// The decisions that contradict the best threshold.
    pub(super) fn fewest_contradictions(&self) -> u64 {
        self.pieces().map(|piece| piece.contradictions.sum()).min().unwrap_or_default()
    }

    /// The thresholds that fewest decisions contradict.
    pub(super) fn likeliest(&self) -> Likeliest {
        let best = self.pieces().min_by_key(|piece| piece.contradictions.sum());
        best.map_or_else(Likeliest::default, |piece| Likeliest { from: piece.from, to: piece.to })
    }
}

/// Thresholds next to each other, of 2^31.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Likeliest {
    from: u32,
    to: u32,
}

impl Likeliest {
    /// Whether a decision contradicts all of them.
    pub(super) fn is_contradicted(self, position: u64, sampled: bool) -> bool {
        let position = point(position, sampled) >> 1;
        if sampled { position >= self.to } else { position < self.from }
    }
}

enum Side {
    Below,
    Within,
    Above,
}

/// A position of 2^31 and, in the lowest bit, whether the trace was sampled.
#[expect(clippy::cast_possible_truncation, reason = "the upper 31 bits")]
fn point(position: u64, sampled: bool) -> u32 {
    (position >> 33 << 1) as u32 | u32::from(sampled)
}
