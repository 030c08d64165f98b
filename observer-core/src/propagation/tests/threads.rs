//! Servers made up at random, with threads that read: what is concluded from these is never wrong, and servers that block are decided.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::properties::Random;
use super::*;
use crate::ids::SocketId;
use crate::message::End;
use crate::propagation::{Reading, Unread};

const PEER: ServiceId = ServiceId(2);
/// Whom a timer, or a thread in the background, calls.
const POLLED: ServiceId = ServiceId(9);
const PROCESS: u32 = 77;
const PROCESSORS: u32 = 20;
/// The thread of a poller that has one of its own.
const BACKGROUND: u32 = 999;

/// How a server works.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A thread for each connection.
    PerConnection,
    /// A pool whose threads take whatever connection has something to read.
    Pool { threads: usize },
    /// Requests are read by a loop, and worked on, hops included, by the threads of a pool.
    HandsOver { threads: usize },
    /// Loops, each with connections of its own; `awaits`: with a set of descriptors.
    Loops { loops: u32, awaits: bool },
    /// Tasks that any of these threads goes on with.
    Migrates { threads: u32, awaits: bool },
}

#[derive(Clone, Copy, Debug)]
struct Server {
    seed: u64,
    kind: Kind,
    connections: usize,
    requests: usize,
    work_ms: f64,
    wait_ms: f64,
    /// How long a client takes from an answer to its next request.
    think_ms: f64,
    /// Share of requests without a context.
    bare: f64,
    poll_ms: f64,
    /// Whether its hops go on with the context; else they carry none.
    continues: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrives(usize),
    Reads { request: usize, thread: u32 },
    Sends { hop: usize, request: Option<usize> },
    Answered(usize),
    ReadsAnswer { hop: usize, thread: u32 },
    Responds(usize),
}

/// What happened in truth.
#[derive(Debug, Default)]
struct Truth {
    /// Connection of each request, and whether it brought a context.
    requests: Vec<(usize, bool)>,
    steps: Vec<(f64, Step)>,
}

fn is_awaited(kind: Kind) -> bool {
    matches!(kind, Kind::Loops { awaits: true, .. } | Kind::Migrates { awaits: true, .. })
}

fn truth(server: &Server) -> Truth {
    let mut random = Random(server.seed);
    let mut truth = Truth::default();
    let mut next: Vec<f64> = (0..server.connections).map(|_| random.unit() * server.work_ms).collect();
    let pool = match server.kind {
        Kind::Pool { threads } | Kind::HandsOver { threads } => threads,
        _ => 0,
    };
    let mut free = vec![0.0_f64; pool];
    let mut hop = 0;
    for request in 0..server.requests {
        let earliest = |times: &[f64]| (0..times.len()).min_by(|one, other| times[*one].total_cmp(&times[*other]));
        let connection = earliest(&next).unwrap();
        let arrives = next[connection];
        let taken = earliest(&free);
        let starts = taken.map_or(arrives, |thread| free[thread].max(arrives)) + 0.01;
        let thread_of = |random: &mut Random| match server.kind {
            Kind::PerConnection => 100 + u32::try_from(connection).unwrap(),
            Kind::Pool { .. } | Kind::HandsOver { .. } => 100 + u32::try_from(taken.unwrap()).unwrap(),
            Kind::Loops { loops, .. } => 100 + u32::try_from(connection).unwrap() % loops,
            Kind::Migrates { threads, .. } => 100 + u32::try_from(random.next() % u64::from(threads)).unwrap(),
        };
        let reader = if matches!(server.kind, Kind::HandsOver { .. }) { 1 } else { thread_of(&mut random) };
        let sends = starts + 0.01 + random.exponential(server.work_ms / 2.0);
        let answered = sends + 0.01 + random.exponential(server.wait_ms);
        let reads = answered + 0.01;
        let responds = reads + 0.01 + random.exponential(server.work_ms / 2.0);
        let waiter = thread_of(&mut random);
        truth.requests.push((connection, random.unit() >= server.bare));
        truth.steps.extend([
            (arrives, Step::Arrives(request)),
            (starts, Step::Reads { request, thread: reader }),
            (sends, Step::Sends { hop, request: Some(request) }),
            (answered, Step::Answered(hop)),
            (reads, Step::ReadsAnswer { hop, thread: waiter }),
            (responds, Step::Responds(request)),
        ]);
        hop += 1;
        if let Some(thread) = taken {
            free[thread] = responds + 0.01;
        }
        next[connection] = responds + 0.02 + random.exponential(server.think_ms);
    }
    let end = truth.steps.iter().map(|(at, _)| *at).fold(0.0, f64::max);
    let mut at = random.unit() * server.poll_ms;
    while at < end {
        let thread = match server.kind {
            // The timer of a loop.
            Kind::Loops { .. } => 100,
            Kind::Migrates { threads, .. } => 100 + u32::try_from(random.next() % u64::from(threads)).unwrap(),
            _ => BACKGROUND,
        };
        let answered = at + 0.01 + random.exponential(server.wait_ms);
        truth.steps.extend([
            (at, Step::Sends { hop, request: None }),
            (answered, Step::Answered(hop)),
            (answered + 0.01, Step::ReadsAnswer { hop, thread }),
        ]);
        hop += 1;
        at = answered + 0.02 + random.exponential(server.poll_ms);
    }
    truth.steps.sort_by(|one, other| one.0.total_cmp(&other.0));
    truth
}

/// What was concluded.
#[derive(Debug, Default)]
struct Concluded {
    /// Hops of requests with a context, in truth.
    lost: u64,
    /// Those that were told as such, in the end.
    told: u64,
    /// Hops that were decided by threads.
    causal: u64,
    /// Hops of pollers that were accused, in the end.
    pollers: u64,
    /// Seconds in which threads were told.
    watched: u64,
}

/// Adds up what was told since; what it says of a single hop must be so.
fn conclude(
    propagation: &mut Propagation,
    truth: &Truth,
    sent: &BTreeMap<u64, Option<usize>>,
    concluded: &mut Concluded,
) {
    for correction in propagation.corrections() {
        let Correction { peer, from, to, evidence, count, examples, .. } = correction;
        let of = if peer == PEER { &mut concluded.told } else { &mut concluded.pollers };
        *of += if to == Outcome::Lost { count } else { 0 };
        *of -= if from == Outcome::Lost { count } else { 0 };
        if evidence == Evidence::Causal {
            assert_eq!((count, examples.len()), (1, 1), "each was told at once");
            let cause = sent[&examples[0].at.0].expect("no hop of a poller has a cause");
            let brought = truth.requests[cause].1;
            assert_eq!(to, if brought { Outcome::Lost } else { Outcome::Rooted });
            let trace = examples[0].cause.map(|trace| trace.trace_id.0);
            assert_eq!(trace, brought.then_some(1 + cause as u128));
            concluded.causal += 1;
        }
    }
}

/// Plays a server. Whatever is concluded of a single hop must be so in truth.
fn play(server: &Server) -> Concluded {
    let truth = truth(server);
    let mut propagation = Propagation::new(&Limits::default(), 0.001);
    propagation.on_processors(PROCESSORS);
    let mut concluded = Concluded::default();
    // By the time of a hop, which no other has: the request that caused it.
    let mut sent: BTreeMap<u64, Option<usize>> = BTreeMap::new();
    let mut ticked = Timestamp(1_000_000_000);
    let request_exchange = |request: usize| ExchangeId {
        connection: ConnectionId(truth.requests[request].0 as u64),
        number: request as u64,
    };
    let hop_exchange = |hop: usize| ExchangeId { connection: ConnectionId(1_000_000 + hop as u64), number: 0 };
    let awaited = is_awaited(server.kind);
    let reading = |at, thread, exchange: ExchangeId, end, is_awaited| Reading {
        at,
        process: PROCESS,
        thread,
        socket: SocketId(exchange.connection.0),
        place: Some((exchange.connection, end)),
        up_to: 20,
        is_awaited,
    };
    for (place, (at, step)) in truth.steps.iter().enumerate() {
        let at = Timestamp(1_000_000_000 + nanoseconds(*at) + place as u64);
        while ticked.after(Duration::from_secs(1)) <= at {
            ticked = ticked.after(Duration::from_secs(1));
            propagation.tick(ticked);
            concluded.watched += u64::from(propagation.watched().next().is_some());
        }
        match *step {
            Step::Arrives(request) => {
                let exchange = request_exchange(request);
                let fact = if truth.requests[request].1 {
                    trace_fact(1 + request as u128, 1, Sampled::Sampled)
                } else {
                    TraceFact::Missing
                };
                propagation.request_in(&Inbound {
                    socket: None,
                    at,
                    owner: owner(),
                    exchange: Some(exchange),
                    context: &message(fact, Fact::Absent),
                    tenant: TenantId(1),
                    route: Route::UNSEEN,
                });
                propagation.request_arrives(Unread { exchange, end: End::Second, seq: 10 }, WORKLOAD);
            }
            Step::Reads { request, thread } => {
                let exchange = request_exchange(request);
                let hands_over = matches!(server.kind, Kind::HandsOver { .. });
                propagation.reads(&reading(at, thread, exchange, End::Second, awaited || hands_over));
            }
            Step::Sends { hop, request } => {
                let context = match request.filter(|_| server.continues) {
                    Some(request) if truth.requests[request].1 => trace_fact(1 + request as u128, 2, Sampled::Sampled),
                    _ => TraceFact::Missing,
                };
                let told = propagation.request_out(&Outbound {
                    socket: None,
                    at,
                    owner: owner(),
                    peer: if request.is_some() { PEER } else { POLLED },
                    exchange: Some(hop_exchange(hop)),
                    context: &message(context, Fact::Absent),
                    tenant: TenantId(1),
                    method: "GET",
                    path: "/",
                });
                sent.insert(at.0, request);
                let is_lost = request.is_some_and(|request| truth.requests[request].1) && !server.continues;
                concluded.lost += u64::from(is_lost);
                if told.outcome == Outcome::Lost {
                    *if request.is_some() { &mut concluded.told } else { &mut concluded.pollers } += 1;
                }
            }
            Step::Answered(hop) => {
                propagation.answer_arrives(Unread { exchange: hop_exchange(hop), end: End::First, seq: 10 });
            }
            Step::ReadsAnswer { hop, thread } => {
                propagation.reads(&reading(at, thread, hop_exchange(hop), End::First, awaited));
            }
            Step::Responds(request) => {
                let ExchangeId { connection, number } = request_exchange(request);
                propagation.response_out(&Answer {
                    at,
                    workload: WORKLOAD,
                    connection,
                    number: Some(number),
                    status: 200,
                    slow_from: None,
                });
            }
        }
        conclude(&mut propagation, &truth, &sent, &mut concluded);
    }
    concluded
}

/// Level load: as many requests are always in flight.
const LEVEL: Server = Server {
    seed: 1,
    kind: Kind::PerConnection,
    connections: 64,
    requests: 4_000,
    work_ms: 100.0,
    wait_ms: 50.0,
    think_ms: 0.01,
    bare: 0.0,
    poll_ms: 300.0,
    continues: false,
};

#[test]
fn a_server_with_a_thread_for_each_connection_is_decided_under_level_load() {
    let concluded = play(&LEVEL);
    assert!(concluded.causal >= 17, "{concluded:?}");
    assert_eq!((concluded.told, concluded.pollers), (concluded.lost, 0), "{concluded:?}");
    // Nothing stays in doubt of what follows requests; of the poller something does.
    assert!(concluded.watched > 0, "{concluded:?}");
}

#[test]
fn a_pool_is_decided_under_level_load() {
    for threads in [4, 16] {
        let concluded =
            play(&Server { kind: Kind::Pool { threads }, requests: 3_000, work_ms: 20.0, wait_ms: 20.0, ..LEVEL });
        assert!(concluded.causal >= 17, "{concluded:?}");
        assert_eq!((concluded.told, concluded.pollers), (concluded.lost, 0), "{concluded:?}");
    }
}

#[test]
fn hops_among_requests_without_a_context_are_decided_one_by_one() {
    let concluded = play(&Server { bare: 0.05, ..LEVEL });
    // No window decides anything: among 64 there is always one without.
    assert!(concluded.causal > 1_000, "{concluded:?}");
    assert!(concluded.told > 1_000 && concluded.told <= concluded.lost, "{concluded:?}");
    assert_eq!(concluded.pollers, 0);
}

#[test]
fn nothing_is_concluded_of_loops_and_of_work_that_moves_to_another_thread() {
    let kinds = [
        Kind::Loops { loops: 1, awaits: true },
        Kind::Loops { loops: 1, awaits: false },
        Kind::Loops { loops: 4, awaits: true },
        Kind::Loops { loops: 4, awaits: false },
        Kind::Migrates { threads: 8, awaits: true },
        Kind::Migrates { threads: 8, awaits: false },
        Kind::HandsOver { threads: 16 },
    ];
    for kind in kinds {
        for connections in [1, 2, 3, 8, 64] {
            let requests = 4_000.min(400 * connections);
            let concluded = play(&Server { kind, connections, requests, ..LEVEL });
            assert_eq!((concluded.causal, concluded.pollers), (0, 0), "{kind:?}, {connections}: {concluded:?}");
        }
    }
}

#[test]
fn a_service_that_goes_on_with_its_traces_costs_nothing() {
    let concluded = play(&Server { continues: true, poll_ms: 1e9, ..LEVEL });
    assert_eq!((concluded.watched, concluded.told), (0, 0), "{concluded:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn threads_never_accuse_a_poller_nor_the_wrong_request(
        seed in any::<u64>(),
        kind in prop_oneof![
            Just(Kind::PerConnection),
            (1_usize..32).prop_map(|threads| Kind::Pool { threads }),
            (1_usize..32).prop_map(|threads| Kind::HandsOver { threads }),
            (1_u32..40, any::<bool>()).prop_map(|(loops, awaits)| Kind::Loops { loops, awaits }),
            (1_u32..40, any::<bool>()).prop_map(|(threads, awaits)| Kind::Migrates { threads, awaits }),
        ],
        connections in 1_usize..80,
        work_ms in 1.0..100.0,
        wait_ms in 1.0..100.0,
        think_ms in prop_oneof![Just(0.01), 1.0..200.0],
        bare in prop_oneof![Just(0.0), 0.0..1.0],
        poll_ms in 10.0..1_000.0,
        continues in any::<bool>(),
    ) {
        let requests = 1_500;
        let server = Server { seed, kind, connections, requests, work_ms, wait_ms, think_ms, bare, poll_ms, continues };
        let concluded = play(&server);
        prop_assert_eq!(concluded.pollers, 0, "{:?}", concluded);
        prop_assert!(concluded.told <= concluded.lost, "{:?}", concluded);
    }
}
