//! How often each process hit probes comes in, what that cost it goes out; of those that it cost too much the log tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::ProbeCost;
use crate::output::safe;

/// How often hits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Commands that are told apart; the others are counted together.
const COMMANDS_MAX: usize = 64;
const OTHERS: &str = "__overflow__";

/// What is known of a process.
struct Known {
    command: String,
    hits: u64,
    warned: bool,
}

/// What probes cost the processes that hit them.
pub(super) struct ProbeBudget {
    /// Of one hit.
    cost: Duration,
    /// The share of one processor that they may cost a process.
    budget: f64,
    looked: Instant,
    processes: FxHashMap<u32, Known>,
    commands: BTreeMap<String, Total>,
}

#[derive(Default)]
struct Total {
    hits: u64,
    /// Of the processes that cost most together, in the time between the last two looks.
    a_second: Duration,
}

impl ProbeBudget {
    /// Begins with what the processes have hit so far.
    pub(super) fn new(cost: Duration, budget: f64, hits: &[(u32, u64)], now: Instant) -> Self {
        let known = |hits| Known { command: String::new(), hits, warned: false };
        let processes = hits.iter().map(|&(pid, hits)| (pid, known(hits))).collect();
        Self { cost, budget, looked: now, processes, commands: BTreeMap::new() }
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.looked) >= LOOK_EVERY
    }

    /// Takes what the processes have hit so far.
    pub(super) fn look(&mut self, now: Instant, hits: &[(u32, u64)], command: impl Fn(u32) -> String) {
        let seconds = now.saturating_duration_since(self.looked).as_secs_f64();
        self.looked = now;
        self.commands.values_mut().for_each(|total| total.a_second = Duration::ZERO);
        let mut before = std::mem::take(&mut self.processes);
        // A table that changes while it is read may show a process twice.
        let mut newest: FxHashMap<u32, u64> = FxHashMap::default();
        for &(pid, hits) in hits {
            let most = newest.entry(pid).or_default();
            *most = hits.max(*most);
        }
        for (pid, hits) in newest {
            let mut known = before.remove(&pid).unwrap_or(Known { command: String::new(), hits: 0, warned: false });
            // The kernel forgets processes that hit nothing for long, and counts from one when they come again.
            let new = if hits < known.hits { hits } else { hits - known.hits };
            known.hits = hits;
            if new > 0 {
                // It may run another program by now, or be gone.
                let called = command(pid);
                if !called.is_empty() && called != known.command {
                    known = Known { command: called, warned: false, ..known };
                }
                let a_second = self.cost.mul_f64(new as f64 / seconds.max(f64::MIN_POSITIVE));
                self.count(&known.command, new, a_second);
                if a_second.as_secs_f64() > self.budget && !known.warned {
                    known.warned = true;
                    tracing::warn!("{}", over_budget(pid, &known.command, a_second.as_secs_f64(), self.budget));
                }
            }
            self.processes.insert(pid, known);
        }
    }

    /// What the processes of each command cost together.
    pub(super) fn costs(&self) -> Vec<ProbeCost> {
        let cost = |(command, total): (&String, &Total)| ProbeCost {
            command: command.clone(),
            hits: total.hits,
            a_second: total.a_second,
        };
        self.commands.iter().map(cost).collect()
    }

    fn count(&mut self, command: &str, hits: u64, a_second: Duration) {
        let has_room = self.commands.len() < COMMANDS_MAX || self.commands.contains_key(command);
        let name = match command {
            "" => "unknown".to_owned(),
            _ if has_room => safe(command).into_owned(),
            _ => OTHERS.to_owned(),
        };
        let total = self.commands.entry(name).or_default();
        total.hits += hits;
        total.a_second += a_second;
    }
}

fn over_budget(pid: u32, command: &str, share: f64, budget: f64) -> String {
    format!(
        "tls: probes cost process {pid} ({}) {:.0} % of a processor, more than capture.tls_budget ({:.0} %): name it in \
         capture.tls_leave and start again to leave it alone, or raise the budget",
        safe(command),
        100.0 * share,
        100.0 * budget
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: Duration = Duration::from_micros(2);

    fn costs(budget: &ProbeBudget) -> Vec<(String, u64, u128)> {
        budget.costs().into_iter().map(|cost| (cost.command, cost.hits, cost.a_second.as_millis())).collect()
    }

    #[test]
    fn what_processes_hit_between_two_looks_is_what_they_cost() {
        let start = Instant::now();
        let mut budget = ProbeBudget::new(HIT, 0.1, &[(1, 1_000), (2, 50)], start);
        assert!(!budget.is_due(start));
        let later = start + LOOK_EVERY;
        assert!(budget.is_due(later));
        let name = |pid: u32| ["", "nginx", "curl", "nginx", ""][pid as usize].to_owned();
        // Process 3 is new; 2 hit nothing; 4 is gone already.
        budget.look(later, &[(1, 501_000), (2, 50), (3, 250_000), (4, 10)], name);
        assert_eq!(costs(&budget), [("nginx".to_owned(), 750_000, 300), ("unknown".to_owned(), 10, 0)]);
        assert!(budget.processes[&1].warned && !budget.processes[&2].warned && !budget.processes[&3].warned);

        // The kernel forgot process 1, which came again, and shows it twice.
        budget.look(later + LOOK_EVERY, &[(1, 5_000), (1, 4_999)], name);
        assert_eq!(costs(&budget), [("nginx".to_owned(), 755_000, 2), ("unknown".to_owned(), 10, 0)]);
        assert_eq!(budget.processes.len(), 1);
        // Its number is another's by now.
        assert!(budget.processes[&1].warned);
        budget.look(later + 2 * LOOK_EVERY, &[(1, 6_000)], |_| "curl".to_owned());
        assert!(!budget.processes[&1].warned);
    }

    #[test]
    fn commands_beyond_the_bound_are_counted_together() {
        let start = Instant::now();
        let mut budget = ProbeBudget::new(HIT, 0.1, &[], start);
        let hits: Vec<(u32, u64)> = (0..200).map(|pid| (pid, 1)).collect();
        budget.look(start + LOOK_EVERY, &hits, |pid| format!("command-{pid}"));
        assert_eq!(budget.commands.len(), COMMANDS_MAX + 1);
        assert_eq!(budget.commands[OTHERS].hits, 200 - COMMANDS_MAX as u64);
    }

    #[test]
    fn a_warning_says_who_how_much_and_what_to_do() {
        assert_eq!(
            over_budget(7, "ng\u{1b}inx", 0.234, 0.1),
            "tls: probes cost process 7 (ng\\u{1b}inx) 23 % of a processor, more than capture.tls_budget (10 %): name it in \
             capture.tls_leave and start again to leave it alone, or raise the budget"
        );
    }
}
