//! The records of one batch (org.apache.kafka.common.record.DefaultRecord): bytes come in, wanted headers go out. Keys and values
//! are passed over.

use crate::message::{Header, Interest};

/// Wanted headers that are told of one record; of more the first ones.
pub const HEADERS_MAX: usize = 32;

/// The records of a batch, as far as they are sound.
#[derive(Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// How far its offset is from that of the batch.
    pub(super) offset_delta: i64,
    /// How many wanted headers found no room.
    pub(super) dropped: u64,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next record; `None` from the first one on that is not all there, or none. Its headers that somebody wants are put into
    /// `wanted`, in their order; one without a value has an empty one.
    pub(super) fn next(&mut self, interest: &Interest, wanted: &mut Vec<Header<'a>>) -> Option<Record> {
        wanted.clear();
        let mut rest = std::mem::take(&mut self.rest);
        let mut record = bytes(&mut rest)?;
        // Attributes: none are in use.
        take(&mut record, 1)?;
        // The difference of the times.
        varint(&mut record)?;
        let offset_delta = varint(&mut record)?;
        for _key_and_value in 0..2 {
            optional_bytes(&mut record)?;
        }
        let count = u32::try_from(varint(&mut record)?).ok()?;
        let mut dropped = 0_u64;
        for _ in 0..count {
            let key = bytes(&mut record)?;
            let value = optional_bytes(&mut record)?;
            if !interest.may_begin(key) {
                continue;
            }
            let Some(name) = interest.find(key) else { continue };
            if wanted.len() < HEADERS_MAX {
                wanted.push(Header { name, value });
            } else {
                dropped = dropped.saturating_add(1);
            }
        }
        self.rest = rest;
        record.is_empty().then_some(Record { offset_delta, dropped })
    }
}

/// Bytes with their length before them.
fn bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(input)?).ok()?;
    take(input, length)
}

/// The same, where a length of -1 stands for none.
fn optional_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    match varint(input)? {
        -1 => Some(&[]),
        length => take(input, usize::try_from(length).ok()?),
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(count)?;
    *input = rest;
    Some(taken)
}

/// A signed number in base 128, lowest digit first, zigzag: as in Protocol Buffers.
fn varint(input: &mut &[u8]) -> Option<i64> {
    if let Some((&byte @ ..0x80, rest)) = input.split_first() {
        // The usual case.
        *input = rest;
        return Some(unzigzag(u64::from(byte)));
    }
    let (mut value, mut rest) = (0_u64, *input);
    for shift in (0..64).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            *input = rest;
            return Some(unzigzag(value));
        }
    }
    None
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ 0_i64.wrapping_sub((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_zigzag() {
        for (bytes, value) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0xd8, 0x04], 300), (&[0xd7, 0x04], -300)] {
            let mut input = bytes;
            assert_eq!(varint(&mut input), Some(value));
            assert!(input.is_empty());
        }
        let mut longest: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(varint(&mut longest), Some(i64::MIN));
        assert_eq!(varint(&mut &[0x80; 11][..]), None);
        assert_eq!(varint(&mut &[0x80, 0x80][..]), None);
    }
}
