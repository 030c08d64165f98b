//! YAML: text comes in, a tree of values with line numbers goes out, so that one wrong value does not cost the right ones.
//!
//! Bounded against bombs (aliases, nesting, size). What the values mean is decided by each source.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, NonFiniteFloatPolicy, Options, Spanned};

/// Nodes of one file after aliases are followed: a rule file of ten thousand tenants has some forty thousand.
const NODES_MAX: usize = 250_000;
/// Nesting of one file; the deepest format that is read here has less than twenty levels.
const DEPTH_MAX: usize = 64;

/// A value and the line on which it stands, from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for a person: "a number".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A member of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_line: u64,
    pub(super) node: Node,
}

/// Why a text, or one place of it, is no YAML that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) what: String,
}

/// The tree of `text` as far as it can be read, and what is wrong with the text. Of a key that stands twice the first value
/// is kept.
pub(super) fn parse(text: &str) -> (Option<Node>, Option<Fault>) {
    match read(text, DuplicateKeyPolicy::Error) {
        Ok(node) => (Some(node), None),
        Err(fault) => (read(text, DuplicateKeyPolicy::FirstWins).ok(), Some(fault)),
    }
}

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, Fault> {
    let options: Options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_depth: DEPTH_MAX },
        duplicate_keys: duplicate_keys,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Option<Spanned<Value>>>(text, options)
        .map(|document| document.map_or(Node { line: 1, value: Value::Null }, Node::from))
        .map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let what = match error.without_snippet() {
                Error::DuplicateMappingKey { key: Some(key), .. } => format!("{key} stands twice; the first is taken"),
                error => {
                    format!("is not YAML that can be read: {}", error.to_string().lines().next().unwrap_or_default())
                }
            };
            Fault { line, what }
        })
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        Self { line: spanned.referenced.line(), value: spanned.value }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element::<Spanned<Value>>()? {
            list.push(node.into());
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<String>, Spanned<Value>>()? {
            map.push(Entry { key_line: key.referenced.line(), key: key.value, node: node.into() });
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn values_carry_their_lines_through_nesting_and_flow_style() {
        let (node, fault) = parse("a: 1\nb:\n  c: {d: x, e: null}\n  7: [.nan, true]\n");
        assert_eq!(fault, None);
        let Some(Node { value: Value::Map(entries), .. }) = node else { panic!("no mapping") };
        assert_eq!(entries[0].node, Node { line: 1, value: Value::Number(1.0) });
        let Value::Map(inner) = &entries[1].node.value else { panic!("no mapping") };
        assert_eq!((inner[0].key.as_str(), inner[0].key_line, inner[1].key.as_str()), ("c", 3, "7"));
        let Value::Map(flow) = &inner[0].node.value else { panic!("no mapping") };
        assert_eq!(flow[1].node, Node { line: 3, value: Value::Null });
        let Value::List(list) = &inner[1].node.value else { panic!("no list") };
        assert!(matches!(list[0].value, Value::Number(number) if number.is_nan()));
    }

    #[test]
    fn a_key_that_stands_twice_is_told_and_the_rest_is_kept() {
        let (node, fault) = parse("a: 1\nb: 2\na: 3\n");
        assert_eq!(fault.map(|fault| fault.line), Some(3));
        let Some(Node { value: Value::Map(entries), .. }) = node else { panic!("no mapping") };
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].node.value, Value::Number(1.0));
    }

    #[test]
    fn a_bomb_is_one_fault() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let alias = format!("*a{}", level - 1);
            writeln!(bomb, "a{level}: &a{level} [{}]", vec![alias; 10].join(", ")).unwrap();
        }
        let deep = "[".repeat(100_000);
        for text in [bomb.as_str(), deep.as_str(), "a: [1\nb: 2", "\u{0}\u{1}", "a: b: c"] {
            let (_, fault) = parse(text);
            assert!(fault.is_some(), "{:?}", text.get(..20));
        }
    }

    #[test]
    fn an_empty_text_is_empty() {
        assert_eq!(parse(""), (Some(Node { line: 1, value: Value::Null }), None));
        assert_eq!(parse("# nothing\n").1, None);
    }
}
