//! The tree of a YAML file comes in, [`Field`]s to read it with go out: every complaint names file, line, key and what to do.
//! What the keys mean is not here.

use observer_core::yaml::{self, Entry, Fault, FaultKind, Node, Value};

use super::ConfigError;
use super::nearest::nearest;

/// Reads the text of `file`.
pub(super) fn parse(file: &str, text: &str) -> Result<Node, ConfigError> {
    yaml::parse(text).map_err(|Fault { line, kind }| {
        let problem = match kind {
            FaultKind::KeyTwice(key) => format!("{key}: given twice; keep one of them"),
            FaultKind::SecondDocument => "a second document begins here (---); keep one".to_owned(),
            FaultKind::NotYaml(what) => format!("not YAML: {what}"),
        };
        ConfigError { file: file.to_owned(), line: Some(line), key: None, problem }
    })
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
            Value::Number(value) => value.to_string(),
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
        Self { file: self.file, path, line: entry.key_line, node: &entry.node }
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
            Value::Bool(_) | Value::Number(_) => Err(self.expected("a text (put it in quotes)")),
            _ => Err(self.expected("a text")),
        }
    }

    /// A text that `read` takes; a bare number is a text too, so that `read` says what it lacks.
    pub(super) fn read<T>(&self, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        let value = match &self.node.value {
            Value::Number(number) => read(&number.to_string()),
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
    pub(super) fn count(&self, low: u32, high: u32) -> Result<u32, ConfigError> {
        let wanted = format!("a whole number from {low} to {high}");
        let number = self
            .number(&wanted, |number| number.fract() == 0.0 && (f64::from(low)..=f64::from(high)).contains(&number))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range, as checked")]
        Ok(number as u32)
    }

    /// A number that `accepts` takes; `wanted` says which those are.
    pub(super) fn number(&self, wanted: &str, accepts: impl Fn(f64) -> bool) -> Result<f64, ConfigError> {
        match &self.node.value {
            Value::Number(number) if accepts(*number) => Ok(*number),
            _ => Err(self.expected(wanted)),
        }
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
