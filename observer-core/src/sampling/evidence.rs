//! What a sampler decides: distinct traces and their decisions come in; the family of the sampler, its ratio and when that changed go
//! out. Every family explains the decisions as well as it can ([`window`](super::window)); one is named once it does so beyond chance,
//! and better than any other.

use arrayvec::ArrayVec;

use super::arithmetic::Family;
use super::interval::Interval;
use super::series::Share;
use super::verdict::Declared;
use super::window::{Likeliest, Window};
use crate::ids::TraceId;
use crate::time::Timestamp;

const FAMILIES: usize = Family::ALL.len();
/// The chance that a family is named where none is, or the wrong one.
const NAMED_BY_CHANCE: f64 = 1e-3;
/// The chance that a change is seen where there is none, in each period in which it is looked for.
const CHANGED_BY_CHANCE: f64 = 1e-4;
/// How much less evidence than the best has a family that is given up beyond what names that one: the logarithm.
const GIVEN_UP: f64 = 6.0;
/// Families are compared whenever so many traces more were seen, and past 32 times as many whenever an eighth more.
const COMPARED_EVERY: u64 = 8;
/// The first period in which a change is looked for; each is as long as all that was seen before it, at most.
const PERIOD_MIN: u64 = 256;
/// And so long at most, so that what changes later is seen as soon.
const PERIOD_MAX: u64 = 16_384;

/// A threshold that explains what was decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explained {
    /// The family of the sampler.
    pub family: Family,
    /// The ratios that it may have.
    pub interval: Interval,
    /// The ratio that was configured, where only one that people configure is possible.
    pub configured: Option<f64>,
    /// Decisions that the best threshold explains.
    pub agree: u64,
    /// Those that contradict it.
    pub disagree: u64,
    /// Whether many are sampled whatever the ratio.
    pub is_forced: bool,
}

/// A ratio that changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Before.
    pub from: Explained,
    /// About when: since then more decisions contradict what was before than did until then.
    pub at: Timestamp,
}

/// What is known of the decisions of one sampler.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    now: Period,
    /// What was known when a change was last looked for in vain, and what was seen since.
    lately: Option<(Explained, Box<Period>)>,
    contradictions: Run,
    change: Option<Change>,
    /// Traces that were passed on with another decision than the sampler's.
    overruled: u64,
}

/// Decisions that contradict the threshold, as a cumulative sum: it tells since when there are four times as many as before (Page 1954).
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    /// The share of decisions that contradicted it in the periods before.
    usually: f64,
    sum: f64,
    began: Timestamp,
}

impl Run {
    /// The share of contradictions that goes for nothing.
    const LEAST: f64 = 1e-3;

    fn add(&mut self, at: Timestamp, contradicts: bool) {
        if self.sum <= 0.0 {
            (self.sum, self.began) = (0.0, at);
        }
        self.sum += if contradicts { libm::log(4.0) } else { -3.0 * self.usually.max(Self::LEAST) };
    }
}

#[derive(Clone, Debug)]
struct Period {
    all: Share,
    windows: Vec<Window>,
    /// The family that explained the decisions when families were compared last, beyond chance and better than any other.
    named: Option<Family>,
    /// The thresholds that fewest decisions contradicted then.
    likeliest: Likeliest,
    /// Whether that is known without evidence.
    is_known: bool,
    /// After how many traces families are compared next.
    compared_at: u64,
}

impl Default for Period {
    fn default() -> Self {
        Self {
            all: Share::default(),
            windows: Family::ALL.map(Window::new).into(),
            named: None,
            likeliest: Likeliest::default(),
            is_known: false,
            compared_at: COMPARED_EVERY,
        }
    }
}

impl Period {
    /// Counts a decision; whether it is time to compare.
    fn add(&mut self, trace: TraceId, sampled: bool) -> bool {
        self.all.traces = self.all.traces.saturating_add(1);
        self.all.sampled = self.all.sampled.saturating_add(u64::from(sampled));
        let all = self.all;
        self.windows.retain_mut(|window| window.add(window.family.position(trace), sampled, all));
        let is_time = all.traces >= self.compared_at;
        if is_time {
            let apart = if all.traces < 32 * COMPARED_EVERY { COMPARED_EVERY } else { all.traces / 8 };
            self.compared_at = all.traces.saturating_add(apart);
            if !self.is_known {
                self.compare();
            }
        }
        is_time
    }

    fn remove(&mut self, trace: TraceId, sampled: bool) {
        self.all.traces = self.all.traces.saturating_sub(1);
        self.all.sampled = self.all.sampled.saturating_sub(u64::from(sampled));
        self.windows.iter_mut().for_each(|window| window.remove(window.family.position(trace), sampled));
    }

    /// Names the family that explains the decisions, beyond chance and better than any other, and gives up those that do not.
    fn compare(&mut self) {
        let all = self.all;
        let evidence: ArrayVec<f64, FAMILIES> =
            self.windows.iter().map(|window| window.explain(all).ln_evidence).collect();
        let best = evidence.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut near = self.windows.iter().zip(&evidence).filter(|(_, other)| best - **other <= named());
        let only = near.next().filter(|_| near.next().is_none());
        let only = only.map(|(window, _)| window).filter(|_| best > named());
        self.named = only.map(|window| window.family);
        self.likeliest = only.map(Window::likeliest).unwrap_or_default();
        if best > named() && self.windows.len() > 1 {
            let mut evidence = evidence.into_iter();
            self.windows.retain(|_| evidence.next().is_some_and(|other| best - other <= named() + GIVEN_UP));
            self.windows.shrink_to_fit();
        }
    }

    fn window(&self) -> Option<&Window> {
        self.windows.iter().find(|window| Some(window.family) == self.named)
    }

    fn explained(&self, alpha: f64) -> Option<Explained> {
        let window = self.window()?;
        let explanation = window.explain(self.all);
        let interval = window.interval(self.all, &explanation, alpha);
        let disagree = window.fewest_contradictions();
        Some(Explained {
            family: window.family,
            interval,
            configured: configured(interval),
            agree: self.all.traces.saturating_sub(disagree),
            disagree,
            is_forced: explanation.is_forced,
        })
    }
}

/// The evidence that names a family: each of them may be right by chance.
fn named() -> f64 {
    libm::log(3.0 * FAMILIES as f64 / NAMED_BY_CHANCE)
}

impl Evidence {
    /// Of a sampler whose family is known.
    pub fn of(family: Family) -> Self {
        let now =
            Period { windows: vec![Window::new(family)], named: Some(family), is_known: true, ..Period::default() };
        Self { now, ..Self::default() }
    }

    /// Counts a decision.
    pub fn add(&mut self, at: Timestamp, trace: TraceId, sampled: bool) {
        self.now.add(trace, sampled);
        if let Some(family) = self.now.named {
            let contradicts = self.now.likeliest.is_contradicted(family.position(trace), sampled);
            self.contradictions.add(at, contradicts);
        }
        let Some((established, lately)) = &mut self.lately else {
            if self.now.all.traces >= PERIOD_MIN {
                self.lately = self.now.explained(CHANGED_BY_CHANCE).map(|established| (established, Box::default()));
            }
            return;
        };
        if !lately.add(trace, sampled) {
            return;
        }
        let is_apart = |now: &Explained| now.family != established.family || !now.interval.meets(established.interval);
        if lately.explained(CHANGED_BY_CHANCE).as_ref().is_some_and(is_apart) {
            self.change = Some(Change { from: *established, at: self.contradictions.began });
            // The period may have begun before the change: what is now is seen from here on.
            (self.now, self.lately, self.contradictions) = (Period::default(), None, Run::default());
            self.overruled = 0;
        } else if lately.all.traces >= (self.now.all.traces / 2).min(PERIOD_MAX) {
            **lately = Period::default();
            if let Some(now) = self.now.explained(CHANGED_BY_CHANCE) {
                *established = now;
                self.contradictions.usually = now.disagree as f64 / self.now.all.traces as f64;
            }
        }
    }

    /// Takes a decision back.
    pub fn remove(&mut self, trace: TraceId, sampled: bool) {
        self.now.remove(trace, sampled);
    }

    /// Counts a trace that was received and passed on.
    pub fn passed_on(&mut self, trace: TraceId, sampled: bool) {
        let Some(family) = self.now.named else { return };
        if self.now.likeliest.is_contradicted(family.position(trace), sampled) {
            self.overruled = self.overruled.saturating_add(1);
        }
    }

    /// Traces that were passed on with another decision than the sampler's.
    pub fn overruled(&self) -> u64 {
        self.overruled
    }

    /// The threshold that explains the decisions, where one does; its interval misses the ratio at any moment with probability `alpha`.
    pub fn explained(&self, alpha: f64) -> Option<Explained> {
        self.now.explained(alpha)
    }

    /// The same, unless the share of sampled traces shows that ids are not spread evenly over what the sampler reads: then its ratio is
    /// not the share of traces that it samples.
    pub fn trusted(&self, alpha: f64) -> Option<Explained> {
        self.explained(alpha).filter(|explained| self.spreads(explained, alpha))
    }

    /// Whether as many traces are sampled as the threshold says.
    pub fn spreads(&self, explained: &Explained, alpha: f64) -> bool {
        explained.is_forced || Interval::of(self.now.all, alpha).meets(explained.interval)
    }

    /// The decisions that were counted since the last change.
    pub fn share(&self) -> Share {
        self.now.all
    }

    /// The last change.
    pub fn change(&self) -> Option<&Change> {
        self.change.as_ref()
    }

    /// The logarithm of the evidence against a declared ratio above 0 and below 1, where the family is known.
    pub fn ln_against(&self, declared: &Declared) -> Option<f64> {
        Some(self.now.window()?.ln_against(declared, self.now.all))
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let of = |period: &Period| period.windows.capacity().saturating_mul(size_of::<Window>());
        let lately = self.lately.as_ref().map_or(0, |(_, lately)| size_of::<Period>().saturating_add(of(lately)));
        size_of::<Self>().saturating_add(of(&self.now)).saturating_add(lately)
    }
}

/// The one ratio within an interval that people configure: of those with the fewest digits, decimal or one in so many, the only one.
fn configured(interval: Interval) -> Option<f64> {
    let Interval { lower, upper } = interval;
    for digits in [1, 2, 3, 4] {
        let unit = libm::pow(10.0, f64::from(digits));
        let (first, last) = (libm::ceil(lower * unit), libm::floor(upper * unit));
        if first < last {
            return None;
        }
        if last - first > -0.5 && first > 0.0 && first < unit {
            return Some(first / unit);
        }
        // One in so many, of few.
        let (fewest, most) = (libm::ceil(1.0 / upper), libm::floor(1.0 / lower).min(unit));
        if fewest < most {
            return None;
        }
        if most - fewest > -0.5 && fewest > 1.0 {
            return Some(1.0 / fewest);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::verdict::tests::Random;

    /// A sampler whose family, ratio and noise are known.
    struct Simulated {
        now: u64,
        family: Family,
        ratio: f64,
        noise: f64,
        random: Random,
    }

    impl Simulated {
        fn new(family: Family, ratio: f64, seed: u64) -> Self {
            Self { now: 0, family, ratio, noise: 0.0, random: Random(seed) }
        }

        fn decides(&mut self) -> (TraceId, bool) {
            let trace = TraceId(u128::from(self.random.next()) << 64 | u128::from(self.random.next()));
            let below = (self.family.position(trace) as f64) < self.ratio * 18_446_744_073_709_551_616.0;
            (trace, below != self.random.chance(self.noise))
        }

        fn add(&mut self, evidence: &mut Evidence, traces: u64) {
            for _ in 0..traces {
                let (trace, sampled) = self.decides();
                self.now += 1;
                evidence.add(Timestamp(self.now), trace, sampled);
            }
        }
    }

    #[test]
    fn every_family_is_named_with_the_ratio_that_was_configured() {
        for (seed, family) in (1..).zip(Family::ALL) {
            for ratio in [0.001, 0.01, 0.1, 0.25, 0.5, 0.9] {
                let mut evidence = Evidence::default();
                Simulated::new(family, ratio, seed).add(&mut evidence, 20_000);
                let explained = evidence.explained(1e-3).unwrap_or_else(|| panic!("{family:?} at {ratio} has no name"));
                assert_eq!(explained.family, family, "{ratio}");
                assert_eq!(explained.disagree, 0, "{family:?} at {ratio}");
                let Interval { lower, upper } = explained.interval;
                assert!(lower <= ratio && ratio <= upper && upper - lower < 2e-3, "{family:?}: {lower} to {upper}");
                if family != Family::Fnv32 {
                    assert_eq!(explained.configured, Some(ratio), "{family:?}: {lower} to {upper}");
                }
            }
        }
    }

    #[test]
    fn decisions_made_otherwise_are_counted_and_hide_nothing() {
        for (seed, noise) in [(1, 0.005), (2, 0.01), (3, 0.03)] {
            let mut evidence = Evidence::default();
            let mut simulated = Simulated { noise, ..Simulated::new(Family::AbsLow, 0.1, seed) };
            simulated.add(&mut evidence, 10_000);
            let explained = evidence.explained(1e-3).unwrap();
            assert_eq!(explained.family, Family::AbsLow);
            assert!((explained.disagree as f64 - 10_000.0 * noise).abs() < 60.0, "{explained:?}");
            assert!(explained.interval.lower < 0.1 && 0.1 < explained.interval.upper, "{explained:?}");
        }
    }

    #[test]
    fn what_is_sampled_whatever_the_ratio_says_so() {
        let (mut evidence, mut forced) = (Evidence::default(), Random(7));
        let mut simulated = Simulated::new(Family::Low64, 0.1, 1);
        for _ in 0..5_000 {
            let (trace, sampled) = simulated.decides();
            evidence.add(Timestamp(0), trace, sampled || forced.chance(0.2));
        }
        let explained = evidence.explained(1e-3).unwrap();
        assert!(explained.is_forced && explained.family == Family::Low64, "{explained:?}");
        assert!(explained.interval.lower < 0.1 && 0.1 < explained.interval.upper, "{explained:?}");
    }

    #[test]
    fn a_coin_has_no_family() {
        for seed in 0..100 {
            let (mut evidence, mut coin, mut ids) =
                (Evidence::default(), Random(seed), Simulated::new(Family::Low64, 0.5, seed));
            for number in 1..=3_000_u32 {
                let (trace, _) = ids.decides();
                evidence.add(Timestamp(0), trace, coin.chance(0.1));
                if number % 50 == 0 {
                    assert_eq!(evidence.explained(1e-3), None, "seed {seed} after {number}");
                }
            }
        }
    }

    #[test]
    fn a_changed_ratio_is_seen_and_when_and_what_was_before() {
        for (before, after) in [(0.1, 0.05), (0.1, 0.09), (0.01, 0.02), (0.5, 0.1)] {
            let mut evidence = Evidence::default();
            Simulated::new(Family::Xor32, before, 1).add(&mut evidence, 5_000);
            assert_eq!(evidence.change(), None);
            let then = Simulated { now: 5_000, ..Simulated::new(Family::Xor32, after, 2) };
            { then }.add(&mut evidence, 20_000);
            let change = evidence.change().unwrap_or_else(|| panic!("{before} to {after} was not seen"));
            let Interval { lower, upper } = change.from.interval;
            assert!(lower <= before && before <= upper, "{change:?}");
            assert!((4_500..=6_500).contains(&change.at.0), "{before} to {after}: {:?}", change.at);
            assert_eq!(evidence.explained(1e-3).unwrap().configured, Some(after));
        }
    }

    #[test]
    fn memory_is_bounded() {
        for (family, ratio) in [(Family::Low64, 0.1), (Family::Fnv64, 0.5)] {
            let mut evidence = Evidence::default();
            let (mut simulated, mut coin) = (Simulated::new(family, ratio, 1), Random(1));
            for _ in 0..3_000 {
                let (trace, sampled) = simulated.decides();
                evidence.add(Timestamp(0), trace, if family == Family::Fnv64 { coin.chance(ratio) } else { sampled });
                assert!(evidence.bytes() <= 8192, "{} bytes", evidence.bytes());
            }
        }
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let (mut evidence, mut other) = (Evidence::default(), Evidence::default());
        let (mut simulated, mut noise) = (Simulated::new(Family::Knuth, 0.2, 1), Simulated::new(Family::Low64, 0.2, 2));
        let wrong: Vec<_> = (0..40).map(|_| noise.decides()).collect();
        for number in 0..2_000 {
            let (trace, sampled) = simulated.decides();
            if let Some((trace, sampled)) = wrong.get(number) {
                evidence.add(Timestamp(0), *trace, *sampled);
                evidence.remove(*trace, *sampled);
            }
            evidence.add(Timestamp(0), trace, sampled);
            other.add(Timestamp(0), trace, sampled);
        }
        assert_eq!(evidence.explained(1e-3), other.explained(1e-3));
    }

    #[test]
    fn a_declared_ratio_is_refuted_by_two_contradictions_and_a_sound_one_is_not() {
        let declared = |ratio| Declared { ratio, tolerance: 0.0, alpha: 1e-3 };
        let delay = |ratio: f64, seed: u64| {
            let mut simulated = Simulated::new(Family::Low64, ratio, seed);
            let mut window = Window::new(Family::Low64);
            let (mut all, declared) = (Share::default(), declared(0.1));
            (1..=30_000_u64).find(|_| {
                let (trace, sampled) = simulated.decides();
                all.traces += 1;
                all.sampled += u64::from(sampled);
                window.add(Family::Low64.position(trace), sampled, all);
                window.ln_against(&declared, all) > libm::log(1000.0)
            })
        };
        let mut delays: Vec<_> = (0..100).map(|seed| delay(0.05, seed).unwrap()).collect();
        delays.sort_unstable();
        assert!(delays[50] <= 41, "{delays:?}");
        assert_eq!((0..3).map(|seed| delay(0.1, seed)).collect::<Vec<_>>(), [None; 3]);
    }
}
