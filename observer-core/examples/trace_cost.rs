//! What a request with a trace of its own costs in the memories of traces, once these are full: prints nanoseconds of processor
//! time a request (Linux).
//!
//! `cargo run --release -p observer-core --example trace_cost`

use observer_core::context::{Format, Formats, MessageContext, Sampled, TraceContext, TraceFact, WeightClass};
use observer_core::ids::{ConnectionId, ExchangeId, ServiceId, SpanId, TraceId, WorkloadId};
use observer_core::limits::Limits;
use observer_core::names::Names;
use observer_core::propagation::{Answer, Inbound, Owner, Propagation, Route};
use observer_core::sampling::Point;
use observer_core::sampling::traces::{Sighting, Traces};
use observer_core::time::Timestamp;

const ROUNDS: u64 = 2_000_000;

fn main() {
    let limits = Limits::default();
    let (mut propagation, mut traces) = (Propagation::new(&limits, 1e-6), Traces::new(&limits));
    let (service, workload, tenant) = (ServiceId(2), WorkloadId(1), Names::UNKNOWN_TENANT);
    for round in 0..4 {
        let begun = processor_ns();
        for number in round * ROUNDS..(round + 1) * ROUNDS {
            let at = Timestamp(number * 1000);
            let trace_id = TraceId(u128::from(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
            let sampled = Sampled::NotSampled;
            let trace = TraceContext {
                trace_id,
                parent_id: SpanId(number),
                sampled,
                random: true,
                formats: Formats::of(Format::W3c),
            };
            let context = MessageContext::of(TraceFact::Valid(trace));
            let connection = ConnectionId(number % 64);
            let exchange = Some(ExchangeId { connection, number });
            propagation.request_in(&Inbound {
                socket: None,
                at,
                owner: Owner { service, workload },
                exchange,
                context: &context,
                tenant,
                route: Route::UNSEEN,
            });
            let (peer, class) = (ServiceId(0), WeightClass::Missing);
            traces.observe(&Sighting { at, service, tenant, point: Point::Received, trace_id, sampled, class, peer });
            propagation.response_out(&Answer {
                at,
                workload,
                connection,
                number: Some(number),
                status: 200,
                slow_from: None,
            });
        }
        println!("{:.0} ns a request", (processor_ns() - begun) / ROUNDS as f64);
    }
    println!("{:?}, {:?}", propagation.counters(), traces.tables());
}

/// Time that this thread has spent on a processor: /proc/thread-self/schedstat, first field (proc(5)).
fn processor_ns() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    schedstat.split_whitespace().next().and_then(|field| field.parse().ok()).expect("a number")
}
