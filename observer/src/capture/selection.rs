//! Which sessions of TLS libraries are told: a library is probed for all who use it, and its calls know no ports.

use std::collections::VecDeque;

use observer_core::connection::Flow;
use rustc_hash::FxHashSet;

use super::Session;
use super::cgroup::Below;

/// Sessions that are left out at a time; the oldest are told again beyond.
const LEFT_OUT_MAX: usize = 1 << 16;

/// Tells sessions apart that were asked for and others.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// `None`: of every cgroup.
    below: Option<Below>,
    /// Empty: every port.
    ports: Vec<u16>,
    left_out: FxHashSet<Session>,
    /// The same as they began, with some that ended.
    began: VecDeque<Session>,
}

impl Selection {
    pub(super) fn new(below: Option<Below>, ports: Vec<u16>) -> Self {
        Self { below, ports, ..Self::default() }
    }

    /// Whether a session that begins is told: one whose connection is not known is, whatever its ports may be.
    pub(super) fn begins(&mut self, session: Session, cgroup: u64, flow: Option<Flow>) -> bool {
        let wants = |port| self.ports.contains(&port);
        if flow.is_some_and(|flow| !self.ports.is_empty() && !wants(flow.source.port) && !wants(flow.destination.port))
        {
            if self.began.len() >= LEFT_OUT_MAX
                && let Some(oldest) = self.began.pop_front()
            {
                self.left_out.remove(&oldest);
            }
            self.left_out.insert(session);
            self.began.push_back(session);
        }
        self.takes(session, cgroup)
    }

    /// Whether what it carries is told.
    pub(super) fn takes(&mut self, session: Session, cgroup: u64) -> bool {
        !self.left_out.contains(&session) && self.below.as_mut().is_none_or(|below| below.holds(cgroup))
    }

    /// Whether its end is told.
    pub(super) fn ends(&mut self, session: Session) -> bool {
        !self.left_out.remove(&session)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use observer_core::connection::Address;

    use super::*;

    fn session(number: u64) -> Session {
        Session { process: 7, number }
    }

    fn flow(from: u16, to: u16) -> Flow {
        let address = |port| Address { ip: [127, 0, 0, 1].into(), port };
        Flow { source: address(from), destination: address(to) }
    }

    #[test]
    fn a_session_of_other_ports_is_left_out_from_its_beginning_to_its_end() {
        let mut selection = Selection::new(None, vec![443]);
        assert!(
            selection.begins(session(1), 9, Some(flow(50_000, 443)))
                && selection.begins(session(2), 9, Some(flow(443, 50_000)))
        );
        assert!(selection.begins(session(3), 9, None), "its connection is not known");
        assert!(!selection.begins(session(4), 9, Some(flow(50_000, 8443))));
        assert_eq!([1, 2, 3, 4].map(|number| selection.takes(session(number), 9)), [true, true, true, false]);
        assert_eq!([3, 4].map(|number| selection.ends(session(number))), [true, false]);
        for number in 0..3 * LEFT_OUT_MAX as u64 {
            selection.begins(session(number), 9, Some(flow(1, 2)));
        }
        assert_eq!((selection.left_out.len(), selection.began.len()), (LEFT_OUT_MAX, LEFT_OUT_MAX));
    }

    #[test]
    fn a_session_of_another_cgroup_is_not_told() {
        let cgroup = tempfile::tempdir().unwrap();
        let id = cgroup.path().metadata().unwrap().ino();
        let mut selection = Selection::new(Some(Below::of(cgroup.path().to_owned())), Vec::new());
        assert!(selection.begins(session(1), id, None) && selection.takes(session(1), id));
        assert!(!selection.begins(session(2), id + 1, None) && !selection.takes(session(2), id + 1));
    }
}
