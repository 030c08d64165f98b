//! Fields of an entry of a stream: names and values come in by turns, the headers among them go out.

use super::resp::Value;
use crate::limits::HEAD_BYTES_MAX;
use crate::message::{Header, HeaderName, Interest};

/// The longest name that is looked at.
const NAME_BYTES_MAX: usize = 256;
/// The longest value that is kept: as much baggage must be passed on (W3C Baggage, limits: 8,192 bytes).
const VALUE_BYTES_MAX: usize = 8 * 1024;
/// Headers that are kept of an entry.
const HEADERS_MAX: usize = 64;

/// What was read of an entry.
#[derive(Debug)]
pub(super) struct Fields {
    /// The header whose value comes next.
    name: Option<HeaderName>,
    headers: Vec<(HeaderName, Box<[u8]>)>,
    /// Bytes of these: no more than of a head of HTTP.
    bytes: usize,
    complete: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Self { name: None, headers: Vec::new(), bytes: 0, complete: true }
    }
}

impl Fields {
    /// How many bytes at most of the next name or value are kept.
    pub(super) fn keeps(&self, is_name: bool) -> usize {
        match (is_name, self.name) {
            (true, _) => NAME_BYTES_MAX,
            (false, Some(_)) => VALUE_BYTES_MAX,
            (false, None) => 0,
        }
    }

    /// The next name or value; `None` where it is no text.
    pub(super) fn take(&mut self, is_name: bool, value: Option<Value<'_>>, len: u64, interest: &Interest) {
        if is_name {
            let readable = value.filter(|value| value.whole);
            self.name = readable.and_then(|name| interest.find(name.bytes));
            // What is longer than any name is none that is wanted.
            self.complete &= readable.is_some() || len > NAME_BYTES_MAX as u64;
        } else if let Some(name) = self.name.take() {
            let has_room = |len| self.headers.len() < HEADERS_MAX && self.bytes.saturating_add(len) <= HEAD_BYTES_MAX;
            if let Some(value) = value.filter(|value| value.whole && has_room(value.bytes.len())) {
                self.bytes = self.bytes.saturating_add(value.bytes.len());
                self.headers.push((name, value.bytes.into()));
            } else {
                self.complete = false;
            }
        }
    }

    /// Whether every wanted header was read.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The headers.
    pub(super) fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name: *name, value }).collect()
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.saturating_add(self.headers.capacity().saturating_mul(size_of::<(HeaderName, Box<[u8]>)>()))
    }
}
