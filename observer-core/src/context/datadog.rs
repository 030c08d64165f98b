//! Datadog's `x-datadog-…` headers: decimal ids of 64 bits, of which the high half of the trace id stands among the tags. Values
//! come in, one trace context goes out, or what stands for none.

use super::digits::{decimal, hex64};
use super::{Aside, Format, Formats, Malformation, Reading, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// The tag that holds the high half of the trace id: 16 hexadecimal digits.
const HIGH_HALF: &[u8] = b"_dd.p.tid=";

/// The values of the headers, where they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Values<'a> {
    pub(super) trace_id: Option<&'a [u8]>,
    pub(super) parent_id: Option<&'a [u8]>,
    pub(super) priority: Option<&'a [u8]>,
    pub(super) tags: Option<&'a [u8]>,
}

/// Reads the headers.
pub(super) fn parse(values: &Values<'_>) -> Reading {
    let Some(trace_id) = values.trace_id else { return Reading::Aside(Aside::Decision) };
    let Some(low) = decimal(trace_id).filter(|&id| id != 0) else {
        return Reading::Malformed(Malformation::TraceId);
    };
    let sampled = match values.priority {
        None => Sampled::Deferred,
        Some(priority) => match is_kept(priority) {
            Some(true) => Sampled::Sampled,
            Some(false) => Sampled::NotSampled,
            None => return Reading::Malformed(Malformation::Flags),
        },
    };
    let parent_id = match values.parent_id.map(decimal) {
        Some(None) => return Reading::Malformed(Malformation::ParentId),
        None | Some(Some(0)) => return Reading::Aside(Aside::Parentless),
        Some(Some(parent_id)) => parent_id,
    };
    let high = values.tags.and_then(high_half).unwrap_or_default();
    Reading::Context(TraceContext {
        trace_id: TraceId(u128::from(high) << 64 | u128::from(low)),
        parent_id: SpanId(parent_id),
        sampled,
        random: false,
        formats: Formats::of(Format::Datadog),
    })
}

/// Whether a priority keeps the trace: above zero (1: by the sampler, 2: by the user); 0 and -1 reject it.
fn is_kept(priority: &[u8]) -> Option<bool> {
    match priority.strip_prefix(b"-") {
        Some(digits) => decimal(digits).map(|_| false),
        None => decimal(priority).map(|priority| priority > 0),
    }
}

/// What is no high half leaves the trace id one of 64 bits (ddtrace 4.16.0).
fn high_half(tags: &[u8]) -> Option<u64> {
    let value = tags.split(|&byte| byte == b',').find_map(|tag| tag.trim_ascii().strip_prefix(HIGH_HALF))?;
    hex64(value).filter(|_| value.len() == 16)
}
