//! `tracestate` (W3C Trace Context Level 2, section 3.3): header values come in, the members that a receiver keeps go out, and of their
//! keys a small set.

use crate::message::{Header, HeaderName};

/// Members that a receiver must take; of more it may drop the whole list (section 3.3.1.1).
const MEMBERS_MAX: usize = 32;
/// The longest key and the longest value (sections 3.3.1.3.1 and 3.3.1.3.2).
const PART_BYTES_MAX: usize = 256;
/// Where a list grows too long, members longer than this go first (section 3.3.1.5).
const MEMBER_BYTES_THAT_STAY: usize = 128;
/// The key of OpenTelemetry (OpenTelemetry specification, "TraceState Handling"), whose samplers change and remove its value.
const OPENTELEMETRY: &str = "ot";

/// A list that a receiver must not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Key and value of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The key, for example `vendor` or `tenant@vendor`.
    pub key: &'a str,
    /// The value.
    pub value: &'a str,
}

/// The members of all `tracestate` headers in their order; empty ones are left out. One member that is malformed, or more than
/// 32, spoil the list.
pub fn members<'a>(headers: &[Header<'a>]) -> impl Iterator<Item = Result<Member<'a>, Malformed>> {
    headers
        .iter()
        .filter(|header| header.name == HeaderName::TRACESTATE)
        .flat_map(|header| header.value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
        .enumerate()
        .map(|(number, text)| if number < MEMBERS_MAX { member(text).ok_or(Malformed) } else { Err(Malformed) })
}

/// Keys of members, as a set that may seem to hold one more than it does, never one less: a bit for `ot`, and one for each of 63 groups
/// into which a hash sorts the others. Kept as bytes, which fit between small fields: one is kept of each trace that arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys([u8; 8]);

impl Keys {
    /// No key.
    pub const NONE: Self = Self([0; 8]);

    /// One key.
    pub fn of(key: &str) -> Self {
        if key == OPENTELEMETRY {
            return Self::from_bits(1);
        }
        // FNV-1a.
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        Self::from_bits(2_u64.wrapping_shl(key.bytes().fold(0x811c_9dc5, mix) % 63))
    }

    /// The keys of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_bits(self.bits() | other.bits())
    }

    /// All but `ot`.
    #[must_use]
    pub fn without_opentelemetry(self) -> Self {
        Self::from_bits(self.bits() & !1)
    }

    /// Whether the two may have a key in common; if not, they have none.
    pub fn may_meet(self, other: Self) -> bool {
        self.bits() & other.bits() != 0
    }

    fn bits(self) -> u64 {
        u64::from_ne_bytes(self.0)
    }

    fn from_bits(bits: u64) -> Self {
        Self(bits.to_ne_bytes())
    }
}

/// A list that a receiver keeps: well formed, and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// The keys of its members.
    pub keys: Keys,
    /// Those of members that nobody has to leave out to make room.
    pub short: Keys,
}

/// The list of all `tracestate` headers, where they have a member.
pub fn read(headers: &[Header<'_>]) -> Option<Result<List, Malformed>> {
    let mut list = None;
    for member in members(headers) {
        let Ok(member) = member else { return Some(Err(Malformed)) };
        let List { keys, short } = list.get_or_insert(List { keys: Keys::NONE, short: Keys::NONE });
        let key = Keys::of(member.key);
        *keys = keys.and(key);
        // Both parts and the sign between them.
        if member.key.len().saturating_add(member.value.len()) < MEMBER_BYTES_THAT_STAY {
            *short = short.and(key);
        }
    }
    list.map(Ok)
}

/// The value of a member of a list that a receiver keeps; of repeated keys the first, which is the newest.
pub fn find<'a>(headers: &[Header<'a>], key: &str) -> Option<&'a str> {
    let mut found = None;
    for member in members(headers) {
        let member = member.ok()?;
        if found.is_none() && member.key == key {
            found = Some(member.value);
        }
    }
    found
}

fn member(text: &[u8]) -> Option<Member<'_>> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (key, value) = text.split_at_checked(equals)?;
    let value = value.get(1..)?;
    let first = key.first()?;
    let key_is_good = (first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.len() <= PART_BYTES_MAX
        && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'));
    // At least one character, the last no space, which trimming has seen to.
    let value_is_good = !value.is_empty()
        && value.len() <= PART_BYTES_MAX
        && value.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'=');
    if !key_is_good || !value_is_good {
        return None;
    }
    Some(Member { key: std::str::from_utf8(key).ok()?, value: std::str::from_utf8(value).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[&str]) -> Option<String> {
        let headers: Vec<_> =
            values.iter().map(|value| Header { name: HeaderName::TRACESTATE, value: value.as_bytes() }).collect();
        let members: Result<Vec<_>, _> = members(&headers).collect();
        let read = read(&headers).map(|list| list.is_ok());
        let expected = members.as_ref().map_or(Some(false), |members| (!members.is_empty()).then_some(true));
        assert_eq!(read, expected);
        let text = |member: Member<'_>| format!("{}={}", member.key, member.value);
        Some(members.ok()?.into_iter().map(text).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn headers_are_one_list_without_its_empty_members() {
        for (values, expected) in [
            (&["foo=1 , bar=2", "", ",, baz=3"][..], Some("foo=1,bar=2,baz=3")),
            (&[""], Some("")),
            (&["foo=a b !~"], Some("foo=a b !~")),
            (&["foo@=1,a@b@c=2,0a=3,a*/_-=4"], Some("foo@=1,a@b@c=2,0a=3,a*/_-=4")),
            (&["foo="], None),
            (&["foo=1", "Bar=2"], None),
            (&["foo=1,bar"], None),
            (&["foo =1"], None),
            (&["foo=1=2"], None),
            (&["=1"], None),
            (&["@foo=1"], None),
            (&["foo=\u{e9}"], None),
        ] {
            assert_eq!(kept(values).as_deref(), expected, "{values:?}");
        }
    }

    #[test]
    fn members_keys_and_values_have_their_limits() {
        let list = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        assert!(kept(&[&list(32)]).is_some());
        assert!(kept(&[&list(33)]).is_none());
        assert!(kept(&[&format!("{}=1", "k".repeat(256))]).is_some());
        assert!(kept(&[&format!("{}=1", "k".repeat(257))]).is_none());
        assert!(kept(&[&format!("k={}", "v".repeat(256))]).is_some());
        assert!(kept(&[&format!("k={}", "v".repeat(257))]).is_none());
    }

    #[test]
    fn the_keys_of_a_list_are_a_set_that_lacks_none_of_them() {
        let keys =
            |value: &str| read(&[Header { name: HeaderName::TRACESTATE, value: value.as_bytes() }]).unwrap().unwrap();
        let all = keys("vendor=1,ot=th:8,a@b=2").keys;
        for key in ["vendor", "ot", "a@b"] {
            assert!(all.may_meet(Keys::of(key)), "{key}");
        }
        assert!(!all.may_meet(Keys::of("other")));
        assert!(!all.without_opentelemetry().may_meet(Keys::of("ot")));
        assert_eq!(keys("ot=th:8").keys.without_opentelemetry(), Keys::NONE);
        let long = keys(&format!("vendor={},short={}", "v".repeat(122), "v".repeat(122)));
        assert_eq!((long.keys, long.short), (Keys::of("vendor").and(Keys::of("short")), Keys::of("short")));
    }

    #[test]
    fn the_first_of_repeated_keys_is_found() {
        let headers = [Header { name: HeaderName::TRACESTATE, value: b"a=1,b=2,a=3" }];
        assert_eq!(find(&headers, "a"), Some("1"));
        assert_eq!(find(&headers, "c"), None);
        assert_eq!(find(&[Header { name: HeaderName::TRACESTATE, value: b"a=1,B=2" }], "a"), None);
    }
}
