//! B3 (<https://github.com/openzipkin/b3-propagation>), in one header and in several: values come in, one trace context goes
//! out, or what stands for none.

use super::digits::{hex64, hex128};
use super::{Aside, Format, Formats, Malformation, Reading, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// The values of `x-b3-…`, where they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Multi<'a> {
    pub(super) trace_id: Option<&'a [u8]>,
    pub(super) span_id: Option<&'a [u8]>,
    pub(super) sampled: Option<&'a [u8]>,
    pub(super) flags: Option<&'a [u8]>,
}

/// Reads `b3`: `{trace id}-{span id}[-{decision}[-{parent id}]]`, or a decision alone. Lower case, as its rules say.
pub(super) fn single(value: &[u8]) -> Reading {
    if value.contains(&b',') {
        return Reading::Malformed(Malformation::Duplicated);
    }
    let mut fields = value.split(|&byte| byte == b'-');
    let (trace_id, span_id) = (fields.next().unwrap_or_default(), fields.next());
    let (decision, parent) = (fields.next(), fields.next());
    let Some(span_id) = span_id else {
        return match trace_id {
            b"0" | b"1" | b"d" => Reading::Aside(Aside::Decision),
            _ => Reading::Malformed(Malformation::Length),
        };
    };
    if fields.next().is_some() {
        return Reading::Malformed(Malformation::Length);
    }
    // SDKs take an empty parent id for none (Python 1.45.2, JS 2.12.1, Rust 0.33.1).
    if parent.is_some_and(|parent| !parent.is_empty() && (parent.len() != 16 || hex64(parent).is_none())) {
        return Reading::Malformed(Malformation::ParentId);
    }
    let sampled = match decision {
        None => Sampled::Deferred,
        Some(b"0") => Sampled::NotSampled,
        // `d`: debug, which implies that it is accepted.
        Some(b"1" | b"d") => Sampled::Sampled,
        Some(_) => return Reading::Malformed(Malformation::Flags),
    };
    let is_upper = |digits: &[u8]| digits.iter().any(u8::is_ascii_uppercase);
    if is_upper(trace_id) {
        return Reading::Malformed(Malformation::TraceId);
    }
    if is_upper(span_id) {
        return Reading::Malformed(Malformation::ParentId);
    }
    context(trace_id, span_id, sampled, Format::B3)
}

/// Reads `x-b3-traceid`, `x-b3-spanid`, `x-b3-sampled` and `x-b3-flags`. Either case, as SDKs do.
pub(super) fn multi(values: &Multi<'_>) -> Reading {
    let (trace_id, span_id) = match (values.trace_id, values.span_id) {
        (Some(trace_id), Some(span_id)) => (trace_id, span_id),
        (None, None) => return Reading::Aside(Aside::Decision),
        (None, _) => return Reading::Malformed(Malformation::TraceId),
        (_, None) => return Reading::Malformed(Malformation::ParentId),
    };
    let is = |value: &[u8], digit: &[u8], word: &[u8]| value == digit || value.eq_ignore_ascii_case(word);
    let sampled = match (values.flags, values.sampled) {
        // Debug, which implies that it is accepted. No other value of the flags means anything.
        (Some(b"1"), _) => Sampled::Sampled,
        (_, None) => Sampled::Deferred,
        // `true` and `false` are of older senders.
        (_, Some(value)) if is(value, b"1", b"true") => Sampled::Sampled,
        (_, Some(value)) if is(value, b"0", b"false") => Sampled::NotSampled,
        _ => return Reading::Malformed(Malformation::Flags),
    };
    context(trace_id, span_id, sampled, Format::B3Multi)
}

fn context(trace_id: &[u8], span_id: &[u8], sampled: Sampled, format: Format) -> Reading {
    let trace_id = hex128(trace_id).filter(|&id| id != 0 && [16, 32].contains(&trace_id.len()));
    let Some(trace_id) = trace_id else { return Reading::Malformed(Malformation::TraceId) };
    let parent_id = hex64(span_id).filter(|&id| id != 0 && span_id.len() == 16);
    let Some(parent_id) = parent_id else { return Reading::Malformed(Malformation::ParentId) };
    Reading::Context(TraceContext {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        sampled,
        random: false,
        formats: Formats::of(format),
    })
}
