//! How requests and responses begin (KIP-482; <https://kafka.apache.org/protocol>): a length of four bytes, then the header.

use super::api::Api;
use super::gather::{int, short};
use super::schema::Schema;

/// Length, api key, version, correlation id and the length of the client id.
pub(super) const REQUEST_HEADER_BYTES: usize = 14;
/// Those of them that the length counts.
const COUNTED_HEADER_BYTES: i32 = 10;
/// Length and correlation id.
pub(super) const RESPONSE_HEADER_BYTES: usize = 8;
/// The largest request that brokers take unless they are told otherwise (socket.request.max.bytes).
const REQUEST_BYTES_MAX: i32 = 100 * 1024 * 1024;
/// Far above what clients fetch at once (fetch.max.bytes is 50 MiB unless they are told otherwise).
const RESPONSE_BYTES_MAX: i32 = 1024 * 1024 * 1024;
/// The longest client id that is believed where it is not certain that a request begins.
const CLIENT_ID_BYTES_MAX: i16 = 255;
/// Keys of brokers that know more requests than are known here, and versions of these.
const OTHER_VERSIONS_MAX: i16 = 20;
/// The ids of requests that authenticate a connection of Java's client
/// (SaslClientAuthenticator.MIN_RESERVED_CORRELATION_ID): they are not in order with others.
const RESERVED_CORRELATIONS: i32 = i32::MAX - 7;
/// How many requests further a client may be that was not seen for a while: Java's count over all its connections.
pub(super) const LEAP_MAX: i32 = 1 << 16;
/// The same where the number is all that is known of a client: its id was cut.
pub(super) const NEAR_MAX: i32 = 64;

/// The beginning of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// How many bytes follow the length.
    length: i32,
    pub(super) api: Api,
    pub(super) correlation: i32,
    /// Of the client id; -1 for none.
    client_len: i16,
}

impl Request {
    /// The request that begins with these bytes; `None` if they are too few.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..REQUEST_HEADER_BYTES)?;
        let api = Api { key: short(bytes, 4), version: short(bytes, 6) };
        Some(Self { length: int(bytes, 0), api, correlation: int(bytes, 8), client_len: short(bytes, 12) })
    }

    /// Whether this can be a request where one must begin: its api may be unknown.
    pub(super) fn is_sound(&self) -> bool {
        let room = self.length.saturating_sub(COUNTED_HEADER_BYTES);
        let other =
            !self.api.is_key_known() && self.api.key > 0 && (0..=OTHER_VERSIONS_MAX).contains(&self.api.version);
        (0..=REQUEST_BYTES_MAX).contains(&room)
            && (-1..=room).contains(&i32::from(self.client_len))
            && self.correlation >= 0
            && (self.api.is_known() || other)
    }

    /// Whether this looks like a request where it is not certain that one begins. The old formats are not looked for: their
    /// keys and versions are small, and other protocols have many zeros (settings of HTTP/2).
    pub(super) fn is_plausible(&self) -> bool {
        let old = Schema::of_request(self.api).is_some_and(|schema| schema.is_before(self.api.version));
        self.is_sound() && self.api.is_known() && !old && self.client_len <= CLIENT_ID_BYTES_MAX
    }

    /// Whether it may be sent by the client of another one, later.
    pub(super) fn may_follow(self, client_len: i16, correlation: i32) -> bool {
        self.client_len == client_len && self.is_later(correlation, LEAP_MAX)
    }

    /// Whether it is at most so many requests behind the one with this number.
    pub(super) fn is_later(self, correlation: i32, leap_max: i32) -> bool {
        (1..=leap_max).contains(&self.correlation.wrapping_sub(correlation))
    }

    /// Whether the numbers of the requests behind this one go on from it.
    pub(super) fn counts(self) -> bool {
        self.correlation < RESERVED_CORRELATIONS
    }

    /// How many bytes follow the header: client id and body.
    pub(super) fn left(self) -> u64 {
        self.wire_len().saturating_sub(REQUEST_HEADER_BYTES as u64)
    }

    /// Length and what it counts.
    pub(super) fn wire_len(self) -> u64 {
        u64::try_from(self.length).unwrap_or(0).saturating_add(4)
    }

    pub(super) fn client_len(self) -> i16 {
        self.client_len
    }

    /// The client id behind the header, if it is all there; an empty one for none.
    pub(super) fn client_id<'b>(&self, behind: &'b [u8]) -> Option<&'b [u8]> {
        behind.get(..usize::try_from(self.client_len).unwrap_or(0))
    }
}

/// The beginning of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Response {
    length: i32,
    pub(super) correlation: i32,
}

impl Response {
    /// The response that begins with these bytes; `None` if they are too few.
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..RESPONSE_HEADER_BYTES)?;
        Some(Self { length: int(bytes, 0), correlation: int(bytes, 4) })
    }

    /// Whether this can be a response.
    pub(super) fn is_sound(self) -> bool {
        (4..=RESPONSE_BYTES_MAX).contains(&self.length)
    }

    /// Whether the numbers of the responses behind this one go on from it.
    pub(super) fn counts(self) -> bool {
        self.correlation < RESERVED_CORRELATIONS
    }

    /// Whether it may answer a request that was not seen, or forgotten: one after the request that was `answered` last, not
    /// far behind the one that was `asked` last.
    pub(super) fn may_follow(self, answered: i32, asked: i32) -> bool {
        self.correlation > answered && self.correlation <= asked.saturating_add(LEAP_MAX)
    }

    /// How many bytes follow the header.
    pub(super) fn left(self) -> u64 {
        u64::try_from(self.length).unwrap_or(0).saturating_sub(4)
    }
}

/// Whether bytes may be a client id, or the beginning of one.
pub(super) fn is_client_id(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.contains(char::is_control)
}
