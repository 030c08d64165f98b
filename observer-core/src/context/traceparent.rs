//! `traceparent` (W3C Trace Context Level 2, section 3.2): header values come in, one trace fact goes out.

use super::{Format, Malformation, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// The length of version 00, and the least of every later one.
const LENGTH: usize = 55;
/// Bit 0 of the flags: sampled. The other bits say nothing of it.
const SAMPLED: u8 = 0x01;
/// Bit 1 of the flags, since Level 2: the right-most 56 bits of the trace id are random.
const RANDOM: u8 = 0x02;

/// Reads one header value, without the white space around it.
pub fn parse(value: &[u8]) -> Result<TraceContext, Malformation> {
    if value.contains(&b',') {
        // Several headers that something on the way has joined (RFC 9110 section 5.3); no field can hold a comma.
        return Err(Malformation::Duplicated);
    }
    if value.len() < LENGTH {
        return Err(Malformation::Length);
    }
    let field = |start, end| value.get(start..end).unwrap_or_default();
    let version = hex(field(0, 2)).ok_or(Malformation::Version)?;
    if version == 0xff {
        return Err(Malformation::Version);
    }
    if [2, 35, 52].iter().any(|&at| value.get(at) != Some(&b'-')) {
        return Err(Malformation::Delimiter);
    }
    match value.get(LENGTH) {
        // What follows in later versions is not known yet and may be anything.
        None => {}
        Some(_) if version == 0 => return Err(Malformation::Length),
        Some(b'-') => {}
        Some(_) => return Err(Malformation::Delimiter),
    }
    let trace_id = hex(field(3, 35)).filter(|&id| id != 0).ok_or(Malformation::TraceId)?;
    let parent_id = hex(field(36, 52)).and_then(|id| u64::try_from(id).ok()).filter(|&id| id != 0);
    let parent_id = parent_id.ok_or(Malformation::ParentId)?;
    let flags = hex(field(53, 55)).and_then(|flags| u8::try_from(flags).ok()).ok_or(Malformation::Flags)?;
    Ok(TraceContext {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        sampled: if flags & SAMPLED == 0 { Sampled::NotSampled } else { Sampled::Sampled },
        random: flags & RANDOM != 0,
        format: Format::W3c,
    })
}

/// Lower-case hex digits, at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_flags_are_bits() {
        for (flags, sampled, random) in [
            ("00", Sampled::NotSampled, false),
            ("01", Sampled::Sampled, false),
            ("02", Sampled::NotSampled, true),
            ("03", Sampled::Sampled, true),
            ("ff", Sampled::Sampled, true),
            ("fc", Sampled::NotSampled, false),
        ] {
            let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            let context = parse(value.as_bytes()).unwrap();
            assert_eq!(context.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(context.parent_id.to_string(), "00f067aa0ba902b7");
            assert_eq!((context.sampled, context.random), (sampled, random), "{flags}");
        }
    }

    #[test]
    fn later_versions_may_go_on_behind_a_dash() {
        for (value, malformed) in [
            (format!("00-{REST}"), None),
            (format!("00-{REST}-"), Some(Malformation::Length)),
            (format!("00-{REST}."), Some(Malformation::Length)),
            (format!("01-{REST}"), None),
            (format!("cc-{REST}-what-ever"), None),
            (format!("cc-{REST}.what-ever"), Some(Malformation::Delimiter)),
            (format!("ff-{REST}"), Some(Malformation::Version)),
        ] {
            assert_eq!(parse(value.as_bytes()).err(), malformed, "{value}");
        }
    }

    #[test]
    fn each_fault_has_its_reason() {
        for (value, reason) in [
            ("", Malformation::Length),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", Malformation::Length),
            ("0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Malformation::Version),
            ("0--4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Malformation::Version),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", Malformation::TraceId),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", Malformation::TraceId),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bg-01", Malformation::ParentId),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", Malformation::ParentId),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A", Malformation::Flags),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.0", Malformation::Flags),
            ("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Malformation::Delimiter),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01", Malformation::Delimiter),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01,00-4bf9", Malformation::Duplicated),
        ] {
            assert_eq!(parse(value.as_bytes()), Err(reason), "{value}");
        }
    }
}
