//! The weight of a request: a head comes in, the number that the first yielding source gives goes out.

use super::{WEIGHT_MAX, Weight, WeightSource, baggage};
use crate::fact::Fact;
use crate::message::{Header, HeaderName, Interest};

/// Numbers that are written in more bytes are none.
const WEIGHT_BYTES_MAX: usize = 64;

/// A source with its header looked up.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Header(HeaderName),
    Baggage(String),
}

impl Source {
    pub(super) fn compile(source: WeightSource, interest: &Interest) -> Option<Self> {
        match source {
            WeightSource::Header(name) => interest.find(name.as_bytes()).map(Self::Header),
            WeightSource::Baggage(key) => Some(Self::Baggage(key)),
        }
    }

    /// One weight, however often it is repeated; malformed where values differ.
    fn read(&self, headers: &[Header<'_>]) -> Option<Weight> {
        let agree = |first: Weight, second| if first == second { first } else { Weight::Malformed };
        match self {
            Self::Header(name) => headers
                .iter()
                .filter(|header| header.name == *name)
                .flat_map(|header| header.value.split(|&byte| byte == b','))
                .map(parse)
                .reduce(agree),
            Self::Baggage(key) => {
                baggage::find(headers, key).map(|value| parse(baggage::decode(value).as_bytes())).reduce(agree)
            }
        }
    }
}

/// The weight that the first yielding source gives. Where the head was not fully seen, a source that has not yielded might
/// have, and the weight is not observed.
pub(super) fn read(sources: &[Source], headers: &[Header<'_>], complete: bool) -> Fact<Weight> {
    for source in sources {
        match source.read(headers) {
            Some(weight) => return Fact::Present(weight),
            None if complete => {}
            None => return Fact::NotObserved,
        }
    }
    Fact::Absent
}

fn parse(text: &[u8]) -> Weight {
    let text = text.trim_ascii();
    let number = std::str::from_utf8(text).ok().filter(|text| text.len() <= WEIGHT_BYTES_MAX);
    match number.and_then(|text| text.parse::<f64>().ok()) {
        None => Weight::Malformed,
        // Adding zero makes a negative zero positive.
        Some(number) if (0.0..=WEIGHT_MAX).contains(&number) => Weight::Valid(number + 0.0),
        Some(_) => Weight::OutOfRange,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_finite_numbers_of_zero_or_more() {
        for (text, expected) in [
            ("1", Weight::Valid(1.0)),
            (" 0.25 ", Weight::Valid(0.25)),
            ("1e3", Weight::Valid(1000.0)),
            ("-0", Weight::Valid(0.0)),
            ("1000000", Weight::Valid(WEIGHT_MAX)),
            ("1000000.1", Weight::OutOfRange),
            ("-1", Weight::OutOfRange),
            ("NaN", Weight::OutOfRange),
            ("inf", Weight::OutOfRange),
            ("", Weight::Malformed),
            ("heavy", Weight::Malformed),
            ("1 2", Weight::Malformed),
            ("0x10", Weight::Malformed),
            ("\u{b9}", Weight::Malformed),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(parse("1".repeat(65).as_bytes()), Weight::Malformed);
    }
}
