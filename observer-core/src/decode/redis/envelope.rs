//! Values that are JSON with headers, as kombu sends them: bytes go in, the headers that somebody wants come out. Everything else
//! is read over and not kept.

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::message::{Header, HeaderName, Interest};

/// How the value of a message of kombu begins: what could not be read to its end is known by it.
const KOMBU_START: &[u8] = b"{\"body\":";
/// How many bytes of a value are kept that is not read.
pub(super) const PREFIX_BYTES: usize = KOMBU_START.len();

/// A value with headers.
#[derive(Debug, Default)]
pub(super) struct Envelope<'v> {
    headers: Vec<(HeaderName, Cow<'v, str>)>,
    has_headers: bool,
    has_properties: bool,
    /// kombu puts back what a worker that died had taken.
    redelivered: bool,
}

/// Whether a value of which only the beginning is there is one of kombu.
pub(super) fn begins_like_kombu(bytes: &[u8]) -> bool {
    bytes.starts_with(KOMBU_START)
}

impl<'v> Envelope<'v> {
    /// The envelope that this value is, if it is one: an object with `headers` that are an object.
    pub(super) fn read(value: &'v [u8], interest: &Interest) -> Option<Self> {
        if value.first() != Some(&b'{') || memmem::find(value, b"\"headers\"").is_none() {
            return None;
        }
        let mut json = serde_json::Deserializer::from_slice(value);
        let envelope = Outer(interest).deserialize(&mut json).ok()?;
        json.end().ok()?;
        envelope.has_headers.then_some(envelope)
    }

    /// Whether it is a message of kombu that is sent for the first time.
    pub(super) fn is_sent_by_kombu(&self) -> bool {
        self.has_properties && !self.redelivered
    }

    /// Whether it is a message of kombu.
    pub(super) fn is_of_kombu(&self) -> bool {
        self.has_properties
    }

    /// The headers that are wanted.
    pub(super) fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name: *name, value: value.as_bytes() }).collect()
    }
}

/// The whole value.
struct Outer<'i>(&'i Interest);

impl<'v> DeserializeSeed<'v> for Outer<'_> {
    type Value = Envelope<'v>;

    fn deserialize<D: Deserializer<'v>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'v> Visitor<'v> for Outer<'_> {
    type Value = Envelope<'v>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object")
    }

    fn visit_map<M: MapAccess<'v>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut envelope = Envelope::default();
        while let Some(Name(name)) = map.next_key()? {
            match &*name {
                "headers" => {
                    envelope.headers.clear();
                    envelope.has_headers = map.next_value_seed(Headers { interest: self.0, into: &mut envelope })?;
                }
                other => {
                    envelope.has_properties |= other == "properties";
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

/// What stands behind `headers`: whether it is an object.
struct Headers<'i, 'e, 'v> {
    interest: &'i Interest,
    into: &'e mut Envelope<'v>,
}

impl<'v> DeserializeSeed<'v> for Headers<'_, '_, 'v> {
    type Value = bool;

    fn deserialize<D: Deserializer<'v>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

/// Every value that is none of interest.
macro_rules! visit_others {
    ($value:expr, $($name:ident: $type:ty),+) => {
        $(fn $name<E: serde::de::Error>(self, _: $type) -> Result<Self::Value, E> { Ok($value) })+
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> { Ok($value) }
        fn visit_seq<S: SeqAccess<'v>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

impl<'v> Visitor<'v> for Headers<'_, '_, 'v> {
    type Value = bool;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("headers")
    }

    fn visit_map<M: MapAccess<'v>>(self, mut map: M) -> Result<bool, M::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if &*name == "redelivered" {
                self.into.redelivered = map.next_value::<Scalar<'v>>()?.0.as_deref() == Some("true");
            } else if let Some(wanted) = self.interest.find(name.as_bytes()) {
                if let Scalar(Some(value)) = map.next_value()? {
                    self.into.headers.push((wanted, value));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(true)
    }

    visit_others!(false, visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

/// A name, borrowed where it is written plainly.
struct Name<'v>(Cow<'v, str>);

impl<'v> serde::Deserialize<'v> for Name<'v> {
    fn deserialize<D: Deserializer<'v>>(json: D) -> Result<Self, D::Error> {
        let Scalar(text) = json.deserialize_str(ScalarVisitor)?;
        Ok(Self(text.unwrap_or_default()))
    }
}

/// A string, a number or a truth value as text; `None` for anything else.
struct Scalar<'v>(Option<Cow<'v, str>>);

impl<'v> serde::Deserialize<'v> for Scalar<'v> {
    fn deserialize<D: Deserializer<'v>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl ScalarVisitor {
    fn text<'v>(value: &(impl ToString + ?Sized)) -> Scalar<'v> {
        Scalar(Some(Cow::Owned(value.to_string())))
    }
}

impl<'v> Visitor<'v> for ScalarVisitor {
    type Value = Scalar<'v>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, value: &'v str) -> Result<Self::Value, E> {
        Ok(Scalar(Some(Cow::Borrowed(value))))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Self::text(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Self::text(&value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Self::text(&value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Self::text(&value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Self::text(&value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<S: SeqAccess<'v>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<M: MapAccess<'v>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wanted headers of a value and whether it is sent by kombu; `None` where it is no envelope.
    fn read(value: &str) -> Option<(Vec<String>, bool)> {
        let interest = Interest::new(["x-tenant-id", "x-trace-weight"]);
        let envelope = Envelope::read(value.as_bytes(), &interest)?;
        let headers = envelope.headers();
        let headers = headers
            .iter()
            .map(|header| format!("{}={}", interest.name(header.name), String::from_utf8_lossy(header.value)))
            .collect();
        Some((headers, envelope.is_sent_by_kombu()))
    }

    #[test]
    fn wanted_headers_are_read_and_nothing_else() {
        let value = r#"{"body": "eyJ0cmFjZXBhcmVudCI6IjEifQ==", "headers": {"task": "paint", "traceparent": "00-1", "nested": {"traceparent": "x"},
            "X-Tenant-Id": "a\u00e9\"", "timelimit": [null, null], "x-trace-weight": 5, "baggage": null}, "properties": {"traceparent": "y"}}"#;
        let headers = ["traceparent=00-1", "x-tenant-id=a\u{e9}\"", "x-trace-weight=5"].map(String::from).to_vec();
        assert_eq!(read(value), Some((headers, true)));
    }

    #[test]
    fn what_kombu_puts_back_is_not_sent() {
        assert_eq!(read(r#"{"headers": {"redelivered": true}, "properties": {}}"#), Some((vec![], false)));
        assert_eq!(read(r#"{"headers": {"redelivered": false}, "properties": {}}"#), Some((vec![], true)));
    }

    #[test]
    fn other_values_are_no_envelopes() {
        for value in [
            "7",
            "{}",
            r#"{"traceparent": "00-1"}"#,
            r#"{"headers": "none"}"#,
            r#"{"headers": ["a"]}"#,
            r#"{"headers": null}"#,
            r#"{"headers": {"traceparent": "00-1"}"#,
            r#"{"headers": {"traceparent": "00-1"}} and more"#,
            r#"["headers"]"#,
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
