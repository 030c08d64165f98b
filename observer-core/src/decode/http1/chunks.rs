//! A chunked body (RFC 9112 section 7.1): bytes come in, cut anywhere, and where the body ends goes out. Nothing is kept.

/// How far the body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the size of a chunk; `digits` of it were seen.
    Size { size: u64, digits: u8 },
    /// Behind the size, in extensions.
    Extension { size: u64 },
    /// In the data; `left` bytes of it are to come.
    Data { left: u64 },
    /// In the line end behind the data.
    DataEnd,
    /// In the trailer section; whether the line in progress has any content.
    Trailer { content: bool },
}

/// What the bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of them belong to the body.
    More,
    /// The body ends after so many of them.
    End(usize),
    /// The bytes are no chunked body.
    Bad,
}

/// Sixteen hex digits hold any u64; leading zeros past that are nobody's.
const SIZE_DIGITS_MAX: u8 = 16;

impl Chunks {
    pub(super) fn new() -> Self {
        Self::Size { size: 0, digits: 0 }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Step {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if let Self::Data { left } = *self {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                rest = rest.get(take..).unwrap_or_default();
                self.skip(take as u64);
                continue;
            }
            rest = after;
            *self = match (*self, byte) {
                (Self::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    Self::Size { size: size << 4 | u64::from(digit), digits: digits.saturating_add(1) }
                }
                (Self::Size { digits: 0, .. }, _) => return Step::Bad,
                (Self::Size { size, .. } | Self::Extension { size }, b'\n') => Self::data(size),
                (Self::Size { size, .. }, b';' | b' ' | b'\t' | b'\r') | (Self::Extension { size }, _) => {
                    Self::Extension { size }
                }
                (Self::DataEnd, b'\r') => Self::DataEnd,
                (Self::DataEnd, b'\n') => Self::new(),
                (Self::Trailer { content: false }, b'\n') => {
                    return Step::End(bytes.len().saturating_sub(rest.len()));
                }
                (Self::Trailer { .. }, b'\n') => Self::Trailer { content: false },
                (Self::Trailer { content }, b'\r') => Self::Trailer { content },
                (Self::Trailer { .. }, _) => Self::Trailer { content: true },
                (Self::Size { .. } | Self::DataEnd | Self::Data { .. }, _) => return Step::Bad,
            };
        }
        Step::More
    }

    /// Passes over `count` bytes that were not captured: possible only within the data of one chunk.
    pub(super) fn skip(&mut self, count: u64) -> bool {
        let Self::Data { left } = *self else { return count == 0 };
        match left.checked_sub(count) {
            Some(0) => *self = Self::DataEnd,
            Some(left) => *self = Self::Data { left },
            None => return false,
        }
        true
    }

    fn data(size: u64) -> Self {
        if size == 0 { Self::Trailer { content: false } } else { Self::Data { left: size } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] =
        b"5\r\nhello\r\n1B;name=\"v\"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n0\r\nTrailer: x\r\n\r\nHTTP";

    #[test]
    fn the_end_is_found_wherever_the_body_is_cut() {
        for cut in 0..BODY.len() - 4 {
            let mut chunks = Chunks::new();
            let (left, right) = BODY.split_at(cut);
            assert_eq!(chunks.feed(left), Step::More);
            assert_eq!(chunks.feed(right), Step::End(right.len() - 4), "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_chunks_are_told() {
        for bad in ["x", "\r\n", "5\r\nhelloworld", "5x\r\n", "11111111111111111\r\n"] {
            assert_eq!(Chunks::new().feed(bad.as_bytes()), Step::Bad, "{bad}");
        }
    }

    #[test]
    fn only_data_can_be_passed_over() {
        let mut chunks = Chunks::new();
        assert!(!chunks.skip(1));
        assert_eq!(chunks.feed(b"10\r\nabc"), Step::More);
        assert!(!chunks.skip(14));
        assert!(chunks.skip(13));
        assert_eq!(chunks.feed(b"\r\n0\r\n\r\n"), Step::End(7));
    }
}
