//! Propagation: the requests that reach and leave one workload come in, hops with an outcome go out.
//!
//! Two memories decide (traces that arrived in the last ten minutes; requests in flight
//! younger than 30 s); if all readings agree the hop is decided even under concurrency, else it is ambiguous. A class of hops
//! is accused only once it provably follows requests; what was told before that is corrected afterwards.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::context::{Formats, MessageContext, Sampled, TraceContext, Weight};
use crate::fact::Fact;
use crate::ids::{ConnectionId, ExchangeId, ServiceId, SocketId, TenantId, WorkloadId};
use crate::time::Timestamp;

mod agreement;
mod arrived;
mod class;
mod correction;
mod filter;
mod flights;
mod goroutines;
mod handed;
mod load;
mod routes;
mod shape;
mod telemetry;
mod threads;
mod tracker;
mod view;
mod watch;
mod weight;

pub use correction::{Correction, Example};
pub use goroutines::{GoCall, Work};
pub use handed::Handed;
pub use routes::{Origin, Route, Routes};
pub use telemetry::{NoHop, is_telemetry_topic, no_hop};
pub use threads::{Reading, Unread};
pub use tracker::{Propagation, PropagationCounters};
pub use view::Hidden;
pub use weight::WeightOutcome;

/// What became of the context on one request that a service sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Carries an arrived trace with a parent id of its own.
    Continued,
    /// Carries it with the parent id unchanged.
    PassedThrough,
    /// Carries no context, though every request that can have caused it had one.
    Lost,
    /// Carries a trace that never arrived, though every request that can have caused it had a context.
    Restarted,
    /// Carries the right trace with the other sampled flag.
    Flipped,
    /// Carries a new trace or none, while no request that can have caused it had a context.
    Rooted,
    /// Sent while no request was in flight.
    Background,
    /// More than one reading is left.
    Ambiguous,
    /// What reaches the process is not fully seen.
    Unattributed,
}

impl Outcome {
    /// Every outcome, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Continued,
        Self::PassedThrough,
        Self::Lost,
        Self::Restarted,
        Self::Flipped,
        Self::Rooted,
        Self::Background,
        Self::Ambiguous,
        Self::Unattributed,
    ];

    /// The label value, for example `passed_through`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continued => "continued",
            Self::PassedThrough => "passed_through",
            Self::Lost => "lost",
            Self::Restarted => "restarted",
            Self::Flipped => "flipped",
            Self::Rooted => "rooted",
            Self::Background => "background",
            Self::Ambiguous => "ambiguous",
            Self::Unattributed => "unattributed",
        }
    }
}

/// How the cause of a hop was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// A thread, goroutine or task link proves it.
    Causal,
    /// Every request in flight agrees on it.
    Window,
}

/// Who holds one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The set of processes that may hold the socket.
    pub workload: WorkloadId,
    /// The name it goes by.
    pub service: ServiceId,
}

/// A request, or a record, that reaches a workload.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// When its head was seen.
    pub at: Timestamp,
    /// Who serves it.
    pub owner: Owner,
    /// Which exchange it opens; `None`: a record from a broker, which nothing answers.
    pub exchange: Option<ExchangeId>,
    /// The socket that it reaches, where goroutines that read it can be told: requests come there one at a time. `None`: they cannot.
    pub socket: Option<SocketId>,
    /// What it says.
    pub context: &'a MessageContext,
    /// Its tenant ([`crate::names::Names::UNKNOWN_TENANT`] where it names none).
    pub tenant: TenantId,
    /// How the trace that it carries came to who sends it.
    pub route: Route,
}

/// A request that a workload sends.
#[derive(Debug)]
pub struct Outbound<'a> {
    /// When its head was seen.
    pub at: Timestamp,
    /// Who sends it.
    pub owner: Owner,
    /// Whom it goes to.
    pub peer: ServiceId,
    /// Which exchange it opens, where threads that read its answer can be told; `None`: they cannot.
    pub exchange: Option<ExchangeId>,
    /// The socket that it leaves through, where goroutines that send it can be told; `None`: they cannot.
    pub socket: Option<SocketId>,
    /// What it says.
    pub context: &'a MessageContext,
    /// Its tenant ([`crate::names::Names::UNKNOWN_TENANT`] where it names none).
    pub tenant: TenantId,
    /// The method, for the class of the hop.
    pub method: &'a str,
    /// The path, for the class of the hop.
    pub path: &'a str,
}

/// The head of a response that a workload sends.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When it was seen.
    pub at: Timestamp,
    /// Who sends it.
    pub workload: WorkloadId,
    /// On which connection.
    pub connection: ConnectionId,
    /// The number of the exchange that it answers; `None` where its request was not seen.
    pub number: Option<u64>,
    /// The status code; 0 where it is not known, or not yet, as of a stream that goes on.
    pub status: u16,
    /// A response whose head takes longer than this is told of, too.
    pub slow_from: Option<Duration>,
}

/// An error response (status 500 to 599), or one that is slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResponseSeen {
    /// Whether it is an error.
    pub is_error: bool,
    /// From the head of the request to that of the response; `None` where the request was not seen or the response streams on.
    pub took: Option<Duration>,
    /// The tenant of the request; `None` where the request was not seen.
    pub tenant: Option<TenantId>,
    /// The trace of the request: the one that it brought, else the one that the workload was seen to start because of it.
    pub trace: Option<TraceContext>,
    /// Whether the trace is not sampled; `None` where nothing tells.
    pub unsampled: Option<bool>,
    /// The weight of the request.
    pub weight: Fact<Weight>,
}

/// The one request that caused a hop, where there is only one that can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cause {
    /// The context that it arrived with.
    pub trace: Option<TraceContext>,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its weight.
    pub weight: Fact<Weight>,
}

/// A hop, decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hop {
    /// What became of the context.
    pub outcome: Outcome,
    /// The context that it carries: of several formats that do not agree the one that arrived, else the one that counts.
    pub sent: Option<TraceContext>,
    /// The formats of the context that it carries, as it arrived; else those of all requests that can have caused it, none
    /// where they differ.
    pub brought: Formats,
    /// The request that caused it, where only one can have.
    pub cause: Option<Cause>,
    /// The tenant that all requests which can have caused it agree on.
    pub tenant: Option<TenantId>,
    /// Whether the hop carries a trace that never arrived at the workload: the workload started it. Every hop that carries
    /// such a trace says so; a trace counts once. Never where the outcome is unattributed.
    pub started: bool,
    /// What became of the weight, where the hop carries an arrived trace and there is something to judge.
    pub weight: Option<WeightOutcome>,
    /// The decision beside a weight of 1 or more, which promises that the trace is kept; `None` where there is no such weight, the
    /// trace arrived with both, or the outcome is unattributed.
    pub promised: Option<Sampled>,
    /// What became of the `tracestate`, where the hop carries an arrived trace and every request that brought it had one.
    pub tracestate: Option<Handed>,
    /// The same of the baggage.
    pub baggage: Option<Handed>,
    /// What hid requests, where the outcome is unattributed.
    pub hidden: Option<Hidden>,
    /// How the trace that it carries came to the workload, or began there.
    pub route: Route,
    /// Where the hop is broken: how the trace that should have gone on came to the workload; [`Route::UNSEEN`] where it may have come in
    /// several ways.
    pub reached: Route,
}

#[cfg(test)]
mod tests;
