//! Causes by threads and goroutines: a service that blocks, or loses the context in a goroutine, is found out under level load, where no
//! window decides anything; a loop with a timer of its own, or a poller that a request started, is not accused. The truth comes from the
//! services' own logs.

mod place;
#[allow(dead_code, reason = "the laboratory uses all of it")]
#[path = "lab/scene.rs"]
mod scene;

use anyhow::{Context, Result};
use observer_core::audit::report::{Code, Evidence};

use crate::scene::{Kind, Part, Scenario};

const STEADY: &[&str] = &["--steady"];

#[test]
fn a_service_with_a_thread_for_each_connection_is_found_out_under_level_load() -> Result<()> {
    let scenario = Scenario {
        parts: &[
            Part { name: "front", kind: Kind::Blocking, manner: "bare-client", calls: &["back"] },
            Part { name: "back", kind: Kind::Node, manner: "", calls: &[] },
        ],
        customer: STEADY,
        breaks: &[(Code::ContextLost, "front", Some("back"))],
    };
    let outcome = scenario.open("causal-blocking")?.observe(64, 6_400)?;
    outcome.assert_blames(scenario.breaks);
    let finding = outcome.report.findings.iter().find(|finding| finding.code == Code::ContextLost);
    let finding = finding.context("the finding")?;
    assert_eq!(finding.evidence, Some(Evidence::Causal), "\n{}", outcome.table);
    // Once the class is shown, what came before counts, too: all of it.
    outcome.assert_hops_are_exact();
    Ok(())
}

#[test]
fn the_timer_of_an_event_loop_is_not_accused_under_level_load() -> Result<()> {
    let scenario = Scenario {
        parts: &[
            Part { name: "front", kind: Kind::Polling, manner: "polls", calls: &["back"] },
            Part { name: "back", kind: Kind::Node, manner: "", calls: &[] },
        ],
        customer: STEADY,
        breaks: &[],
    };
    let laboratory = scenario.open("causal-polling")?;
    for (at_once, requests) in [(2, 10_000), (64, 19_200)] {
        laboratory.observe(at_once, requests)?.assert_blames(scenario.breaks);
    }
    Ok(())
}

#[test]
fn a_context_that_a_goroutine_does_not_know_is_found_lost_under_level_load() -> Result<()> {
    let scenario = Scenario {
        parts: &[
            Part { name: "front", kind: Kind::Goroutines, manner: "loses-last", calls: &["back", "store"] },
            Part { name: "back", kind: Kind::Goroutines, manner: "", calls: &[] },
            Part { name: "store", kind: Kind::Goroutines, manner: "", calls: &[] },
        ],
        customer: STEADY,
        breaks: &[(Code::ContextLost, "front", Some("store"))],
    };
    let outcome = scenario.open("causal-goroutines")?.observe(64, 12_800)?;
    outcome.assert_blames(scenario.breaks);
    let finding = outcome.report.findings.iter().find(|finding| finding.code == Code::ContextLost);
    let finding = finding.context("the finding")?;
    assert_eq!(finding.evidence, Some(Evidence::Causal), "\n{}", outcome.table);
    // Once the class is shown, what came before counts, too: all of it.
    outcome.assert_hops_are_exact();
    Ok(())
}

#[test]
fn a_poller_that_a_request_started_is_not_accused_under_level_load() -> Result<()> {
    let scenario = Scenario {
        parts: &[
            Part { name: "front", kind: Kind::Goroutines, manner: "polls", calls: &["back"] },
            Part { name: "back", kind: Kind::Goroutines, manner: "", calls: &[] },
        ],
        customer: STEADY,
        breaks: &[],
    };
    let laboratory = scenario.open("causal-once")?;
    for (at_once, requests) in [(1, 400), (64, 12_800)] {
        laboratory.observe(at_once, requests)?.assert_blames(scenario.breaks);
    }
    Ok(())
}
