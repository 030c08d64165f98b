//! What is to be reached: figures come in; each target with its verdict goes out. A figure whose interval holds the target
//! tells neither way, and is said to.

use super::arms::ArmName;
use super::figures::{ArmFigures, FullLoad};
use super::scene::Aims;
use serde::Serialize;

/// Memory of the observer.
const PEAK_BYTES: u64 = 64 << 20;
/// Memory after half of the long turn to its end: flat, if it grows by no more than this.
const GROWTH_BYTES: u64 = 1 << 20;

/// A shorter turn does not tell: tables still fill.
const FLAT_FROM_SECONDS: u64 = 30;

/// One target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    /// What is to be reached, with the figure that was measured.
    pub(crate) what: String,
    /// Whether it is.
    pub(crate) verdict: Verdict,
}

/// Whether a target is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It is.
    Reached,
    /// It is not.
    Missed,
    /// More turns, or a quieter machine, would tell.
    Open,
}

impl Target {
    fn new(what: String, reached: bool) -> Self {
        Self { what, verdict: if reached { Verdict::Reached } else { Verdict::Missed } }
    }

    /// Whether it is not reached for certain.
    pub(crate) fn missed(&self) -> bool {
        self.verdict == Verdict::Missed
    }
}

/// Judges the observer; nothing is asked of other arms.
pub(crate) fn judge(wanted: Aims, arms: &[ArmFigures], full_load: Option<&FullLoad>, unit: &str) -> Vec<Target> {
    let mut targets = Vec::new();
    if let Some(observer) = arms.iter().find(|arm| arm.arm == ArmName::Observer) {
        targets.extend(wanted.throughput.and_then(|wanted| ratio(wanted, observer)));
        if let (Some(us), Some(aim)) = (observer.processor_us_per_request(), wanted.processor_us_per_request) {
            let what = format!("processor time below {aim} us a {unit}: {us:.3} us");
            targets.push(Target::new(what, us < aim));
        }
    }
    if let Some(turn) = full_load {
        let (cost, seconds) = (&turn.cost, turn.seconds);
        let (seen, served) = (cost.seen.unwrap_or(0), cost.served);
        targets.push(Target::new(format!("all {unit}s of {seconds} s seen: {seen} of {served}"), seen == served));
        let peak = cost.peak_bytes.unwrap_or(u64::MAX);
        targets.push(Target::new(format!("memory below 64 MiB: {:.1} MiB", mebibytes(peak)), peak < PEAK_BYTES));
        let growth = growth(&turn.resident_bytes);
        let what = format!("memory flat: {:+.2} MiB in the second half of {seconds} s", mebibytes(growth));
        let flat = Target::new(what, growth <= GROWTH_BYTES);
        targets.push(if seconds < FLAT_FROM_SECONDS { Target { verdict: Verdict::Open, ..flat } } else { flat });
    }
    targets
}

fn ratio(wanted: f64, observer: &ArmFigures) -> Option<Target> {
    let ratio = observer.ratio?;
    let what =
        format!("throughput at least {wanted}: {:.4} ({:.4} to {:.4})", ratio.estimate, ratio.lower, ratio.upper);
    let verdict = match ratio {
        ratio if ratio.lower >= wanted => Verdict::Reached,
        ratio if ratio.upper < wanted => Verdict::Missed,
        _ => Verdict::Open,
    };
    Some(Target { what, verdict })
}

/// How far memory rose from the middle of the turn to its highest after that.
fn growth(resident: &[u64]) -> u64 {
    let later = resident.get(resident.len() / 2..).unwrap_or_default();
    let highest = later.iter().max().copied().unwrap_or(0);
    highest.saturating_sub(later.first().copied().unwrap_or(0))
}

/// For people.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::statistics::Interval;

    fn verdict(lower: f64, upper: f64) -> Option<Verdict> {
        let ratio = Some(Interval { estimate: f64::midpoint(lower, upper), lower, upper });
        let arms = [ArmFigures {
            arm: ArmName::Observer,
            turns: Vec::new(),
            ratio,
            service_us: Vec::new(),
            costs: Vec::new(),
        }];
        judge(Aims { throughput: Some(0.95), processor_us_per_request: None }, &arms, None, "request")
            .first()
            .map(|target| target.verdict)
    }

    #[test]
    fn an_interval_that_holds_the_target_tells_neither_way() {
        assert_eq!(verdict(0.951, 0.97), Some(Verdict::Reached));
        assert_eq!(verdict(0.94, 0.96), Some(Verdict::Open));
        assert_eq!(verdict(0.90, 0.949), Some(Verdict::Missed));
    }

    #[test]
    fn memory_that_is_taken_at_the_start_is_no_growth() {
        assert_eq!(growth(&[10, 40, 50, 50, 50, 50]), 0);
        assert_eq!(growth(&[10, 20, 30, 40, 50, 60]), 20);
        assert_eq!(growth(&[]), 0);
    }
}
