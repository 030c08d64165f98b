//! Browsers (Fetch standard, "CORS protocol"): heads of preflights and of responses come in; the trace headers that they keep
//! from scripts go out. Of an incomplete head nothing is said.

use super::{Extractors, weight};
use crate::message::{Header, HeaderName, RequestHead, ResponseHead};

impl Extractors {
    /// The trace headers that a preflight asks for; none where the request is no preflight.
    pub fn asked_by_preflight(&self, head: &RequestHead<'_>) -> Vec<HeaderName> {
        let mut asked = Vec::new();
        if head.method == "OPTIONS" {
            for name in listed(head.headers, HeaderName::REQUEST_HEADERS) {
                let wanted = self.interest.find(name).filter(|name| name.is_of_trace() || self.is_of_weight(*name));
                asked.extend(wanted.filter(|name| !asked.contains(name)));
            }
        }
        asked
    }

    /// Of the headers that a preflight asked for those that the response to it omits, though it lets the origin in.
    pub fn omitted(&self, asked: &[HeaderName], head: &ResponseHead<'_>) -> Vec<HeaderName> {
        if !lets_in(head) || !head.status.is_some_and(|status| (200..300).contains(&status)) {
            return Vec::new();
        }
        let omits = |name: &HeaderName| !self.lists(head.headers, HeaderName::ALLOW_HEADERS, *name);
        asked.iter().copied().filter(omits).collect()
    }

    /// The weight header of a response that scripts of other origins may read, and whether it is exposed to them.
    pub fn exposure(&self, head: &ResponseHead<'_>) -> Option<(HeaderName, bool)> {
        let carried = || head.headers.iter().map(|header| header.name).find(|name| self.is_of_weight(*name));
        let name = if lets_in(head) { carried()? } else { return None };
        Some((name, self.lists(head.headers, HeaderName::EXPOSE_HEADERS, name)))
    }

    fn is_of_weight(&self, name: HeaderName) -> bool {
        self.weight.iter().any(|source| matches!(source, weight::Source::Header(header) if *header == name))
    }

    /// Whether `list` holds `name`. A `*` counts as all names: only with credentials, which cannot be seen here, it is none.
    fn lists(&self, headers: &[Header<'_>], list: HeaderName, name: HeaderName) -> bool {
        listed(headers, list).any(|listed| listed == b"*" || self.interest.find(listed) == Some(name))
    }
}

/// Whether a response lets a script of another origin read it.
fn lets_in(head: &ResponseHead<'_>) -> bool {
    head.complete && head.headers.iter().any(|header| header.name == HeaderName::ALLOW_ORIGIN)
}

/// The members of all headers called `name` (RFC 9110 section 5.6.1).
fn listed<'a>(headers: &[Header<'a>], name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name == name);
    named.flat_map(|header| header.value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::WeightSource;

    fn extractors() -> Extractors {
        Extractors::new(Vec::new(), vec![WeightSource::Header("x-trace-weight".to_owned())])
    }

    fn headers<'a>(extractors: &Extractors, lines: &[(&str, &'a str)]) -> Vec<Header<'a>> {
        let header = |(name, value): &(&str, &'a str)| {
            let name = extractors.interest().find(name.as_bytes()).unwrap();
            Header { name, value: value.as_bytes() }
        };
        lines.iter().map(header).collect()
    }

    fn response<'a>(headers: &'a [Header<'a>], status: u16, complete: bool) -> ResponseHead<'a> {
        ResponseHead { status: Some(status), headers, complete, upgraded: false }
    }

    #[test]
    fn a_preflight_asks_for_trace_headers_and_is_answered_with_those_that_are_allowed() {
        let extractors = extractors();
        let names = |names: &[HeaderName]| -> Vec<String> {
            names.iter().map(|name| extractors.interest().name(*name).to_owned()).collect()
        };
        let asks = "content-type, TraceParent ,x-trace-weight,authorization,traceparent,,b3";
        let sent = headers(&extractors, &[("access-control-request-headers", asks)]);
        let mut head = RequestHead { method: "OPTIONS", path: "/cart", headers: &sent, complete: true };
        let asked = extractors.asked_by_preflight(&head);
        assert_eq!(names(&asked), ["traceparent", "x-trace-weight", "b3"]);
        head.method = "GET";
        assert_eq!(names(&extractors.asked_by_preflight(&head)), Vec::<String>::new());

        let origin = ("access-control-allow-origin", "https://shop.example");
        let allow = |list| ("access-control-allow-headers", list);
        for (lines, status, complete, omitted) in [
            (&[origin, allow("Content-Type"), allow("B3, TRACEPARENT")][..], 204, true, &["x-trace-weight"][..]),
            (&[origin, allow("traceparent,x-trace-weight,b3")], 204, true, &[]),
            (&[origin, allow("*")], 200, true, &[]),
            (&[origin], 200, true, &["traceparent", "x-trace-weight", "b3"]),
            // What is refused on purpose, or not fully seen, omits nothing.
            (&[allow("content-type")], 204, true, &[]),
            (&[origin], 403, true, &[]),
            (&[origin], 204, false, &[]),
        ] {
            let answered = headers(&extractors, lines);
            let found = extractors.omitted(&asked, &response(&answered, status, complete));
            assert_eq!(names(&found), omitted, "{lines:?} {status} {complete}");
        }
    }

    #[test]
    fn a_weight_in_a_response_to_a_script_is_to_be_exposed() {
        let extractors = extractors();
        let (weight, origin) = (("x-trace-weight", "0.5"), ("access-control-allow-origin", "*"));
        let expose = |list| ("access-control-expose-headers", list);
        for (lines, complete, exposed) in [
            (&[weight, origin][..], true, Some(false)),
            (&[weight, origin, expose("ETag, X-Trace-Weight")], true, Some(true)),
            (&[weight, origin, expose("etag")], true, Some(false)),
            (&[weight, origin, expose("*")], true, Some(true)),
            (&[weight], true, None),
            (&[origin], true, None),
            (&[weight, origin], false, None),
        ] {
            let answered = headers(&extractors, lines);
            let found = extractors.exposure(&response(&answered, 200, complete));
            assert_eq!(found.map(|(_, exposed)| exposed), exposed, "{lines:?} {complete}");
        }
    }
}
