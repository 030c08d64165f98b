//! Through the record batches of one partition, however they are cut: bytes come in, whole batches go out, and the headers of
//! those that cannot be had whole.

use super::batch::{Format, HEADER_BYTES, Header, MAGIC_END, format};
use super::gather::Gather;

/// The place among the batches up to which they were read.
#[derive(Debug)]
pub(super) struct Batches {
    /// How many bytes are to come.
    left: u64,
    need: Need,
    header: Gather<HEADER_BYTES>,
    /// The records, so far, of a batch that comes in parts.
    payload: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Need {
    /// The header of a batch.
    Header,
    /// So many bytes of the records of a batch.
    Payload { header: Header, left: u64 },
    /// So many bytes that nobody needs, then a batch.
    Skip(u64),
    /// Bytes among which nobody knows where a batch begins.
    Rest,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Found<'b> {
    /// Everything that was given.
    Starved,
    /// A whole batch.
    Batch { header: Header, payload: &'b [u8] },
    /// A whole batch that came in parts: [`Batches::payload`].
    Gathered { header: Header },
    /// A batch of which the records are not kept, or not all there.
    Unread { header: Header },
    /// Records of before batch v2.
    Old,
    /// The end of the batches.
    End,
    /// Bytes that are no batch where one begins.
    Broken,
}

/// What was lost with missing bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    /// A batch of which the header was read.
    pub(super) batch: Option<Header>,
    /// Whether bytes are lost that told of more batches.
    pub(super) more: bool,
}

impl Batches {
    /// The batches of so many bytes.
    pub(super) fn new(length: u32) -> Self {
        Self { left: u64::from(length), need: Need::Header, header: Gather::default(), payload: Vec::new() }
    }

    /// The records of the batch that was found last, as far as it came in parts.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// How many of the next bytes are needed by nobody.
    pub(super) fn spare(&self) -> u64 {
        match self.need {
            Need::Skip(left) => left,
            Need::Rest => self.left,
            Need::Header | Need::Payload { .. } => 0,
        }
    }

    /// So many bytes are missing, at most [`Self::left`].
    pub(super) fn miss(&mut self, count: u64) -> Missed {
        let mut missed = Missed { batch: None, more: false };
        self.left = self.left.saturating_sub(count);
        self.header.clear();
        let left = match self.need {
            Need::Payload { header, left } => {
                missed.batch = Some(header);
                let kept = std::mem::take(&mut self.payload);
                Some(left.saturating_sub(kept.len() as u64))
            }
            Need::Skip(left) => Some(left),
            Need::Header => Some(0),
            Need::Rest => None,
        };
        if let Some(left) = left {
            missed.more = count > left;
            self.need = left.checked_sub(count).map_or(Need::Rest, Need::Skip);
        }
        missed
    }

    /// How many bytes are to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.payload.capacity()
    }

    /// Reads on until there is something to tell, or no more input. Batches of more than `bytes_max` bytes are not kept.
    pub(super) fn next<'b>(&mut self, input: &mut &'b [u8], bytes_max: usize) -> Found<'b> {
        loop {
            let mut within = input.get(..usize::try_from(self.left).unwrap_or(usize::MAX)).unwrap_or(input);
            let len = within.len();
            let step = self.step(&mut within);
            let taken = len.saturating_sub(within.len());
            self.left = self.left.saturating_sub(taken as u64);
            *input = input.get(taken..).unwrap_or_default();
            match step {
                Step::Found(found) => return found,
                Step::Starved if self.left == 0 => {
                    self.header.clear();
                    self.payload = Vec::new();
                    return Found::End;
                }
                Step::Starved => return Found::Starved,
                Step::Header(header) => {
                    let left = header.payload_len();
                    if left > self.left {
                        // A broker cuts the last batch where it has sent enough; it will be asked for again.
                        self.need = Need::Rest;
                    } else if left.saturating_add(HEADER_BYTES as u64) > bytes_max as u64 {
                        self.need = Need::Skip(left);
                        return Found::Unread { header };
                    } else {
                        self.payload = Vec::new();
                        self.need = Need::Payload { header, left };
                    }
                }
                Step::On => {}
            }
        }
    }

    fn step<'b>(&mut self, input: &mut &'b [u8]) -> Step<'b> {
        match self.need {
            Need::Header => {
                if !self.header.gather(input, MAGIC_END) {
                    return Step::Starved;
                }
                match format(self.header.bytes()) {
                    (Format::V2, _) => {}
                    (Format::Old, total) => {
                        self.header.clear();
                        self.need = Need::Skip(total.saturating_sub(MAGIC_END as u64));
                        return Step::Found(Found::Old);
                    }
                    (Format::None, _) => return self.broken(),
                }
                match self.header.take(input, HEADER_BYTES).map(Header::new) {
                    Some(Some(header)) => Step::Header(header),
                    Some(None) => self.broken(),
                    None => Step::Starved,
                }
            }
            Need::Payload { header, left } => {
                let missing = left.saturating_sub(self.payload.len() as u64);
                let Some((payload, rest)) = usize::try_from(missing).ok().and_then(|len| input.split_at_checked(len))
                else {
                    self.keep(input, left);
                    *input = &[];
                    return Step::Starved;
                };
                *input = rest;
                self.need = Need::Header;
                if self.payload.is_empty() {
                    return Step::Found(Found::Batch { header, payload });
                }
                self.payload.extend_from_slice(payload);
                Step::Found(Found::Gathered { header })
            }
            Need::Skip(left) => {
                let (skipped, rest) =
                    usize::try_from(left).ok().and_then(|len| input.split_at_checked(len)).unwrap_or((input, &[]));
                *input = rest;
                let left = left.saturating_sub(skipped.len() as u64);
                self.need = if left == 0 { Need::Header } else { Need::Skip(left) };
                if left == 0 { Step::On } else { Step::Starved }
            }
            Need::Rest => {
                *input = &[];
                Step::Starved
            }
        }
    }

    /// Keeps a part of the `left` bytes of records.
    fn keep(&mut self, bytes: &[u8], left: u64) {
        let len = self.payload.len().saturating_add(bytes.len());
        if len > self.payload.capacity() {
            // A vector left to itself could take twice of what the batch needs.
            let whole = usize::try_from(left).unwrap_or(usize::MAX);
            let capacity = self.payload.capacity().saturating_mul(2).max(len).min(whole);
            self.payload.reserve_exact(capacity.saturating_sub(self.payload.len()));
        }
        self.payload.extend_from_slice(bytes);
    }

    fn broken<'b>(&mut self) -> Step<'b> {
        self.header.clear();
        self.need = Need::Rest;
        Step::Found(Found::Broken)
    }
}

enum Step<'b> {
    Found(Found<'b>),
    Header(Header),
    Starved,
    On,
}
