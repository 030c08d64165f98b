//! Whose turn it is: what each end had received when it spoke comes in, where the other one's messages begin goes out.
//!
//! A client that waits had received all that the server ever said when it asked, so the answer begins exactly there. A server
//! that answers has received the whole request, so the next one begins exactly there. Acknowledgement numbers say both.

use super::start_line::Role;
use crate::decode::Piece;
use crate::decode::ahead::is_ahead;

/// Where a head begins, and what its sender had received then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
}

/// What was said of the next turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Behind the farthest byte of the client.
    client_end: Option<u32>,
    /// What the client had received when it sent its farthest byte: where the server goes on.
    server_from: Option<u32>,
    /// The final response that was told last.
    answer: Option<Place>,
}

impl Turns {
    /// The client sends a piece.
    pub(super) fn client_spoke(&mut self, piece: &Piece<'_>) {
        let end = piece.seq.wrapping_add(piece.wire_len);
        // What is sent again acknowledges more than it did at first.
        if self.client_end.is_none_or(|seen| is_ahead(end, seen)) {
            self.client_end = Some(end);
            self.server_from = piece.ack.or(self.server_from);
        }
    }

    /// A final response was told.
    pub(super) fn server_answered(&mut self, place: Place) {
        self.answer = Some(place);
    }

    /// Whether a head begins with this piece.
    pub(super) fn begins(&self, role: Role, piece: &Piece<'_>) -> bool {
        match role {
            Role::Responses => self.server_from == Some(piece.seq),
            Role::Requests => self.answer.is_some_and(|answer| {
                answer.ack == Some(piece.seq) && piece.ack.is_some_and(|ack| is_ahead(ack, answer.seq))
            }),
        }
    }
}
