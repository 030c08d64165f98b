//! A connection of which the protocol is not known yet: pieces come in, the decoder goes out once a protocol is sure.
//!
//! A piece that no protocol knows is passed over, for a stream may be joined in the middle. A piece that is too short to tell
//! waits for the one behind it; where that is something else, or not the next, it begins anew.

use super::ahead::is_ahead;
use super::protocols::{Decoder, RECOGNISERS, Recognition};
use super::{Fidelity, Output, Piece, Shared};
use crate::message::End;
use crate::time::Timestamp;

use super::http1::start_line::Role;

/// Bytes of one end that no recogniser may need more of: the preface of HTTP/2 is 24 bytes long (RFC 9113 section 3.4), the
/// longest method with a target's scheme 22; settings of a server that does not wait for the preface some tens.
const OPENING_BYTES_MAX: usize = 128;

/// Short pieces that wait to be recognised; at most [`OPENING_BYTES_MAX`] bytes an end.
#[derive(Debug, Default)]
pub(super) struct Opening {
    held: Vec<Short>,
}

#[derive(Debug)]
struct Short {
    at: Timestamp,
    from: End,
    seq: u32,
    ack: Option<u32>,
    bytes: Box<[u8]>,
}

impl Opening {
    /// Takes the next piece; the decoder that is returned has already been given everything.
    pub(super) fn piece(&mut self, piece: &Piece<'_>, fidelity: Fidelity, out: &mut Output<'_>) -> Option<Decoder> {
        if self.held.is_empty() {
            // The usual case: the first piece tells.
            let mut decoder = match Self::recognise(piece.bytes, piece.from) {
                Found::Sure { open, client } => open(fidelity, client, out.shared),
                Found::Perhaps => {
                    self.hold(piece);
                    return None;
                }
                Found::Nothing => return None,
            };
            decoder.piece(piece, out);
            return Some(decoder);
        }
        let mut start: Vec<u8> = Vec::new();
        let mut end = None;
        for short in self.held.iter().filter(|short| short.from == piece.from) {
            start.extend_from_slice(&short.bytes);
            end = Some(short.seq.wrapping_add(u32::try_from(short.bytes.len()).unwrap_or(0)));
        }
        if end.is_some_and(|end| is_ahead(piece.seq, end)) {
            return self.anew(piece, fidelity, out);
        }
        // How many of the bytes were seen before.
        let seen = end.map_or(0, |end| end.wrapping_sub(piece.seq));
        let seen = usize::try_from(seen).unwrap_or(usize::MAX);
        let fresh = piece.bytes.get(seen..).filter(|fresh| !fresh.is_empty())?;
        start.extend_from_slice(fresh);
        match Self::recognise(&start, piece.from) {
            Found::Perhaps if start.len() <= OPENING_BYTES_MAX => {
                let wire_len = piece.wire_len.saturating_sub(u32::try_from(seen).unwrap_or(u32::MAX));
                self.hold(&Piece { seq: end.unwrap_or(piece.seq), wire_len, bytes: fresh, ..*piece });
                None
            }
            Found::Sure { open, client } => {
                let mut decoder = open(fidelity, client, out.shared);
                for Short { at, from, seq, ack, bytes } in std::mem::take(&mut self.held) {
                    let wire_len = u32::try_from(bytes.len()).unwrap_or(0);
                    decoder.piece(&Piece { at, from, seq, ack, wire_len, bytes: &bytes, link: None }, out);
                }
                decoder.piece(piece, out);
                Some(decoder)
            }
            Found::Perhaps | Found::Nothing if end.is_some() => self.anew(piece, fidelity, out),
            Found::Perhaps | Found::Nothing => None,
        }
    }

    /// What one end sent before this piece tells nothing.
    fn anew(&mut self, piece: &Piece<'_>, fidelity: Fidelity, out: &mut Output<'_>) -> Option<Decoder> {
        self.forget(piece.from);
        self.piece(piece, fidelity, out)
    }

    /// Drops what one end sent.
    pub(super) fn forget(&mut self, from: End) {
        self.held.retain(|short| short.from != from);
        self.held.shrink_to_fit();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let bytes = self.held.iter().map(|short| short.bytes.len()).fold(0, usize::saturating_add);
        bytes.saturating_add(self.held.capacity().saturating_mul(size_of::<Short>()))
    }

    fn recognise(bytes: &[u8], from: End) -> Found {
        let mut found = Found::Nothing;
        for recogniser in &RECOGNISERS {
            match (recogniser.recognise)(bytes) {
                Recognition::Sure(role) => {
                    let client = if role == Role::Requests { from } else { from.other() };
                    return Found::Sure { open: recogniser.open, client };
                }
                Recognition::Perhaps => found = Found::Perhaps,
                Recognition::No => {}
            }
        }
        found
    }

    fn hold(&mut self, piece: &Piece<'_>) {
        let Piece { at, from, seq, ack, wire_len, bytes, .. } = *piece;
        // A piece that was not captured whole is too long to be a prefix.
        if !bytes.is_empty() && u32::try_from(bytes.len()) == Ok(wire_len) {
            self.held.push(Short { at, from, seq, ack, bytes: bytes.into() });
        }
    }
}

enum Found {
    Sure { open: fn(Fidelity, End, &Shared) -> Decoder, client: End },
    Perhaps,
    Nothing,
}
