//! A head that is not whole yet: its bytes come in, cut anywhere; the head goes out once its end is seen, or what is known of
//! it when the rest does not come.
//!
//! Only the first line, wanted headers and the line in progress are kept, and of that nothing as soon as its name is known to
//! be unwanted: no cookie is ever buffered.

use memchr::memchr;

use super::framing::Framing;
use super::head::split_header;
use super::start_line::{Looks, Role, StartLine, looks, looks_anywhere, without_cr};
use super::turns::Place;
use crate::limits::HEAD_BYTES_MAX;
use crate::message::{Header, HeaderName, Interest};
use crate::time::Timestamp;

/// Wanted headers kept of one head: tracestate, baggage and tenants come once or a few times. A head with more is told as not
/// whole.
const HEADERS_MAX: usize = 64;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the state of the line in progress and of the line before it")]
pub(super) struct Draft {
    /// When the first byte was seen.
    pub(super) at: Timestamp,
    /// Where that is.
    pub(super) place: Place,
    role: Role,
    /// Whether a head must begin here, so that any method is believed.
    certain: bool,
    /// The first line, values of wanted headers, and from `line_start` on the line in progress.
    kept: Vec<u8>,
    line_start: usize,
    /// The line in progress is of no interest: none of it is kept.
    passing: bool,
    /// Bytes of the head so far.
    seen: usize,
    first_line_len: Option<usize>,
    headers: Vec<(HeaderName, usize, usize)>,
    /// The last whole line is the last of `headers`.
    last_is_wanted: bool,
    /// The last whole line is one that `framing` reads.
    last_is_framing: bool,
    framing: Framing,
}

/// What a draft has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Still a draft.
    More,
    /// A whole head; its last byte is the one before this offset of the bytes that were pushed.
    Whole(usize),
    /// A head longer than [`HEAD_BYTES_MAX`], or with more than [`HEADERS_MAX`] wanted headers.
    TooLong,
    /// No head.
    NotHttp,
}

impl Draft {
    pub(super) fn new(role: Role, at: Timestamp, place: Place, certain: bool) -> Self {
        Self {
            at,
            place,
            role,
            certain,
            kept: Vec::new(),
            line_start: 0,
            passing: false,
            seen: 0,
            first_line_len: None,
            headers: Vec::new(),
            last_is_wanted: false,
            last_is_framing: false,
            framing: Framing::default(),
        }
    }

    /// Takes the next bytes of the head.
    pub(super) fn push(&mut self, bytes: &[u8], interest: &Interest) -> Progress {
        let mut offset = 0_usize;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let line_feed = memchr(b'\n', rest);
            let line_end = line_feed.map_or(rest.len(), |at| at.saturating_add(1));
            offset = offset.saturating_add(line_end);
            self.seen = self.seen.saturating_add(line_end);
            if self.seen > HEAD_BYTES_MAX {
                return Progress::TooLong;
            }
            if !self.passing {
                self.kept.extend_from_slice(rest.get(..line_end).unwrap_or_default());
            }
            if line_feed.is_none() {
                return self.unfinished_line(interest);
            }
            match self.line(interest) {
                Progress::More => {}
                Progress::Whole(_) => return Progress::Whole(offset),
                other => return other,
            }
        }
        Progress::More
    }

    /// Bytes held.
    pub(super) fn buffered_bytes(&self) -> usize {
        let ranges = self.headers.capacity().saturating_mul(size_of::<(HeaderName, usize, usize)>());
        size_of::<Self>().saturating_add(self.kept.capacity()).saturating_add(ranges)
    }

    /// The first line, once it is whole.
    pub(super) fn start(&self) -> Option<StartLine<'_>> {
        StartLine::parse(self.role, self.kept.get(..self.first_line_len?)?)
    }

    /// Whether what there is so far is a head for sure.
    pub(super) fn looks(&self) -> Looks {
        if self.first_line_len.is_some() { Looks::Yes } else { self.first_line_looks(&self.kept) }
    }

    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// The wanted headers. Of a head that is not `whole` only those that are certain: the last line may have gone on.
    pub(super) fn headers(&self, whole: bool) -> Vec<Header<'_>> {
        let next_line = self.kept.get(self.line_start);
        let ends = self.passing || next_line.is_some_and(|byte| !matches!(byte, b' ' | b'\t'));
        let doubtful = usize::from(!whole && self.last_is_wanted && !ends);
        let certain = self.headers.len().saturating_sub(doubtful);
        let value = |&(name, start, end): &(HeaderName, usize, usize)| Header {
            name,
            value: self.kept.get(start..end).unwrap_or_default(),
        };
        self.headers.iter().take(certain).map(value).collect()
    }

    fn first_line_looks(&self, line: &[u8]) -> Looks {
        if self.certain { looks(self.role, line) } else { looks_anywhere(self.role, line) }
    }

    fn unfinished_line(&mut self, interest: &Interest) -> Progress {
        let line = self.kept.get(self.line_start..).unwrap_or_default();
        if self.first_line_len.is_none() {
            return if self.first_line_looks(line) == Looks::No { Progress::NotHttp } else { Progress::More };
        }
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if let Some((name, _)) = split_header(line)
            && !folded
            && interest.find(name).is_none()
            && !Framing::reads(name)
        {
            self.passing = true;
            self.kept.truncate(self.line_start);
        }
        Progress::More
    }

    /// The line in progress is whole.
    fn line(&mut self, interest: &Interest) -> Progress {
        if std::mem::take(&mut self.passing) {
            (self.last_is_wanted, self.last_is_framing) = (false, false);
            return Progress::More;
        }
        let line = self.kept.get(self.line_start..).unwrap_or_default();
        let line = without_cr(line.strip_suffix(b"\n").unwrap_or(line));
        if self.first_line_len.is_none() {
            if self.first_line_looks(&self.kept) == Looks::No {
                return Progress::NotHttp;
            }
            let len = line.len();
            self.first_line_len = Some(len);
            self.finish_line(len);
            return Progress::More;
        }
        match line.first() {
            None => return Progress::Whole(0),
            Some(b' ' | b'\t') => return self.fold(),
            Some(_) => {}
        }
        (self.last_is_wanted, self.last_is_framing) = (false, false);
        let Some((name, value)) = split_header(line) else {
            self.finish_line(self.line_start);
            return Progress::More;
        };
        self.framing.header(name, value);
        self.last_is_framing = Framing::reads(name);
        let Some(wanted) = interest.find(name) else {
            self.finish_line(self.line_start);
            return Progress::More;
        };
        if self.headers.len() >= HEADERS_MAX {
            return Progress::TooLong;
        }
        let leading = value.len().saturating_sub(value.trim_ascii_start().len());
        let start = self.line_start.saturating_add(name.len()).saturating_add(1).saturating_add(leading);
        let end = start.saturating_add(value.trim_ascii().len());
        self.headers.push((wanted, start, end));
        self.last_is_wanted = true;
        self.finish_line(end);
        Progress::More
    }

    /// Joins a folded line to the value before it, with one space (RFC 9112 section 5.2).
    fn fold(&mut self) -> Progress {
        if self.last_is_framing {
            self.framing.folded();
        }
        let line = self.kept.split_off(self.line_start);
        if let Some((_, start, end)) = self.headers.last_mut().filter(|_| self.last_is_wanted) {
            let content = line.trim_ascii();
            if !content.is_empty() {
                if start != end {
                    self.kept.push(b' ');
                }
                self.kept.extend_from_slice(content);
            }
            *end = self.kept.len();
            // An empty value began behind the white space that was trimmed.
            *start = (*start).min(*end);
        }
        self.line_start = self.kept.len();
        Progress::More
    }

    fn finish_line(&mut self, kept: usize) {
        self.kept.truncate(kept);
        self.line_start = self.kept.len();
    }
}
