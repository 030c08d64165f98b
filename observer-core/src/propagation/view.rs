//! What hides requests from the observer at one workload: reasons come in; whether, at a moment, an unseen request may be in
//! flight there, and why, goes out.

use crate::ids::ConnectionId;
use crate::limits::CAUSE_MEMORY;
use crate::time::Timestamp;

/// Why a hop is `unattributed`: what reaches the workload is not fully seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hidden {
    /// It is reached over TLS that cannot be read.
    Tls,
    /// It is reached over a protocol that is not known.
    UnknownProtocol,
    /// It listens on a Unix socket.
    UnixSocket,
    /// It is reached over FastCGI.
    FastCgi,
    /// Events were lost on the way to the observer, or requests passed of which no head was seen.
    Loss,
    /// The head of a request was not fully seen.
    HeadCut,
    /// Requests older than the observer may be in flight.
    JoinedLate,
    /// A table of the observer was full.
    TableFull,
}

impl Hidden {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Tls,
        Self::UnknownProtocol,
        Self::UnixSocket,
        Self::FastCgi,
        Self::Loss,
        Self::HeadCut,
        Self::JoinedLate,
        Self::TableFull,
    ];

    /// The word for reports, for example `unix_socket`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::UnknownProtocol => "unknown_protocol",
            Self::UnixSocket => "unix_socket",
            Self::FastCgi => "fastcgi",
            Self::Loss => "loss",
            Self::HeadCut => "head_cut",
            Self::JoinedLate => "joined_late",
            Self::TableFull => "table_full",
        }
    }
}

/// Connections joined in the middle that are waited for at one workload; more of them hide it by time alone.
const LATE_CONNECTIONS_MAX: usize = 64;

/// What hides requests at one workload.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Until when each reason holds, in the order of [`Hidden::ALL`].
    until: [Timestamp; Hidden::ALL.len()],
    /// The latest of these.
    any_until: Timestamp,
    /// Connections that were joined in the middle and on which an older request may be in flight, with the time until when.
    late: Vec<(ConnectionId, Timestamp)>,
}

impl View {
    /// A request that was not seen may have arrived at `at`: for 30 s it may cause hops.
    pub(super) fn hide(&mut self, reason: Hidden, at: Timestamp) {
        let end = at.after(CAUSE_MEMORY);
        for (candidate, until) in Hidden::ALL.into_iter().zip(&mut self.until) {
            if candidate == reason {
                *until = end.max(*until);
            }
        }
        self.any_until = self.any_until.max(end);
    }

    /// What was taken for hidden for this reason was seen, after all.
    pub(super) fn reveal(&mut self, reason: Hidden) {
        for (candidate, until) in Hidden::ALL.into_iter().zip(&mut self.until) {
            if candidate == reason {
                *until = Timestamp::default();
            }
        }
        self.any_until = self.until.into_iter().max().unwrap_or_default();
    }

    /// A connection was joined in the middle.
    pub(super) fn joined_late(&mut self, connection: ConnectionId, at: Timestamp) {
        self.late.retain(|&(_, until)| until > at);
        if self.late.len() >= LATE_CONNECTIONS_MAX {
            self.hide(Hidden::JoinedLate, at);
        } else if self.late.iter().all(|&(known, _)| known != connection) {
            self.late.push((connection, at.after(CAUSE_MEMORY)));
        }
    }

    /// A request or response began on the connection: what was older than the observer has ended there.
    pub(super) fn caught_up(&mut self, connection: ConnectionId) {
        if !self.late.is_empty() {
            self.late.retain(|&(late, _)| late != connection);
        }
    }

    /// Why an unseen request may be in flight at `at`.
    pub(super) fn hides_requests(&self, at: Timestamp) -> Option<Hidden> {
        self.reason(at).find(|&reason| reason != Hidden::HeadCut).or_else(|| {
            let late = self.late.iter().any(|&(_, until)| until > at);
            late.then_some(Hidden::JoinedLate)
        })
    }

    /// Why an unseen trace may have arrived shortly before `at`: the head of a request that was seen may have brought it, too.
    pub(super) fn hides_traces(&self, at: Timestamp) -> Option<Hidden> {
        self.hides_requests(at).or_else(|| self.reason(at).next())
    }

    fn reason(&self, at: Timestamp) -> impl Iterator<Item = Hidden> {
        let count = if self.any_until > at { Hidden::ALL.len() } else { 0 };
        Hidden::ALL
            .into_iter()
            .zip(self.until)
            .take(count)
            .filter(move |&(_, until)| until > at)
            .map(|(reason, _)| reason)
    }
}
