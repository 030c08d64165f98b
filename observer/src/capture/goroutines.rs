//! Which request a goroutine works for: the wish for some processes comes in; those of them that are Go programs are probed as long as it
//! stands and stays within the budget. Programs are looked into, and probes attached and removed, on a thread of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use observer_ebpf::program::{Gives, PROGRAMS};
use rustc_hash::FxHashMap;

use super::attach::{self, ProgramState, reason};
use super::kernel_memory::probe_handle;
use crate::config::Pattern;
use crate::tls::{Point, command, goroutines};

/// Processes that are probed at once, of which each has some eight probes.
const PROCESSES_MAX: usize = 64;
/// How often what they cost is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a process is left alone after its probes cost too much.
const REST: Duration = Duration::from_mins(10);
/// What a hit costs where it could not be timed.
const HIT: Duration = Duration::from_micros(2);

/// The processes whose goroutines are followed.
pub(super) struct Goroutines {
    thread: Sender<Vec<u32>>,
    wished: BTreeMap<u32, Cost>,
    resting: BTreeMap<u32, Instant>,
    /// Of one hit.
    hit: Duration,
    /// The share of one processor that probes may cost a process.
    budget: f64,
    looked: Instant,
}

/// How often a process has hit probes of any kind, once that was looked at.
type Cost = Option<u64>;

impl Goroutines {
    /// Loads the programs, or says why they cannot run; attaches nothing. `members`: whether they know where the kernel keeps what they
    /// tell; `hit`: what a hit costs, where that is known; `budget`: the share of one processor that probes may cost a process; `leave`:
    /// commands that are left alone.
    pub(super) fn open(
        ebpf: &mut Ebpf,
        members: Result<(), String>,
        (hit, budget): (Option<Duration>, f64),
        leave: Vec<Pattern>,
    ) -> (Option<Self>, Vec<ProgramState>) {
        let mut states = attach::for_goroutines(ebpf);
        let failed = states.iter().find_map(|state| state.outcome.clone().err());
        let opened = members.and_then(|()| match failed {
            Some(why) => Err(why),
            None => Self::start(ebpf, (hit.unwrap_or(HIT), budget), leave),
        });
        if let Err(why) = &opened {
            for state in states.iter_mut().filter(|state| state.outcome.is_ok()) {
                state.outcome = Err(why.clone());
            }
        }
        (opened.ok(), states)
    }

    fn start(ebpf: &Ebpf, (hit, budget): (Duration, f64), leave: Vec<Pattern>) -> Result<Self, String> {
        let programs = PROGRAMS.iter().filter(|program| program.gives == Gives::Goroutines);
        let handle = |name: &'static str| {
            let program = ebpf.program(name).ok_or_else(|| format!("{name} is not in the object"))?;
            let probe = <&UProbe>::try_from(program).and_then(|probe| probe_handle(probe, name));
            probe.map(|probe| (name, probe)).map_err(|error| reason(&error))
        };
        let programs = programs.map(|program| handle(program.name)).collect::<Result<_, _>>()?;
        let (thread, wishes) = channel();
        let mut worker = Worker { programs, probed: BTreeMap::new(), leave };
        let work = move || worker.work(&wishes);
        std::thread::Builder::new().name("goroutines".to_owned()).spawn(work).map_err(|error| error.to_string())?;
        Ok(Self { thread, wished: BTreeMap::new(), resting: BTreeMap::new(), hit, budget, looked: Instant::now() })
    }

    /// Follows the goroutines of these processes from now on, the first ones where there are too many.
    pub(super) fn wish(&mut self, processes: &[u32], now: Instant) {
        self.resting.retain(|_, until| *until > now);
        let processes = processes.iter().filter(|process| !self.resting.contains_key(process)).take(PROCESSES_MAX);
        self.wished = processes.map(|process| (*process, self.wished.remove(process).flatten())).collect();
        self.tell();
    }

    /// Looks after the budget; `hits` tells how often a process has hit probes so far.
    pub(super) fn look(&mut self, now: Instant, hits: impl Fn(u32) -> u64) {
        let time = now.saturating_duration_since(self.looked);
        if time < LOOK_EVERY {
            return;
        }
        self.looked = now;
        let mut over = Vec::new();
        for (&process, before) in &mut self.wished {
            let hits = hits(process);
            let new = hits.saturating_sub(before.replace(hits).unwrap_or(hits));
            let share = self.hit.as_secs_f64() * new as f64 / time.as_secs_f64();
            if share > self.budget {
                over.push((process, share));
            }
        }
        for &(process, share) in &over {
            tracing::info!(
                "the goroutines of process {process} are not followed for {} minutes: probes cost it {:.0} % of a processor",
                REST.as_secs() / 60,
                share * 100.0
            );
            self.wished.remove(&process);
            self.resting.insert(process, now + REST);
        }
        if !over.is_empty() {
            self.tell();
        }
    }

    fn tell(&self) {
        // It fails only where the thread panicked: then nothing is followed.
        let _ = self.thread.send(self.wished.keys().copied().collect());
    }
}

/// What attaches and detaches.
struct Worker {
    programs: FxHashMap<&'static str, UProbe>,
    /// The probes of each process; none of one that cannot be followed.
    probed: BTreeMap<u32, Vec<UProbeLink>>,
    leave: Vec<Pattern>,
}

impl Worker {
    fn work(&mut self, wishes: &Receiver<Vec<u32>>) {
        while let Ok(mut wished) = wishes.recv() {
            while let Ok(later) = wishes.try_recv() {
                wished = later;
            }
            self.probed.retain(|process, _| wished.contains(process));
            for process in wished {
                if self.probed.contains_key(&process) {
                    continue;
                }
                let probes = self.follow(process).unwrap_or_else(|why| {
                    tracing::debug!(process, command = command(process), why, "goroutines are not followed");
                    Vec::new()
                });
                self.probed.insert(process, probes);
            }
        }
    }

    fn follow(&mut self, process: u32) -> Result<Vec<UProbeLink>, String> {
        if self.leave.iter().any(|pattern| pattern.matches(&command(process))) {
            return Err("left alone by capture.tls_leave".to_owned());
        }
        let file = File::open(format!("/proc/{process}/exe")).map_err(|error| error.to_string())?;
        let points = goroutines(&file).map_err(|why| why.to_string())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let scope = UProbeScope::OneProcess(NonZeroU32::new(process).ok_or("it is no process")?);
        let mut links = Vec::new();
        for Point { program, offset } in points {
            let probe = self.programs.get_mut(program).ok_or("its program is not loaded")?;
            let location = UProbeAttachLocation::AbsoluteOffset(offset);
            let attached: Result<UProbeLink, ProgramError> =
                probe.attach(location, &path, scope).and_then(|link| probe.take_link(link));
            links.push(attached.map_err(|error| reason(&error))?);
        }
        Ok(links)
    }
}
