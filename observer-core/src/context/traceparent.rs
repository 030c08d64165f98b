//! `traceparent` (W3C Trace Context Level 2, section 3.2): header values come in, one trace fact goes out.

use super::{Format, Formats, Malformation, Sampled, TraceContext};
use crate::ids::{SpanId, TraceId};

/// The length of version 00, and the least of every later one.
const LENGTH: usize = 55;
/// Bit 0 of the flags: sampled. The other bits say nothing of it.
const SAMPLED: u64 = 0x01;
/// Bit 1 of the flags, since Level 2: the right-most 56 bits of the trace id are random.
const RANDOM: u64 = 0x02;

/// Reads one header value, without the white space around it.
///
/// # Errors
/// Why a receiver must ignore it.
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
        Some(_) if version == 0 => return Err(Malformation::Length),
        // What follows in later versions is not known yet and may be anything.
        None | Some(b'-') => {}
        Some(_) => return Err(Malformation::Delimiter),
    }
    let trace_id = hex32(field(3, 35)).filter(|&id| id != 0).ok_or(Malformation::TraceId)?;
    let parent_id = hex16(field(36, 52)).filter(|&id| id != 0).ok_or(Malformation::ParentId)?;
    let flags = hex(field(53, 55)).ok_or(Malformation::Flags)?;
    Ok(TraceContext {
        trace_id: TraceId(trace_id),
        parent_id: SpanId(parent_id),
        sampled: if flags & SAMPLED == 0 { Sampled::NotSampled } else { Sampled::Sampled },
        random: flags & RANDOM != 0,
        formats: Formats::of(Format::W3c),
    })
}

/// 32 lower-case hex digits.
fn hex32(digits: &[u8]) -> Option<u128> {
    let (high, low) = digits.split_at_checked(16)?;
    Some(u128::from(hex16(high)?) << 64 | u128::from(hex16(low)?))
}

/// 16 lower-case hex digits.
fn hex16(digits: &[u8]) -> Option<u64> {
    let (high, low) = digits.split_first_chunk()?;
    Some(u64::from(hex8(*high)?) << 32 | u64::from(hex8(low.try_into().ok()?)?))
}

/// Eight lower-case hex digits, all at once: digits of random ids are what no branch predictor can guess.
#[allow(clippy::cast_possible_truncation, reason = "the digits stand in the low half in the end")]
fn hex8(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let word = u64::from_be_bytes(digits);
    if word & HIGH != 0 {
        return None;
    }
    // The high bit of each byte of the sum: whether the byte is at least `least`. No sum of two bytes below 0x80 carries.
    let at_least = |least: u8| word.wrapping_add(EACH.wrapping_mul(u64::from(0x80_u8.wrapping_sub(least))));
    let letters = at_least(b'a') & !at_least(b'f'.wrapping_add(1));
    let figures = at_least(b'0') & !at_least(b'9'.wrapping_add(1));
    if (letters | figures) & HIGH != HIGH {
        return None;
    }
    let mut value = (word & (0x0f * EACH)).wrapping_add((letters & HIGH).wrapping_shr(7).wrapping_mul(9));
    value = (value | value >> 4) & 0x00ff_00ff_00ff_00ff;
    value = (value | value >> 8) & 0x0000_ffff_0000_ffff;
    Some((value | value >> 16) as u32)
}

/// At most 16 lower-case hex digits.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
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

    #[test]
    fn every_byte_is_a_digit_or_none_at_every_place() {
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"01289abf";
                digits[place] = byte;
                let lower = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let expected = lower.then(|| u32::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
                assert_eq!(hex8(digits), expected, "{byte} at {place}");
            }
        }
    }
}
