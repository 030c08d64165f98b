//! Services that break propagation come in; what their processes run goes out, for the report. Processes are looked at on a thread of
//! its own, once each, as soon as a service is to blame: nothing on the way of a packet waits for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use observer_core::audit::causes::{self, ByService};
use observer_core::audit::report::Report;
use observer_core::audit::runs::Runs;

use crate::attribute::Attribution;
use crate::attribute::process::{Incarnation, Places, ProcessFacts};
use crate::attribute::program::Language;
use crate::attribute::runs::runs;
use crate::attribute::workloads::Workload;

/// Processes of one service that are looked at: workers are alike.
const PROCESSES_OF_SERVICE_MAX: usize = 4;
/// Processes that are remembered.
const PROCESSES_MAX: usize = 1024;
/// Processes that wait to be looked at.
const JOBS_MAX: usize = 64;
/// How long the last report waits for those.
const PATIENCE: Duration = Duration::from_secs(3);

/// A program in a process.
type Key = (u32, Incarnation);

struct Job {
    places: Places,
    key: Key,
    command: String,
}

/// The thread that looks.
#[derive(Debug)]
struct Thread {
    jobs: SyncSender<Job>,
    done: Receiver<(Key, Runs)>,
    waiting: usize,
}

/// What is known of the processes of services that are to blame.
#[derive(Debug, Default)]
pub(super) struct Causes {
    thread: Option<Thread>,
    /// `None`: it is being looked at.
    known: BTreeMap<Key, Option<Runs>>,
    by_service: BTreeMap<String, BTreeSet<Key>>,
    refused: u64,
}

impl Causes {
    /// Names in the report what breaks its propagation. `wait`: for what is still being looked at, a moment.
    pub(super) fn explain(&mut self, report: &mut Report, attribution: &Attribution, wait: bool) {
        let culprits = causes::culprits(report);
        self.look(attribution, |service| culprits.contains(service));
        self.take(wait);
        causes::explain(report, &self.by_service());
    }

    /// Has the processes of services looked at that were not yet.
    pub(super) fn look(&mut self, attribution: &Attribution, is_culprit: impl Fn(&str) -> bool) {
        let mut chosen: BTreeMap<&str, BTreeSet<Key>> = BTreeMap::new();
        for workload in attribution.workloads().filter(|workload| is_culprit(&workload.service)) {
            let of_service = chosen.entry(&workload.service).or_default();
            for process in processes(attribution, workload) {
                if of_service.len() >= PROCESSES_OF_SERVICE_MAX {
                    break;
                }
                let key = (process.pid, process.incarnation);
                if self.is_known(key, process, attribution) {
                    of_service.insert(key);
                }
            }
        }
        for (service, keys) in chosen {
            // What ran is told while nothing else does.
            if !keys.is_empty() && self.by_service.get(service) != Some(&keys) {
                self.by_service.insert(service.to_owned(), keys);
            }
        }
        self.take(false);
    }

    /// How many processes are known, and how many there was no room for.
    pub(super) fn counters(&self) -> (usize, u64) {
        (self.known.len(), self.refused)
    }

    /// Whether a process was looked at or will be.
    fn is_known(&mut self, key: Key, process: &ProcessFacts, attribution: &Attribution) -> bool {
        if self.known.contains_key(&key) {
            return true;
        }
        if self.known.len() >= PROCESSES_MAX {
            let used: BTreeSet<Key> = self.by_service.values().flatten().copied().collect();
            self.known.retain(|key, _| used.contains(key));
        }
        let command = process.command();
        if process.is_unseen() {
            let why = "it ended before it could be looked at".to_owned();
            self.known.insert(key, Some(Runs::unknown(process.pid, command.to_owned(), why)));
            return true;
        }
        if self.known.len() >= PROCESSES_MAX {
            self.refused += 1;
            return false;
        }
        let job = Job { places: attribution.places().clone(), key, command: command.to_owned() };
        if self.thread.is_none() {
            self.thread = start();
        }
        let Some(thread) = &mut self.thread else { return false };
        // It is asked for again as long as there is no room.
        let is_sent = thread.jobs.try_send(job).is_ok();
        if is_sent {
            thread.waiting += 1;
            self.known.insert(key, None);
        }
        is_sent
    }

    fn take(&mut self, wait: bool) {
        let Some(thread) = &mut self.thread else { return };
        let end = Instant::now() + PATIENCE;
        while thread.waiting > 0 {
            let left = if wait { end.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let Ok((key, runs)) = thread.done.recv_timeout(left) else { return };
            thread.waiting -= 1;
            self.known.insert(key, Some(runs));
        }
    }

    fn by_service(&self) -> ByService {
        let runs = |keys: &BTreeSet<Key>| keys.iter().filter_map(|key| self.known.get(key)?.clone()).collect();
        self.by_service.iter().map(|(service, keys)| (service.clone(), runs(keys))).collect()
    }
}

/// The processes of a workload that may be to blame, those first that run longest; where none runs any more, those that did.
fn processes<'a>(attribution: &'a Attribution, workload: &'a Workload) -> Vec<&'a ProcessFacts> {
    let running = workload.processes.values().map(|process| &**process);
    let mut found: Vec<&ProcessFacts> = running.filter(|process| process.language != Language::Shell).collect();
    if found.is_empty() {
        found = attribution.ended(workload.id).collect();
    }
    found.sort_by_key(|process| (process.incarnation, process.pid));
    found
}

fn start() -> Option<Thread> {
    let (jobs, todo) = sync_channel::<Job>(JOBS_MAX);
    let (told, done) = channel();
    let work = move || {
        for Job { places, key: (pid, incarnation), command } in todo {
            let runs = runs(&places, pid, incarnation, &command);
            if told.send(((pid, incarnation), runs)).is_err() {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("causes".to_owned()).spawn(work);
    if let Err(error) = &started {
        tracing::warn!("what services run is not looked at: a thread cannot start: {error}");
    }
    started.ok().map(|_| Thread { jobs, done, waiting: 0 })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use observer_core::audit::runs::Runtime;

    use super::*;
    use crate::attribute::{Options, Owner};

    fn sleeping() -> Child {
        Command::new("sleep").arg("600").stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
    }

    /// A process that attribution has heard of, and the service that it is.
    fn heard_of(attribution: &mut Attribution, child: &Child) -> String {
        // Between fork and exec it would be a process of this test.
        while crate::tls::command(child.id()) != "sleep" {
            std::thread::yield_now();
        }
        let Owner::Workload(workload) = attribution.owner_of_process(child.id(), 0) else { panic!("nobody") };
        attribution.workload(workload).unwrap().service.clone()
    }

    #[test]
    fn a_process_is_looked_at_once_and_told_after_its_end_as_it_was() {
        let mut attribution = Attribution::new(Options::of_this_host());
        let mut child = sleeping();
        let service = heard_of(&mut attribution, &child);
        let mut causes = Causes::default();
        let look = |causes: &mut Causes| {
            causes.look(&attribution, |name| name == service);
            causes.take(true);
            causes.by_service().remove(&service).unwrap().into_iter().find(|runs| runs.pid == child.id()).unwrap()
        };
        let before = look(&mut causes);
        assert_eq!((before.runtime, before.command.as_str()), (Runtime::Native, "sleep"));
        let looked_at = causes.counters();
        assert_eq!(look(&mut causes), before);
        assert_eq!(causes.counters(), looked_at);
        assert!(causes.by_service().keys().eq([&service]));
        child.kill().unwrap();
        child.wait().unwrap();
        causes.look(&attribution, |name| name == service);
        assert!(causes.by_service()[&service].contains(&before));
    }

    #[test]
    fn a_process_that_ended_before_it_was_looked_at_is_told_by_its_name_alone() {
        let mut attribution = Attribution::new(Options::of_this_host());
        let mut child = sleeping();
        let service = heard_of(&mut attribution, &child);
        child.kill().unwrap();
        child.wait().unwrap();
        let mut causes = Causes::default();
        causes.look(&attribution, |name| name == service);
        causes.take(true);
        let found = causes.by_service().remove(&service).unwrap();
        let found = found.iter().find(|runs| runs.pid == child.id()).unwrap();
        assert_eq!((found.runtime, found.command.as_str()), (Runtime::Unknown, "sleep"));
        assert_eq!(found.unread.as_deref(), Some("it ended before it could be looked at"));
    }
}
