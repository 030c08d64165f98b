//! The headers of a message (NATS ADR-4): their block comes in, those that somebody wants go out.

use memchr::memchr;

use crate::message::{Header, Interest};

/// Wanted headers that are told of one message; of more the first ones.
pub const HEADERS_MAX: usize = 32;

/// What a block of headers holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block<'a> {
    Headers {
        /// Those of [`Interest`], in their order.
        headers: Vec<Header<'a>>,
        /// Whether these are all.
        complete: bool,
    },
    /// A server says how things are (`NATS/1.0 503`): no message of anybody.
    Status,
}

impl<'a> Block<'a> {
    /// What these bytes hold; `None` if they are no such block.
    pub(super) fn of(bytes: &'a [u8], interest: &Interest) -> Option<Self> {
        let (first, mut rest) = line(bytes.strip_prefix(b"NATS/1.0")?)?;
        if !first.trim_ascii().is_empty() {
            return Some(Self::Status);
        }
        let (mut headers, mut complete) = (Vec::new(), true);
        loop {
            let (header, behind) = line(rest)?;
            rest = behind;
            if header.is_empty() {
                return rest.is_empty().then_some(Self::Headers { headers, complete });
            }
            let (name, value) = header.split_at_checked(memchr(b':', header)?)?;
            if !interest.may_begin(name) {
                continue;
            }
            let Some(name) = interest.find(name.trim_ascii()) else { continue };
            if headers.len() < HEADERS_MAX {
                headers.push(Header { name, value: value.strip_prefix(b":")?.trim_ascii() });
            } else {
                complete = false;
            }
        }
    }
}

/// The first line without its end, and what follows it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = bytes.split_at_checked(memchr(b'\n', bytes)?)?;
    Some((line.strip_suffix(b"\r")?, rest.strip_prefix(b"\n")?))
}
