//! The text of a YAML file comes in, a tree of values with their lines goes out, and [`Field`]s to read it with: every
//! complaint names file, line, key and what to do. What the keys mean is not here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::NonFiniteFloatPolicy;

use super::ConfigError;
use super::nearest::nearest;

/// A value and the line it stands on.
#[derive(Debug)]
pub(super) struct Node {
    line: u64,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    line: u64,
    key: String,
    node: Node,
}

/// Reads the text of `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ConfigError> {
    let options = serde_saphyr::options! {
        // YAML 1.1 booleans would turn a tenant called `no` into false.
        strict_booleans: true,
        // The readers below refuse them with the range that is asked for.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Option<Node>>(text, options)
        .map(|node| node.unwrap_or(Node { line: 1, value: Value::Null }))
        .map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            ConfigError { file: file.to_owned(), line: Some(line), key: None, problem: not_yaml(&error) }
        })
}

/// One line for a person about a text that is not YAML.
fn not_yaml(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("{key}: given twice; keep one of them"),
            None => "a key is given twice; keep one of them".to_owned(),
        },
        serde_saphyr::Error::MultipleDocuments { .. } => "a second document begins here (---); keep one".to_owned(),
        other => {
            let message = other.to_string();
            let first = message.lines().next().unwrap_or_default();
            // The line is named already.
            let what = first.rsplit_once(" at line ").map_or(first, |(what, _)| what);
            format!("not YAML: {what}")
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
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
        formatter.write_str("a value")
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
        Ok(Value::Integer(value))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Integer).map_err(|_| E::custom("this number is too large"))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node: Node = access.next_value()?;
            if entries.iter().any(|entry| entry.key == key.value) {
                return Err(A::Error::custom(format!("{}: given twice", key.value)));
            }
            let line = if key.referenced.line() == 0 { node.line } else { key.referenced.line() };
            entries.push(Entry { line, key: key.value, node });
        }
        Ok(Value::Map(entries))
    }
}

/// A value at its place in the file: what the readers of the configuration work with.
#[derive(Clone, Debug)]
pub(super) struct Field<'n> {
    file: &'n str,
    path: String,
    line: u64,
    node: &'n Node,
}

impl<'n> Field<'n> {
    /// The whole file.
    pub(super) fn root(file: &'n str, node: &'n Node) -> Self {
        Self { file, path: String::new(), line: node.line, node }
    }

    /// A complaint about this value: what is wrong and what to write.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> ConfigError {
        let key = (!self.path.is_empty()).then(|| self.path.clone());
        ConfigError { file: self.file.to_owned(), line: Some(self.line), key, problem: problem.into() }
    }

    /// Whether it is written as `false`.
    pub(super) fn is_false(&self) -> bool {
        matches!(self.node.value, Value::Bool(false))
    }

    fn expected(&self, wanted: &str) -> ConfigError {
        let found = match &self.node.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(value) => format!("\"{}\"", value.escape_debug()),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        };
        self.wrong(format!("must be {wanted}, not {found}"))
    }

    /// Its keys, of which only `known` are allowed.
    pub(super) fn section(&self, known: &'static [&'static str]) -> Result<Section<'n>, ConfigError> {
        let entries: &[Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            // The whole file has too many keys to list.
            _ if self.path.is_empty() => return Err(self.expected("a mapping of keys, for example environment: prod")),
            _ => return Err(self.expected(&format!("a mapping with {}", listed(known)))),
        };
        if let Some(unknown) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
            let advice = match nearest(&unknown.key, known) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("known here: {}", listed(known)),
            };
            let field = self.child(unknown);
            return Err(field.wrong(format!("unknown key; {advice}")));
        }
        Ok(Section { field: self.clone(), entries, known })
    }

    fn child(&self, entry: &'n Entry) -> Self {
        let path = if self.path.is_empty() { entry.key.clone() } else { format!("{}.{}", self.path, entry.key) };
        Self { file: self.file, path, line: entry.line, node: &entry.node }
    }

    /// Its items.
    pub(super) fn list(&self) -> Result<Vec<Self>, ConfigError> {
        let Value::List(nodes) = &self.node.value else { return Err(self.expected("a list")) };
        let item = |(index, node): (usize, &'n Node)| Self {
            file: self.file,
            path: format!("{}[{index}]", self.path),
            line: node.line,
            node,
        };
        Ok(nodes.iter().enumerate().map(item).collect())
    }

    /// A text that is not empty.
    pub(super) fn text(&self) -> Result<&'n str, ConfigError> {
        match &self.node.value {
            Value::Text(text) if text.trim().is_empty() => Err(self.wrong("must not be empty")),
            Value::Text(text) => Ok(text),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Err(self.expected("a text (put it in quotes)")),
            _ => Err(self.expected("a text")),
        }
    }

    /// A text that `read` takes; a bare number is a text too, so that `read` says what it lacks.
    pub(super) fn read<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let value = match &self.node.value {
            Value::Integer(number) => read(&number.to_string()),
            Value::Float(number) => read(&number.to_string()),
            _ => read(self.text()?),
        };
        value.map_err(|problem| self.wrong(problem))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Result<bool, ConfigError> {
        match &self.node.value {
            Value::Bool(value) => Ok(*value),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number from `low` to `high`.
    pub(super) fn count(&self, low: i64, high: i64) -> Result<i64, ConfigError> {
        match &self.node.value {
            Value::Integer(value) if (low..=high).contains(value) => Ok(*value),
            _ => Err(self.expected(&format!("a whole number from {low} to {high}"))),
        }
    }

    /// A number that `accepts` takes; `wanted` says which those are.
    pub(super) fn number(&self, wanted: &str, accepts: impl Fn(f64) -> bool) -> Result<f64, ConfigError> {
        let number = match &self.node.value {
            Value::Integer(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        };
        number.filter(|number| accepts(*number)).ok_or_else(|| self.expected(wanted))
    }
}

/// The keys of one mapping.
#[derive(Debug)]
pub(super) struct Section<'n> {
    field: Field<'n>,
    entries: &'n [Entry],
    known: &'static [&'static str],
}

impl<'n> Section<'n> {
    /// The value of `key`; `None` where the key is missing or has no value.
    pub(super) fn get(&self, key: &'static str) -> Option<Field<'n>> {
        debug_assert!(self.known.contains(&key), "{key} is read but not declared as known");
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!matches!(entry.node.value, Value::Null)).then(|| self.field.child(entry))
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, key: &'static str) -> Result<Field<'n>, ConfigError> {
        self.get(key).ok_or_else(|| self.field.wrong(format!("{key} is missing; every entry needs it")))
    }

    /// The one key of `choices` that is given; exactly one must be.
    pub(super) fn one_of(&self, choices: &[&'static str]) -> Result<(&'static str, Field<'n>), ConfigError> {
        let mut given = choices.iter().filter_map(|key| self.get(key).map(|field| (*key, field)));
        let first = given.next().ok_or_else(|| self.field.wrong(format!("needs one of {}", listed(choices))))?;
        match given.next() {
            Some((second, field)) => {
                Err(field.wrong(format!("{} and {second} exclude each other; make two entries", first.0)))
            }
            None => Ok(first),
        }
    }
}

fn listed(keys: &[&str]) -> String {
    keys.join(", ")
}
