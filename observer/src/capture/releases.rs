//! Releases of sockets come in, and go out again once the last packets of those sockets have passed the interface.
//!
//! An interface shows a packet later than its socket was closed, where it was queued: between two processors, or behind a
//! closed window. Whose the socket was must be known until then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use observer_core::ids::SocketId;

/// Releases that may wait; past it the oldest goes at once.
const WAITING_MAX: usize = 65_536;
/// How long a release waits.
const WAIT: Duration = Duration::from_secs(2);

/// The releases that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Releases(VecDeque<(Instant, SocketId)>);

impl Releases {
    /// A socket was released now.
    pub(super) fn keep(&mut self, socket: SocketId, now: Instant, tell: impl FnOnce(SocketId)) {
        if self.0.len() >= WAITING_MAX
            && let Some((_, oldest)) = self.0.pop_front()
        {
            tell(oldest);
        }
        self.0.push_back((now, socket));
    }

    /// Tells what has waited long enough.
    pub(super) fn expire(&mut self, now: Instant, mut tell: impl FnMut(SocketId)) {
        while let Some((_, socket)) = self.0.pop_front_if(|(since, _)| now.duration_since(*since) >= WAIT) {
            tell(socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_told_after_a_while_and_at_once_where_too_many_wait() {
        let mut releases = Releases::default();
        let begun = Instant::now();
        let mut told = Vec::new();
        releases.keep(SocketId(1), begun, |socket| told.push(socket));
        releases.keep(SocketId(2), begun + WAIT, |socket| told.push(socket));
        releases.expire(begun + WAIT, |socket| told.push(socket));
        assert_eq!(told, [SocketId(1)]);
        for _ in 0..WAITING_MAX {
            releases.keep(SocketId(3), begun + WAIT, |socket| told.push(socket));
        }
        assert_eq!(told, [SocketId(1), SocketId(2)]);
    }
}
