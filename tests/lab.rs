//! The laboratory: real services with real SDKs, each break of propagation planted in one place. The truth comes from the services' own
//! logs; whoever breaks a trace is found with one request at a time and with sixty-four, and nobody else is accused.

mod place;
#[path = "lab/scene.rs"]
mod scene;

use anyhow::{Context, Result};
use expect_test::expect_file;
use observer_core::audit::report::Code;

use crate::scene::{Break, Kind, Part, Scenario};

/// How many requests a sound system is sent, and one with a service in Python, which answers some hundred a second; unless `LAB_REQUESTS`
/// says otherwise: `cargo xtask lab` has it say 10,000, with `--full` 100,000.
const SOUND_REQUESTS: [u32; 2] = [10_000, 4_000];

/// Plays a scenario slowly and with sixty-four requests at a time.
fn is_found(name: &str, scenario: &Scenario) -> Result<()> {
    let laboratory = scenario.open(name)?;
    let slow = laboratory.observe(1, 150)?;
    slow.assert_blames(scenario.breaks);
    slow.assert_hops_are_exact();
    expect_file![format!("lab/golden/{name}.txt")].assert_eq(&slow.words());
    laboratory.observe(64, 1_280)?.assert_blames(scenario.breaks);
    Ok(())
}

/// Plays a scenario in which nothing is broken with two hundred requests at a time.
fn is_sound(name: &str, scenario: &Scenario) -> Result<()> {
    let requests = if let Ok(number) = std::env::var("LAB_REQUESTS") {
        number.parse().context("LAB_REQUESTS is no number")?
    } else {
        let is_python = scenario.parts.iter().any(|part| matches!(part.kind, Kind::Threads | Kind::Tasks));
        SOUND_REQUESTS[usize::from(is_python)]
    };
    scenario.open(name)?.observe(200, requests)?.assert_blames(&[]);
    Ok(())
}

/// A front that treats contexts so, and a sound back.
macro_rules! front {
    ($kind:ident, $manner:literal) => {
        &[
            Part { name: "front", kind: Kind::$kind, manner: $manner, calls: &["back"] },
            Part { name: "back", kind: Kind::Node, manner: "", calls: &[] },
        ]
    };
}

/// A test of a scenario in which the front breaks what it sends to the back.
macro_rules! breaks {
    ($($name:ident: $kind:ident $manner:literal $(with $customer:expr)? => $breaks:expr;)*) => {
        $(#[test]
        fn $name() -> Result<()> {
            let breaks: &'static [Break] = $breaks;
            let customer: &'static [&'static str] = &[$($customer)?];
            is_found(stringify!($name), &Scenario { parts: front!($kind, $manner), customer, breaks })
        })*
    };
}

const FRONT: Option<&str> = Some("front");
const BACK: Option<&str> = Some("back");

breaks! {
    a_pool_of_threads_that_forgets_the_context: Threads "pool-forgets" => &[(Code::TraceRestarted, "front", BACK)];
    a_client_that_is_not_instrumented: Threads "bare-client" => &[(Code::ContextLost, "front", BACK)];
    a_service_that_is_not_instrumented: Threads "uninstrumented" => &[(Code::ContextLost, "front", BACK)];
    a_sampler_that_ignores_its_parent: Threads "ignores-parent" => &[(Code::DecisionFlipped, "front", BACK)];
    flags_of_three_digits: Threads "three-digits" => &[(Code::ContextMalformed, "back", FRONT)];
    ids_in_upper_case: Threads "upper-case" => &[(Code::ContextMalformed, "back", FRONT)];
    ids_of_sixteen_digits: Threads "short-id" => &[(Code::ContextMalformed, "back", FRONT)];
    a_tracestate_that_goes_on: Threads "pool" with "--with=tracestate=vendor={n}" => &[];
    baggage_that_goes_on: Node "" with "--with=baggage=tenant.id=acme" => &[];
    a_tracestate_that_is_dropped: Threads "drops-tracestate" with "--with=tracestate=vendor={n}" => &[(Code::TracestateDropped, "front", BACK)];
    baggage_that_is_dropped_and_the_tenant_with_it: Threads "no-baggage" with "--with=baggage=tenant.id=acme" => &[(Code::BaggageDropped, "front", BACK)];
    a_weight_that_is_dropped: Threads "drops-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightMissing, "front", BACK)];
    a_weight_that_is_changed: Threads "changes-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightChanged, "front", BACK)];
    a_weight_that_is_garbled: Threads "garbles-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightInvalid, "front", BACK)];
    a_task_that_forgets_the_context: Tasks "task-forgets" => &[(Code::TraceRestarted, "front", BACK)];
    a_worker_that_knows_nothing_of_the_request: Tasks "queue" => &[(Code::TraceRestarted, "front", BACK)];
    fetch_that_is_not_instrumented: Node "bare-fetch" => &[(Code::ContextLost, "front", BACK)];
    a_timer_that_takes_up_what_waits: Node "queue" => &[(Code::TraceRestarted, "front", BACK)];
    a_sampler_that_ignores_its_parent_in_an_event_loop: Node "ignores-parent" => &[(Code::DecisionFlipped, "front", BACK)];
    goroutines_that_take_no_context_along: Go "background" => &[(Code::TraceRestarted, "front", BACK)];
    an_sdk_in_go_that_was_given_no_propagator: Go "no-propagator" => &[(Code::ContextLost, "front", BACK)];
    a_sampler_that_ignores_its_parent_in_go: Go "ignores-parent" => &[(Code::DecisionFlipped, "front", BACK)];
    an_sdk_that_rejects_the_random_flag: Go "goroutines" with "--flags=02,03" => &[(Code::TraceRestarted, "front", BACK)];
    a_spawned_task_that_forgets_the_context: Rust "spawn-forgets" => &[(Code::TraceRestarted, "front", BACK)];
    an_sdk_in_rust_that_was_given_no_propagator: Rust "no-propagator" => &[(Code::ContextLost, "front", BACK)];
    a_sampler_that_ignores_its_parent_in_rust: Rust "ignores-parent" => &[(Code::DecisionFlipped, "front", BACK)];
    two_agents_that_both_write_a_context: Node "doubles" => &[(Code::ContextDuplicated, "back", FRONT)];
    a_thread_that_forgets_the_context: Threads "thread-forgets" => &[(Code::TraceRestarted, "front", BACK)];
    a_message_port_that_forgets_the_context: Node "messages" => &[(Code::TraceRestarted, "front", BACK)];
    a_proxy_that_drops_the_context: Go "proxy,drops-context" => &[(Code::ContextLost, "front", BACK)];
    a_tracestate_that_is_dropped_in_an_event_loop: Node "drops-tracestate" with "--with=tracestate=vendor={n}" => &[(Code::TracestateDropped, "front", BACK)];
    a_tracestate_that_is_dropped_in_go: Go "drops-tracestate" with "--with=tracestate=vendor={n}" => &[(Code::TracestateDropped, "front", BACK)];
    baggage_that_is_dropped_in_go: Go "no-baggage" with "--with=baggage=tenant.id=acme" => &[(Code::BaggageDropped, "front", BACK)];
    baggage_that_is_dropped_in_rust: Rust "" with "--with=baggage=tenant.id=acme" => &[(Code::BaggageDropped, "front", BACK)];
    baggage_that_goes_on_in_rust: Rust "baggage" with "--with=baggage=tenant.id=acme" => &[];
    a_weight_that_is_dropped_in_an_event_loop: Node "drops-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightMissing, "front", BACK)];
    a_weight_that_is_changed_in_an_event_loop: Node "changes-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightChanged, "front", BACK)];
    a_weight_that_is_dropped_in_go: Go "drops-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightMissing, "front", BACK)];
    a_weight_that_is_changed_in_go: Go "changes-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightChanged, "front", BACK)];
    a_weight_that_is_dropped_in_rust: Rust "drops-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightMissing, "front", BACK)];
    a_weight_that_is_changed_in_rust: Rust "changes-weight" with "--with=x-trace-weight=0.5" => &[(Code::WeightChanged, "front", BACK)];
    a_weight_that_goes_on: Go "" with "--with=x-trace-weight=0.5" => &[];
    ids_padded_with_zeros_that_go_on: Go "goroutines" with "--ids=0000000000000000" => &[];
    an_asynchronous_client_that_is_not_instrumented: Tasks "bare-client" => &[(Code::ContextLost, "front", BACK)];
}

/// A sound front, a middle that treats contexts so, and a sound back.
macro_rules! row {
    ($front:literal, $kind:ident, $manner:literal) => {
        &[
            Part { name: "front", kind: Kind::Node, manner: $front, calls: &["middle"] },
            Part { name: "middle", kind: Kind::$kind, manner: $manner, calls: &["back"] },
            Part { name: "back", kind: Kind::Node, manner: "", calls: &[] },
        ]
    };
}

#[test]
fn two_hops_deep_a_pool_forgets_the_context() -> Result<()> {
    let breaks: &'static [Break] = &[(Code::TraceRestarted, "middle", BACK)];
    is_found("two_hops_deep", &Scenario { parts: row!("", Threads, "pool-forgets"), customer: &[], breaks })
}

#[test]
fn two_hops_deep_a_client_is_not_instrumented() -> Result<()> {
    let breaks: &'static [Break] = &[(Code::ContextLost, "middle", BACK)];
    is_found("two_hops_deep_bare", &Scenario { parts: row!("", Node, "bare-fetch"), customer: &[], breaks })
}

#[test]
fn a_format_that_the_next_does_not_read() -> Result<()> {
    let breaks: &'static [Break] = &[(Code::FormatMismatch, "front", Some("middle"))];
    is_found(
        "a_format_that_the_next_does_not_read",
        &Scenario { parts: row!("writes-b3", Node, ""), customer: &[], breaks },
    )
}

#[test]
fn what_is_lost_is_bounded_where_some_callers_send_no_context() -> Result<()> {
    let breaks: &'static [Break] = &[(Code::ContextLost, "front", BACK)];
    let scenario = Scenario { parts: front!(Threads, "bare-client"), customer: &["--bare=0.05"], breaks };
    let outcome = scenario.open("bounded")?.observe(64, 1_280)?;
    outcome.assert_tells_everything();
    let row = outcome.report.hops.iter().find(|row| row.service == "front").context("its hops")?;
    let lost = outcome.logged.hops[&("front".to_owned(), "back".to_owned())]["lost"];
    assert!(row.lost_at_least > 0 && row.ambiguous > 0, "{row:?}");
    assert!((row.lost_at_least..=row.lost_at_most).contains(&lost), "{lost} were lost: {row:?}");
    assert!(outcome.blamed().contains(&(Code::ContextLost, "front".to_owned(), Some("back".to_owned()))));
    Ok(())
}

#[test]
fn an_upstream_that_decides_nothing_is_named() -> Result<()> {
    // What comes without a context is begun by the front, which samples half of it.
    let customer = &["--bare=0.5", "--flags=00"];
    let scenario = Scenario { parts: front!(Threads, "pool"), customer, breaks: &[] };
    let outcome = scenario.open("denied")?.observe(64, 1_280)?;
    outcome.assert_blames(&[]);
    let denied = outcome.report.findings.iter().find(|finding| finding.code == Code::DecisionInconsistent);
    let denied = denied.context("nobody is said to decide nothing")?;
    let parties = (denied.service.as_deref(), denied.peer.as_deref());
    assert_eq!(parties, (FRONT, Some("customer")), "{denied:?}");
    assert_eq!(denied.count, outcome.logged.requests[&("front".to_owned(), "unknown".to_owned())].valid);
    Ok(())
}

/// A test of a scenario in which nothing is broken, with customers that come without a rest.
macro_rules! sound {
    ($($name:ident: $parts:expr;)*) => {
        $(#[test]
        fn $name() -> Result<()> {
            const PARTS: &[Part] = $parts;
            is_sound(stringify!($name), &Scenario { parts: PARTS, customer: &["--steady"], breaks: &[] })
        })*
    };
}

sound! {
    sound_threads: front!(Threads, "pool");
    sound_tasks: front!(Tasks, "task");
    sound_goroutines: front!(Go, "goroutines");
    sound_futures: front!(Rust, "spawn");
    a_sound_event_loop: front!(Node, "fetch");
    pollers_and_exporters_beside_requests: front!(Threads, "polls,exports");
    probes_and_watches_beside_requests: front!(Threads, "probes,watches");
    what_is_tried_again: &[
        Part { name: "front", kind: Kind::Threads, manner: "retries", calls: &["back"] },
        Part { name: "back", kind: Kind::Node, manner: "fails", calls: &[] },
    ];
    three_calls_at_once: front!(Threads, "fan-out");
    streams_that_go_on_while_calls_are_made: front!(Tasks, "streams");
    batches_by_the_clock: front!(Threads, "batches");
    a_proxy: front!(Threads, "proxy");
    work_that_goes_on_after_the_answer: front!(Threads, "after");
}
