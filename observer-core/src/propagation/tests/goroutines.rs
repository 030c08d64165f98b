//! Servers made up at random, whose goroutines call: what is concluded from these is never wrong, and services that lose the context are
//! decided.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::properties::Random;
use super::*;
use crate::ids::SocketId;
use crate::propagation::{GoCall, Work};

const PEER: ServiceId = ServiceId(2);
/// Whom pollers call.
const POLLED: ServiceId = ServiceId(9);

/// Which goroutine calls for a request.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The one that serves it.
    Serving,
    /// One that it gives birth to.
    Born,
    /// One of a pool that was there before.
    Pool,
    /// One of a pool that grows: where all are at work the request gives birth to another, which takes its job first; each ends once it
    /// had nothing to do for so long.
    Grows { idle_ms: f64 },
}

#[derive(Clone, Copy, Debug)]
struct Server {
    seed: u64,
    kind: Kind,
    connections: usize,
    requests: usize,
    work_ms: f64,
    wait_ms: f64,
    think_ms: f64,
    /// Share of requests without a context.
    bare: f64,
    /// Every so many requests one starts a poller that polls for so long, beginning at once.
    pollers: usize,
    poll_ms: f64,
    polls_ms: f64,
    /// Whether its hops go on with the context; else they carry none.
    continues: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrives(usize),
    Calls { work: Option<Work>, request: Option<usize> },
    Responds(usize),
}

/// What happened: the connection of each request, whether it brought a context, and the steps in their order.
type Truth = (Vec<(usize, u64, bool)>, Vec<(f64, Step)>);

fn moment(at_ms: f64) -> Timestamp {
    Timestamp(1_000_000_000 + nanoseconds(at_ms))
}

fn truth(server: &Server) -> Truth {
    let mut random = Random(server.seed);
    let (mut requests, mut steps, mut pollers) = (Vec::new(), Vec::new(), Vec::new());
    // When each connection is read again, and how many requests came through it.
    let mut next: Vec<(f64, u64)> = (0..server.connections).map(|_| (random.unit() * server.work_ms, 0)).collect();
    // Of a pool that grows: since when each is free, and its turn.
    let mut pool: Vec<(f64, Work)> = Vec::new();
    for request in 0..server.requests {
        let connection = (0..next.len()).min_by(|one, other| next[*one].0.total_cmp(&next[*other].0)).unwrap();
        let (reads, number) = next[connection];
        let turn = |births, calls| Work { served: SocketId(connection as u64), since: moment(reads), births, calls };
        let arrives = reads + 0.01 + random.exponential(server.think_ms);
        let calls = arrives + 0.02 + random.exponential(server.work_ms / 2.0);
        let answered = calls + 0.01 + random.exponential(server.wait_ms);
        let responds = answered + 0.02 + random.exponential(server.work_ms / 2.0);
        let work = match server.kind {
            Kind::Serving => Some(turn(0, 0)),
            Kind::Born => Some(turn(1 + u32::from(random.unit() < 0.5), 0)),
            Kind::Pool => None,
            Kind::Grows { idle_ms } => {
                pool.retain(|(free, _)| free + idle_ms > calls);
                let taken = pool.iter_mut().find(|(free, _)| *free <= calls);
                Some(if let Some((free, work)) = taken {
                    *free = answered;
                    work.calls += 1;
                    *work
                } else {
                    pool.push((answered, turn(1, 0)));
                    turn(1, 0)
                })
            }
        };
        requests.push((connection, number, random.unit() >= server.bare));
        steps.extend([
            (arrives, Step::Arrives(request)),
            (calls, Step::Calls { work, request: Some(request) }),
            (responds, Step::Responds(request)),
        ]);
        if request % server.pollers == 0 {
            pollers.push((calls, turn(1, 0)));
        }
        next[connection] = (responds + 0.02, number + 1);
    }
    let end = steps.iter().filter(|(_, step)| matches!(step, Step::Responds(_))).map(|(at, _)| *at).fold(0.0, f64::max);
    for (from, work) in pollers {
        let mut at = from;
        for calls in 0.. {
            if at > end.min(from + server.polls_ms) {
                break;
            }
            steps.push((at, Step::Calls { work: Some(Work { calls, ..work }), request: None }));
            at += server.poll_ms;
        }
    }
    steps.sort_by(|left, right| left.0.total_cmp(&right.0));
    (requests, steps)
}

/// What was concluded, added up.
#[derive(Clone, Copy, Debug, Default)]
struct Concluded {
    /// Hops told as lost, and of these hops of pollers.
    told: u64,
    pollers: u64,
    /// Hops that were lost in truth.
    lost: u64,
    /// Hops that were decided by their goroutines.
    causal: u64,
}

fn play(server: &Server) -> Concluded {
    let (requests, steps) = truth(server);
    let mut propagation = Propagation::new(&Limits::default(), 0.001);
    let mut concluded = Concluded::default();
    // By the time of a hop, which no other has: the request that caused it.
    let mut sent: BTreeMap<u64, Option<usize>> = BTreeMap::new();
    let mut ticked = Timestamp(1_000_000_000);
    let exchange = |request: usize| ExchangeId {
        connection: ConnectionId(requests[request].0 as u64),
        number: requests[request].1,
    };
    for (place, (at, step)) in steps.iter().enumerate() {
        let at = moment(*at);
        while ticked.after(Duration::from_secs(1)) <= at {
            ticked = ticked.after(Duration::from_secs(1));
            propagation.tick(ticked);
        }
        match *step {
            Step::Arrives(request) => {
                let fact = if requests[request].2 {
                    trace_fact(1 + request as u128, 1, Sampled::Sampled)
                } else {
                    TraceFact::Missing
                };
                propagation.request_in(&Inbound {
                    at,
                    owner: owner(),
                    exchange: Some(exchange(request)),
                    socket: Some(SocketId(requests[request].0 as u64)),
                    context: &message(fact, Fact::Absent),
                    tenant: TenantId(1),
                    route: Route::UNSEEN,
                });
            }
            Step::Calls { work, request } => {
                let socket = SocketId(1_000_000 + place as u64);
                propagation.goroutine_calls(GoCall { at, socket, work });
                let context = match request.filter(|_| server.continues) {
                    Some(request) if requests[request].2 => trace_fact(1 + request as u128, 2, Sampled::Sampled),
                    _ => TraceFact::Missing,
                };
                let told = propagation.request_out(&Outbound {
                    at,
                    owner: owner(),
                    peer: if request.is_some() { PEER } else { POLLED },
                    exchange: None,
                    socket: Some(socket),
                    context: &message(context, Fact::Absent),
                    tenant: TenantId(1),
                    method: "GET",
                    path: "/",
                });
                sent.insert(at.0, request);
                concluded.lost += u64::from(request.is_some_and(|request| requests[request].2) && !server.continues);
                if told.outcome == Outcome::Lost {
                    *if request.is_some() { &mut concluded.told } else { &mut concluded.pollers } += 1;
                }
            }
            Step::Responds(request) => {
                let ExchangeId { connection, number } = exchange(request);
                let number = Some(number);
                propagation.response_out(&Answer {
                    at,
                    workload: WORKLOAD,
                    connection,
                    number,
                    status: 200,
                    slow_from: None,
                });
            }
        }
        for correction in propagation.corrections() {
            let Correction { peer, from, to, evidence, count, examples, .. } = correction;
            let of = if peer == PEER { &mut concluded.told } else { &mut concluded.pollers };
            *of += if to == Outcome::Lost { count } else { 0 };
            *of -= if from == Outcome::Lost { count } else { 0 };
            if evidence == Evidence::Causal {
                assert_eq!((count, examples.len()), (1, 1), "each was told at once");
                let cause = sent[&examples[0].at.0].expect("no hop of a poller has a cause");
                let brought = requests[cause].2;
                assert_eq!(to, if brought { Outcome::Lost } else { Outcome::Rooted });
                let trace = examples[0].cause.map(|trace| trace.trace_id.0);
                assert_eq!(trace, brought.then_some(1 + cause as u128));
                concluded.causal += 1;
            }
        }
    }
    concluded
}

/// Level load: as many requests are always in flight.
const LEVEL: Server = Server {
    seed: 1,
    kind: Kind::Born,
    connections: 64,
    requests: 8_000,
    work_ms: 60.0,
    wait_ms: 30.0,
    think_ms: 0.01,
    bare: 0.0,
    pollers: usize::MAX,
    poll_ms: 20.0,
    polls_ms: 1e9,
    continues: false,
};

#[test]
fn a_context_that_goroutines_lose_is_found_under_level_load() {
    for kind in [Kind::Serving, Kind::Born] {
        let concluded = play(&Server { kind, ..LEVEL });
        assert!(concluded.causal >= 17, "{kind:?}: {concluded:?}");
        assert_eq!((concluded.told, concluded.pollers), (concluded.lost, 0), "{kind:?}: {concluded:?}");
    }
}

#[test]
fn hops_among_requests_without_a_context_are_decided_by_their_goroutines() {
    for kind in [Kind::Serving, Kind::Born] {
        let concluded = play(&Server { kind, bare: 0.05, ..LEVEL });
        // No window decides anything: among 64 there is always one without.
        assert!(concluded.causal > 2_000, "{kind:?}: {concluded:?}");
        assert!(concluded.told > 2_000 && concluded.told <= concluded.lost, "{kind:?}: {concluded:?}");
        assert_eq!(concluded.pollers, 0);
    }
}

#[test]
fn nothing_is_concluded_of_goroutines_that_belong_to_no_request() {
    let concluded = play(&Server { kind: Kind::Pool, ..LEVEL });
    assert_eq!((concluded.causal, concluded.pollers), (0, 0), "{concluded:?}");
}

#[test]
fn a_poller_that_a_request_starts_is_charged_to_nobody() {
    for connections in [1, 64] {
        let server = Server { connections, requests: 100 * connections, continues: true, ..LEVEL };
        for (pollers, polls_ms) in [(usize::MAX, 1e9), (50, 1e9), (1, 500.0)] {
            let concluded = play(&Server { pollers, polls_ms, ..server });
            assert_eq!((concluded.causal, concluded.told, concluded.pollers), (0, 0, 0), "{concluded:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn goroutines_never_accuse_a_poller_nor_the_wrong_request(
        seed in any::<u64>(),
        kind in prop_oneof![
            Just(Kind::Serving),
            Just(Kind::Born),
            Just(Kind::Pool),
            prop_oneof![0.1..10.0, 10.0..1_000.0].prop_map(|idle_ms| Kind::Grows { idle_ms }),
        ],
        connections in 1_usize..48,
        work_ms in 20.0..100.0,
        wait_ms in 10.0..100.0,
        think_ms in prop_oneof![Just(0.01), 1.0..200.0],
        bare in prop_oneof![Just(0.0), 0.0..1.0],
        pollers in 1_usize..4_000,
        poll_ms in 5.0..300.0,
        // One that ended with its request would be the request's.
        polls_ms in prop_oneof![Just(1e9), 1_000.0..3_000.0],
        continues in any::<bool>(),
    ) {
        // Ten seconds: goroutines are asked for after three.
        let every_ms = (work_ms + wait_ms + think_ms) / connections as f64;
        let requests = (0..20_000_u32).take_while(|number| f64::from(*number) * every_ms < 10_000.0).count();
        let pollers = pollers.max(if polls_ms > 3_000.0 { 200 } else { 4 });
        let server = Server {
            seed, kind, connections, requests, work_ms, wait_ms, think_ms, bare, pollers, poll_ms, polls_ms, continues,
        };
        let concluded = play(&server);
        prop_assert_eq!(concluded.pollers, 0, "{:?}", concluded);
        prop_assert!(concluded.told <= concluded.lost, "{:?}", concluded);
    }
}
