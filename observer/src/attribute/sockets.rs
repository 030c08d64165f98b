//! What is known of each socket's owner: a bounded table that is asked for every message and changed by few events.

use observer_core::ids::{SocketId, WorkloadId};
use rustc_hash::FxHashMap;

use super::Connection;
use crate::capture::CommandName;

/// Sockets whose owner is known, or known to be nobody; past it those that were not asked for since the last sweep go
/// first. Some 24 bytes each.
pub(super) const SOCKETS_MAX: usize = 131_072;
/// Sockets whose owner is looked for at a time.
pub(super) const WAITING_MAX: usize = 8192;
/// Surveys that may fail to find the owner of a socket before it is given up.
const TRIES_MAX: u8 = 3;

/// What is known of the owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Owned by this workload.
    Owned(WorkloadId),
    /// Nobody was found yet.
    Waits(Clue),
    /// Nobody was found; it is not looked for any more.
    Unknown,
}

/// What there is to find the owner of a socket by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clue {
    /// The process that used it; zero: not known, or gone.
    pub(super) pid: u32,
    /// What that process is called; empty: not known.
    pub(super) command: CommandName,
    /// Its cgroup; zero: not known.
    pub(super) cgroup: u64,
    /// Its addresses.
    pub(super) connection: Option<Connection>,
}

#[derive(Clone, Copy, Debug)]
struct Settled {
    owner: Option<WorkloadId>,
    asked: u32,
}

/// All sockets whose owner was asked for or told.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    settled: FxHashMap<SocketId, Settled>,
    waiting: FxHashMap<SocketId, (Clue, u8)>,
    sweep: u32,
    /// Sockets that were dropped because the table was full.
    pub(super) evicted: u64,
}

impl Sockets {
    pub(super) fn len(&self) -> usize {
        self.settled.len() + self.waiting.len()
    }

    /// How many owners are looked for.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is known of a socket that is asked for now.
    pub(super) fn ask(&mut self, socket: SocketId) -> Option<State> {
        if let Some(settled) = self.settled.get_mut(&socket) {
            settled.asked = self.sweep;
            return Some(settled.owner.map_or(State::Unknown, State::Owned));
        }
        self.waiting.get(&socket).map(|(clue, _)| State::Waits(*clue))
    }

    /// The workload that owns a socket, where that is known.
    pub(super) fn owner(&self, socket: SocketId) -> Option<WorkloadId> {
        self.settled.get(&socket)?.owner
    }

    /// Replaces the ids of workloads.
    pub(super) fn renumber(&mut self, current: impl Fn(WorkloadId) -> WorkloadId) {
        self.settled.values_mut().for_each(|settled| settled.owner = settled.owner.map(&current));
    }

    /// Says what is known of a socket.
    pub(super) fn set(&mut self, socket: SocketId, state: State) {
        let owner = match state {
            State::Waits(clue) => {
                self.settled.remove(&socket);
                let tries = self.waiting.get(&socket).map_or(0, |(_, tries)| *tries);
                if self.waiting.len() < WAITING_MAX || self.waiting.contains_key(&socket) {
                    self.waiting.insert(socket, (clue, tries));
                } else {
                    self.evicted += 1;
                }
                return;
            }
            State::Owned(workload) => Some(workload),
            State::Unknown => None,
        };
        self.waiting.remove(&socket);
        if self.settled.len() >= SOCKETS_MAX && !self.settled.contains_key(&socket) {
            self.make_room();
        }
        self.settled.insert(socket, Settled { owner, asked: self.sweep });
    }

    pub(super) fn remove(&mut self, socket: SocketId) {
        if self.settled.remove(&socket).is_none() {
            self.waiting.remove(&socket);
        }
    }

    /// The sockets whose owner is looked for, by id.
    pub(super) fn unresolved(&self) -> Vec<(SocketId, Clue)> {
        let mut waiting: Vec<_> = self.waiting.iter().map(|(&socket, &(clue, _))| (socket, clue)).collect();
        waiting.sort_unstable_by_key(|(socket, _)| *socket);
        waiting
    }

    /// Another survey has not found the owner of this socket, if it still has none.
    pub(super) fn not_found(&mut self, socket: SocketId) {
        let Some((_, tries)) = self.waiting.get_mut(&socket) else { return };
        *tries += 1;
        if *tries >= TRIES_MAX {
            self.set(socket, State::Unknown);
        }
    }

    /// Drops the sockets that nobody asked for since the last sweep; if most were asked for, every other one.
    fn make_room(&mut self) {
        let before = self.settled.len();
        let sweep = self.sweep;
        self.settled.retain(|_, settled| settled.asked == sweep && sweep != 0);
        if self.settled.len() >= SOCKETS_MAX / 2 {
            let mut odd = false;
            self.settled.retain(|_, _| {
                odd = !odd;
                odd
            });
        }
        self.evicted += u64::try_from(before - self.settled.len()).unwrap_or(u64::MAX);
        self.sweep = self.sweep.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_stay_under_their_bounds_and_count_what_they_drop() {
        for (state, bound) in [(State::Owned(WorkloadId(1)), SOCKETS_MAX), (State::Waits(Clue::default()), WAITING_MAX)]
        {
            let mut sockets = Sockets::default();
            let told = u64::try_from(bound).unwrap() * 3;
            for number in 0..told {
                sockets.set(SocketId(number), state);
            }
            assert!(sockets.len() <= bound);
            assert_eq!(sockets.evicted, told - u64::try_from(sockets.len()).unwrap());
        }
    }

    #[test]
    fn a_socket_in_use_outlives_those_that_nobody_asks_for() {
        let mut sockets = Sockets::default();
        for number in 0..u64::try_from(SOCKETS_MAX).unwrap() * 3 {
            sockets.set(SocketId(number), State::Owned(WorkloadId(1)));
            if sockets.sweep > 0 {
                sockets.set(SocketId(u64::MAX), State::Owned(WorkloadId(2)));
                assert_eq!(sockets.ask(SocketId(u64::MAX)), Some(State::Owned(WorkloadId(2))));
            }
        }
        assert!(sockets.sweep > 1);
    }

    #[test]
    fn a_socket_that_no_survey_finds_is_given_up() {
        let mut sockets = Sockets::default();
        let socket = SocketId(7);
        sockets.set(socket, State::Waits(Clue::default()));
        assert_eq!((sockets.waiting(), sockets.unresolved().len()), (1, 1));
        for _ in 0..TRIES_MAX {
            sockets.not_found(socket);
        }
        assert_eq!((sockets.ask(socket), sockets.waiting()), (Some(State::Unknown), 0));
        sockets.remove(socket);
        assert_eq!(sockets.len(), 0);
    }
}
