//! RESP2 and RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>) cut into tokens: bytes in order go in, headers
//! and values come out. Values that nobody asked for are passed over by their length.

use memchr::memchr;

/// The longest line that is kept: of headers and numbers nothing is longer, of texts no more is needed.
const LINE_BYTES_MAX: usize = 64;
/// The longest line there is: errors and texts that modules send.
const LINE_LEN_MAX: usize = 64 * 1024;
/// The longest value: `proto-max-bulk-len` is 512 MiB and may be set higher.
const VALUE_LEN_MAX: u64 = 1 << 40;
/// The most elements: no reply of any use has more.
const ELEMENTS_MAX: u64 = 1 << 32;
/// What ends a line and a value.
const LINE_END_BYTES: u64 = 2;

/// What holds elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    /// An array, or a set.
    Array,
    Map,
    /// What the server says without being asked.
    Push,
    /// What stands before a reply and tells something of it.
    Attribute,
}

/// A part of a request or reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// So many elements follow; of a map keys and values are counted.
    Open { kind: Aggregate, len: u64 },
    /// A value of so many bytes follows: now is the time for [`Resp::keep`].
    Bulk { len: u64 },
    /// The value.
    Value(Value<'t>),
    /// A line: its first byte, and what follows that.
    Line { mark: u8, text: &'t [u8] },
    /// Nothing, as a value or a list.
    Null,
    /// No RESP.
    Malformed,
}

/// A value, as far as it was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'t> {
    /// Its first bytes.
    pub(super) bytes: &'t [u8],
    /// Whether these are all.
    pub(super) whole: bool,
}

#[derive(Debug)]
struct Bulk {
    len: u64,
    /// Bytes to come, the line end included.
    left: u64,
    /// How many bytes to keep.
    keep: usize,
    /// No byte that was to be kept is missing.
    sound: bool,
}

/// Reads one direction.
#[derive(Debug, Default)]
pub(super) struct Resp {
    line: Vec<u8>,
    line_len: usize,
    bulk: Option<Bulk>,
    kept: Vec<u8>,
}

impl Resp {
    /// The next token, as far as there are bytes.
    pub(super) fn next<'t, 'b: 't>(&'t mut self, bytes: &mut &'b [u8]) -> Option<Token<'t>> {
        if self.bulk.is_some() { self.value(bytes) } else { self.header(bytes) }
    }

    /// Keeps the value that was announced if it has at most `max` bytes, else only its first `prefix` ones.
    pub(super) fn keep(&mut self, max: usize, prefix: usize) {
        if let Some(bulk) = &mut self.bulk {
            let len = usize::try_from(bulk.len).unwrap_or(usize::MAX);
            bulk.keep = if len <= max { len } else { prefix };
        }
    }

    /// Whether a token begins with the next byte.
    pub(super) fn is_between(&self) -> bool {
        self.bulk.is_none() && self.line_len == 0
    }

    /// How many of the next bytes are needed by nobody.
    pub(super) fn spare(&self) -> u64 {
        self.bulk.as_ref().filter(|bulk| bulk.taken() >= bulk.keep as u64).map_or(0, |bulk| bulk.left)
    }

    /// So many bytes are missing; whether it is still known what comes next.
    pub(super) fn gap(&mut self, count: u64) -> bool {
        let Some(bulk) = self.bulk.as_mut().filter(|bulk| bulk.left >= count) else { return false };
        bulk.sound &= bulk.taken() >= bulk.keep as u64;
        bulk.left = bulk.left.saturating_sub(count);
        true
    }

    /// Forgets what was begun.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.line.capacity().saturating_add(self.kept.capacity())
    }

    fn value<'t, 'b: 't>(&'t mut self, bytes: &mut &'b [u8]) -> Option<Token<'t>> {
        let bulk = self.bulk.as_mut()?;
        let payload = bulk.left.saturating_sub(LINE_END_BYTES);
        let here = usize::try_from(bulk.left).unwrap_or(usize::MAX).min(bytes.len());
        let (part, rest) = bytes.split_at_checked(here)?;
        *bytes = rest;
        let part = part.get(..usize::try_from(payload).unwrap_or(usize::MAX)).unwrap_or(part);
        let begins = bulk.taken() == 0;
        let wanted = bulk.keep.saturating_sub(usize::try_from(bulk.taken()).unwrap_or(usize::MAX));
        let wanted = part.get(..wanted).unwrap_or(part);
        bulk.left = bulk.left.saturating_sub(here as u64);
        if begins {
            self.kept = Vec::new();
        }
        let ended = bulk.left == 0;
        if (!ended || !begins) && bulk.sound {
            self.kept.extend_from_slice(wanted);
        }
        if !ended {
            return None;
        }
        let whole = bulk.sound && bulk.keep as u64 == bulk.len;
        self.bulk = None;
        let bytes = if begins { wanted } else { &self.kept };
        Some(Token::Value(Value { bytes, whole }))
    }

    fn header<'t, 'b: 't>(&'t mut self, bytes: &mut &'b [u8]) -> Option<Token<'t>> {
        let Self { line, line_len, bulk, kept } = self;
        *kept = Vec::new();
        if *line_len == 0 {
            line.clear();
        }
        let end = memchr(b'\n', bytes);
        let (part, rest) = bytes.split_at_checked(end.map_or(bytes.len(), |end| end.saturating_add(1)))?;
        *bytes = rest;
        let alone = *line_len == 0 && end.is_some();
        *line_len = line_len.saturating_add(part.len());
        if *line_len > LINE_LEN_MAX {
            return Some(Token::Malformed);
        }
        if !alone {
            let room = LINE_BYTES_MAX.saturating_sub(line.len());
            line.extend_from_slice(part.get(..room).unwrap_or(part));
        }
        end?;
        let len = std::mem::take(line_len);
        let line = if alone { part } else { line };
        let token = if len <= LINE_BYTES_MAX { short_line(line) } else { long_line(line) };
        if let Token::Bulk { len } = token {
            *bulk = Some(Bulk { len, left: len.saturating_add(LINE_END_BYTES), keep: 0, sound: true });
        }
        Some(token)
    }
}

impl Bulk {
    /// How many bytes were passed.
    fn taken(&self) -> u64 {
        self.len.saturating_add(LINE_END_BYTES).saturating_sub(self.left)
    }
}

fn short_line(line: &[u8]) -> Token<'_> {
    let Some((&mark, text)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else { return Token::Malformed };
    match mark {
        b'$' | b'=' | b'!' => match length(text) {
            Some(Length::Some(len)) if len <= VALUE_LEN_MAX => Token::Bulk { len },
            Some(Length::Null) => Token::Null,
            _ => Token::Malformed,
        },
        b'*' | b'%' | b'~' | b'>' | b'|' => match length(text) {
            Some(Length::Some(len)) if len <= ELEMENTS_MAX => aggregate(mark, len),
            Some(Length::Null) => Token::Null,
            _ => Token::Malformed,
        },
        b'_' if text.is_empty() => Token::Null,
        b':' | b'(' if length(text.strip_prefix(b"-").unwrap_or(text)).is_none() => Token::Malformed,
        b'+' | b'-' | b':' | b',' | b'#' | b'(' => Token::Line { mark, text },
        _ => Token::Malformed,
    }
}

fn long_line(line: &[u8]) -> Token<'_> {
    match line.split_first() {
        Some((&mark @ (b'+' | b'-' | b'(' | b','), text)) => Token::Line { mark, text },
        _ => Token::Malformed,
    }
}

fn aggregate(mark: u8, len: u64) -> Token<'static> {
    let (kind, len) = match mark {
        b'%' => (Aggregate::Map, len.saturating_mul(2)),
        b'|' => (Aggregate::Attribute, len.saturating_mul(2)),
        b'>' => (Aggregate::Push, len),
        _ => (Aggregate::Array, len),
    };
    Token::Open { kind, len }
}

enum Length {
    Some(u64),
    Null,
}

fn length(text: &[u8]) -> Option<Length> {
    if text == b"-1" {
        return Some(Length::Null);
    }
    number(text).map(Length::Some)
}

/// A number in decimal digits and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens of these bytes, of values at most eight bytes kept, of longer ones the first two; cut into parts of `step` bytes.
    fn tokens(bytes: &[u8], step: usize) -> Vec<String> {
        let (mut resp, mut told) = (Resp::default(), Vec::new());
        for part in bytes.chunks(step) {
            let mut left = part;
            while let Some(token) = resp.next(&mut left) {
                let is_bulk = matches!(token, Token::Bulk { .. });
                told.push(match token {
                    Token::Open { kind, len } => format!("{kind:?} {len}"),
                    Token::Bulk { len } => format!("{len}"),
                    Token::Value(Value { bytes, whole }) => {
                        format!("{}{}", String::from_utf8_lossy(bytes), if whole { "" } else { "…" })
                    }
                    Token::Line { mark, text } => format!("{}{}", char::from(mark), String::from_utf8_lossy(text)),
                    Token::Null => "null".into(),
                    Token::Malformed => "malformed".into(),
                });
                if is_bulk {
                    resp.keep(8, 2);
                }
            }
        }
        told
    }

    #[test]
    fn tokens_are_the_same_wherever_the_bytes_are_cut() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n%1\r\n+OK\r\n$-1\r\n>0\r\n$10\r\n0123456789\r\n_\r\n*-1\r\n:-7\r\n$0\r\n\r\n,1.5\r\n|1\r\n~3\r\n=8\r\ntxt:abcd\r\n";
        let expected = [
            "Array 2",
            "3",
            "GET",
            "1",
            "a",
            "Map 2",
            "+OK",
            "null",
            "Push 0",
            "10",
            "01…",
            "null",
            "null",
            ":-7",
            "0",
            "",
            ",1.5",
            "Attribute 2",
            "Array 3",
            "8",
            "txt:abcd",
        ];
        for step in 1..bytes.len() {
            assert_eq!(tokens(bytes, step), expected, "{step}");
        }
    }

    #[test]
    fn what_is_no_resp_is_told() {
        for bytes in
            ["GET / HTTP/1.1\r\n", "*x\r\n", "*\r\n", "$3\n", "*-2\r\n", "$99999999999999999999\r\n", ":1x\r\n", "\r\n"]
        {
            assert_eq!(tokens(bytes.as_bytes(), 100), ["malformed"], "{bytes:?}");
        }
    }

    #[test]
    fn long_texts_are_passed_over() {
        let bytes = [b"-ERR ".as_slice(), &[b'x'; 500], b"\r\n:1\r\n"].concat();
        for step in [1, 7, 64, 600] {
            assert_eq!(tokens(&bytes, step).len(), 2, "{step}");
        }
    }

    #[test]
    fn bytes_may_be_missing_from_a_value() {
        let mut resp = Resp::default();
        assert_eq!(resp.next(&mut b"$20\r\n".as_slice()), Some(Token::Bulk { len: 20 }));
        resp.keep(100, 0);
        assert_eq!(resp.next(&mut b"0123".as_slice()), None);
        assert_eq!((resp.spare(), resp.gap(5)), (0, true));
        let mut left = b"90123456789\r\n:1\r\n".as_slice();
        assert_eq!(resp.next(&mut left), Some(Token::Value(Value { bytes: b"0123", whole: false })));
        assert_eq!(resp.next(&mut left), Some(Token::Line { mark: b':', text: b"1" }));
        assert!(!resp.gap(1));
    }
}
