//! The table of protocols: how each is recognised by content, and its decoder.
//!
//! A protocol is one module, one entry of [`RECOGNISERS`] and one variant of [`Decoder`].

use super::http1::Http1;
use super::http1::start_line::{Looks, Role, looks_anywhere};
use super::http2::{self, Http2};
use super::{Fidelity, Output, Piece};
use crate::message::{End, Protocol};
use crate::time::Timestamp;

/// What the first bytes of a piece are to a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recognition {
    /// Bytes of this protocol.
    Sure(Role),
    /// More bytes will tell.
    Perhaps,
    /// Bytes of another.
    No,
}

/// One protocol: recognises its bytes, and opens its decoder for the end that is the client.
pub(super) struct Recogniser {
    pub(super) recognise: fn(&[u8]) -> Recognition,
    pub(super) open: fn(Fidelity, End) -> Decoder,
}

/// Every protocol; the first that is sure of a connection decodes it.
pub(super) const RECOGNISERS: [Recogniser; 2] = [
    Recogniser { recognise: http1, open: |fidelity, client| Decoder::Http1(Http1::new(fidelity, client)) },
    Recogniser {
        recognise: http2::recognise,
        open: |fidelity, client| Decoder::Http2(Box::new(Http2::new(fidelity, client))),
    },
];

/// The decoder of a connection of which the protocol is known.
#[derive(Debug)]
pub(super) enum Decoder {
    Http1(Http1),
    Http2(Box<Http2>),
}

impl Decoder {
    pub(super) fn piece(&mut self, piece: &Piece<'_>, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => {
                http1.piece(piece, out);
                if let Some(upgrade) = http1.take_upgrade() {
                    *self = Self::Http2(Box::new(Http2::upgraded(http1.fidelity(), upgrade)));
                    self.piece(piece, out);
                }
            }
            Self::Http2(http2) => http2.piece(piece, out),
        }
    }

    pub(super) fn overdue(&mut self, now: Timestamp, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => http1.overdue(now, out),
            Self::Http2(http2) => http2.overdue(now, out),
        }
    }

    pub(super) fn closed(&mut self, from: End, at: Timestamp, out: &mut Output<'_>) {
        match self {
            Self::Http1(http1) => http1.closed(from, at, out),
            Self::Http2(http2) => http2.closed(from, out),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Http1(http1) => http1.protocol(),
            Self::Http2(http2) => http2.protocol(),
        }
    }

    pub(super) fn is_quiet(&self) -> bool {
        match self {
            Self::Http1(http1) => http1.is_quiet(),
            Self::Http2(_) => false,
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        match self {
            Self::Http1(http1) => http1.buffered_bytes(),
            Self::Http2(http2) => http2.buffered_bytes(),
        }
    }
}

fn http1(bytes: &[u8]) -> Recognition {
    match (looks_anywhere(Role::Requests, bytes), looks_anywhere(Role::Responses, bytes)) {
        (Looks::Yes, _) => Recognition::Sure(Role::Requests),
        (_, Looks::Yes) => Recognition::Sure(Role::Responses),
        (Looks::Perhaps, _) | (_, Looks::Perhaps) => Recognition::Perhaps,
        (Looks::No, Looks::No) => Recognition::No,
    }
}
