//! Numbers and names come in, what a person reads goes out.

use std::borrow::Cow;

/// A name as a terminal may show it: names come from the wire and may hold control characters.
pub(crate) fn safe(name: &str) -> Cow<'_, str> {
    // Besides controls: marks that turn the direction of the text around (Unicode bidi controls).
    let harmful = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if name.contains(harmful) {
        let shown = |letter: char| if harmful(letter) { letter.escape_unicode().collect() } else { letter.to_string() };
        Cow::Owned(name.chars().map(shown).collect())
    } else {
        Cow::Borrowed(name)
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `0.0967` as `9.67%`: three digits that mean something, also of ratios like one in a million.
pub(super) fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let decimals: usize = match percent.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.09995 => 3,
        size if size >= 0.009_995 => 4,
        _ => 6,
    };
    let text = format!("{percent:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}%")
}

/// `1 service`, `2 services`.
pub(super) fn plural(number: u64, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_show_three_digits_that_mean_something() {
        let shown: Vec<String> =
            [0.0, 1.0, 0.1, 0.0967, 0.5, 0.12345, 0.001, 0.000_123_4, 0.000_001].into_iter().map(percent).collect();
        assert_eq!(shown, ["0%", "100%", "10%", "9.67%", "50%", "12.3%", "0.1%", "0.0123%", "0.0001%"]);
    }

    #[test]
    fn a_name_from_the_wire_cannot_steer_the_terminal() {
        assert_eq!(safe("acme"), "acme");
        assert_eq!(safe("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(safe("a\nb"), "a\\u{a}b");
        assert_eq!(safe("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(safe("店"), "店");
    }

    #[test]
    fn large_counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }
}
