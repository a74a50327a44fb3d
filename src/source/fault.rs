//! Fault of the configuration: where, what is wrong, what would be right.

use super::Origin;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A fault of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The file, as it was named to the reader.
    pub file: String,
    /// The line, counted from 1; absent where a whole file is at fault.
    pub line: Option<usize>,
    /// The key, dotted; empty where there is none.
    pub key: String,
    /// The problem.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}\n    {}", self.problem, self.remedy)
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<Fault>,
    /// The first syntax error of a file, and the line from which nothing else is believed.
    broken: Vec<(Fault, usize)>,
}

impl Faults {
    /// Add a fault at a place in a file.
    pub fn push(&mut self, at: &Origin, key: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(fault(at, key.into(), problem.into(), remedy.into()));
    }

    /// Add a syntax error. Faults that are found in the same file from line `from` on are taken for an echo of it and
    /// left out.
    pub(super) fn syntax(&mut self, at: &Origin, problem: String, from: usize) {
        let remedy = "see https://toml.io for how TOML is written; what follows it is checked when it is mended";
        self.broken.push((fault(at, String::new(), problem, remedy.into()), from));
    }

    /// Sort the faults in the order of the files that are named, then of any others, and by line.
    pub fn sorted<'a>(mut self, files: impl Iterator<Item = &'a str>) -> Vec<Fault> {
        let files: Vec<_> = files.collect();
        let rank = |file: &str| files.iter().position(|known| *known == file).unwrap_or(files.len());
        for (error, from) in self.broken {
            self.found.retain(|fault| fault.file != error.file || fault.line.is_some_and(|line| line < from));
            self.found.push(error);
        }
        self.found.sort_by_key(|fault| (rank(&fault.file), fault.line));
        self.found
    }
}

fn fault(at: &Origin, key: String, problem: String, remedy: String) -> Fault {
    Fault { file: at.file.to_string(), line: at.line, key, problem, remedy }
}

/// Find the known word nearest to a mistyped one, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .min()
        .map(|(_, candidate)| candidate)
}
