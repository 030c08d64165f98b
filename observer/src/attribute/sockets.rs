//! What is known of each socket's owner: a bounded table that is asked for every message and changed by few events.

use observer_core::ids::{SocketId, WorkloadId};
use rustc_hash::FxHashMap;

use super::Connection;

/// Sockets kept: past it those that were not asked for since the last sweep go first. Some 56 bytes each.
pub(super) const SOCKETS_MAX: usize = 131_072;
/// Surveys that may fail to find the owner of a socket before it is given up.
const TRIES_MAX: u8 = 3;

/// What is known of the owner of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Owned by this workload. `sure`: a process that holds it was seen; else its cgroup or address told.
    Owned { workload: WorkloadId, sure: bool },
    /// Nobody was found yet: by process or by address.
    Waits { pid: u32, cgroup: u64, tries: u8 },
    /// Nobody was found; it is not looked for any more.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    connection: Option<Connection>,
    asked: u32,
}

/// All sockets whose owner was asked for or told.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    table: FxHashMap<SocketId, Entry>,
    waiting: usize,
    sweep: u32,
    /// Sockets that were dropped because the table was full.
    pub(super) evicted: u64,
}

impl Sockets {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// How many owners are looked for.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What is known of a socket that is asked for now.
    pub(super) fn ask(&mut self, socket: SocketId) -> Option<State> {
        let entry = self.table.get_mut(&socket)?;
        entry.asked = self.sweep;
        Some(entry.state)
    }

    pub(super) fn state(&self, socket: SocketId) -> Option<State> {
        self.table.get(&socket).map(|entry| entry.state)
    }

    /// Says what is known of a socket. `connection`: its addresses, where they are known; earlier ones are kept.
    pub(super) fn set(&mut self, socket: SocketId, state: State, connection: Option<Connection>) {
        if self.table.len() >= SOCKETS_MAX && !self.table.contains_key(&socket) {
            self.make_room();
        }
        let sweep = self.sweep;
        let entry = self.table.entry(socket).or_insert(Entry { state: State::Unknown, connection: None, asked: sweep });
        self.waiting -= usize::from(matches!(entry.state, State::Waits { .. }));
        self.waiting += usize::from(matches!(state, State::Waits { .. }));
        entry.state = state;
        entry.connection = connection.or(entry.connection);
        entry.asked = sweep;
    }

    pub(super) fn remove(&mut self, socket: SocketId) {
        if let Some(entry) = self.table.remove(&socket) {
            self.waiting -= usize::from(matches!(entry.state, State::Waits { .. }));
        }
    }

    /// The sockets whose owner is looked for, with process, cgroup and addresses as far as they are known.
    pub(super) fn unresolved(&self) -> Vec<(SocketId, u32, u64, Option<Connection>)> {
        let mut waiting: Vec<_> = self
            .table
            .iter()
            .filter_map(|(&socket, entry)| match entry.state {
                State::Waits { pid, cgroup, .. } => Some((socket, pid, cgroup, entry.connection)),
                _ => None,
            })
            .collect();
        waiting.sort_unstable_by_key(|(socket, ..)| *socket);
        waiting
    }

    /// Another survey has not found the owner of this socket.
    pub(super) fn not_found(&mut self, socket: SocketId) {
        if let Some(State::Waits { pid, cgroup, tries }) = self.state(socket) {
            let state =
                if tries + 1 >= TRIES_MAX { State::Unknown } else { State::Waits { pid, cgroup, tries: tries + 1 } };
            self.set(socket, state, None);
        }
    }

    /// Drops the sockets that nobody asked for since the last sweep; if all were asked for, every other one.
    fn make_room(&mut self) {
        let before = self.table.len();
        let sweep = self.sweep;
        self.table.retain(|_, entry| entry.asked == sweep && sweep != 0 || matches!(entry.state, State::Waits { .. }));
        if self.table.len() >= SOCKETS_MAX / 2 {
            let mut odd = false;
            self.table.retain(|_, _| {
                odd = !odd;
                odd
            });
        }
        self.evicted += u64::try_from(before - self.table.len()).unwrap_or(u64::MAX);
        self.waiting = self.table.values().filter(|entry| matches!(entry.state, State::Waits { .. })).count();
        self.sweep = self.sweep.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stays_under_its_bound_and_counts_what_it_drops() {
        let mut sockets = Sockets::default();
        let told = u64::try_from(SOCKETS_MAX).unwrap() * 3;
        for number in 0..told {
            sockets.set(SocketId(number), State::Waits { pid: 1, cgroup: 0, tries: 0 }, None);
        }
        assert!(sockets.len() <= SOCKETS_MAX);
        assert_eq!(sockets.waiting(), sockets.len());
        assert_eq!(sockets.evicted, told - u64::try_from(sockets.len()).unwrap());
    }

    #[test]
    fn a_socket_that_no_survey_finds_is_given_up() {
        let mut sockets = Sockets::default();
        let socket = SocketId(7);
        sockets.set(socket, State::Waits { pid: 0, cgroup: 0, tries: 0 }, None);
        assert_eq!((sockets.waiting(), sockets.unresolved().len()), (1, 1));
        for _ in 0..TRIES_MAX {
            sockets.not_found(socket);
        }
        assert_eq!((sockets.ask(socket), sockets.waiting()), (Some(State::Unknown), 0));
        sockets.remove(socket);
        assert_eq!(sockets.len(), 0);
    }
}
