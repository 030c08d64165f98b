//! YAML: text comes in, a tree of values with line numbers goes out.
//!
//! Bounded against bombs (aliases, nesting, size). What the values mean is decided by who reads the file.

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
pub struct Node {
    /// The line.
    pub line: u64,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`; no other word.
    Bool(bool),
    /// Any number, `.nan` and `.inf` too.
    Number(f64),
    /// Anything else that is no list and no mapping.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

impl Value {
    /// What it is, for a person: "a number".
    pub fn kind(&self) -> &'static str {
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
pub struct Entry {
    /// Its key; a number or word is its text.
    pub key: String,
    /// The line of the key.
    pub key_line: u64,
    /// Its value.
    pub node: Node,
}

/// Why a text is no YAML that can be read, and on which line that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// Why.
    pub kind: FaultKind,
}

/// Why a text is no YAML that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This key stands twice in one mapping.
    KeyTwice(String),
    /// A second document begins.
    SecondDocument,
    /// Anything else, for a person: "unclosed bracket '['".
    NotYaml(String),
}

/// The tree of `text`.
///
/// # Errors
///
/// The first thing for which it is no YAML that can be read.
pub fn parse(text: &str) -> Result<Node, Fault> {
    read(text, DuplicateKeyPolicy::Error)
}

/// The tree of `text` as far as it can be read, and what is wrong with the text, so that one mistake does not cost the rest.
/// Of a key that stands twice the first value is kept.
pub fn parse_leniently(text: &str) -> (Option<Node>, Option<Fault>) {
    match parse(text) {
        Ok(node) => (Some(node), None),
        Err(fault) => (read(text, DuplicateKeyPolicy::FirstWins).ok(), Some(fault)),
    }
}

fn read(text: &str, duplicate_keys: DuplicateKeyPolicy) -> Result<Node, Fault> {
    let options: Options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: NODES_MAX, max_depth: DEPTH_MAX },
        duplicate_keys: duplicate_keys,
        // Readers refuse them with the range that is asked for.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        // YAML 1.1 booleans would turn a tenant called `no` into false.
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Option<Spanned<Value>>>(text, options)
        .map(|document| document.map_or(Node { line: 1, value: Value::Null }, Node::from))
        .map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            Fault { line, kind: FaultKind::of(error.without_snippet()) }
        })
}

impl FaultKind {
    fn of(error: &Error) -> Self {
        match error {
            Error::DuplicateMappingKey { key, .. } => {
                Self::KeyTwice(key.clone().unwrap_or_else(|| String::from("a key")))
            }
            Error::MultipleDocuments { .. } => Self::SecondDocument,
            other => {
                let message = other.to_string();
                let first = message.lines().next().unwrap_or_default();
                // The line is told apart from the words.
                Self::NotYaml(first.rsplit_once(" at line ").map_or(first, |(what, _)| what).to_owned())
            }
        }
    }
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
        let node = parse("a: 1\nb:\n  c: {d: x, e: null}\n  7: [.nan, true]\n").unwrap();
        let Value::Map(entries) = node.value else { panic!("no mapping") };
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
        let (node, fault) = parse_leniently("a: 1\nb: 2\na: 3\n");
        assert_eq!(fault, Some(Fault { line: 3, kind: FaultKind::KeyTwice("a".into()) }));
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
            assert!(parse(text).is_err(), "{:?}", text.get(..20));
        }
    }

    #[test]
    fn an_empty_text_is_empty() {
        for text in ["", "# nothing\n"] {
            assert_eq!(parse(text), Ok(Node { line: 1, value: Value::Null }), "{text:?}");
        }
    }
}
