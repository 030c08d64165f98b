//! Numbers in headers: digits come in, a number goes out, or nothing where they are none or too many.

/// One hexadecimal digit.
pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(digit.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(digit.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

/// 1 to 32 hexadecimal digits of either case.
pub(super) fn hex128(digits: &[u8]) -> Option<u128> {
    if !(1..=32).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |value: u128, &digit| Some(value << 4 | u128::from(hex_digit(digit)?)))
}

/// 1 to 16 hexadecimal digits of either case.
pub(super) fn hex64(digits: &[u8]) -> Option<u64> {
    u64::try_from(hex128(digits).filter(|_| digits.len() <= 16)?).ok()
}

/// A decimal number of at most 64 bits, without a sign.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_numbers_and_none_is_too_large() {
        assert_eq!(hex64(b"00F067aa0ba902B7"), Some(0x00f0_67aa_0ba9_02b7));
        assert_eq!(hex128(&[b'f'; 32]), Some(u128::MAX));
        for none in [&b""[..], b"g", b"+1", b"-1", b" 1", b"0x1", &[b'0'; 33]] {
            assert_eq!((hex128(none), hex64(none)), (None, None), "{}", none.escape_ascii());
        }
        assert_eq!(hex64(&[b'0'; 17]), None);
        assert_eq!((decimal(b"18446744073709551615"), decimal(b"007")), (Some(u64::MAX), Some(7)));
        for none in [&b""[..], b"18446744073709551616", b"+1", b"-1", b"1.0", b"a"] {
            assert_eq!(decimal(none), None, "{}", none.escape_ascii());
        }
    }
}
