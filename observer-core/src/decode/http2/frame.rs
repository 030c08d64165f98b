//! Frame headers (RFC 9113 section 4.1): nine bytes come in, what follows them goes out; and whether bytes that stand anywhere
//! look like one.

use crate::decode::http1::start_line::Role;

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const HEADER_BYTES: usize = 9;
/// Payloads that a frame header is believed to have where nothing else tells that it is one. Peers allow 16 KiB unless told
/// otherwise (RFC 9113 section 6.5.2, SETTINGS_MAX_FRAME_SIZE) and few more than that.
const PLAUSIBLE_BYTES_MAX: u32 = 1 << 20;

const ACK: u8 = 0x01;
const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Stream dependency and weight (RFC 9113 section 6.2).
const PRIORITY_BYTES: usize = 5;
/// The promised stream (RFC 9113 section 6.6).
const PROMISED_BYTES: usize = 4;

/// Frame types (RFC 9113 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Promise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// ALTSVC (RFC 7838), ORIGIN (RFC 8336) and PRIORITY_UPDATE (RFC 9218).
    Extension,
    /// Anything else: to be ignored (RFC 9113 section 5.5).
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the payload.
    pub(super) len: u32,
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) fn parse(header: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = header;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::Reset,
            4 => Kind::Settings,
            5 => Kind::Promise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            0x0a | 0x0c | 0x10 => Kind::Extension,
            _ => Kind::Other,
        };
        let len = u32::from_be_bytes([0, a, b, c]);
        Self { len, kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff }
    }

    /// The header at the beginning of some bytes.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(|header| Self::parse(*header))
    }

    /// Header and payload.
    pub(super) fn wire_len(self) -> u64 {
        u64::from(self.len).saturating_add(HEADER_BYTES as u64)
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_block(self) -> bool {
        self.flags & END_HEADERS != 0
    }

    /// Whether it tells the settings of its sender, which begin the connection.
    pub(super) fn is_settings(self) -> bool {
        self.kind == Kind::Settings && self.flags & ACK == 0 && self.is_sound()
    }

    /// Whether no receiver would take it for an error: stream and length fit the type (RFC 9113 section 6).
    pub(super) fn is_sound(self) -> bool {
        let of_stream = self.stream != 0;
        match self.kind {
            Kind::Data | Kind::Headers | Kind::Continuation => of_stream,
            Kind::Promise => of_stream && self.len >= 4,
            Kind::Priority => of_stream && self.len == 5,
            Kind::Reset => of_stream && self.len == 4,
            Kind::Settings => !of_stream && self.len.is_multiple_of(6) && (self.flags & ACK == 0 || self.len == 0),
            Kind::Ping => !of_stream && self.len == 8,
            Kind::GoAway => !of_stream && self.len >= 8,
            Kind::WindowUpdate => self.len == 4,
            Kind::Extension | Kind::Other => true,
        }
    }

    /// Whether it is a frame that peers send, where nothing else tells that a frame begins there.
    pub(super) fn is_plausible(self, sender: Role) -> bool {
        let flags = match self.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::Promise => END_HEADERS | PADDED,
            Kind::Continuation => END_HEADERS,
            Kind::Settings | Kind::Ping => ACK,
            _ => 0,
        };
        // Clients open the odd streams (RFC 9113 section 5.1.1).
        let opens_wrongly = self.kind == Kind::Headers && sender == Role::Requests && self.stream & 1 == 0;
        let promises_wrongly = self.kind == Kind::Promise && sender == Role::Requests;
        // The zeros in a frame and the next one look like an empty frame.
        let says_nothing = match self.kind {
            Kind::Data => self.len == 0 && self.flags & END_STREAM == 0,
            Kind::Headers | Kind::Promise | Kind::Continuation => self.len == 0,
            _ => false,
        };
        self.kind != Kind::Other
            && self.flags & !flags == 0
            && self.len <= PLAUSIBLE_BYTES_MAX
            && self.is_sound()
            && !opens_wrongly
            && !promises_wrongly
            && !says_nothing
    }

    /// Where in its payload the part of the header block stands: without padding, priority and promised stream. `None` where
    /// they do not fit.
    pub(super) fn fragment(self, payload: &[u8]) -> Option<(usize, usize)> {
        let padded = self.kind != Kind::Continuation && self.flags & PADDED != 0;
        let padding = if padded { usize::from(*payload.first()?) } else { 0 };
        let before = match self.kind {
            Kind::Promise => PROMISED_BYTES,
            Kind::Headers if self.flags & PRIORITY != 0 => PRIORITY_BYTES,
            _ => 0,
        };
        let start = before.saturating_add(usize::from(padded));
        let end = payload.len().checked_sub(padding)?;
        (start <= end).then_some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: &[u8]) -> Frame {
        Frame::at(header).unwrap()
    }

    #[test]
    fn padding_and_priority_are_no_part_of_the_block() {
        let padded = frame(&[0, 0, 6, 1, 0x2c, 0, 0, 0, 1]);
        assert_eq!(padded.fragment(b"\x02ddddwBpp"), Some((6, 7)));
        assert_eq!(padded.fragment(b"\x03ddddwpp"), None);
        assert_eq!(padded.fragment(b""), None);
        assert_eq!(frame(&[0, 0, 6, 5, 4, 0, 0, 0, 1]).fragment(b"ssssB"), Some((4, 5)));
        assert_eq!(frame(&[0, 0, 6, 9, 0xff, 0, 0, 0, 1]).fragment(b"BB"), Some((0, 2)));
    }

    #[test]
    fn text_and_zeros_are_no_frames() {
        for text in [&[0_u8; 9][..], b"GET / HTT", b"HTTP/1.1 ", b"{\"a\": 1, ", b"\x16\x03\x01\x02\0\x01\0\x01\xfc"] {
            for role in [Role::Requests, Role::Responses] {
                assert!(!frame(text).is_plausible(role), "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn a_frame_is_plausible_from_who_may_send_it() {
        for (header, by_client, by_server) in [
            ([0, 0x40, 0, 0, 0, 0, 0, 0, 1], true, true),
            ([0, 0, 9, 1, 5, 0, 0, 0, 2], false, true),
            ([0, 0, 9, 1, 5, 0, 0, 0, 0], false, false),
            ([0, 0, 9, 1, 0x45, 0, 0, 0, 1], false, false),
            ([0, 0, 9, 5, 4, 0, 0, 0, 1], false, true),
            ([0, 0, 12, 4, 0, 0, 0, 0, 0], true, true),
            ([0, 0, 11, 4, 0, 0, 0, 0, 0], false, false),
            ([0, 0, 6, 4, 1, 0, 0, 0, 0], false, false),
            ([0, 0, 4, 8, 0, 0, 0, 0, 0], true, true),
            ([0x20, 0, 0, 0, 0, 0, 0, 0, 1], false, false),
            ([0, 0, 4, 0x77, 0, 0, 0, 0, 1], false, false),
        ] {
            let plausible = [Role::Requests, Role::Responses].map(|role| frame(&header).is_plausible(role));
            assert_eq!(plausible, [by_client, by_server], "{header:?}");
        }
    }
}
