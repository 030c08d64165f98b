//! Huffman-coded strings (RFC 7541 section 5.2): coded bytes come in, bytes go out.

/// The length of each symbol's code in bits, the end of a string last (RFC 7541 appendix B). The code is canonical: codes of
/// one length follow each other in the order of their symbols, so the lengths are all of it.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
const LENGTH_MAX: usize = 30;
/// Symbols whose codes have together up to so many bits are found by one look-up: any two hexadecimal digits, of which trace
/// contexts consist.
const SHORT_BITS: u32 = 12;
/// How far 64 bits are moved so that the next [`SHORT_BITS`] are left.
const SHORT_SHIFT: u32 = 64 - SHORT_BITS;
/// The end of a string: never sent (RFC 7541 section 5.2).
const END: usize = 256;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    first: u32,
    count: u32,
    /// Where their symbols stand in [`Code::symbols`].
    start: usize,
}

/// What begins with some bits.
#[derive(Clone, Copy)]
struct Short {
    symbols: [u8; 2],
    /// The length of the first symbol's code; 0 where it is longer than the bits.
    first: u8,
    /// That of both codes together; 0 where they are.
    both: u8,
}

struct Code {
    by_length: [Codes; LENGTH_MAX + 1],
    symbols: [u16; 257],
    /// By the next [`SHORT_BITS`].
    short: [Short; 1 << SHORT_BITS],
}

static CODE: Code = build();

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "runs in the compiler, over constants"
)]
const fn build() -> Code {
    let mut code = Code {
        by_length: [Codes { first: 0, count: 0, start: 0 }; LENGTH_MAX + 1],
        symbols: [0; 257],
        short: [Short { symbols: [0; 2], first: 0, both: 0 }; 1 << SHORT_BITS],
    };
    let (mut next, mut placed, mut length) = (0_u32, 0, 1);
    while length <= LENGTH_MAX {
        next <<= 1;
        code.by_length[length] = Codes { first: next, count: 0, start: placed };
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                code.symbols[placed] = symbol as u16;
                if length <= SHORT_BITS as usize {
                    let free = SHORT_BITS as usize - length;
                    let mut tail = 0;
                    while tail < 1 << free {
                        let short = &mut code.short[(next as usize) << free | tail];
                        (short.symbols[0], short.first) = (symbol as u8, length as u8);
                        tail += 1;
                    }
                }
                code.by_length[length].count += 1;
                next += 1;
                placed += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    let mut bits = 0;
    while bits < code.short.len() {
        let first = code.short[bits].first;
        let second = code.short[bits << first & (code.short.len() - 1)];
        if first > 0 && second.first > 0 && first as u32 + second.first as u32 <= SHORT_BITS {
            code.short[bits].symbols[1] = second.symbols[0];
            code.short[bits].both = first + second.first;
        }
        bits += 1;
    }
    code
}

/// How long a string of so many coded bytes may be: no code has fewer than five bits.
pub(super) fn decoded_len_max(coded: usize) -> usize {
    coded.saturating_mul(8) / 5
}

/// Decodes a string byte by byte and returns its length; `None` where the code is broken: a padding that is longer than seven
/// bits or not of ones, or the symbol for the end of a string.
pub(super) fn decode(mut coded: &[u8], mut push: impl FnMut(u8)) -> Option<usize> {
    // The next bits, the first one leftmost; behind them zeros.
    let (mut bits, mut held) = (0_u64, 0_u32);
    let mut len = 0_usize;
    loop {
        if held <= 32 {
            if let Some((&four, rest)) = coded.split_first_chunk() {
                bits |= u64::from(u32::from_be_bytes(four)).wrapping_shl(32_u32.wrapping_sub(held));
                (held, coded) = (held.wrapping_add(32), rest);
            } else {
                for &byte in std::mem::take(&mut coded) {
                    bits |= u64::from(byte).wrapping_shl(56_u32.wrapping_sub(held));
                    held = held.wrapping_add(8);
                }
            }
        }
        let index = usize::try_from(bits >> SHORT_SHIFT).unwrap_or(0);
        let (symbol, length) = match CODE.short.get(index) {
            Some(&Short { symbols: [first, second], both, .. }) if both > 0 && u32::from(both) <= held => {
                push(first);
                push(second);
                len = len.saturating_add(2);
                bits = bits.wrapping_shl(u32::from(both));
                held = held.wrapping_sub(u32::from(both));
                continue;
            }
            Some(&Short { symbols: [symbol, _], first, .. }) if first > 0 => (symbol, u32::from(first)),
            _ => match long(bits, held)? {
                Some(found) => found,
                None => return is_padding(bits, held).then_some(len),
            },
        };
        if length > held {
            return is_padding(bits, held).then_some(len);
        }
        push(symbol);
        len = len.saturating_add(1);
        bits = bits.wrapping_shl(length);
        held = held.wrapping_sub(length);
    }
}

/// Symbol and length of a code longer than [`SHORT_BITS`]; `Some(None)` where not all of it is there, `None` for the end.
#[expect(clippy::option_option, reason = "the outer one ends decoding")]
fn long(bits: u64, held: u32) -> Option<Option<(u8, u32)>> {
    for (length, codes) in (0_u32..).zip(&CODE.by_length).skip(1) {
        if length > held {
            return Some(None);
        }
        let code = u32::try_from(bits.wrapping_shr(64_u32.wrapping_sub(length))).unwrap_or(u32::MAX);
        let offset = code.wrapping_sub(codes.first);
        if offset < codes.count {
            let at = codes.start.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX));
            let symbol = usize::from(*CODE.symbols.get(at)?);
            return if symbol == END { None } else { Some(Some((u8::try_from(symbol).ok()?, length))) };
        }
    }
    None
}

/// Whether the last bits are the most significant ones of the end's code, which are ones, and fewer than eight.
fn is_padding(bits: u64, held: u32) -> bool {
    held < 8 && bits == !u64::MAX.wrapping_shr(held)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn text(coded: &[u8]) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        decode(coded, |byte| text.push(byte)).map(|len| {
            assert_eq!(len, text.len());
            text
        })
    }

    /// Codes a string as a peer does.
    fn code(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let length = usize::from(LENGTHS[usize::from(byte)]);
            let codes = CODE.by_length[length];
            let place = CODE.symbols[codes.start..].iter().position(|&symbol| symbol == u16::from(byte)).unwrap();
            let code = codes.first + u32::try_from(place).unwrap();
            let _ = write!(bits, "{code:0length$b}");
        }
        bits += &"1".repeat(bits.len().next_multiple_of(8) - bits.len());
        bits.as_bytes()
            .chunks(8)
            .map(|eight| u8::from_str_radix(std::str::from_utf8(eight).unwrap(), 2).unwrap())
            .collect()
    }

    #[test]
    fn the_code_is_complete_and_begins_and_ends_as_in_appendix_b() {
        let kraft: u64 = LENGTHS.iter().map(|&length| 1_u64 << (LENGTH_MAX - usize::from(length))).sum();
        assert_eq!(kraft, 1 << LENGTH_MAX);
        let last = CODE.by_length[LENGTH_MAX];
        assert_eq!((last.first + last.count - 1, CODE.symbols[last.start + 3]), (0x3fff_ffff, 256));
        assert_eq!(code(b"0"), [0b0000_0111]);
        assert_eq!(code(b"\xff"), [0xff, 0xff, 0xfb, 0xbf]);
    }

    #[test]
    fn examples_of_rfc_7541_appendix_c() {
        for (coded, expected) in [
            (&b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], "www.example.com"),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (b"\x64\x02", "302"),
            (b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3", "https://www.example.com"),
            (b"", ""),
        ] {
            assert_eq!(text(coded).as_deref(), Some(expected.as_bytes()));
        }
    }

    #[test]
    fn every_byte_is_decoded() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(text(&code(&all)), Some(all));
    }

    #[test]
    fn a_trace_context_that_ends_anywhere_is_decoded_to_its_end() {
        let whole = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for end in 0..=whole.len() {
            assert_eq!(text(&code(&whole[..end])).as_deref(), Some(&whole[..end]));
        }
    }

    #[test]
    fn bad_padding_and_the_end_symbol_are_refused() {
        for bad in [
            &b"\x00"[..],        // '0' and three bits that are zeros
            b"\x07\xff",         // '0' and more than seven bits of padding
            b"\xff",             // eight bits of padding
            b"\xff\xff\xff\xff", // the end
            b"\xff\xff\xff\xfc",
            b"\x06", // '0', padding of ones and a zero
        ] {
            assert_eq!(text(bad), None, "{bad:x?}");
        }
    }
}
