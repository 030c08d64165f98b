//! What is kept of one header block: fields come in as they are decoded, those that are wanted go out.

use crate::decode::http1::head::Wanted;
use crate::message::{Header, HeaderName, Interest};

/// Bytes of values kept of one block. A block can name a long entry of the table very often.
pub(super) const FIELD_BYTES_MAX: usize = 64 * 1024;
/// Bytes that stay reserved from one block to the next.
const RESERVED_BYTES: usize = 4096;
/// Wanted headers kept of one block, besides the authority and a trace context by its shape: [`Wanted`] has room for all.
/// Trace contexts of every format take 22, baggage and tenants come once or a few times; a head with more is told as not whole.
const HEADERS_MAX: usize = 30;

/// The name of a field, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// That of an entry of the table that is not known.
    Unknown,
    /// One that nobody asked for.
    Other,
    /// `:scheme` and the like.
    Pseudo,
    Method,
    Path,
    Authority,
    Status,
    GrpcStatus,
    Wanted(HeaderName),
}

impl Name {
    pub(super) fn of(name: &[u8], interest: &Interest) -> Self {
        match name {
            b":method" => Self::Method,
            b":path" => Self::Path,
            b":authority" => Self::Authority,
            b":status" => Self::Status,
            b"grpc-status" => Self::GrpcStatus,
            [b':', ..] => Self::Pseudo,
            _ if interest.may_begin(name) => interest.find(name).map_or(Self::Other, Self::Wanted),
            _ => Self::Other,
        }
    }

    /// Whether the value is to be kept, or to be looked at.
    pub(super) fn matters(self) -> bool {
        !matches!(self, Self::Other | Self::Pseudo)
    }

    /// Whether it means the same whatever the configuration asks for.
    pub(super) fn is_standing(self) -> bool {
        match self {
            Self::Wanted(name) => name.is_standing(),
            Self::Other => false,
            _ => true,
        }
    }

    fn is_pseudo(self) -> bool {
        matches!(self, Self::Pseudo | Self::Method | Self::Path | Self::Authority | Self::Status)
    }

    fn is_of_requests(self) -> bool {
        self.is_pseudo() && self != Self::Status
    }
}

/// The first field of a block: pseudo-header fields stand before all others (RFC 9113 section 8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::decode::http2) enum First {
    /// There is none.
    #[default]
    None,
    /// A pseudo-header field: a head.
    Pseudo,
    /// Another one: trailers.
    Regular,
    /// An entry that is not known.
    Unknown,
}

/// Where a value stands in [`Fields::bytes`].
type Range = (usize, usize);

/// The wanted fields of one block; the same value serves all blocks of a connection.
#[derive(Debug, Default)]
pub(in crate::decode::http2) struct Fields {
    bytes: Vec<u8>,
    headers: [(Option<HeaderName>, Range); HEADERS_MAX],
    headers_len: usize,
    method: Option<Range>,
    path: Option<Range>,
    authority: Option<Range>,
    /// A value that can only be a `traceparent`, though its name is not known.
    shaped: Option<Range>,
    shaped_often: bool,
    /// `:status`.
    pub(in crate::decode::http2) status: Option<u16>,
    /// `grpc-status`.
    pub(in crate::decode::http2) grpc_status: Option<u16>,
    pub(in crate::decode::http2) first: First,
    /// Whether it has a pseudo-header field of requests.
    pub(in crate::decode::http2) of_request: bool,
    /// Whether any field may be a wanted one that is not known.
    pub(in crate::decode::http2) hidden: bool,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        let Self {
            bytes,
            // What stands there is not read again, and to write all of it would cost as much as a short block.
            headers: _,
            headers_len,
            method,
            path,
            authority,
            shaped,
            shaped_often,
            status,
            grpc_status,
            first,
            of_request,
            hidden,
        } = self;
        bytes.clear();
        bytes.shrink_to(RESERVED_BYTES);
        (*headers_len, *first) = (0, First::None);
        (*method, *path, *authority, *shaped) = (None, None, None, None);
        (*status, *grpc_status) = (None, None);
        (*shaped_often, *of_request, *hidden) = (false, false, false);
    }

    /// Where values are decoded to; what is behind the kept ones is handed to [`Self::keep`].
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn bytes_from(&self, start: usize) -> &[u8] {
        self.bytes.get(start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Takes a field; `None` for a value that is not known or was not kept.
    pub(super) fn add(&mut self, name: Name, value: Option<&[u8]>) {
        self.note(name);
        match value {
            Some(value) => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                self.keep(name, start);
            }
            None => self.hidden |= name.matters(),
        }
    }

    /// A field has this name.
    pub(super) fn note(&mut self, name: Name) {
        self.of_request |= name.is_of_requests();
        if self.first == First::None {
            self.first = match name {
                Name::Unknown => First::Unknown,
                name if name.is_pseudo() => First::Pseudo,
                _ => First::Regular,
            };
        }
    }

    /// The value of a field of this name stands from `start` on.
    pub(super) fn keep(&mut self, name: Name, start: usize) {
        let range = (start, self.bytes.len());
        let too_many = self.headers_len >= HEADERS_MAX && matches!(name, Name::Wanted(_));
        if self.bytes.len() > FIELD_BYTES_MAX || too_many {
            self.hidden = true;
            return self.truncate(start);
        }
        let value = self.bytes_from(start);
        match name {
            Name::Method => self.method = Some(range),
            Name::Path => self.path = Some(range),
            Name::Authority => self.authority = Some(range),
            Name::Wanted(name) => {
                if let Some(free) = self.headers.get_mut(self.headers_len) {
                    *free = (Some(name), range);
                    self.headers_len = self.headers_len.saturating_add(1);
                }
            }
            Name::Unknown => {
                let shaped = is_traceparent(value);
                self.hidden = true;
                if !shaped {
                    return self.truncate(start);
                }
                self.shaped_often |= self.shaped.is_some();
                self.shaped = Some(range);
            }
            Name::Status => {
                self.status = number(value).filter(|status| (100..1000).contains(status));
                self.truncate(start);
            }
            Name::GrpcStatus => {
                self.grpc_status = number(value);
                self.truncate(start);
            }
            Name::Other | Name::Pseudo => self.truncate(start),
        }
    }

    pub(in crate::decode::http2) fn method(&self) -> &[u8] {
        self.method.map_or(&[], |range| self.value(range))
    }

    /// The path, of CONNECT the authority (RFC 9113 section 8.5).
    pub(in crate::decode::http2) fn path(&self) -> &[u8] {
        self.path.or(self.authority).map_or(&[], |range| self.value(range))
    }

    pub(in crate::decode::http2) fn header(&self, name: HeaderName) -> Option<&[u8]> {
        self.named().find(|(found, _)| *found == name).map(|(_, range)| self.value(range).trim_ascii())
    }

    /// Puts in the wanted headers: `:authority` as the host, then those of the block in their order.
    pub(in crate::decode::http2) fn headers<'f>(&'f self, wanted: &mut Wanted<'f>) {
        let host = self.authority.map(|range| (HeaderName::HOST, range));
        let traced = self.named().any(|(name, _)| name == HeaderName::TRACEPARENT);
        let shaped = self.shaped.filter(|_| !traced && !self.shaped_often);
        let shaped = shaped.map(|range| (HeaderName::TRACEPARENT, range));
        for (name, range) in host.into_iter().chain(shaped).chain(self.named()) {
            wanted.push(Header { name, value: self.value(range).trim_ascii() });
        }
    }

    pub(in crate::decode::http2) fn buffered_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn named(&self) -> impl Iterator<Item = (HeaderName, Range)> {
        self.headers.iter().take(self.headers_len).filter_map(|&(name, range)| Some((name?, range)))
    }

    fn value(&self, (start, end): Range) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }
}

/// Whether a value can only be a `traceparent` of version 00 (W3C Trace Context section 3.2).
pub(super) fn is_traceparent(value: &[u8]) -> bool {
    let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = |start: usize, end: usize| {
        value.get(start..end).is_some_and(|id| id.iter().all(is_hex) && id.iter().any(|&digit| digit != b'0'))
    };
    value.len() == 55
        && value.starts_with(b"00-")
        && value.get(35) == Some(&b'-')
        && value.get(52) == Some(&b'-')
        && id(3, 35)
        && id(36, 52)
        && value.get(53..).is_some_and(|flags| flags.iter().all(is_hex))
}

fn number(value: &[u8]) -> Option<u16> {
    if !value.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_has_its_shape() {
        let valid = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(valid));
        for (at, byte) in [(0, b'1'), (2, b'.'), (10, b'G'), (10, b'A'), (35, b'0'), (52, b'0'), (54, b'x')] {
            let mut other = *valid;
            other[at] = byte;
            assert!(!is_traceparent(&other), "{}", other.escape_ascii());
        }
        assert!(!is_traceparent(b"00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!is_traceparent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-"));
        assert!(!is_traceparent(b""));
    }
}
