//! History of the configurations that were in force, the last one first of all: a machine that finds faults in its
//! files is run by it, and an operator can have any of them back. Pure.

use super::Texts;
use crate::times::{OptionalRfc3339, Rfc3339};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The number of configurations that are kept.
const KEPT_LIMIT: usize = 10;

/// A configuration that is in force, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// Counts up from 1; no two have the same.
    pub number: u64,
    /// `sha256:` and a digest of its files as they are, in hexadecimal.
    pub digest: String,
    /// The digest of what its port map means.
    pub port_map: String,
    /// The time since when it is in force.
    #[serde(with = "Rfc3339")]
    pub since: Timestamp,
    /// The time until when it was; absent while it is.
    #[serde(default, with = "OptionalRfc3339")]
    pub until: Option<Timestamp>,
    /// The operator or the event that put it in force.
    pub by: String,
    /// Its files by their names below the configuration's directory; left out of a list.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl Kept {
    /// The configuration's files as they are read.
    pub fn texts(&self) -> Texts {
        Texts(self.files.iter().map(|(name, text)| (name.clone(), Ok(text.clone()))).collect())
    }

    /// The configuration without its files.
    pub fn brief(&self) -> Self {
        Self { files: BTreeMap::new(), ..self.clone() }
    }
}

/// The last ten, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The directory that they were read from.
    pub dir: PathBuf,
    /// The boot of the machine (random(4), `boot_id`) in which a supervisor last said what is in force.
    pub boot: String,
    /// Each with its files.
    pub kept: Vec<Kept>,
}

impl History {
    /// The configuration that is in force, or was when the machine was last up.
    pub fn last(&self) -> Option<&Kept> {
        self.kept.last()
    }

    /// Find the configuration with this number.
    pub fn find(&self, number: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.number == number)
    }

    /// Put another one in force, unless it is the one that is. Nothing is changed for texts of which one could not be
    /// read: they were never in force.
    pub fn enter(&mut self, texts: &Texts, port_map: &str, by: &str, now: Timestamp) {
        let digest = texts.digest();
        let whole: Option<BTreeMap<_, _>> =
            texts.0.iter().map(|(name, text)| Some((name.clone(), text.clone().ok()?))).collect();
        let Some(files) = whole.filter(|_| self.last().is_none_or(|last| last.digest != digest)) else { return };
        let number = self.last().map_or(1, |last| last.number + 1);
        if let Some(last) = self.kept.last_mut() {
            last.until = Some(now);
        }
        let (port_map, by) = (port_map.to_owned(), by.to_owned());
        self.kept.push(Kept { number, digest, port_map, since: now, until: None, by, files });
        self.kept.drain(..self.kept.len().saturating_sub(KEPT_LIMIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(map: &str) -> Texts {
        Texts([("port-map.toml".to_owned(), Ok(map.to_owned()))].into())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_last_ten_are_kept_each_with_its_time() {
        let mut history = History::default();
        for second in 1..=12 {
            history.enter(&texts(&second.to_string()), "m", "a test", at(second));
            // The same again is no other one.
            history.enter(&texts(&second.to_string()), "m", "a restart", at(second + 100));
        }
        assert_eq!(history.kept.iter().map(|kept| kept.number).collect::<Vec<_>>(), (3..=12).collect::<Vec<_>>());
        let last = history.last().unwrap();
        assert_eq!((last.since, last.until, last.by.as_str()), (at(12), None, "a test"));
        assert_eq!(history.find(11).unwrap().until, Some(at(12)));
        assert_eq!(history.find(11).unwrap().texts(), texts("11"));
        // A configuration that comes back is in force anew.
        history.enter(&texts("11"), "m", "a test", at(13));
        assert_eq!((history.last().unwrap().number, history.kept.len()), (13, 10));
        let before = history.clone();
        history.enter(&Texts([("sled.toml".to_owned(), Err("no".to_owned()))].into()), "m", "a test", at(14));
        assert_eq!(history, before);
    }
}
