//! Integers and strings of a header block (RFC 7541 section 5): bytes come in, values go out.

use super::huffman;

/// The bytes of a block that are not read yet.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// A string as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    coded: bool,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// An integer that begins in the last bits of `first`, those of `prefix` (a power of two less one). `None` where its end
    /// is missing or it has more than 32 bits.
    pub(super) fn integer(&mut self, first: u8, prefix: u8) -> Option<u32> {
        let start = first & prefix;
        if start < prefix {
            return Some(u32::from(start));
        }
        let mut value = u64::from(prefix);
        for shift in [0_u32, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value = value.saturating_add(u64::from(byte & 0x7f).wrapping_shl(shift));
            if byte & 0x80 == 0 {
                return u32::try_from(value).ok();
            }
        }
        None
    }

    pub(super) fn string(&mut self) -> Option<Text<'a>> {
        let first = self.byte()?;
        let len = usize::try_from(self.integer(first, 0x7f)?).ok()?;
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Text { coded: first & 0x80 != 0, bytes })
    }
}

impl Text<'_> {
    /// Its length once decoded; `None` where the code is broken.
    pub(super) fn len(&self) -> Option<usize> {
        if self.coded { huffman::decode(self.bytes, |_| ()) } else { Some(self.bytes.len()) }
    }

    /// Appends it to `bytes` and returns its length; `None` where the code is broken.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) -> Option<usize> {
        if self.coded {
            let start = bytes.len();
            bytes.resize(start.saturating_add(huffman::decoded_len_max(self.bytes.len())), 0);
            let mut free = bytes.get_mut(start..).unwrap_or_default().iter_mut();
            let len = huffman::decode(self.bytes, |byte| {
                if let Some(free) = free.next() {
                    *free = byte;
                }
            });
            bytes.truncate(start.saturating_add(len.unwrap_or(0)));
            len
        } else {
            bytes.extend_from_slice(self.bytes);
            Some(self.bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(bytes: &[u8], prefix: u8) -> Option<u32> {
        let mut reader = Reader::new(bytes);
        let first = reader.byte()?;
        reader.integer(first, prefix)
    }

    #[test]
    fn examples_of_rfc_7541_appendix_c_1() {
        assert_eq!(integer(&[0b1110_1010], 31), Some(10));
        assert_eq!(integer(&[0b1111_1111, 0b1001_1010, 0b0000_1010], 31), Some(1337));
        assert_eq!(integer(&[0b0010_1010], 255), Some(42));
    }

    #[test]
    fn integers_without_an_end_or_too_large_are_refused() {
        assert_eq!(integer(&[31], 31), None);
        assert_eq!(integer(&[31, 0x80, 0x80], 31), None);
        assert_eq!(integer(&[31, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 31), None);
        assert_eq!(integer(&[31, 0xff, 0xff, 0xff, 0xff, 0x0f], 31), None);
        assert_eq!(integer(&[31, 0xe0, 0xff, 0xff, 0xff, 0x0f], 31), Some(u32::MAX));
    }

    #[test]
    fn a_string_that_is_longer_than_its_block_is_refused() {
        assert!(Reader::new(b"\x03ab").string().is_none());
        assert!(Reader::new(b"\x7f\xff\xff\xff\xff\x0fab").string().is_none());
        assert_eq!(Reader::new(b"\x02abc").string().map(|text| text.bytes), Some(&b"ab"[..]));
    }
}
