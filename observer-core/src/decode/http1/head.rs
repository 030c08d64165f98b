//! A whole head in one run of bytes, the usual case: read in place, nothing copied. Heads that come in parts, fold their lines
//! or carry very many wanted headers go through [`super::draft`].

use arrayvec::ArrayVec;
use memchr::memchr_iter;

use super::framing::Framing;
use super::start_line::{Looks, Role, StartLine, looks, without_cr};
use crate::limits::HEAD_BYTES_MAX;
use crate::message::{Header, Interest};

/// Wanted headers of a head that is read in place; a head with more is read through a draft.
const IN_PLACE_HEADERS_MAX: usize = 32;

/// The wanted headers of a head, without an allocation.
#[derive(Debug)]
pub(in crate::decode) struct Wanted<'a>(ArrayVec<Header<'a>, IN_PLACE_HEADERS_MAX>);

impl<'a> Wanted<'a> {
    pub(in crate::decode) fn new() -> Self {
        Self(ArrayVec::new())
    }

    pub(in crate::decode) fn as_slice(&self) -> &[Header<'a>] {
        &self.0
    }

    /// Whether there was room.
    pub(in crate::decode) fn push(&mut self, header: Header<'a>) -> bool {
        self.0.try_push(header).is_ok()
    }
}

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Reading<'a> {
    /// A head of `len` bytes.
    Whole { start: StartLine<'a>, framing: Framing, len: usize },
    /// A head that only a draft can read: unfinished, folded, or with very many wanted headers.
    Draft,
    /// No head.
    NotHttp,
}

/// Reads the head at the beginning of `bytes`.
pub(super) fn read<'a>(role: Role, bytes: &'a [u8], interest: &Interest, wanted: &mut Wanted<'a>) -> Reading<'a> {
    let bytes = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut line_start = 0;
    let mut start = None;
    let mut framing = Framing::default();
    for line_feed in memchr_iter(b'\n', bytes) {
        let line = without_cr(bytes.get(line_start..line_feed).unwrap_or_default());
        line_start = line_feed.saturating_add(1);
        let Some(start) = start else {
            start = StartLine::parse(role, line);
            if start.is_none() {
                return Reading::NotHttp;
            }
            continue;
        };
        match line.first() {
            None => return Reading::Whole { start, framing, len: line_start },
            Some(b' ' | b'\t') => return Reading::Draft,
            Some(&first) if interest.may_begin(line) || Framing::may_begin(first) => {}
            Some(_) => continue,
        }
        let Some((name, value)) = split_header(line) else { continue };
        if let Some(name) = interest.find(name)
            && !wanted.push(Header { name, value: value.trim_ascii() })
        {
            return Reading::Draft;
        }
        framing.header(name, value);
    }
    if start.is_none() && looks(role, bytes) == Looks::No { Reading::NotHttp } else { Reading::Draft }
}

/// Name and value of a header line; a line without a colon is none (RFC 9112 section 5).
pub(super) fn split_header(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name, value.get(1..)?))
}
