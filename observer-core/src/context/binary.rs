//! Binary values of gRPC metadata, and the trace context of OpenCensus among them: header values come in, bytes and one trace
//! fact go out.

use super::{Format, Formats, Malformation, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};
use crate::names::NAME_BYTES_MAX;

/// Bytes that a value may have: a trace context takes 29, the name of a tenant as many as are kept.
const BYTES_MAX: usize = NAME_BYTES_MAX;
/// The fields of a trace context (OpenCensus BinaryEncoding.md): trace id, span id and options, each behind its number.
const TRACE_ID: u8 = 0;
const SPAN_ID: u8 = 1;
const OPTIONS: u8 = 2;
/// Bit 0 of the options.
const SAMPLED: u8 = 0x01;

/// A decoded value.
pub(super) struct Bytes {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl Bytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(self.len)? = byte;
        self.len = self.len.saturating_add(1);
        Some(())
    }
}

/// Reads a value of `grpc-trace-bin`.
///
/// # Errors
/// Why a receiver must ignore it.
pub(super) fn parse(value: &[u8]) -> Result<TraceContext, Malformation> {
    let decoded = decode(value).ok_or(Malformation::Length)?;
    let [0, fields @ ..] = decoded.as_slice() else { return Err(Malformation::Version) };
    let (trace_id, rest) = field::<16>(fields, TRACE_ID).ok_or(Malformation::TraceId)?;
    let (parent_id, rest) = field::<8>(rest, SPAN_ID).ok_or(Malformation::ParentId)?;
    let (trace_id, parent_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(parent_id));
    if trace_id == 0 {
        return Err(Malformation::TraceId);
    }
    if parent_id == 0 {
        return Err(Malformation::ParentId);
    }
    let sampled = match field::<1>(rest, OPTIONS) {
        Some(([options], _)) if options & SAMPLED != 0 => Sampled::Sampled,
        Some(_) => Sampled::NotSampled,
        None if rest.is_empty() => Sampled::NotSampled,
        None => return Err(Malformation::Flags),
    };
    let (trace_id, parent_id) = (TraceId(trace_id), SpanId(parent_id));
    Ok(TraceContext { trace_id, parent_id, sampled, random: false, formats: Formats::of(Format::OpenCensus) })
}

/// A field of so many bytes with this number, and what follows it.
fn field<const N: usize>(bytes: &[u8], number: u8) -> Option<([u8; N], &[u8])> {
    let (value, rest) = bytes.strip_prefix(&[number])?.split_first_chunk()?;
    Some((*value, rest))
}

/// The bytes of a value: base64 with or without padding (gRPC over HTTP/2, "Custom-Metadata"), or as they are behind a zero
/// byte where both ends have agreed to that (gRPC proposal G1). `None` for anything else, or more than is kept.
pub(super) fn decode(value: &[u8]) -> Option<Bytes> {
    let mut decoded = Bytes { bytes: [0; BYTES_MAX], len: 0 };
    if let [0, raw @ ..] = value {
        raw.iter().try_for_each(|&byte| decoded.push(byte))?;
        return Some(decoded);
    }
    let end = value.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last.saturating_add(1));
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &digit in value.get(..end)? {
        let six = match digit {
            b'A'..=b'Z' => digit.wrapping_sub(b'A'),
            b'a'..=b'z' => digit.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => digit.wrapping_sub(b'0').wrapping_add(52),
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0x3fff;
        held = held.wrapping_add(6);
        if held >= 8 {
            held = held.wrapping_sub(8);
            decoded.push(u8::try_from(bits.wrapping_shr(held) & 0xff).ok()?)?;
        }
    }
    // One digit more than whole bytes, which is none.
    (held < 6).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: [u8; 29] = *b"\x00\x00\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36\x01\x00\xf0\x67\xaa\x0b\xa9\x02\xb7\x02\x01";
    const CODED: &str = "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE";

    #[test]
    fn a_context_of_opencensus_is_read_padded_or_not_or_as_it_is() {
        let expected = TraceContext {
            trace_id: TraceId(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
            parent_id: SpanId(0x00f0_67aa_0ba9_02b7),
            sampled: Sampled::Sampled,
            random: false,
            formats: Formats::of(Format::OpenCensus),
        };
        for value in [CODED.into(), format!("{CODED}=").into_bytes(), [&[0][..], &TRACE].concat()] {
            assert_eq!(parse(&value), Ok(expected), "{}", value.escape_ascii());
        }
        let mut unsampled = [&[0][..], &TRACE].concat();
        unsampled[29] = 0;
        assert_eq!(parse(&unsampled).map(|context| context.sampled), Ok(Sampled::NotSampled));
        assert_eq!(parse(&unsampled[..28]).map(|context| context.sampled), Ok(Sampled::NotSampled));
    }

    #[test]
    fn what_is_none_is_malformed() {
        let raw = |change: fn(&mut Vec<u8>)| {
            let mut value = [&[0][..], &TRACE].concat();
            change(&mut value);
            parse(&value)
        };
        assert_eq!(raw(|value| value[1] = 1), Err(Malformation::Version));
        assert_eq!(raw(|value| value[2] = 9), Err(Malformation::TraceId));
        assert_eq!(raw(|value| value[3..19].fill(0)), Err(Malformation::TraceId));
        assert_eq!(raw(|value| value[20..28].fill(0)), Err(Malformation::ParentId));
        assert_eq!(raw(|value| value[28] = 7), Err(Malformation::Flags));
        assert_eq!(raw(|value| value.truncate(9)), Err(Malformation::TraceId));
        for value in ["", "A", "AA*A", &"A".repeat(200)] {
            assert!(parse(value.as_bytes()).is_err(), "{value}");
        }
    }
}
