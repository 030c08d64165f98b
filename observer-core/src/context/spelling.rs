//! How ids are written: the values of headers come in, what some libraries do not take of it goes out.
//!
//! SDKs disagree on these (OpenTelemetry 1.45 in Python, 2.12 in JavaScript, 0.33 in Rust): one reads upper case, another ignores the
//! whole header; one asks for 32 digits, another takes 16 or 31.

use std::fmt;

use super::digits::hex128;
use super::format::{Format, list};

/// Something about the ids of a message that some libraries do not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spelling {
    /// The trace id has 64 bits: cut, or padded with zeros.
    Half,
    /// Upper-case digits.
    UpperCase,
    /// Leading zeros are left out, or digits are missing.
    Shortened,
}

impl Spelling {
    const ALL: [Self; 3] = [Self::Half, Self::UpperCase, Self::Shortened];

    /// In a sentence: "ids …".
    fn as_str(self) -> &'static str {
        match self {
            Self::Half => "of 64 bits, cut or padded with zeros",
            Self::UpperCase => "in upper case",
            Self::Shortened => "with digits left out",
        }
    }
}

/// A set of [`Spelling`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spellings(u8);

impl Spellings {
    /// None.
    pub const NONE: Self = Self(0);

    /// The one.
    pub const fn of(spelling: Spelling) -> Self {
        Self(1 << spelling as u8)
    }

    /// What is in either.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn when(spelling: Spelling, is: bool) -> Self {
        if is { Self::of(spelling) } else { Self::NONE }
    }
}

impl fmt::Display for Spellings {
    /// `ids in upper case and with digits left out`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |spelling: &Spelling| self.0 & Self::of(*spelling).0 != 0;
        formatter.write_str("ids ")?;
        list(formatter, Spelling::ALL.into_iter().filter(has).map(Spelling::as_str))
    }
}

/// How the ids of a header of this format are written; nothing where they cannot be found in it.
pub(super) fn of_header(format: Format, value: &[u8]) -> Spellings {
    match format {
        Format::W3c => {
            let mut fields = value.split(|&byte| byte == b'-').skip(1);
            of_ids(fields.next(), fields.next())
        }
        Format::B3 => {
            let mut fields = value.split(|&byte| byte == b'-');
            // A decision alone has no ids.
            let (trace_id, span_id) = (fields.next(), fields.next());
            of_ids(trace_id.filter(|_| span_id.is_some()), span_id)
        }
        Format::Jaeger => {
            let mut fields = value.split(|&byte| byte == b':');
            let (trace_id, span_id) = (fields.next(), fields.next());
            of_ids(trace_id.filter(|_| span_id.is_some()), span_id)
        }
        Format::CloudTrace => of_ids(value.split(|&byte| byte == b'/').next(), None),
        // B3 in several headers: see [`of_ids`]. The others are binary or decimal, or no SDK was seen to disagree on them.
        Format::B3Multi | Format::Datadog | Format::OpenCensus | Format::XRay => Spellings::NONE,
    }
}

/// How a trace id and a span id in hexadecimal digits are written.
pub(super) fn of_ids(trace_id: Option<&[u8]>, span_id: Option<&[u8]>) -> Spellings {
    let is_id = |id: &&[u8]| hex128(id).is_some();
    let (trace_id, span_id) = (trace_id.filter(is_id), span_id.filter(is_id));
    let is_upper = |id: &[u8]| id.iter().any(u8::is_ascii_uppercase);
    let is_shortened =
        trace_id.is_some_and(|id| ![16, 32].contains(&id.len())) || span_id.is_some_and(|id| id.len() < 16);
    let is_half = trace_id.is_some_and(|id| id.len() == 16 || (id.len() == 32 && id.starts_with(&[b'0'; 16])));
    Spellings::when(Spelling::UpperCase, trace_id.is_some_and(is_upper) || span_id.is_some_and(is_upper))
        .and(Spellings::when(Spelling::Shortened, is_shortened))
        .and(Spellings::when(Spelling::Half, is_half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unusual_about_ids_is_named() {
        let spelled = |format, value: &str| {
            let spellings = of_header(format, value.as_bytes());
            if spellings.is_empty() { String::new() } else { spellings.to_string() }
        };
        let (whole, half) = ("4bf92f3577b34da6a3ce929d0e0e4736", "a3ce929d0e0e4736");
        let (upper, padded) = (whole.to_uppercase(), format!("{:032x}", 0xa3ce_929d_0e0e_4736_u64));
        for (format, value, expected) in [
            (Format::W3c, format!("00-{whole}-00f067aa0ba902b7-01"), ""),
            (Format::W3c, format!("00-{upper}-00f067aa0ba902b7-01"), "ids in upper case"),
            (Format::W3c, format!("00-{whole}-00F067AA0BA902B7-01"), "ids in upper case"),
            (Format::W3c, format!("00-{}-f067aa0ba902b7-01", &whole[1..]), "ids with digits left out"),
            (Format::W3c, format!("00-{padded}-00f067aa0ba902b7-01"), "ids of 64 bits, cut or padded with zeros"),
            (Format::W3c, "00-no-ids-01".into(), ""),
            (Format::W3c, String::new(), ""),
            (Format::B3, "0".into(), ""),
            (Format::B3, format!("{half}-00f067aa0ba902b7-1"), "ids of 64 bits, cut or padded with zeros"),
            (Format::Jaeger, format!("{whole}:f067aa0ba902b7:0:1"), "ids with digits left out"),
            (
                Format::Jaeger,
                "A3CE929D0E0E4736:f067aa0ba902b7:0:1".into(),
                "ids of 64 bits, cut or padded with zeros, in upper case and with digits left out",
            ),
            (Format::CloudTrace, format!("{upper}/1;o=1"), "ids in upper case"),
        ] {
            assert_eq!(spelled(format, &value), expected, "{value}");
        }
    }
}
