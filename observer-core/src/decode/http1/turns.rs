//! Who speaks: pieces come in as the tap saw them, and for each goes out whether a new message may begin with it.
//!
//! Client and server take turns: a client waits for the response, a server answers once it has the whole request. So the first
//! byte that one end sends after the other has spoken begins a message, whatever was lost before.

use super::half::AHEAD_MAX;
use super::start_line::{Looks, Role, looks, status_of};
use crate::decode::Piece;

/// What was known when a piece came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four things that do not follow from one another")]
pub(super) struct Moment {
    /// How many requests had been told.
    pub(super) asked: u64,
    /// How many had been told when the server last spoke; `None` where that is not known.
    pub(super) asked_before: Option<u64>,
    /// How many pieces of the server had come.
    pub(super) spoken: u32,
    /// Whether the piece brings bytes that are farther than all that was seen.
    pub(super) fresh: bool,
    /// Whether the other end has spoken since the last fresh bytes of this one.
    pub(super) turn: bool,
    /// Whether the piece begins exactly behind these.
    pub(super) follows: bool,
    /// Whether it had to wait for others.
    pub(super) late: bool,
}

impl Moment {
    /// Whether a message must begin with the piece.
    pub(super) fn begins(&self) -> bool {
        self.turn && self.follows
    }
}

/// What was seen of both directions.
#[derive(Debug, Default)]
pub(super) struct Turns {
    requests: Side,
    responses: Side,
    /// See [`Moment::asked_before`].
    asked: Option<u64>,
    /// See [`Moment::spoken`].
    spoken: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Behind the farthest byte, once there was one.
    end: Option<u32>,
    turn: bool,
}

impl Turns {
    /// A piece came when `asked` requests had been told.
    pub(super) fn arrive(&mut self, role: Role, piece: &Piece<'_>, asked: u64) -> Moment {
        let side = match role {
            Role::Requests => &mut self.requests,
            Role::Responses => &mut self.responses,
        };
        let end = piece.seq.wrapping_add(piece.wire_len);
        let ahead = side.end.map_or(1, |seen| end.wrapping_sub(seen));
        let fresh = ahead > 0 && u64::from(ahead) <= AHEAD_MAX;
        let follows = side.end == Some(piece.seq);
        let overlaps = side.end.is_some_and(|seen| u64::from(piece.seq.wrapping_sub(seen)) > AHEAD_MAX);
        let turn = side.turn && fresh && !overlaps;
        let moment = Moment { asked, asked_before: self.asked, spoken: self.spoken, fresh, turn, follows, late: false };
        if fresh {
            *side = Side { end: Some(end), turn: false };
            self.responses.turn |= role == Role::Requests;
        }
        moment
    }

    /// How many pieces of the server have come; the one that has just come counts once it is placed.
    pub(super) fn spoken(&self) -> u32 {
        self.spoken
    }

    /// A piece of the server is about to be placed. `asked`: the requests told, unless others may have come.
    pub(super) fn server_spoke(&mut self, piece: &Piece<'_>, when: &Moment, asked: Option<u64>) {
        self.spoken = self.spoken.wrapping_add(1);
        if when.fresh {
            let is_final = is_final(piece.bytes);
            self.requests.turn |= is_final;
            // What is not the beginning of a final response may belong to an interim one.
            self.asked = asked.filter(|_| is_final || self.asked == asked);
        }
    }

    /// A response was told that was not late.
    pub(super) fn answered(&mut self, asked: u64) {
        self.requests.turn = true;
        self.asked = Some(asked);
    }

    /// Whether nothing of one end was ever seen.
    pub(super) fn is_one_sided(&self) -> bool {
        self.requests.end.is_none() || self.responses.end.is_none()
    }
}

/// Whether bytes of a server begin like a final response: whether they are one or its body, the server answers.
fn is_final(bytes: &[u8]) -> bool {
    looks(Role::Responses, bytes) == Looks::Yes && status_of(bytes).is_some_and(|status| status >= 200)
}
