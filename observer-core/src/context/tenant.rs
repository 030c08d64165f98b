//! Tenants: a request head and the namespace of who sees it come in, the name that the first yielding source gives goes out.
//!
//! A source yields what is not empty once white space and control characters are gone. Where the head was not fully seen, a
//! source that has not yielded might have: no later one is asked then, and the tenant is not observed.

use std::borrow::Cow;
use std::ops::Deref;

use super::{TenantSource, baggage, binary, tracestate};
use crate::fact::Fact;
use crate::message::{HeaderName, Interest, RequestHead};
use crate::names::NAME_BYTES_MAX;

/// The name of a tenant, cut to [`NAME_BYTES_MAX`] bytes; as it stands in the head wherever it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantName<'a>(Cow<'a, str>);

impl<'a> TenantName<'a> {
    /// The name in `text`: without white space around it and without control characters, cut at a character boundary.
    pub fn new(text: &'a str) -> Option<Self> {
        let text = text.trim();
        if text.len() <= NAME_BYTES_MAX && !text.bytes().any(|byte| byte.is_ascii_control() || !byte.is_ascii()) {
            return (!text.is_empty()).then_some(Self(Cow::Borrowed(text)));
        }
        let mut name = String::new();
        for character in text.chars().filter(|character| !character.is_control()) {
            if name.len().saturating_add(character.len_utf8()) > NAME_BYTES_MAX {
                break;
            }
            name.push(character);
        }
        (!name.is_empty()).then_some(Self(Cow::Owned(name)))
    }

    fn of(text: Cow<'a, str>) -> Option<Self> {
        match text {
            Cow::Borrowed(text) => Self::new(text),
            Cow::Owned(text) => TenantName::new(&text).map(TenantName::into_owned),
        }
    }

    fn into_owned(self) -> TenantName<'static> {
        TenantName(Cow::Owned(self.0.into_owned()))
    }
}

impl Deref for TenantName<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A source with its header looked up.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Header(HeaderName),
    /// Binary metadata of gRPC: its name ends with `-bin`.
    Binary(HeaderName),
    Baggage(String),
    Tracestate(String),
    Host(regex::Regex),
    Path(regex::Regex),
    Namespace,
}

impl Source {
    /// `None` for a header that is not kept.
    pub(super) fn compile(source: TenantSource, interest: &Interest) -> Option<Self> {
        match source {
            TenantSource::Header(name) if name.ends_with("-bin") => interest.find(name.as_bytes()).map(Self::Binary),
            TenantSource::Header(name) => interest.find(name.as_bytes()).map(Self::Header),
            TenantSource::Baggage(key) => Some(Self::Baggage(key)),
            TenantSource::Tracestate(key) => Some(Self::Tracestate(key)),
            TenantSource::Host(regex) => Some(Self::Host(regex)),
            TenantSource::Path(regex) => Some(Self::Path(regex)),
            TenantSource::Namespace => Some(Self::Namespace),
        }
    }

    fn read<'a>(&self, head: &RequestHead<'a>, namespace: Option<&'a str>) -> Option<TenantName<'a>> {
        let headers = |name| head.headers.iter().filter(move |header| header.name == name);
        match self {
            Self::Header(name) => headers(*name).find_map(|header| from_bytes(header.value)),
            Self::Binary(name) => headers(*name)
                .find_map(|header| from_bytes(binary::decode(header.value)?.as_slice()).map(TenantName::into_owned)),
            Self::Baggage(key) => {
                baggage::find(head.headers, key).find_map(|value| TenantName::of(baggage::decode(value)))
            }
            Self::Tracestate(key) => TenantName::new(tracestate::find(head.headers, key)?),
            Self::Host(regex) => {
                let host = headers(HeaderName::HOST).next()?;
                TenantName::new(regex.captures(std::str::from_utf8(host.value).ok()?)?.name("tenant")?.as_str())
            }
            Self::Path(regex) => TenantName::new(regex.captures(head.path)?.name("tenant")?.as_str()),
            Self::Namespace => TenantName::new(namespace?),
        }
    }

    /// Whether an incomplete head shows all that the source reads.
    fn sees_all_of(&self, head: &RequestHead<'_>) -> bool {
        match self {
            Self::Path(_) => head.complete || !head.path.is_empty(),
            Self::Namespace => true,
            // A request has one host (RFC 9112 section 3.2).
            Self::Host(_) => head.complete || head.headers.iter().any(|header| header.name == HeaderName::HOST),
            Self::Header(_) | Self::Binary(_) | Self::Baggage(_) | Self::Tracestate(_) => head.complete,
        }
    }
}

/// The tenant that the first yielding source names; `namespace` is that of the workload at whose end the request was seen.
pub(super) fn read<'a>(sources: &[Source], head: &RequestHead<'a>, namespace: Option<&'a str>) -> Fact<TenantName<'a>> {
    for source in sources {
        if let Some(name) = source.read(head, namespace) {
            return Fact::Present(name);
        }
        if !source.sees_all_of(head) {
            return Fact::NotObserved;
        }
    }
    Fact::Absent
}

/// Whether a member of baggage is one that names the tenant.
pub(super) fn is_named_by(sources: &[Source], member: &baggage::Member<'_>) -> bool {
    let reads = |source: &Source| matches!(source, Source::Baggage(key) if key.as_bytes() == member.key);
    !member.value.is_empty() && sources.iter().any(reads)
}

fn from_bytes(value: &[u8]) -> Option<TenantName<'_>> {
    match std::str::from_utf8(value) {
        Ok(text) => TenantName::new(text),
        Err(_) => TenantName::of(String::from_utf8_lossy(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_stripped_and_cut() {
        for (text, expected) in [
            ("acme", Some("acme")),
            ("  acme corp\t", Some("acme corp")),
            ("a\u{0}c\nm\u{7f}e\u{85}", Some("acme")),
            ("", None),
            (" \u{1}", None),
            ("caf\u{e9}", Some("caf\u{e9}")),
        ] {
            assert_eq!(TenantName::new(text).as_deref(), expected, "{text:?}");
        }
        assert_eq!(TenantName::new(&"a".repeat(300)).unwrap().len(), NAME_BYTES_MAX);
        assert_eq!(TenantName::new(&"\u{20ac}".repeat(300)).unwrap().len(), NAME_BYTES_MAX / 3 * 3);
    }
}
