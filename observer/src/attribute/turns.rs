//! Work beside the hot path: what waits is tried again, processes that ended are noticed, the host is surveyed when an owner
//! cannot be found otherwise. Time comes in; the tables of [`Attribution`] change. Only starting a survey and reading a few
//! processes happen on the caller's thread.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use observer_core::ids::SocketId;

use super::Attribution;
use super::sockets::{Clue, State};
use super::survey::{Refused, Survey, survey};
use crate::capture::SocketEvent;

/// Surveys that may fail to find a connection by its addresses.
pub(super) const TRIES_MAX: u8 = 3;
/// The shortest time between two attempts at what is waiting.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(100);
/// How often processes are asked whether they still run.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two surveys, and the longest while surveys tell nothing new.
const SURVEY_INTERVAL: Duration = Duration::from_secs(1);
const SURVEY_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// A survey may take at most this part of the time: one in twenty.
const SURVEY_PAUSE: u32 = 20;

#[derive(Debug)]
struct Running {
    thread: JoinHandle<Survey>,
    since: Instant,
    /// The sockets and connections that it may find: later ones came too late for it.
    sockets: Vec<SocketId>,
}

/// When what was done, and when it may be done again.
#[derive(Debug)]
pub(super) struct Turns {
    running: Option<Running>,
    survey_wanted: bool,
    survey_after: Instant,
    survey_interval: Duration,
    attempted: Instant,
    checked: Instant,
    generation: u64,
    /// Surveys made.
    pub(super) surveys: u64,
    /// What the last one could not read.
    pub(super) refused: Refused,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: None,
            survey_wanted: true,
            survey_after: now,
            survey_interval: SURVEY_INTERVAL,
            attempted: now,
            checked: now,
            generation: 0,
            surveys: 0,
            refused: Refused::default(),
        }
    }
}

impl Attribution {
    /// Does some of the work that is waiting: at most some 100 µs each call on this thread; surveys run on their own.
    /// Call it often (every 50 to 200 ms). Returns whether answers may have changed.
    pub fn refresh(&mut self, now: Instant) -> bool {
        self.processes.tick(now);
        let mut changed = false;
        if self.turns.running.as_ref().is_some_and(|running| running.thread.is_finished()) {
            changed |= self.finish_survey(now);
        }
        let waits = self.sockets.waiting() > 0 || !self.late.is_empty();
        if waits && now.saturating_duration_since(self.turns.attempted) >= ATTEMPT_INTERVAL {
            self.turns.attempted = now;
            changed |= self.attempt();
        }
        if now.saturating_duration_since(self.turns.checked) >= CHECK_INTERVAL {
            self.turns.checked = now;
            self.processes.check_some(&mut self.workloads);
            self.forget(now);
        }
        if self.needs_survey() && self.turns.running.is_none() && now >= self.turns.survey_after {
            self.start_survey(now);
        }
        // What events told since the last call counts, too.
        let generation = self.generation();
        changed || std::mem::replace(&mut self.turns.generation, generation) != generation
    }

    /// Looks for whoever is still looked for and waits for the result: at the start, and where an answer cannot wait. Does
    /// nothing where nobody is looked for.
    pub fn settle(&mut self) {
        let now = Instant::now();
        self.processes.tick(now);
        self.attempt();
        if self.turns.running.is_some() {
            self.finish_survey(now);
        }
        if self.needs_survey() {
            self.start_survey(now);
            self.finish_survey(Instant::now());
            self.attempt();
        }
    }

    fn needs_survey(&self) -> bool {
        self.turns.survey_wanted || self.sockets.waiting() > 0 || self.wanted.values().any(|&tries| tries < TRIES_MAX)
    }

    /// Tries once more what is waiting, with what is known by now.
    fn attempt(&mut self) -> bool {
        for event in std::mem::take(&mut self.late) {
            let closed = matches!(event, SocketEvent::Connects { socket, .. } if self.sockets.owner(socket).is_none());
            if !closed {
                self.event(&event);
            }
        }
        let mut changed = false;
        for (socket, clue) in self.sockets.unresolved() {
            let by_process = if clue.pid == 0 { State::Waits(clue) } else { self.state_by_process(clue).0 };
            let state = match by_process {
                State::Waits(Clue { pid: 0, .. }) => self.guess(Clue { pid: 0, ..clue }).unwrap_or(by_process),
                state => state,
            };
            self.sockets.set(socket, state);
            changed |= matches!(state, State::Owned(_));
        }
        changed
    }

    fn forget(&mut self, now: Instant) {
        if let Some(current) = self.workloads.take_merged() {
            self.processes.renumber(&current);
            self.sockets.renumber(&current);
            self.listeners.renumber(&current);
            self.by_connection.values_mut().for_each(|owner| *owner = owner.map(&current));
        }
        if !self.workloads.forget(now).is_empty() {
            let workloads = &self.workloads;
            self.listeners.retain(|listener| workloads.get(listener.workload).is_some());
        }
    }

    fn start_survey(&mut self, now: Instant) {
        self.turns.survey_wanted = false;
        let places = self.processes.places.clone();
        let known = self.processes.incarnations();
        let sockets = self.sockets.unresolved().into_iter().map(|(socket, ..)| socket).collect();
        // The thread moves between network namespaces, so it must be one that ends.
        let thread = std::thread::Builder::new().name(String::from("survey")).spawn(move || survey(&places, &known));
        match thread {
            Ok(thread) => self.turns.running = Some(Running { thread, since: now, sockets }),
            Err(error) => {
                tracing::warn!(%error, "no thread for a survey of this host's sockets; trying again");
                self.turns.survey_wanted = true;
                self.turns.survey_after = now + SURVEY_INTERVAL_MAX;
            }
        }
    }

    /// Waits for the survey and takes over what it found.
    fn finish_survey(&mut self, now: Instant) -> bool {
        let Some(running) = self.turns.running.take() else { return false };
        let Ok(found) = running.thread.join() else {
            tracing::error!("the survey of this host's sockets failed");
            self.turns.survey_after = now + SURVEY_INTERVAL_MAX;
            return false;
        };
        self.turns.surveys += 1;
        self.turns.refused = found.refused;
        let told = self.apply(found, running.since);
        for socket in running.sockets {
            self.sockets.not_found(socket);
        }
        let by_connection = &self.by_connection;
        let before = self.wanted.len();
        self.wanted.retain(|connection, tries| {
            *tries = tries.saturating_add(1);
            // Those that were given up stay, as an answer, until the table is full.
            !by_connection.contains_key(connection)
        });
        let useful = told > 0 || self.wanted.len() < before || self.turns.surveys == 1;
        self.turns.survey_interval =
            if useful { SURVEY_INTERVAL } else { (self.turns.survey_interval * 2).min(SURVEY_INTERVAL_MAX) };
        let took = now.saturating_duration_since(running.since);
        self.turns.survey_after =
            now + self.turns.survey_interval.max(took.saturating_mul(SURVEY_PAUSE).min(SURVEY_INTERVAL_MAX));
        true
    }
}
