//! The turns of a measurement and their order: a workload and the arms come in, figures go out.
//!
//! Every turn of an arm stands between two turns of nothing and is compared with their mean, so that a machine that gets
//! slower or faster meanwhile spoils no ratio. The order of the arms changes from round to round. Cost is read in turns of its
//! own, for reading it costs.

use super::Options;
use super::arms::{ArmName, Tool};
use super::figures::{ArmFigures, Cost, Figures, FullLoad};
use super::process;
use super::programs;
use super::scene::{Scenario, Scene, Server, Workload};
use super::statistics;
use super::targets;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Turns of each arm in which cost is read: in every other one the run time of its programs too, which slows them.
const COST_TURNS: u32 = 4;

/// Between two looks at the memory of the observer.
const MEMORY_EVERY: Duration = Duration::from_millis(500);

/// Measures one workload in one scenario.
///
/// # Errors
///
/// When the server, its client or an arm fails.
pub(crate) fn measure(
    workload: &dyn Workload,
    scenario: Scenario,
    options: &Options,
    observer: &Path,
) -> Result<Figures> {
    let scene = Scene::prepare(scenario, workload.sources())?;
    let server = workload.start(&scene)?;
    let mut bench = Bench { scene: &scene, server, observer };
    let arms: Vec<ArmName> = options.arms.iter().copied().filter(|arm| arm.can_watch(scenario)).collect();

    let (nothing, turns_of_arms) = bench.compare(&arms, options.pairs, options.seconds)?;
    let mut figures = Vec::new();
    for (index, arm) in arms.iter().enumerate() {
        let (turns, pairs): (Vec<Turn>, Vec<(f64, f64)>) = (turns_of_arms.iter())
            .filter(|turn| turn.arm == index)
            .map(|turn| (turn.with, (turn.with.rate, turn.without)))
            .unzip();
        let service_us: Vec<f64> = turns.iter().map(|turn| turn.service_us).collect();
        let turns = turns.iter().map(|turn| turn.rate).collect();
        let costs = (0..COST_TURNS)
            .map(|turn| bench.cost(*arm, options.seconds, turn.is_multiple_of(2)).with_context(|| arm.to_string()))
            .collect::<Result<_>>()?;
        let ratio = statistics::ratio(&pairs);
        figures.push(ArmFigures { arm: *arm, turns, ratio, service_us, costs });
    }
    let full_load = match options.full_load {
        seconds if seconds > 0 && arms.contains(&ArmName::Observer) => Some(bench.full_load(seconds)?),
        _ => None,
    };
    let targets = targets::judge(workload.aims(scenario), &figures, full_load.as_ref(), workload.unit());
    let (workload, unit) = (workload.name(), workload.unit());
    let service_us = nothing.iter().map(|turn| turn.service_us).collect();
    let nothing = nothing.iter().map(|turn| turn.rate).collect();
    Ok(Figures { workload, unit, scenario, nothing, service_us, arms: figures, full_load, targets })
}

/// A turn of load.
#[derive(Clone, Copy)]
struct Turn {
    /// Requests a second.
    rate: f64,
    /// Microseconds of the measured service's processor time for a request.
    service_us: f64,
}

/// A turn of an arm between two of nothing.
struct Between {
    arm: usize,
    with: Turn,
    /// Requests a second: the geometric mean of both neighbours.
    without: f64,
}

struct Bench<'a> {
    scene: &'a Scene,
    server: Box<dyn Server>,
    observer: &'a Path,
}

impl Bench<'_> {
    /// Returns each turn of nothing, and each turn of an arm.
    fn compare(&mut self, arms: &[ArmName], rounds: u32, seconds: u64) -> Result<(Vec<Turn>, Vec<Between>)> {
        // The first turn warms caches and is thrown away.
        self.turn(seconds)?;
        let mut nothing = vec![self.turn(seconds)?];
        let mut turns = Vec::new();
        for round in 0..rounds {
            let mut said = format!("round {} of {rounds}:", round + 1);
            for index in order(arms.len(), round) {
                let Some(arm) = arms.get(index) else { continue };
                let tool = self.start(*arm)?;
                let with = self.turn(seconds)?;
                drop(tool);
                let before = nothing.last().copied().unwrap_or(with);
                let after = self.turn(seconds)?;
                nothing.push(after);
                let without = (before.rate * after.rate).sqrt();
                turns.push(Between { arm: index, with, without });
                let _ = write!(said, "  {arm} {:.3}", with.rate / without);
            }
            eprintln!("{said}");
        }
        Ok((nothing, turns))
    }

    fn start(&self, arm: ArmName) -> Result<Box<dyn Tool>> {
        arm.start(self.scene, &self.server.ports(), self.observer).with_context(|| arm.to_string())
    }

    fn turn(&mut self, seconds: u64) -> Result<Turn> {
        let before = self.scene.service_time()?;
        let load = self.server.load(seconds)?;
        let responses = load.responses.max(1) as f64;
        let service = self.scene.service_time()?.saturating_sub(before);
        Ok(Turn { rate: responses / load.seconds, service_us: service.as_secs_f64() * 1e6 / responses })
    }

    /// One turn of which the cost is read; `run_time`: that of programs in the kernel too.
    fn cost(&mut self, arm: ArmName, seconds: u64, run_time: bool) -> Result<Cost> {
        let tool = self.start(arm)?;
        let counting = run_time.then(programs::count_run_time).transpose()?;
        // What has no process of its own is held by this one.
        let holder = tool.process().unwrap_or(std::process::id());
        let before = programs::of(holder)?;
        let load = |server: &mut dyn Server| server.load(seconds).map(drop);
        let runs = || if run_time { Ok(programs::since(&before, programs::of(holder)?)) } else { Ok(Vec::new()) };
        let cost = self.read(tool, load, runs);
        drop(counting);
        Ok(Cost { run_time_counted: run_time, ..cost? })
    }

    fn read(
        &mut self,
        tool: Box<dyn Tool>,
        load: impl FnOnce(&mut dyn Server) -> Result<()>,
        runs: impl FnOnce() -> Result<Vec<programs::ProgramRuns>>,
    ) -> Result<Cost> {
        let before = self.server.served()?;
        let used_before = tool.process().map(process::usage).unwrap_or_default();
        load(self.server.as_mut())?;
        let served = self.server.served()? - before;
        let programs = runs()?;
        let finished = tool.finish(served)?;
        let since = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        Ok(Cost {
            served,
            seen: finished.seen,
            user_seconds: finished.usage.map(|usage| since(usage.user, used_before.user)),
            system_seconds: finished.usage.map(|usage| since(usage.system, used_before.system)),
            peak_bytes: finished.usage.map(|usage| usage.peak_bytes),
            programs,
            run_time_counted: false,
        })
    }

    /// The long turn of the observer, with its memory looked at throughout.
    fn full_load(&mut self, seconds: u64) -> Result<FullLoad> {
        let tool = self.start(ArmName::Observer)?;
        let pid = tool.process();
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let memory = scope.spawn(|| {
                let mut resident = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    resident.extend(pid.map(|pid| process::usage(pid).resident_bytes));
                    std::thread::sleep(MEMORY_EVERY);
                }
                resident
            });
            let load = |server: &mut dyn Server| {
                let load = server.load(seconds).map(drop);
                ended.store(true, Ordering::Relaxed);
                load
            };
            let cost = self.read(tool, load, || Ok(Vec::new()));
            ended.store(true, Ordering::Relaxed);
            let resident_bytes = memory.join().map_err(|_| anyhow::anyhow!("reading memory failed"))?;
            Ok(FullLoad { seconds, cost: cost?, resident_bytes })
        })
    }
}

/// The arms in the order of this round: forwards and backwards in turn, and each first as often as the others.
fn order(arms: usize, round: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..arms).collect();
    if arms > 0 {
        order.rotate_left(round as usize / 2 % arms);
    }
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_arm_once_in_changing_order() {
        let orders: Vec<Vec<usize>> = (0..4).map(|round| order(3, round)).collect();
        assert_eq!(orders, [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]]);
        assert!(order(0, 5).is_empty());
    }
}
