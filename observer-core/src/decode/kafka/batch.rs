//! One record batch, format v2 (org.apache.kafka.common.record.DefaultRecordBatch): the header that tells what is in it.

use super::gather::{int, long, short};

/// The bytes of a batch before its records.
pub(super) const HEADER_BYTES: usize = 61;
/// The bytes that all formats share: offset, length, leader epoch or checksum, format.
pub(super) const MAGIC_END: usize = 17;
/// The bytes before those that the length counts: offset and length.
const UNCOUNTED_BYTES: u32 = 12;
/// Where the bytes under the checksum begin.
const CHECKED_FROM: usize = 21;
/// The format that has headers.
const MAGIC_V2: u8 = 2;
/// A record has at least length, attributes, two deltas, two lengths and the number of headers.
const RECORD_BYTES_MIN: u64 = 7;

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    V2,
    /// A message or message set of before Kafka 0.11: no headers.
    Old,
    /// No batch.
    None,
}

/// The header of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    bytes: [u8; HEADER_BYTES],
}

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The format of a batch, told by its first bytes, and how long it is in all.
pub(super) fn format(start: &[u8]) -> (Format, u64) {
    let length = int(start, 8);
    let total = u64::try_from(length).unwrap_or(0).saturating_add(u64::from(UNCOUNTED_BYTES));
    let format = match start.get(MAGIC_END.saturating_sub(1)) {
        Some(&MAGIC_V2) if total >= HEADER_BYTES as u64 => Format::V2,
        Some(0 | 1) if total > MAGIC_END as u64 => Format::Old,
        _ => Format::None,
    };
    (format, total)
}

impl Header {
    /// The header that so many bytes are, if it can be one.
    pub(super) fn new(bytes: &[u8]) -> Option<Self> {
        let header = Self { bytes: *bytes.first_chunk()? };
        let count = u32::try_from(int(&header.bytes, 57)).ok()?;
        let span = u32::try_from(header.last_offset_delta()).ok()?;
        // Compaction takes records away and leaves the offsets; a batch may become empty.
        let sound = count <= span.saturating_add(1)
            && long(&header.bytes, 0) >= 0
            && (header.attributes() & 7 != 0
                || u64::from(count).saturating_mul(RECORD_BYTES_MIN) <= header.payload_len());
        sound.then_some(header)
    }

    /// How many bytes of records follow.
    pub(super) fn payload_len(&self) -> u64 {
        format(&self.bytes).1.saturating_sub(HEADER_BYTES as u64)
    }

    /// How many records there are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(int(&self.bytes, 57)).unwrap_or(0)
    }

    /// The offset from which those of the records count.
    pub(super) fn base_offset(&self) -> i64 {
        long(&self.bytes, 0)
    }

    /// The offset of the last record.
    pub(super) fn last_offset(&self) -> i64 {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// How the records are compressed; `None` where nobody knows how.
    pub(super) fn codec(&self) -> Option<Codec> {
        match self.attributes() & 7 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// Whether it belongs to a transaction.
    pub(super) fn is_transactional(&self) -> bool {
        self.attributes() & 0x10 != 0
    }

    /// Whether its records end transactions and are for no application.
    pub(super) fn is_control(&self) -> bool {
        self.attributes() & 0x20 != 0
    }

    /// Who produced it.
    pub(super) fn producer(&self) -> i64 {
        long(&self.bytes, 43)
    }

    /// Whether the checksum (CRC-32C) of the batch is that of its bytes.
    pub(super) fn is_intact(&self, payload: &[u8]) -> bool {
        let checked = crc32c::crc32c(self.bytes.get(CHECKED_FROM..).unwrap_or_default());
        crc32c::crc32c_append(checked, payload) == int(&self.bytes, 17).cast_unsigned()
    }

    fn attributes(&self) -> i16 {
        short(&self.bytes, 21)
    }

    fn last_offset_delta(&self) -> i32 {
        int(&self.bytes, 23)
    }
}
