//! The figures for people: figures come in, text goes out.

use super::figures::{ArmFigures, Figures, Run};
use super::statistics::median;
use super::targets::{Verdict, mebibytes};
use std::fmt::Write as _;

/// What stands over everything.
pub(crate) fn head(run: &Run) -> String {
    let host = &run.host;
    format!(
        "{}\n{}, kernel {}, {} x {}, load average {}\n{} turns of {} s of each arm, each between two turns of nothing",
        host.command,
        host.date,
        host.kernel,
        host.processors,
        host.processor,
        host.load_average,
        run.pairs,
        run.turn_seconds
    )
}

/// One workload in one scenario.
pub(crate) fn body(figures: &Figures) -> String {
    let unit = figures.unit;
    let a_unit = format!("a {unit}");
    let mut text = format!(
        "\n{}, {}: {:.0} {unit}s/s with nothing watching\n{:<9} {:>25} {:>10} {:>10} {:>12} {:>9} {:>10}\n",
        figures.workload,
        figures.scenario,
        median(&figures.nothing),
        "",
        "throughput to nothing",
        "kernel ns",
        "kernel ns",
        "processor us",
        "peak MiB",
        "seen"
    );
    let heads = ["", "(95 % interval)", "a packet", &a_unit, &a_unit, "", ""];
    let _ = writeln!(
        text,
        "{:<9} {:>25} {:>10} {:>10} {:>12} {:>9} {:>10}",
        heads[0], heads[1], heads[2], heads[3], heads[4], heads[5], heads[6]
    );
    for arm in &figures.arms {
        text.push_str(&row(arm));
    }
    for arm in &figures.arms {
        text.push_str(&made_of(arm, unit));
        let _ = writeln!(
            text,
            "{}: the server itself uses {:.2} us a {unit}, {:.2} us with nothing watching",
            arm.arm,
            median(&arm.service_us),
            median(&figures.service_us)
        );
    }
    if let Some(turn) = &figures.full_load {
        let cost = &turn.cost;
        let _ = writeln!(
            text,
            "observer, {} s at full load: {} {unit}s, {} seen, {} us a {unit}, {} MiB at its peak",
            turn.seconds,
            cost.served,
            cost.seen.unwrap_or(0),
            shown(cost.processor_us_per_request(), 3),
            shown(cost.peak_bytes.map(mebibytes), 1),
        );
    }
    for target in &figures.targets {
        let verdict = match target.verdict {
            Verdict::Reached => "reached",
            Verdict::Missed => "MISSED",
            Verdict::Open => "open",
        };
        let _ = writeln!(text, "{verdict:<8} {}", target.what);
    }
    text
}

fn row(arm: &ArmFigures) -> String {
    let ratio = arm.ratio.map_or_else(
        || "-".to_owned(),
        |ratio| format!("{:.4} ({:.4}-{:.4})", ratio.estimate, ratio.lower, ratio.upper),
    );
    format!(
        "{:<9} {:>25} {:>10} {:>10} {:>12} {:>9} {:>10}\n",
        arm.arm.to_string(),
        ratio,
        shown(arm.kernel_ns_per_packet(), 0),
        shown(arm.kernel_ns_per_request(), 0),
        shown(arm.processor_us_per_request(), 3),
        shown(arm.peak_bytes().map(mebibytes), 1),
        shown(arm.seen_share().map(|share| share * 100.0), 4),
    )
}

/// What the cost of an arm consists of.
fn made_of(arm: &ArmFigures, unit: &str) -> String {
    // A program that runs once a connection and not once a request is left to the JSON.
    let often = arm.programs().into_iter().filter(|(_, runs, _)| *runs >= 0.01);
    let mut parts: Vec<String> =
        often.map(|(name, runs, ns)| format!("{name} {runs:.2} runs a {unit}, {ns:.0} ns each")).collect();
    if let Some((user, system)) = arm.user_and_system_us_per_request() {
        parts.push(format!("process {user:.3} us a {unit} in its own code, {system:.3} us in the kernel"));
    }
    if parts.is_empty() { String::new() } else { format!("{}: {}\n", arm.arm, parts.join("; ")) }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
