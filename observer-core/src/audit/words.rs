//! Numbers as a person reads them: ratios as percent, counts in groups of three.

use crate::sampling::interval::Interval;

/// `12.3 %`, with three significant digits and no zeros at the end.
pub(super) fn percent(ratio: f64) -> String {
    format!("{} %", significant(ratio * 100.0))
}

/// `5.1 % [4.2, 6.1]`.
pub(super) fn percent_within(ratio: f64, interval: Interval) -> String {
    let Interval { lower, upper } = interval;
    format!("{} [{}, {}]", percent(ratio), significant(lower * 100.0), significant(upper * 100.0))
}

/// `1,234`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len().saturating_mul(2));
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && digits.len().saturating_sub(place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 hop`, `1,234 hops`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

fn significant(number: f64) -> String {
    let decimals = match number.abs() {
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        large if large >= 1.0 => 2,
        large if large >= 0.1 => 3,
        large if large >= 0.01 => 4,
        _ => 6,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            ["0.1", "0.051", "1", "0", "0.00012"].map(|ratio| percent(ratio.parse().unwrap())),
            ["10 %", "5.1 %", "100 %", "0 %", "0.012 %"]
        );
        assert_eq!(percent_within(0.0511, Interval { lower: 0.042, upper: 0.06149 }), "5.11 % [4.2, 6.15]");
        assert_eq!([7, 999, 1_000, 1_234_567].map(count), ["7", "999", "1,000", "1,234,567"]);
        assert_eq!((counted(1, "hop"), counted(2, "hop")), ("1 hop".into(), "2 hops".into()));
    }
}
