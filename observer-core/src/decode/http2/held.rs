//! Heads of responses that wait for their trailers: the wanted headers of a block come in and are there when the response is told.

use super::hpack::Fields;
use crate::decode::http1::head::Wanted;
use crate::message::{Header, HeaderName};

/// Heads that one connection keeps at once: servers allow 100 streams or more, but a unary call sends its trailers with its head.
pub(super) const HEADS_MAX: usize = 64;
/// Bytes of values that are kept of one head: many times a content type and a weight.
const HEAD_BYTES_MAX: usize = 1024;

/// The wanted headers of one response.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// 0, which opens no stream: the place is free.
    stream: u32,
    bytes: Vec<u8>,
    /// Each with the end of its value, which begins where the one before it ends.
    headers: Vec<(HeaderName, usize)>,
    complete: bool,
}

impl Head {
    /// Whether all of the wanted headers were seen, and kept.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Puts in the headers of which the name is not there yet.
    pub(super) fn add_to<'h>(&'h self, wanted: &mut Wanted<'h>) {
        let before = wanted.as_slice().len();
        let mut start = 0;
        for &(name, end) in &self.headers {
            let value = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            if !wanted.as_slice().iter().take(before).any(|header| header.name == name) {
                wanted.push(Header { name, value });
            }
        }
    }

    fn fill(&mut self, stream: u32, fields: &Fields) {
        self.stream = stream;
        self.bytes.clear();
        self.headers.clear();
        self.complete = !fields.hidden;
        let mut wanted = Wanted::new();
        fields.headers(&mut wanted);
        for header in wanted.as_slice() {
            if self.bytes.len().saturating_add(header.value.len()) > HEAD_BYTES_MAX {
                self.complete = false;
                continue;
            }
            self.bytes.extend_from_slice(header.value);
            self.headers.push((header.name, self.bytes.len()));
        }
    }
}

/// The heads of one connection; a place that was used serves the next one.
#[derive(Debug, Default)]
pub(super) struct Heads(Vec<Head>);

impl Heads {
    /// Keeps the head of the response on a stream, if there is room.
    pub(super) fn keep(&mut self, stream: u32, fields: &Fields) {
        let free = self.0.iter().position(|head| [0, stream].contains(&head.stream));
        if free.is_none() && self.0.len() < HEADS_MAX {
            self.0.push(Head::default());
        }
        let place = free.unwrap_or(self.0.len().saturating_sub(1));
        if let Some(head) = self.0.get_mut(place).filter(|head| [0, stream].contains(&head.stream)) {
            head.fill(stream, fields);
        }
    }

    /// The head that is kept of a stream.
    pub(super) fn get(&self, stream: u32) -> Option<&Head> {
        self.0.iter().find(|head| head.stream == stream && stream != 0)
    }

    /// The response on a stream was told.
    pub(super) fn free(&mut self, stream: u32) {
        if let Some(head) = self.0.iter_mut().find(|head| head.stream == stream) {
            head.stream = 0;
        }
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        let heads = self.0.capacity().saturating_mul(size_of::<Head>());
        self.0.iter().fold(heads, |sum, head| {
            let headers = head.headers.capacity().saturating_mul(size_of::<(HeaderName, usize)>());
            sum.saturating_add(head.bytes.capacity()).saturating_add(headers)
        })
    }

    /// Frees what is reserved, where nothing is kept.
    pub(super) fn shrink(&mut self) {
        if self.0.iter().all(|head| head.stream == 0) {
            self.0 = Vec::new();
        }
    }
}
