//! AWS X-Ray's `X-Amzn-Trace-Id`: `Root=1-{8 hex}-{24 hex};Parent={16 hex};Sampled={0|1|?}` in any order, other fields among them
//! (<https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader>). A header value comes in, one
//! trace context goes out, or what stands for none.

use super::digits::{hex64, hex128};
use super::{Aside, Format, Formats, Malformation, Reading, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// Reads a header value.
pub(super) fn parse(value: &[u8]) -> Reading {
    if value.contains(&b',') {
        return Reading::Malformed(Malformation::Duplicated);
    }
    let field = |name: &[u8]| value.split(|&byte| byte == b';').find_map(|field| field.trim_ascii().strip_prefix(name));
    let Some(root) = field(b"Root=") else {
        // A decision, or what a balancer notes of itself (`Self=`), but no trace.
        return if field(b"Sampled=").is_some() || field(b"Self=").is_some() {
            Reading::Aside(Aside::Decision)
        } else {
            Reading::Malformed(Malformation::Length)
        };
    };
    let trace_id = match trace_id(root) {
        Ok(trace_id) => trace_id,
        Err(reason) => return Reading::Malformed(reason),
    };
    let sampled = match field(b"Sampled=") {
        Some(b"1") => Sampled::Sampled,
        Some(b"0") => Sampled::NotSampled,
        // The receiver is asked to decide.
        Some(b"?") | None => Sampled::Deferred,
        Some(_) => return Reading::Malformed(Malformation::Flags),
    };
    let Some(parent) = field(b"Parent=") else { return Reading::Aside(Aside::Parentless) };
    let Some(parent_id) = hex64(parent).filter(|&id| id != 0 && parent.len() == 16) else {
        return Reading::Malformed(Malformation::ParentId);
    };
    Reading::Context(TraceContext {
        trace_id,
        parent_id: SpanId(parent_id),
        sampled,
        random: false,
        formats: Formats::of(Format::XRay),
    })
}

fn trace_id(root: &[u8]) -> Result<TraceId, Malformation> {
    let mut parts = root.split(|&byte| byte == b'-');
    if parts.next() != Some(b"1") {
        return Err(Malformation::Version);
    }
    let (Some(time), Some(random), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Malformation::Delimiter);
    };
    if (time.len(), random.len()) != (8, 24) {
        return Err(Malformation::TraceId);
    }
    let id = hex128(time).zip(hex128(random)).map(|(time, random)| time << 96 | random);
    id.filter(|&id| id != 0).map(TraceId).ok_or(Malformation::TraceId)
}
