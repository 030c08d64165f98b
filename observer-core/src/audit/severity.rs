//! Severity: the code of a finding and its case come in, how bad that is goes out. The one table of it.

use super::ledger::Disagreement;
use super::report::{Code, Severity};

/// What of a finding decides how bad it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Case {
    /// The code alone.
    Any,
    /// Who is at the other end.
    Peer(Role),
    /// Formats of one message contradict each other.
    Disagreement(Disagreement),
    /// A measured ratio and its rule.
    Ratio { measured: f64, declared: f64 },
    /// Whether it concerns what was seen in traffic, or only what is declared.
    InTraffic(bool),
    /// The share of messages that it takes from the ratios.
    Share(f64),
}

/// What the service at the other end is to tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It is seen to send, start or export traces.
    Participant,
    /// It is not.
    Bystander,
    /// It is outside.
    External,
}

/// The share of unobserved messages from which on a ratio may mislead.
const SHARE_THAT_MATTERS: f64 = 0.01;

/// How bad a finding is; `None` where it is none.
pub(super) fn severity(code: Code, case: Case) -> Option<Severity> {
    use Severity::{Critical, Info, Warning};
    Some(match (code, case) {
        // A trace is cut, or goes on without what belongs to it, and somebody there would have gone on with it. What is kept from those
        // outside is protected.
        (
            Code::ContextLost
            | Code::TraceRestarted
            | Code::DecisionFlipped
            | Code::TracestateDropped
            | Code::BaggageDropped
            | Code::FormatMismatch,
            Case::Peer(role),
        ) => match role {
            Role::Participant => Critical,
            Role::Bystander => Info,
            Role::External => return None,
        },
        // Who provably had a context is told of by `context-lost`. Nobody who is observed can do anything about what comes from outside,
        // nor need it be meant to go on. Two tracing systems may well stand side by side, and whoever
        // begins traces may mean to sample none.
        (Code::ContextMissing | Code::DecisionInconsistent | Code::FormatMismatch | Code::TenantUndeclared, _)
        | (Code::ContextMalformed | Code::ContextDuplicated, Case::Peer(Role::External))
        | (Code::ContextDuplicated, Case::Disagreement(Disagreement::Trace))
        | (Code::TenantOverrideMissing, Case::InTraffic(false)) => Info,

        (Code::RatioUnder | Code::RatioOver, Case::Ratio { measured, declared }) => {
            if measured < declared / 2.0 || measured > declared * 2.0 { Critical } else { Warning }
        }
        (Code::NotObserved, Case::Share(share)) if share <= SHARE_THAT_MATTERS => Info,
        _ => Warning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_as_bad_as_its_case() {
        use Severity::{Critical, Info, Warning};
        let ratio = |measured| Case::Ratio { measured, declared: 0.1 };
        let cases = [
            (Code::ContextLost, Case::Peer(Role::Participant), Some(Critical)),
            (Code::TraceRestarted, Case::Peer(Role::Bystander), Some(Info)),
            (Code::DecisionFlipped, Case::Peer(Role::External), None),
            (Code::TracestateDropped, Case::Peer(Role::Bystander), Some(Info)),
            (Code::BaggageDropped, Case::Peer(Role::Participant), Some(Critical)),
            (Code::BaggageDropped, Case::Peer(Role::External), None),
            (Code::ContextMissing, Case::Any, Some(Info)),
            (Code::ContextMalformed, Case::Peer(Role::Participant), Some(Warning)),
            (Code::ContextMalformed, Case::Peer(Role::External), Some(Info)),
            (Code::RatioUnder, ratio(0.04), Some(Critical)),
            (Code::RatioUnder, ratio(0.06), Some(Warning)),
            (Code::RatioOver, ratio(0.19), Some(Warning)),
            (Code::RatioOver, ratio(0.21), Some(Critical)),
            (Code::RatioOver, Case::Ratio { measured: 0.001, declared: 0.0 }, Some(Critical)),
            (Code::ContextDuplicated, Case::Disagreement(Disagreement::Trace), Some(Info)),
            (Code::ContextDuplicated, Case::Disagreement(Disagreement::Decision), Some(Warning)),
            (Code::FormatMismatch, Case::Peer(Role::Participant), Some(Critical)),
            (Code::FormatMismatch, Case::Any, Some(Info)),
            (Code::DecisionInconsistent, Case::Any, Some(Info)),
            (Code::TenantUndeclared, Case::Any, Some(Info)),
            (Code::TenantOverrideMissing, Case::InTraffic(true), Some(Warning)),
            (Code::TenantOverrideMissing, Case::InTraffic(false), Some(Info)),
            (Code::NotObserved, Case::Share(0.001), Some(Info)),
            (Code::NotObserved, Case::Share(0.2), Some(Warning)),
            (Code::NothingObserved, Case::Any, Some(Warning)),
            (Code::ErrorUnsampled, Case::Any, Some(Warning)),
        ];
        for (code, case, expected) in cases {
            assert_eq!(severity(code, case), expected, "{code:?} {case:?}");
        }
    }
}
