//! How long a body is: header lines come in, the length goes out (RFC 9112 section 6.3).

/// What the header lines of a head say of the body's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Framing {
    length: Length,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Length {
    #[default]
    Absent,
    Bytes(u64),
    /// Not a number, or several that differ.
    Unclear,
}

/// The last transfer coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    Absent,
    Chunked,
    Other,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// After so many bytes, possibly none.
    Sized(u64),
    /// After the last chunk.
    Chunked,
    /// Where the connection ends.
    UntilClose,
    /// The head contradicts itself.
    Unclear,
}

impl Framing {
    /// Takes a header line.
    pub(super) fn header(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => {}
        }
    }

    /// Whether the header says anything of the length.
    pub(super) fn reads(name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding")
    }

    /// The last header of those that say something goes on in a folded line: some receivers believe it and some do not.
    pub(super) fn folded(&mut self) {
        *self = Self { length: Length::Unclear, coding: Coding::Absent };
    }

    fn content_length(&mut self, value: &[u8]) {
        // Equal repetitions, also as a list, are one length (RFC 9110 section 8.6).
        for member in value.split(|&byte| byte == b',') {
            let length = digits(member.trim_ascii()).map_or(Length::Unclear, Length::Bytes);
            self.length = match self.length {
                Length::Absent => length,
                known if known == length => known,
                _ => Length::Unclear,
            };
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
        self.coding = if last.eq_ignore_ascii_case(b"chunked") {
            Coding::Chunked
        } else if last.eq_ignore_ascii_case(b"identity") {
            // RFC 2616 section 3.6; gone since RFC 7230, still sent.
            self.coding
        } else {
            Coding::Other
        };
    }

    /// The body after a request head.
    pub(super) fn of_request(self) -> Body {
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Body::Chunked,
            (Coding::Other, _) | (_, Length::Unclear) => Body::Unclear,
            (Coding::Absent, Length::Bytes(length)) => Body::Sized(length),
            (Coding::Absent, Length::Absent) => Body::Sized(0),
        }
    }

    /// The body after the head of a response with `status`.
    pub(super) fn of_response(self, status: u16, to_head: bool) -> Body {
        if to_head || status < 200 || status == 204 || status == 304 {
            return Body::Sized(0);
        }
        match (self.coding, self.length) {
            (Coding::Chunked, _) => Body::Chunked,
            (Coding::Other, _) | (Coding::Absent, Length::Absent) => Body::UntilClose,
            (Coding::Absent, Length::Unclear) => Body::Unclear,
            (Coding::Absent, Length::Bytes(length)) => Body::Sized(length),
        }
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add(u64::from(byte & 15))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &[(&str, &str)]) -> Framing {
        let mut framing = Framing::default();
        for (name, value) in lines {
            framing.header(name.as_bytes(), value.as_bytes());
        }
        framing
    }

    #[test]
    fn the_body_length_follows_rfc_9112_section_6_3() {
        for (lines, request, response) in [
            (&[][..], Body::Sized(0), Body::UntilClose),
            (&[("Content-Length", " 12 ")], Body::Sized(12), Body::Sized(12)),
            (&[("content-length", "12, 12"), ("Content-Length", "12")], Body::Sized(12), Body::Sized(12)),
            (&[("content-length", "12, 13")], Body::Unclear, Body::Unclear),
            (&[("content-length", "-1")], Body::Unclear, Body::Unclear),
            (&[("content-length", "99999999999999999999")], Body::Unclear, Body::Unclear),
            (&[("content-length", "")], Body::Unclear, Body::Unclear),
            (&[("transfer-encoding", "gzip, Chunked"), ("content-length", "5")], Body::Chunked, Body::Chunked),
            (&[("transfer-encoding", "gzip")], Body::Unclear, Body::UntilClose),
            (&[("transfer-encoding", "identity"), ("content-length", "5")], Body::Sized(5), Body::Sized(5)),
        ] {
            assert_eq!(framing(lines).of_request(), request, "{lines:?}");
            assert_eq!(framing(lines).of_response(200, false), response, "{lines:?}");
        }
    }

    #[test]
    fn some_responses_have_no_body_whatever_they_say() {
        let sized = framing(&[("content-length", "12")]);
        for (status, to_head) in [(200, true), (100, false), (204, false), (304, false)] {
            assert_eq!(sized.of_response(status, to_head), Body::Sized(0));
        }
    }
}
