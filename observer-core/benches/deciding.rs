//! How many traces it takes to see what a sampler does, by seeded simulation: to a verdict against a declared ratio, to a name of the
//! family, and to a false alarm; what a trace costs, and what a series holds. Run it by `cargo xtask bench statistics`.
#![allow(clippy::print_stdout, reason = "it is what it is for")]
#![allow(clippy::similar_names, reason = "a sampler samples")]

use std::hint::black_box;
use std::time::Instant;

use observer_core::ids::TraceId;
use observer_core::sampling::Verdict;
use observer_core::sampling::arithmetic::Family;
use observer_core::sampling::evidence::Evidence;
use observer_core::sampling::series::Share;
use observer_core::sampling::verdict::Declared;
use observer_core::time::Timestamp;

const ALPHA: f64 = 1e-3;
const HORIZON: u64 = 30_000;
const RUNS: u64 = 600;
const NULL_RUNS: u64 = 2_000;
const NAMING_RUNS: u64 = 400;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A sampler by ratio that decides otherwise now and then.
struct Sampler {
    family: Family,
    ratio: f64,
    noise: f64,
    random: Random,
}

impl Sampler {
    fn decides(&mut self) -> (TraceId, bool) {
        let trace = TraceId(u128::from(self.random.next()) << 64 | u128::from(self.random.next()));
        let below = (self.family.position(trace) as f64) < self.ratio * 18_446_744_073_709_551_616.0;
        (trace, below != (self.noise > 0.0 && self.random.fraction() < self.noise))
    }
}

/// After how many traces the method raises an alarm; the family is known.
fn by_threshold(declared: &Declared, sampler: &mut Sampler, horizon: u64) -> Option<u64> {
    let limit = -ALPHA.ln();
    let mut evidence = Evidence::of(sampler.family);
    let (mut odd, mut looks) = (0, 0);
    (1..=horizon).find(|number| {
        let (id, sampled) = sampler.decides();
        evidence.add(Timestamp(*number), id, sampled);
        // Only a decision that contradicts the declared ratio can raise an alarm.
        let below = (sampler.family.position(id) as f64) < declared.ratio * 18_446_744_073_709_551_616.0;
        odd += u64::from(below != sampled);
        if odd == looks {
            return false;
        }
        looks = odd;
        evidence.ln_against(declared).is_some_and(|against| against >= limit)
    })
}

/// The same of the test that knows the counts alone.
fn by_counts(declared: &Declared, sampler: &mut Sampler, horizon: u64) -> Option<u64> {
    let mut share = Share::default();
    (1..=horizon).find(|_| {
        share.traces += 1;
        share.sampled += u64::from(sampler.decides().1);
        matches!(declared.judge(share), Verdict::Under | Verdict::Over)
    })
}

/// After how many traces a family is named, and which.
fn naming(sampler: &mut Sampler, horizon: u64) -> Option<(u64, Family)> {
    let mut evidence = Evidence::default();
    (1..=horizon).find_map(|number| {
        let (id, sampled) = sampler.decides();
        evidence.add(Timestamp(number), id, sampled);
        evidence.explained(ALPHA).map(|explained| (number, explained.family))
    })
}

fn median_and_p90(mut delays: Vec<u64>) -> String {
    delays.sort_unstable();
    let at = |tenths: usize| delays.get(delays.len() * tenths / 10).copied();
    match (at(5), at(9)) {
        (Some(median), Some(p90)) => format!("{median} ({p90})"),
        _ => "none".to_owned(),
    }
}

type Method = fn(&Declared, &mut Sampler, u64) -> Option<u64>;

fn main() {
    let methods: [(&str, Method, f64); 3] = [
        ("threshold, 1 % put up with, no noise", by_threshold, 0.0),
        ("threshold, 1 % put up with, 0.5 % noise", by_threshold, 0.005),
        ("counts alone", by_counts, 0.0),
    ];
    let declared = |ratio| Declared { ratio, tolerance: 0.0, alpha: ALPHA };
    println!("traces to a verdict, median (90th percentile) of {RUNS} runs, at any moment, false alarms {ALPHA}");
    println!("{:<42}{:>18}{:>18}{:>18}", "", "0.1 to 0.05", "0.1 to 0.09", "0.01 to 0.02");
    for (name, method, noise) in methods {
        print!("{name:<42}");
        for (from, to) in [(0.1, 0.05), (0.1, 0.09), (0.01, 0.02)] {
            let delays = (0..RUNS).map(|seed| {
                let mut sampler = Sampler { family: Family::Low64, ratio: to, noise, random: Random(seed) };
                method(&declared(from), &mut sampler, 2 * HORIZON).unwrap_or(u64::MAX)
            });
            print!("{:>18}", median_and_p90(delays.collect()));
        }
        println!();
    }
    println!("\nfalse alarms of {NULL_RUNS} runs of {HORIZON} traces");
    println!("{:<42}{:>18}{:>18}", "", "0.1", "0.01");
    for (name, method, noise) in
        [("threshold, no noise", methods[0].1, 0.0), ("threshold, 1 % noise", methods[0].1, 0.01), methods[2]]
    {
        print!("{name:<42}");
        for ratio in [0.1, 0.01] {
            let alarms = (0..NULL_RUNS).filter(|seed| {
                let random = Random(seed ^ 0xdead_beef);
                let mut sampler = Sampler { family: Family::Low64, ratio, noise, random };
                method(&declared(ratio), &mut sampler, HORIZON).is_some()
            });
            print!("{:>18}", alarms.count());
        }
        println!();
    }
    println!("\ntraces to the name of the family, median (90th percentile) of {NAMING_RUNS} runs, and wrong names");
    for (ratio, noise) in [(0.5, 0.0), (0.1, 0.0), (0.1, 0.01), (0.1, 0.03), (0.01, 0.0)] {
        let mut wrong = 0;
        let families = Family::ALL.into_iter().cycle();
        let delays = (0..NAMING_RUNS).zip(families).map(|(seed, family)| {
            let mut sampler = Sampler { family, ratio, noise, random: Random(seed) };
            naming(&mut sampler, HORIZON).map_or(u64::MAX, |(number, named)| {
                wrong += u64::from(named != family);
                number
            })
        });
        let delays = median_and_p90(delays.collect());
        println!("{:<42}{delays:>18}{wrong:>18}", format!("ratio {ratio}, noise {noise}"));
    }
    println!("\nwhat a trace costs, and what a series holds at most");
    for (name, ratio, is_coin) in
        [("ratio 0.1", 0.1, false), ("ratio 0.001", 0.001, false), ("a coin of 0.1", 0.1, true)]
    {
        let mut sampler = Sampler { family: Family::Low64, ratio, noise: 0.0, random: Random(1) };
        let mut coin = Random(2);
        let decisions: Vec<_> = (0..100_000)
            .map(|_| {
                let (id, sampled) = sampler.decides();
                (id, if is_coin { coin.fraction() < ratio } else { sampled })
            })
            .collect();
        let (mut evidence, mut bytes) = (Evidence::default(), 0);
        let started = Instant::now();
        for (number, &(id, sampled)) in (0..).zip(&decisions) {
            evidence.add(Timestamp(number), id, sampled);
            if number % 1024 == 0 {
                bytes = bytes.max(evidence.bytes());
            }
        }
        let nanoseconds = started.elapsed().as_nanos() as f64 / decisions.len() as f64;
        black_box(&evidence);
        println!("{name:<42}{:>18}{:>18}", format!("{nanoseconds:.0} ns"), format!("{bytes} bytes"));
    }
}
