//! Section of a configuration file: one table, read key by key. Every key that is asked for becomes known;
//! [`Section::finish`] then reports those that nobody asked for, with the nearest known one.

use super::document::{Document, Node, Origin, Reading, Value};
use super::fault::{Faults, nearest};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A table under reading. A missing table reads as an empty one.
#[derive(Debug)]
pub struct Section<'a> {
    path: String,
    origin: Origin,
    entries: Option<&'a BTreeMap<String, Node>>,
    known: Vec<String>,
    reading: Reading,
}

impl<'a> Section<'a> {
    /// The top of a document.
    pub fn top(document: &'a Document) -> Self {
        let entries = match &document.root.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        };
        Self {
            path: String::new(),
            origin: document.root.origin.clone(),
            entries,
            known: Vec::new(),
            reading: document.reading,
        }
    }

    /// The origin of the section: its header, or the file if it is missing.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The dotted path of a key in this section.
    pub fn path(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn get(&mut self, key: &str) -> Option<&'a Node> {
        self.known.push(key.to_owned());
        self.entries?.get(key)
    }

    /// Report a required key that is missing, unless it may be in what could not be read.
    pub fn missing(&self, key: &str, remedy: impl Into<String>, faults: &mut Faults) {
        if self.reading == Reading::Partial {
            return;
        }
        faults.push(&self.origin, self.path(key), "is missing", remedy);
    }

    fn wrong_type(&self, key: &str, node: &Node, wanted: &str, faults: &mut Faults) {
        let problem = format!("is {}, not {wanted}", node.value.kind());
        faults.push(&node.origin, self.path(key), problem, format!("write {wanted}"));
    }

    /// Read the table `key`; a fault if something else stands there.
    pub fn section(&mut self, key: &str, faults: &mut Faults) -> Section<'a> {
        let node = self.get(key);
        let entries = match node {
            Some(Node { value: Value::Table(entries), .. }) => Some(entries),
            Some(node) => {
                self.wrong_type(key, node, "a table", faults);
                None
            }
            None => None,
        };
        Section {
            path: self.path(key),
            origin: node.map_or_else(|| self.origin.clone(), |n| n.origin.clone()),
            entries,
            known: Vec::new(),
            reading: self.reading,
        }
    }

    /// Every key of this section, each to be read as a table of its own.
    pub fn keys(&self) -> Vec<&'a str> {
        let keys = self.entries.into_iter().flat_map(BTreeMap::keys);
        keys.map(String::as_str).collect()
    }

    /// Read the string `key`.
    pub fn text(&mut self, key: &str, faults: &mut Faults) -> Option<(&'a str, Origin)> {
        let node = self.get(key)?;
        match &node.value {
            Value::Text(text) => Some((text, node.origin.clone())),
            _ => {
                self.wrong_type(key, node, "a string", faults);
                None
            }
        }
    }

    /// Read the string `key` as a `T`; a fault with `remedy` if it is none, or no string: what would be a string of
    /// the same letters may mean something else.
    pub fn parsed<T>(&mut self, key: &str, remedy: &str, faults: &mut Faults) -> Option<(T, Origin)>
    where
        T: FromStr<Err: Display>,
    {
        let node = self.get(key)?;
        let (text, origin) = match &node.value {
            Value::Text(text) => (text, node.origin.clone()),
            other => {
                faults.push(&node.origin, self.path(key), format!("is {}, not a string", other.kind()), remedy);
                return None;
            }
        };
        match text.parse() {
            Ok(value) => Some((value, origin)),
            Err(why) => {
                faults.push(&origin, self.path(key), format!("{text:?}: {why}"), remedy);
                None
            }
        }
    }

    /// Read the integer `key` within `range`.
    pub fn integer(&mut self, key: &str, range: RangeInclusive<u64>, faults: &mut Faults) -> Option<(u64, Origin)> {
        let node = self.get(key)?;
        let Value::Integer(number) = node.value else {
            self.wrong_type(key, node, "an integer", faults);
            return None;
        };
        let (low, high) = (*range.start(), *range.end());
        match u64::try_from(number).ok().filter(|n| range.contains(n)) {
            Some(number) => Some((number, node.origin.clone())),
            None => {
                let problem = format!("{number} is not from {low} to {high}");
                faults.push(&node.origin, self.path(key), problem, format!("write a number from {low} to {high}"));
                None
            }
        }
    }

    /// Read the boolean `key`.
    pub fn boolean(&mut self, key: &str, faults: &mut Faults) -> Option<bool> {
        let node = self.get(key)?;
        match node.value {
            Value::Boolean(truth) => Some(truth),
            _ => {
                self.wrong_type(key, node, "true or false", faults);
                None
            }
        }
    }

    /// Read the list of strings `key`, with the place of the list itself.
    pub fn texts(&mut self, key: &str, faults: &mut Faults) -> Option<(Vec<(&'a str, Origin)>, Origin)> {
        let node = self.get(key)?;
        let Value::List(items) = &node.value else {
            self.wrong_type(key, node, "a list of strings", faults);
            return None;
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((text.as_str(), item.origin.clone())),
                _ => self.wrong_type(key, item, "a string", faults),
            }
        }
        Some((texts, node.origin.clone()))
    }

    /// Read the string `key`, or the list of strings.
    pub fn text_or_texts(&mut self, key: &str, faults: &mut Faults) -> Option<(Vec<(&'a str, Origin)>, Origin)> {
        match self.entries.and_then(|entries| entries.get(key)).map(|node| &node.value) {
            Some(Value::List(_)) => self.texts(key, faults),
            _ => self.text(key, faults).map(|(text, origin)| (vec![(text, origin.clone())], origin)),
        }
    }

    /// Report every key that was not asked for.
    pub fn finish(self, faults: &mut Faults) {
        for (key, node) in self.entries.into_iter().flatten() {
            if self.known.contains(key) {
                continue;
            }
            let known = self.known.iter().map(String::as_str);
            let remedy = match nearest(key, known) {
                Some(near) => format!("write {near}, if that is meant"),
                None => format!("remove it; known here: {}", self.known.join(", ")),
            };
            faults.push(&node.origin, self.path(key), "is no key that is known here", remedy);
        }
    }
}
