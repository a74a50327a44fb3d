//! Document of TOML files: one tree in which every value knows the file and line it came from, and in which a later
//! file overrides an earlier one key by key. The meaning of a key is not known here.

use super::{Faults, Source};
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file's name.
    pub file: Arc<str>,
    /// The line, counted from 1; `None` for a file as a whole.
    pub line: Option<usize>,
}

/// Whether all of a document could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// The whole could.
    Whole,
    /// Some of it could not: what seems to be missing may be what could not be read.
    Partial,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A TOML value. One that the configuration has no use for keeps only its type's name.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
    Other(&'static str),
}

impl Value {
    /// The type as a sentence names it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// One or several files, merged.
#[derive(Debug)]
pub struct Document {
    pub(super) root: Node,
    pub(super) reading: Reading,
}

impl Document {
    /// Parse the files and lay each over those before it. Duplicate keys and the first syntax error of a file are
    /// faults (what follows a syntax error is mostly its echo); what could be read beside them is kept, so that it is
    /// checked as well.
    pub fn merged(sources: &[Source], faults: &mut Faults) -> Self {
        let whole = Origin { file: sources.first().map_or("", |s| &s.file).into(), line: None };
        let mut root = Node { origin: whole, value: Value::Table(BTreeMap::new()) };
        let mut reading = Reading::Whole;
        for source in sources {
            let origin = Origin { file: source.file.as_str().into(), line: None };
            match &source.text {
                Ok(text) => {
                    let (node, read) = parse(&origin, text, faults);
                    overlay(&mut root, node);
                    if read == Reading::Partial {
                        reading = read;
                    }
                }
                Err(why) => {
                    reading = Reading::Partial;
                    faults.push(&origin, "", why.clone(), "create the file, or make it readable text");
                }
            }
        }
        Self { root, reading }
    }
}

fn parse(file: &Origin, text: &str, faults: &mut Faults) -> (Node, Reading) {
    let lines = Lines::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let (mut repeated, mut reading) = (None, Reading::Whole);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let at = lines.origin(span.start);
        let message = error.message().trim().replace('\n', ", ");
        if !message.contains("duplicate key") {
            if reading == Reading::Whole {
                // An error at the start of a table is the end of the one before it.
                let table = lines.origin(lines.header_before(text, span.start.saturating_sub(1))).line;
                faults.syntax(&at, message, table.unwrap_or_default());
            }
            reading = Reading::Partial;
            continue;
        }
        // A table that is repeated repeats its keys: the header is the fault.
        let table = lines.header_before(text, span.start);
        if repeated != Some(table) {
            let key = text.get(span).unwrap_or_default();
            faults.push(&at, "", format!("{key} is there a second time (duplicate key)"), "keep one of the two");
        }
        repeated = text[table..].starts_with('[').then_some(table);
    }
    (Node { origin: file.clone(), value: Value::Table(lines.table(table.into_inner())) }, reading)
}

/// Lay `over` on `under`: tables key by key, anything else as a whole.
fn overlay(under: &mut Node, over: Node) {
    match (&mut under.value, over.value) {
        (Value::Table(below), Value::Table(above)) => {
            for (key, node) in above {
                match below.get_mut(&key) {
                    Some(old) => overlay(old, node),
                    None => _ = below.insert(key, node),
                }
            }
        }
        (_, value) => *under = Node { origin: over.origin, value },
    }
}

/// The starts of a file's lines, to tell a byte's line.
struct Lines<'a> {
    file: &'a Origin,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a Origin, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, c)| *c == b'\n');
        let starts = newlines.map(|(at, _)| at + 1).collect();
        Self { file, starts }
    }

    fn origin(&self, byte: usize) -> Origin {
        Origin { file: self.file.file.clone(), line: Some(1 + self.starts.partition_point(|start| *start <= byte)) }
    }

    /// The start of the table header that governs a byte, or 0 above the first one.
    fn header_before(&self, text: &str, byte: usize) -> usize {
        let starts = self.starts.iter().rev().copied().chain([0]);
        let above = starts.skip_while(|start| *start > byte);
        above.into_iter().find(|start| text[*start..].starts_with('[')).unwrap_or(0)
    }

    fn table(&self, table: DeTable<'_>) -> BTreeMap<String, Node> {
        table
            .into_iter()
            .map(|(key, value)| {
                let mut node = self.node(value);
                // A table's own span is its header or its first dotted key; the key's is nearer.
                node.origin = self.origin(key.span().start);
                (key.into_inner().into_owned(), node)
            })
            .collect()
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Other("an integer beyond 64 bits"),
            },
            DeValue::Boolean(truth) => Value::Boolean(truth),
            DeValue::Array(list) => Value::List(list.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Node { origin, value }
    }
}
