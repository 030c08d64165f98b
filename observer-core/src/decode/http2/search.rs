//! Where a frame begins among bytes of which that is not known: bytes come in, what is to be expected where goes out.

use super::frame::{Frame, HEADER_BYTES, Kind};
use super::half::{Expected, Trust};
use crate::decode::http1::start_line::Role;

/// The longest payload of a frame that begins within a piece and ends behind it, where that is all that tells of it.
const SPANNING_BYTES_MAX: u32 = 16 * 1024;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How many bytes to pass over.
    pub(super) passed: usize,
    /// What stands behind them.
    pub(super) expected: Expected,
}

/// Looks for the beginning of a frame in bytes of `sender` that begin at `seq`; `frame_at`: where one begins if what looked
/// like one before it was one. A frame is believed
/// - where a second one follows it,
/// - where it fills `whole`, a piece of which every byte is there, or
/// - where it is the header of HEADERS and nothing else is in such a piece: Go reads TLS like that (golang.org/x/net/http2,
///   `readFrameHeader`).
///
/// What looks like a frame and ends behind these bytes is believed once a second one is seen where it ends.
pub(super) fn search(sender: Role, bytes: &[u8], whole: bool, (seq, frame_at): (u32, Option<u32>)) -> Found {
    if let Some(frame_at) = frame_at {
        let distance = usize::try_from(frame_at.wrapping_sub(seq)).unwrap_or(usize::MAX);
        return if distance < bytes.len() {
            Found { passed: distance, expected: Expected::Frame(Trust::Doubtful) }
        } else {
            Found { passed: bytes.len(), expected: Expected::Adrift { frame_at: Some(frame_at) } }
        };
    }
    let mut spanning = None;
    for (offset, header) in bytes.windows(HEADER_BYTES).enumerate() {
        let Some(frame) = Frame::at(header).filter(|frame| frame.is_plausible(sender)) else { continue };
        let end = usize::try_from(frame.wire_len()).unwrap_or(usize::MAX).saturating_add(offset);
        let followed = bytes.get(end..).and_then(Frame::at).is_some_and(|next| next.is_plausible(sender));
        let fills = end == bytes.len() || (frame.kind == Kind::Headers && bytes.len() == HEADER_BYTES);
        if followed || (offset == 0 && whole && fills) {
            return Found { passed: offset, expected: Expected::Frame(Trust::Certain) };
        }
        let spans = end.saturating_add(HEADER_BYTES) > bytes.len();
        if spans && spanning.is_none() && (offset == 0 || frame.len <= SPANNING_BYTES_MAX) {
            spanning = Some(seq.wrapping_add(u32::try_from(end).unwrap_or(0)));
        }
    }
    // A frame that begins in the last bytes cannot be told by them.
    Found { passed: bytes.len(), expected: Expected::Adrift { frame_at: spanning } }
}

/// Whether these are the first bytes of a frame that begins a header block, and more of it is to come.
pub(super) fn begins_block(bytes: &[u8]) -> bool {
    let frame = Frame::at(bytes).filter(|frame| frame.kind == Kind::Headers && frame.is_plausible(Role::Responses));
    frame.is_some_and(|frame| frame.wire_len() > bytes.len() as u64)
}

/// Who sent bytes that begin with frames, told from a header block among them; `None` where that, or that they are frames, is
/// not certain.
pub(super) fn sender(bytes: &[u8], role_of: impl Fn(&[u8]) -> Option<Role>) -> Option<Role> {
    let (mut rest, mut role, mut frames) = (bytes, None, 0_u32);
    while let Some(frame) = Frame::at(rest) {
        let sender = role.unwrap_or(Role::Responses);
        if !frame.is_plausible(sender) {
            return None;
        }
        frames = frames.saturating_add(1);
        let end = usize::try_from(frame.wire_len()).unwrap_or(usize::MAX);
        let Some((this, next)) = rest.split_at_checked(end) else { break };
        let payload = this.get(HEADER_BYTES..).unwrap_or_default();
        if role.is_none() && frame.kind == Kind::Headers {
            let fragment = frame.fragment(payload).and_then(|(start, end)| payload.get(start..end))?;
            role = role_of(fragment);
            if role == Some(Role::Requests) && !frame.is_plausible(Role::Requests) {
                return None;
            }
        }
        rest = next;
    }
    role.filter(|_| rest.is_empty() || frames >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const DATA: &[u8] = &[0, 0, 3, 0, 1, 0, 0, 0, 1, b'a', b'b', b'c'];

    fn found(bytes: &[u8]) -> (usize, Expected) {
        let Found { passed, expected } = search(Role::Responses, bytes, true, (1000, None));
        (passed, expected)
    }

    #[test]
    fn a_frame_is_believed_where_a_second_one_follows_or_it_fills_the_piece() {
        let certain = Expected::Frame(Trust::Certain);
        assert_eq!(found(DATA), (0, certain));
        assert_eq!(found(&[DATA, PING].concat()), (0, certain));
        assert_eq!(found(&[b"some text", DATA, PING].concat()), (9, certain));
        assert_eq!(found(&[b"some text", DATA].concat()), (21, Expected::Adrift { frame_at: Some(1021) }));
        assert_eq!(found(b"some text"), (9, Expected::Adrift { frame_at: None }));
        assert_eq!(found(&[0; 100]), (100, Expected::Adrift { frame_at: None }));
        let headers = [0, 0, 3, 1, 4, 0, 0, 0, 1];
        assert_eq!(found(&headers), (0, certain), "as Go reads it");
        assert_eq!(found(&[&headers[..], b"a"].concat()), (10, Expected::Adrift { frame_at: Some(1012) }));
        assert_eq!(found(&DATA[..9]), (9, Expected::Adrift { frame_at: Some(1012) }));
    }

    #[test]
    fn a_frame_that_ends_behind_the_piece_is_believed_once_another_follows_it() {
        let long = [&[0, 0x10, 0, 0, 0, 0, 0, 0, 1][..], &[b'x'; 100]].concat();
        let frame_at = 1000 + 9 + 0x1000;
        assert_eq!(found(&long), (109, Expected::Adrift { frame_at: Some(frame_at) }));
        let after = |seq| search(Role::Responses, PING, true, (seq, Some(frame_at)));
        assert_eq!(after(frame_at - 3), Found { passed: 3, expected: Expected::Frame(Trust::Doubtful) });
        assert_eq!(after(2000), Found { passed: 17, expected: Expected::Adrift { frame_at: Some(frame_at) } });
    }
}
