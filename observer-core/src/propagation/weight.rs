//! What a service does with the weight of a request: the weights of a request and of a hop that carries its trace come in,
//! an outcome goes out.

use crate::context::{Sampled, TraceContext, Weight, WeightClass};
use crate::fact::Fact;

/// What became of a weight on a hop (`trace_weight_requests_total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightOutcome {
    /// Unchanged, or raised to 1 or more (which a service does on an error).
    Kept,
    /// The request had one, the hop has none.
    Missing,
    /// Another one that is not a raise.
    Changed,
    /// The hop's weight is not a number.
    Malformed,
    /// The hop's weight is out of range.
    OutOfRange,
}

impl WeightOutcome {
    /// Every outcome, in the order of reports.
    pub const ALL: [Self; 5] = [Self::Kept, Self::Missing, Self::Changed, Self::Malformed, Self::OutOfRange];

    /// The label value, for example `out_of_range`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Malformed => "malformed",
            Self::OutOfRange => "out_of_range",
        }
    }
}

/// What became of `arrived` on a hop that carries `sent`. `None` where there is nothing to judge: the request had no weight
/// and the hop none that is wrong, a bad weight was handed on as it came, or one of the two was not observed.
pub(super) fn judge(arrived: Fact<Weight>, sent: Fact<Weight>) -> Option<WeightOutcome> {
    match (arrived, sent) {
        (Fact::NotObserved, _) | (_, Fact::NotObserved) => None,
        (before, Fact::Present(Weight::Malformed)) if before != sent => Some(WeightOutcome::Malformed),
        (before, Fact::Present(Weight::OutOfRange)) if before != sent => Some(WeightOutcome::OutOfRange),
        (Fact::Present(Weight::Valid(_)), Fact::Absent) => Some(WeightOutcome::Missing),
        (Fact::Present(Weight::Valid(before)), Fact::Present(Weight::Valid(after))) => {
            // The same text gives the same number: no tolerance.
            let raised = after > before && WeightClass::of(sent) == WeightClass::Keep;
            let kept = before.total_cmp(&after).is_eq() || raised;
            Some(if kept { WeightOutcome::Kept } else { WeightOutcome::Changed })
        }
        _ => None,
    }
}

/// What is wrong with the weight of a trace that begins here. `cause`: the weight of the request that the hop follows, which may
/// have been handed on as it came.
pub(super) fn judge_first(cause: Option<Fact<Weight>>, sent: Fact<Weight>) -> Option<WeightOutcome> {
    judge(Fact::Absent, sent).filter(|_| cause != Some(sent))
}

/// Whether a weight asks for the trace to be kept, whatever was decided before.
pub(super) fn must_keep(weight: Fact<Weight>) -> bool {
    WeightClass::of(weight) == WeightClass::Keep
}

/// The decision on a trace that is sent with `weight`, where that asks for the trace to be kept.
pub(super) fn promised(weight: Fact<Weight>, trace: Option<&TraceContext>) -> Option<Sampled> {
    trace.filter(|_| must_keep(weight)).map(|trace| trace.sampled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_weights_has_its_outcome() {
        let valid = |weight| Fact::Present(Weight::Valid(weight));
        let (malformed, out) = (Fact::Present(Weight::Malformed), Fact::Present(Weight::OutOfRange));
        for (arrived, sent, expected) in [
            (valid(0.2), valid(0.2), Some(WeightOutcome::Kept)),
            (valid(0.2), valid(1.0), Some(WeightOutcome::Kept)),
            (valid(0.2), valid(5.0), Some(WeightOutcome::Kept)),
            (valid(0.2), valid(0.9), Some(WeightOutcome::Changed)),
            (valid(2.0), valid(1.0), Some(WeightOutcome::Changed)),
            (valid(0.2), Fact::Absent, Some(WeightOutcome::Missing)),
            (valid(0.2), malformed, Some(WeightOutcome::Malformed)),
            (Fact::Absent, out, Some(WeightOutcome::OutOfRange)),
            (malformed, malformed, None),
            (malformed, Fact::Absent, None),
            (Fact::Absent, valid(0.5), None),
            (Fact::Absent, Fact::Absent, None),
            (Fact::NotObserved, malformed, None),
            (valid(0.2), Fact::NotObserved, None),
        ] {
            assert_eq!(judge(arrived, sent), expected, "{arrived:?} {sent:?}");
        }
    }
}
