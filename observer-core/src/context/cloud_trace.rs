//! Google's `X-Cloud-Trace-Context`: `{32 hex}/{decimal span id}[;o={decimal}]`
//! (<https://cloud.google.com/trace/docs/trace-context>). A header value comes in, one trace context goes out, or what stands
//! for none.

use super::digits::{decimal, hex128};
use super::{Aside, Format, Formats, Malformation, Reading, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// Bit 0 of the options.
const SAMPLED: u64 = 0x01;

/// Reads a header value.
pub(super) fn parse(value: &[u8]) -> Reading {
    if value.contains(&b',') {
        return Reading::Malformed(Malformation::Duplicated);
    }
    let (ids, options) = split(value, b';');
    let (trace_id, span_id) = split(ids, b'/');
    let is_id = trace_id.len() == 32 && !trace_id.iter().any(u8::is_ascii_uppercase);
    let Some(trace_id) = hex128(trace_id).filter(|&id| id != 0 && is_id) else {
        return Reading::Malformed(Malformation::TraceId);
    };
    let sampled = match options.map(|options| options.strip_prefix(b"o=").and_then(decimal)) {
        // Left out is not "no".
        None => Sampled::Deferred,
        Some(Some(options)) if options & SAMPLED != 0 => Sampled::Sampled,
        Some(Some(_)) => Sampled::NotSampled,
        Some(None) => return Reading::Malformed(Malformation::Flags),
    };
    let parent_id = match span_id.map(decimal) {
        None | Some(Some(0)) => return Reading::Aside(Aside::Parentless),
        Some(Some(parent_id)) => parent_id,
        Some(None) => return Reading::Malformed(Malformation::ParentId),
    };
    Reading::Context(TraceContext {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        sampled,
        random: false,
        formats: Formats::of(Format::CloudTrace),
    })
}

/// What stands before the first delimiter, and behind it.
fn split(value: &[u8], delimiter: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = value.splitn(2, |&byte| byte == delimiter);
    (parts.next().unwrap_or_default(), parts.next())
}
