//! Sampling: distinct traces come in, ratios with intervals that hold at every moment go out.
//!
//! [`traces`] counts, [`interval`] says how sure a ratio is, [`verdict`] compares it with a declared one. Which rule a ratio is
//! compared with, and whom that blames, is decided in [`crate::audit`].

pub mod arithmetic;
pub mod evidence;
pub mod interval;
pub mod series;
pub mod traces;
pub mod verdict;
mod window;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a ratio is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Traces that arrive at a service in requests.
    Received,
    /// Traces that a service sends on without having received them.
    Started,
    /// Traces that it received and sends on; sampled as it sends them.
    Forwarded,
    /// Traces of which spans reach the OTLP tap.
    Exported,
}

impl Point {
    /// Every point, in the order of reports.
    pub const ALL: [Self; 4] = [Self::Received, Self::Started, Self::Forwarded, Self::Exported];

    /// The place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Received => 0,
            Self::Started => 1,
            Self::Forwarded => 2,
            Self::Exported => 3,
        }
    }

    /// The label value, for example `started`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Started => "started",
            Self::Forwarded => "forwarded",
            Self::Exported => "exported",
        }
    }
}

/// What is concluded of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Within the tolerance of its rule.
    Match,
    /// Below it.
    Under,
    /// Above it.
    Over,
    /// The service only inherits the decision: nobody is accused here.
    Inherited,
    /// The data cannot tell yet.
    Insufficient,
    /// No rule covers it.
    Undeclared,
    /// Rules of the same rank disagree.
    Conflicting,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 7] = [
        Self::Match,
        Self::Under,
        Self::Over,
        Self::Inherited,
        Self::Insufficient,
        Self::Undeclared,
        Self::Conflicting,
    ];

    /// The label value, for example `insufficient`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Under => "under",
            Self::Over => "over",
            Self::Inherited => "inherited",
            Self::Insufficient => "insufficient",
            Self::Undeclared => "undeclared",
            Self::Conflicting => "conflicting",
        }
    }
}
