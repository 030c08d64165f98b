//! What the bookkeeping of propagation costs a message, and what a request in flight holds: requests at one workload come in, each with a
//! trace of its own, a hop that goes on with it and a response; nanoseconds and bytes go out, for 1, 1,000 and 100,000 in flight.
//!
//! The oldest request is answered as the next one comes, so the number in flight stays. Run it by `cargo bench -p observer-core`.
#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::collections::VecDeque;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use observer_core::context::{Formats, MessageContext, Sampled, TraceContext, TraceFact};
use observer_core::ids::{ConnectionId, ExchangeId, ServiceId, SpanId, TenantId, TraceId, WorkloadId};
use observer_core::limits::Limits;
use observer_core::propagation::{Answer, Inbound, Outbound, Owner, Propagation, Route};
use observer_core::time::Timestamp;

/// Requests of a round, and rounds of which the middle one counts.
const REQUESTS: u64 = 200_000;
const ROUNDS: usize = 9;
/// Between two requests: 100,000 of them are in flight for less than the 30 s after which nothing waits for an answer.
const APART_NS: u64 = 100_000;
const WORKLOAD: WorkloadId = WorkloadId(1);

/// A service under load, and the requests that it has not answered.
struct Load {
    propagation: Propagation,
    waiting: VecDeque<u64>,
    next: u64,
}

impl Load {
    fn new() -> Self {
        Self { propagation: Propagation::new(&Limits::default(), 0.001), waiting: VecDeque::new(), next: 1 }
    }

    fn at(&self) -> Timestamp {
        Timestamp(1_000_000_000 + self.next * APART_NS)
    }

    fn context(number: u64, span: u64) -> MessageContext {
        // Spread like real ids (the multiplier of splitmix64).
        let id = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64
            | u128::from(number.wrapping_mul(0xbf58_476d_1ce4_e5b9));
        MessageContext::of(TraceFact::Valid(TraceContext {
            trace_id: TraceId(id),
            parent_id: SpanId(span),
            sampled: Sampled::Sampled,
            random: false,
            formats: Formats::NONE,
        }))
    }

    fn exchange(number: u64) -> ExchangeId {
        ExchangeId { connection: ConnectionId(number % 1_000), number }
    }

    fn begin(&mut self) {
        let (at, number) = (self.at(), self.next);
        self.next += 1;
        let owner = Owner { workload: WORKLOAD, service: ServiceId(1) };
        let context = Self::context(number, 1);
        let exchange = Some(Self::exchange(number));
        self.propagation.request_in(&Inbound {
            socket: None,
            at,
            owner,
            exchange,
            context: &context,
            tenant: TenantId(1),
            route: Route::UNSEEN,
        });
        self.waiting.push_back(number);
    }

    /// The oldest request causes a hop, and is answered.
    fn end(&mut self) {
        let Some(number) = self.waiting.pop_front() else { return };
        let at = self.at();
        let owner = Owner { workload: WORKLOAD, service: ServiceId(1) };
        let context = Self::context(number, 2);
        let (method, path) = ("GET", "/stock/17");
        let hop = Outbound {
            socket: None,
            at,
            owner,
            peer: ServiceId(2),
            exchange: None,
            context: &context,
            tenant: TenantId(1),
            method,
            path,
        };
        black_box(self.propagation.request_out(&hop));
        let ExchangeId { connection, number } = Self::exchange(number);
        black_box(self.propagation.response_out(&Answer {
            at,
            workload: WORKLOAD,
            connection,
            number: Some(number),
            status: 200,
            slow_from: None,
        }));
    }
}

/// Bytes of this process in memory (proc(5), statm).
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

fn main() {
    println!("in flight   ns a message (lowest to highest of {ROUNDS} rounds)   bytes a request in flight");
    for in_flight in [1, 1_000, 100_000] {
        let mut load = Load::new();
        let before = resident();
        for _ in 0..in_flight {
            load.begin();
        }
        let held = resident().saturating_sub(before);
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                for _ in 0..REQUESTS {
                    load.begin();
                    load.end();
                }
                // A request, a hop and a response.
                begun.elapsed().as_nanos() as f64 / (3 * REQUESTS) as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let (middle, lowest, highest) = (rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
        let held = if in_flight < 1_000 { "-".to_owned() } else { (held / in_flight).to_string() };
        println!("{in_flight:>9}   {middle:>12.0} ({lowest:.0} to {highest:.0})   {held:>24}");
    }
}
