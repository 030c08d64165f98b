//! `baggage` (W3C Baggage, HTTP header format): header values come in, members go out. Properties are left out.

use std::borrow::Cow;

use crate::fact::Fact;
use crate::message::{Header, HeaderName};

/// Members that every platform must propagate; what is beyond may be gone at the next hop and is not read.
const MEMBERS_MAX: usize = 64;
/// Bytes that every platform must propagate, over all members.
const BYTES_MAX: usize = 8192;

/// Key and value of one member, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, a token.
    pub key: &'a [u8],
    /// The value, percent-encoded.
    pub value: &'a [u8],
}

/// The well-formed members of all `baggage` headers in their order, within the limits. A malformed member is passed over.
pub fn members<'a>(headers: &[Header<'a>]) -> impl Iterator<Item = Member<'a>> {
    let mut bytes = 0_usize;
    headers
        .iter()
        .filter(|header| header.name == HeaderName::BAGGAGE)
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .take_while(move |text| {
            bytes = bytes.saturating_add(text.len()).saturating_add(1);
            // The last member has no comma.
            bytes <= BYTES_MAX.saturating_add(1)
        })
        .filter_map(member)
        .take(MEMBERS_MAX)
}

/// What there is of baggage that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baggage {
    /// Whether all of it was seen, has a well-formed member and is within the limits: only then nothing of it may be left out.
    pub whole: bool,
    /// Whether a member is seen that names the tenant.
    pub names_tenant: bool,
}

/// What there is of all `baggage` headers; `complete`: the whole head was seen.
pub(super) fn read(
    headers: &[Header<'_>],
    complete: bool,
    names_tenant: impl Fn(&Member<'_>) -> bool,
) -> Fact<Baggage> {
    let values = || headers.iter().filter(|header| header.name == HeaderName::BAGGAGE).map(|header| header.value);
    if values().all(|value| value.trim_ascii().is_empty()) {
        return Fact::looked_for(None, complete);
    }
    let (mut bytes, mut parts) = (0_usize, 0_usize);
    for value in values() {
        parts = parts.saturating_add(value.split(|&byte| byte == b',').count());
        bytes = bytes.saturating_add(value.len()).saturating_add(1);
    }
    let fits = parts <= MEMBERS_MAX && bytes <= BYTES_MAX.saturating_add(1);
    let mut any = false;
    let names_tenant = members(headers).any(|member| {
        any = true;
        names_tenant(&member)
    });
    Fact::Present(Baggage { whole: complete && fits && any, names_tenant })
}

/// The values of the members with this key, percent-encoded as sent.
pub fn find<'a>(headers: &[Header<'a>], key: &str) -> impl Iterator<Item = &'a [u8]> {
    members(headers).filter(move |member| member.key == key.as_bytes()).map(|member| member.value)
}

/// The value with its percent-encoding undone; bytes that are not UTF-8 then are replaced by U+FFFD.
pub fn decode(value: &[u8]) -> Cow<'_, str> {
    if !value.contains(&b'%') {
        return String::from_utf8_lossy(value);
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let encoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        decoded.push(encoded.unwrap_or(byte));
        rest = if encoded.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}

fn member(text: &[u8]) -> Option<Member<'_>> {
    let text = text.split(|&byte| byte == b';').next()?;
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (key, value) = text.split_at_checked(equals)?;
    let (key, value) = (key.trim_ascii(), value.get(1..)?.trim_ascii());
    // RFC 9110 section 5.6.2.
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (!key.is_empty() && key.iter().all(token)).then_some(Member { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> String {
        let headers: Vec<_> =
            values.iter().map(|value| Header { name: HeaderName::BAGGAGE, value: value.as_bytes() }).collect();
        let text = |member: Member<'_>| format!("{}={}", String::from_utf8_lossy(member.key), decode(member.value));
        members(&headers).map(text).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn members_are_read_without_their_properties() {
        for (values, expected) in [
            (&["a=1;p=2;q, b = 2 ; r"][..], "a=1,b=2"),
            (&["a=1", "b=2"], "a=1,b=2"),
            (&["a=1=2"], "a=1=2"),
            (&["a=%C3%A9%20%2C%zz%"], "a=\u{e9} ,%zz%"),
            (&["a=%FF"], "a=\u{fffd}"),
            (&["a,=1,b c=2,d="], "d="),
            (&[""], ""),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }

    #[test]
    fn baggage_is_whole_where_nobody_may_leave_anything_out() {
        let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        let long = |count: usize| format!("tenant=acme,b={}", "v".repeat(count - 14));
        let some = |whole, names_tenant| Fact::Present(Baggage { whole, names_tenant });
        for (value, complete, expected) in [
            ("tenant=acme;p, b=2", true, some(true, true)),
            ("b=2,tenant=acme", false, some(false, true)),
            ("b=2, tenants=acme", true, some(true, false)),
            ("tenant=", true, some(true, false)),
            ("tenant", true, some(false, false)),
            (&many(MEMBERS_MAX), true, some(true, false)),
            (&many(MEMBERS_MAX + 1), true, some(false, false)),
            (&long(BYTES_MAX), true, some(true, true)),
            (&long(BYTES_MAX + 1), true, some(false, true)),
            (" ", true, Fact::Absent),
            ("", false, Fact::NotObserved),
        ] {
            let headers = [Header { name: HeaderName::BAGGAGE, value: value.as_bytes() }];
            let names_tenant = |member: &Member<'_>| member.key == b"tenant" && !member.value.is_empty();
            assert_eq!(super::read(&headers, complete, names_tenant), expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_beyond_the_limits_is_not_read() {
        let many = (0..70).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(read(&[&many]).split(',').count(), MEMBERS_MAX);
        let long = format!("a={},b=2", "v".repeat(BYTES_MAX - 6));
        assert!(read(&[&long]).ends_with(",b=2"));
        let longer = format!("a={},b=2", "v".repeat(BYTES_MAX - 5));
        assert!(!read(&[&longer]).ends_with(",b=2"));
        let one = format!("a={}", "v".repeat(BYTES_MAX));
        assert_eq!(read(&[&one]), "");
    }
}
