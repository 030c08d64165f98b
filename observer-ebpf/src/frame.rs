//! Frames of HTTP/2 (RFC 9113 section 4.1): the nine bytes of a header come in, where the frame ends and whether a decoder needs
//! it go out. No branch is taken on what the bytes are: the kernel walks hundreds of frames in a loop, and verifiers follow each
//! way through it.

/// Bytes of a frame header.
pub const HEADER_BYTES: u32 = 9;
/// Bytes of the preface that a client sends before its first frame (RFC 9113 section 3.4).
pub const PREFACE_BYTES: u32 = 24;
/// Payloads that a frame has where nothing but its header tells that it is one: what peers allow unless told otherwise
/// (SETTINGS_MAX_FRAME_SIZE, RFC 9113 section 6.5.2). Extension frames are not believed to be longer at all.
const PLAUSIBLE_BYTES_MAX: u32 = 1 << 14;
/// The first eight bytes of the preface.
const PREFACE: u64 = u64::from_le_bytes(*b"PRI * HT");

/// HEADERS.
pub const HEADERS: u32 = 1;
/// SETTINGS.
pub const SETTINGS: u32 = 4;

/// A bit for each type of frame, from DATA (0) to CONTINUATION (9).
type Types = u32;
/// Frames of which a decoder needs all: HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, GOAWAY, CONTINUATION.
const WANTED: Types = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9;
/// Frames of a stream: DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION.
const OF_STREAM: Types = 1 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 9;
/// Frames of the connection: SETTINGS, PING, GOAWAY.
const OF_CONNECTION: Types = 1 << 4 | 1 << 6 | 1 << 7;
/// Four bits a type: the length that its payload must have, if not zero (PRIORITY, RST_STREAM, PING, WINDOW_UPDATE).
const FIXED_BYTES: u64 = 5 << (4 * 2) | 4 << (4 * 3) | 8 << (4 * 6) | 4 << (4 * 8);
/// Six bits a type: the flags that peers set (RFC 9113 section 6).
const FLAGS: u64 = 0x09 | 0x2d << 6 | 0x01 << (6 * 4) | 0x0c << (6 * 5) | 0x01 << (6 * 6) | 0x04 << (6 * 9);

/// What a frame header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The type.
    pub kind: u32,
    /// Bytes of header and payload.
    pub wire_len: u32,
    /// Whether a decoder needs the frame.
    pub wanted: bool,
    /// Whether no receiver would take it for an error (RFC 9113 section 6).
    pub sound: bool,
    /// Whether it is a frame that peers send, where nothing else tells that one begins there.
    pub plausible: bool,
}

/// The frame with this header: `low` its first eight bytes, little-endian; `ninth` the last. The client's preface counts as a
/// frame.
#[inline(always)]
pub const fn frame(low: u64, ninth: u8) -> Frame {
    let bytes = low.swap_bytes();
    let len = (bytes >> 40) as u32;
    let kind = (bytes >> 32) as u32 & 0xff;
    let flags = (bytes >> 24) as u32 & 0xff;
    let stream = (bytes as u32 & 0x00ff_ffff) << 8 | ninth as u32;
    let reserved = stream >> 31;
    let stream = stream & 0x7fff_ffff;
    // All below is arithmetic on zeros and ones.
    let preface = is_zero(low ^ PREFACE);
    let known = ((kind as u64).wrapping_sub(10) >> 63) as u32;
    let at = kind * known;
    let on_stream = 1 - is_zero(stream as u64);
    let fixed = (FIXED_BYTES >> (4 * at)) & 15;
    let unlike = (1 - is_zero(fixed)) & (1 - is_zero(fixed ^ len as u64));
    let astray = (OF_STREAM >> at) & (1 - on_stream) | (OF_CONNECTION >> at) & on_stream;
    let settings = is_zero((kind ^ SETTINGS) as u64);
    let long = 1 - is_zero((len / (PLAUSIBLE_BYTES_MAX + 1)) as u64);
    let broken_settings = settings & ((1 - is_zero((len % 6) as u64)) | flags & (1 - is_zero(len as u64)));
    let wrong = known & (unlike | astray & 1 | broken_settings & 1) | (1 - known) & long;
    // The zeros in a frame and the next one look like an empty frame.
    let empty =
        is_zero(len as u64) & (is_zero(kind as u64) & ((flags & 1) ^ 1) | ((1 << 1 | 1 << 5 | 1 << 9) >> at) & 1);
    let odd_flags = 1 - is_zero(flags as u64 & !(FLAGS >> (6 * at) & 0x3f));
    let acknowledges = settings & flags & 1;
    Frame {
        kind,
        wire_len: (len + HEADER_BYTES) * (1 - preface) + PREFACE_BYTES * preface,
        wanted: preface | (WANTED >> at) & known & (1 - acknowledges) != 0,
        sound: preface | (1 - wrong) != 0,
        plausible: known & (1 - (wrong | long | empty & 1 | odd_flags | reserved)) != 0,
    }
}

/// One for zero, else zero.
#[inline(always)]
const fn is_zero(value: u64) -> u32 {
    (!(value | value.wrapping_neg()) >> 63) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: [u8; 9]) -> Frame {
        let (low, ninth) = header.split_first_chunk().unwrap();
        frame(u64::from_le_bytes(*low), ninth[0])
    }

    #[test]
    fn header_blocks_and_ends_are_wanted_and_the_rest_is_left_out() {
        for (kind, len, stream, wanted) in [
            (0, 5, 1, false),
            (1, 200, 3, true),
            (2, 5, 1, false),
            (3, 4, 1, true),
            (4, 18, 0, true),
            (5, 40, 1, true),
            (6, 8, 0, false),
            (7, 8, 0, true),
            (8, 4, 0, false),
            (8, 4, 1, false),
            (9, 77, 1, true),
            (10, 10, 0, false),
            (0x77, 10, 1, false),
        ] {
            let frame = of([0, 0, len, kind, 0, 0, 0, 0, stream]);
            assert_eq!((frame.wanted, frame.wire_len, frame.sound), (wanted, 9 + u32::from(len), true), "type {kind}");
            assert_eq!(frame.plausible, kind < 10, "type {kind}");
        }
        assert!(!of([0, 0, 0, 4, 1, 0, 0, 0, 0]).wanted, "an acknowledgement of settings");
    }

    #[test]
    fn the_preface_is_a_frame_of_24_bytes() {
        let preface = of(*b"PRI * HTT");
        assert_eq!((preface.wanted, preface.sound, preface.wire_len), (true, true, 24));
    }

    #[test]
    fn a_frame_where_none_can_be_is_not_sound() {
        for header in [
            [0, 0, 9, 1, 5, 0, 0, 0, 0],
            [0, 0, 9, 0, 0, 0, 0, 0, 0],
            [0, 0, 5, 3, 0, 0, 0, 0, 1],
            [0, 0, 11, 4, 0, 0, 0, 0, 0],
            [0, 0, 6, 4, 1, 0, 0, 0, 0],
            [0, 0, 6, 4, 0, 0, 0, 0, 1],
            [0, 0, 9, 6, 0, 0, 0, 0, 0],
            *b"GET / HTT",
            *b"HTTP/1.1 ",
            *b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
        ] {
            assert!(!of(header).sound && !of(header).plausible, "{}", header.escape_ascii());
        }
        assert!(of([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]).sound, "DATA may be as long as peers agree on");
    }

    #[test]
    fn what_peers_do_not_send_is_not_plausible() {
        for header in [
            [0; 9],
            [0, 0, 0, 1, 4, 0, 0, 0, 1],
            [0, 0, 9, 1, 0x45, 0, 0, 0, 1],
            [0, 0, 9, 1, 4, 0x80, 0, 0, 1],
            [0, 0x40, 1, 0, 0, 0, 0, 0, 1],
            [0, 0, 4, 8, 1, 0, 0, 0, 1],
        ] {
            assert!(!of(header).plausible, "{header:?}");
        }
        for header in [
            [0, 0x40, 0, 0, 0, 0, 0, 0, 1],
            [0, 0, 0, 0, 1, 0, 0, 0, 1],
            [0, 0, 9, 1, 0x2d, 0x7f, 0, 0, 1],
            [0, 0, 0, 4, 1, 0, 0, 0, 0],
            [0, 0, 8, 6, 1, 0, 0, 0, 0],
        ] {
            assert!(of(header).plausible, "{header:?}");
        }
    }
}
