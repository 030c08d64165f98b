//! Jaeger's `uber-trace-id`: `{trace id}:{span id}:{parent id}:{flags}` in hexadecimal digits, of which leading zeros may be
//! left out (<https://www.jaegertracing.io/sdk-migration/#propagation-format>). A header value comes in, one trace context goes
//! out.

use std::borrow::Cow;

use super::digits::{hex64, hex128};
use super::{Format, Formats, Malformation, Reading, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// Bit 0 of the flags. Debug (0x02) is set together with it.
const SAMPLED: u64 = 0x01;

/// Reads a header value.
pub(super) fn parse(value: &[u8]) -> Reading {
    if value.contains(&b',') {
        return Reading::Malformed(Malformation::Duplicated);
    }
    let value = with_colons(value);
    let mut fields = value.split(|&byte| byte == b':');
    let (Some(trace_id), Some(span_id), Some(_parent), Some(flags), None) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Reading::Malformed(Malformation::Length);
    };
    let Some(trace_id) = hex128(trace_id).filter(|&id| id != 0) else {
        return Reading::Malformed(Malformation::TraceId);
    };
    let Some(parent_id) = hex64(span_id).filter(|&id| id != 0) else {
        return Reading::Malformed(Malformation::ParentId);
    };
    let Some(flags) = hex64(flags.strip_prefix(b"0x").unwrap_or(flags)) else {
        return Reading::Malformed(Malformation::Flags);
    };
    Reading::Context(TraceContext {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        sampled: if flags & SAMPLED == 0 { Sampled::NotSampled } else { Sampled::Sampled },
        random: false,
        formats: Formats::of(Format::Jaeger),
    })
}

/// The value with its colons, which some clients encode.
fn with_colons(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let colon = after.strip_prefix(b"3A").or_else(|| after.strip_prefix(b"3a")).filter(|_| byte == b'%');
        decoded.push(if colon.is_some() { b':' } else { byte });
        rest = colon.unwrap_or(after);
    }
    Cow::Owned(decoded)
}
