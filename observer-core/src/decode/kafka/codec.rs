//! Compressed records: the payload of a batch comes in, its records go out, within a bound.

use std::borrow::Cow;
use std::io::Read;

use super::batch::Codec;
use super::gather::int;

/// The most memory that a frame of zstd may ask for: what every decoder should support (RFC 8878 section 3.1.1.1.2).
const ZSTD_WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How the framing of xerial's snappy-java begins (SnappyCodec.MAGIC_HEADER); two versions of four bytes follow.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// The records of a payload, of compressed ones at most the first `bytes_max` bytes; `None` if they are not what the codec says.
pub(super) fn records(codec: Codec, payload: &[u8], bytes_max: usize) -> Option<Cow<'_, [u8]>> {
    match codec {
        Codec::None => Some(Cow::Borrowed(payload)),
        Codec::Gzip => read(flate2::bufread::MultiGzDecoder::new(payload), bytes_max),
        Codec::Snappy => snappy(payload, bytes_max).map(Cow::Owned),
        Codec::Lz4 => read(lz4_flex::frame::FrameDecoder::new(payload), bytes_max),
        Codec::Zstd => {
            let decoder =
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(payload, ZSTD_WINDOW_BYTES_MAX).ok()?;
            read(decoder, bytes_max)
        }
    }
}

fn read<'r>(decoder: impl Read, bytes_max: usize) -> Option<Cow<'r, [u8]>> {
    let mut records = Vec::new();
    decoder.take(bytes_max as u64).read_to_end(&mut records).ok()?;
    Some(Cow::Owned(records))
}

/// Snappy comes as one block, or in xerial's framing: blocks with their lengths before them.
fn snappy(payload: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    if !payload.starts_with(XERIAL_MAGIC) {
        return snappy_block(payload, &mut records, bytes_max).then_some(records);
    }
    let mut rest = payload.get(XERIAL_HEADER_BYTES..)?;
    while let Some((length, blocks)) = rest.split_at_checked(4) {
        let (block, after) = blocks.split_at_checked(usize::try_from(int(length, 0)).ok()?)?;
        rest = after;
        if snap::raw::decompress_len(block).ok()?.saturating_add(records.len()) > bytes_max {
            return Some(records);
        }
        if !snappy_block(block, &mut records, bytes_max) {
            return None;
        }
    }
    Some(records)
}

/// Adds a block to the records; whether it is one, within the bound.
fn snappy_block(block: &[u8], records: &mut Vec<u8>, bytes_max: usize) -> bool {
    let Ok(len) = snap::raw::decompress_len(block) else { return false };
    let before = records.len();
    let end = before.saturating_add(len);
    if end > bytes_max {
        return false;
    }
    records.resize(end, 0);
    let Some(room) = records.get_mut(before..) else { return false };
    snap::raw::Decoder::new().decompress(block, room).is_ok()
}
