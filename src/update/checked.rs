//! Record of the last look for another version: what was found, of which source, for which version, and when. What
//! failed, is old or is of something else is not known; it never means that there is nothing newer.

use super::layout::Layout;
use super::manifest::Manifest;
use super::record::{load, save};
use super::release::Release;
use crate::config::Update;
use crate::span::Span;
use crate::times;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::io;

const FILE: &str = "check.json";
const HELD: &str = "held.json";
/// The time between two looks by hand after which one is old, where nobody else looks.
const BY_HAND: Span = Span::seconds(86_400);
/// The time after which a look that failed is tried again, if the next is not due before.
const AGAIN: Span = Span::seconds(3600);
/// The time by which the next may be late: a sled that was switched off, a server that takes its time.
const LATE: Span = Span::seconds(3600);
/// The age of a reason to wait that nobody has looked at again since: a few looks were missed.
const HELD_OLD: SignedDuration = SignedDuration::from_mins(30);

/// A look for another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The source that was asked.
    pub source: String,
    /// The version that ran.
    pub running: String,
    /// The time of the look.
    pub at: Timestamp,
    /// The finding.
    pub found: Found,
    /// The newest version that was ever found there, and since when it is known.
    #[serde(default)]
    pub first: Option<First>,
}

/// The finding of a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Found {
    /// Another version can be had.
    Newer(Newer),
    /// There is none.
    Nothing,
    /// The look failed: nothing is known.
    Failed {
        /// The reason.
        why: String,
    },
}

/// A version that can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newer {
    /// The version.
    pub version: String,
    /// The time at which it was released, if it says so.
    pub released: Option<Timestamp>,
    /// The changes, as far as it tells.
    pub changes: Vec<String>,
    /// The layout that this machine lacks for it, in a sentence each; empty: it can be taken.
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// The first sight of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// The version.
    pub version: String,
    /// The time.
    pub at: Timestamp,
}

/// The reason why an update is not applied by itself yet, as it was last decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The reason.
    pub why: String,
    /// The time of the decision.
    pub at: Timestamp,
    /// The version that could not be applied by itself, and why: it is not tried again.
    #[serde(default)]
    pub failed: Option<(String, String)>,
}

impl Newer {
    /// Describe a version by its manifest, if it has one, for a sled with this layout that runs another.
    pub fn of(version: String, manifest: Option<&Manifest>, running: &Release, layout: &Layout) -> Self {
        let Some(manifest) = manifest else { return Self { version, ..Self::default() } };
        let (changes, lacks) = (manifest.changes_for(running), manifest.least.lacks(layout));
        Self { version, released: manifest.released, changes, lacks }
    }
}

impl Checked {
    /// Read the last look; `None` if there was none, or it cannot be read.
    pub fn load() -> Option<Self> {
        load(FILE)
    }

    /// Remember the look, durably.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn save(&self) -> io::Result<()> {
        save(FILE, self)
    }

    /// Make the record of a look, after the one before it.
    pub fn after(before: Option<&Self>, source: String, running: String, found: Found) -> Self {
        let (at, first) = (times::now(), before.and_then(|before| before.first.clone()));
        let first = match &found {
            Found::Newer(newer) if first.as_ref().is_none_or(|first| first.version != newer.version) => {
                Some(First { version: newer.version.clone(), at })
            }
            _ => first,
        };
        Self { source, running, at, found, first }
    }

    /// The version that can be had, if one is known to be; `Ok(None)` if there is none.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn known(
        &self,
        source: Option<&str>,
        running: &str,
        update: &Update,
        now: Timestamp,
    ) -> Result<Option<&Newer>, String> {
        let limit = 2 * update.check.unwrap_or(BY_HAND).seconds + LATE.seconds;
        let age = now.duration_since(self.at);
        if source != Some(self.source.as_str()) {
            return Err(format!("{} was asked last, which is not the source of updates now", self.source));
        }
        if self.running != running {
            return Err(format!("nobody has looked since {running} runs"));
        }
        if age < -HELD_OLD || age.as_secs() > i64::try_from(limit).unwrap_or(i64::MAX) {
            return Err(format!("the last look, at {}, is too old", times::in_seconds(self.at)));
        }
        match &self.found {
            Found::Newer(newer) => Ok(Some(newer)),
            Found::Nothing => Ok(None),
            Found::Failed { why } => Err(format!("the last look, at {}, failed: {why}", times::in_seconds(self.at))),
        }
    }

    /// Make the record of a sled that has taken this version; `None` if it says nothing of it.
    pub fn without(self, version: &str) -> Option<Self> {
        let told = matches!(&self.found, Found::Newer(newer) if newer.version == version);
        told.then_some(Self { found: Found::Nothing, ..self })
    }

    /// Tell whether it is time for the next look.
    pub fn is_due(&self, source: &str, running: &str, update: &Update, now: Timestamp) -> bool {
        let Some(mut every) = update.check else { return false };
        if matches!(self.found, Found::Failed { .. }) {
            every = every.min(AGAIN);
        }
        let age = now.duration_since(self.at);
        // A clock that was set back does not put it off.
        let is_over = age < SignedDuration::ZERO || age.as_secs() >= i64::try_from(every.seconds).unwrap_or(i64::MAX);
        is_over || self.source != source || self.running != running
    }

    /// The time from which the version is as old as this: by its own word, else since it was first seen.
    pub fn ripe(&self, newer: &Newer, delay: Span) -> Option<Timestamp> {
        let first = self.first.as_ref().filter(|first| first.version == newer.version).map(|first| first.at);
        let seconds = i64::try_from(delay.seconds).ok()?;
        newer.released.or(first)?.checked_add(SignedDuration::from_secs(seconds)).ok()
    }
}

impl Held {
    /// Read the last decision; `None` if there was none, or it cannot be read.
    pub fn load() -> Option<Self> {
        load(HELD)
    }

    /// Remember a decision, durably; one that is no news now and then only, to show that it holds still.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn remember(why: String, failed: Option<(String, String)>) -> io::Result<()> {
        let held = Self { why, at: times::now(), failed };
        match Self::load() {
            Some(before) if !held.is_news(&before) => Ok(()),
            _ => save(HELD, &held),
        }
    }

    fn is_news(&self, before: &Self) -> bool {
        let same = self.why == before.why && self.failed == before.failed;
        let age = self.at.duration_since(before.at);
        !same || age.abs() > HELD_OLD / 3
    }

    /// The reason, if it is not an old one.
    pub fn holds(&self, now: Timestamp) -> Option<&str> {
        (now.duration_since(self.at).abs() <= HELD_OLD && !self.why.is_empty()).then_some(self.why.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Apply;

    const SOURCE: &str = "https://updates.example/sled";

    fn update(check: Option<u64>) -> Update {
        Update { check: check.map(Span::seconds), window: None, delay: Span::seconds(0), apply: Apply::Manual }
    }

    fn looked(found: Found) -> Checked {
        Checked { source: SOURCE.into(), running: "1".into(), at: Timestamp::UNIX_EPOCH, found, first: None }
    }

    fn after(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn what_is_old_or_failed_or_of_something_else_is_not_known() {
        let (daily, newer) = (update(Some(86_400)), Newer { version: "2".into(), ..Newer::default() });
        let known = |found: &Found, source, running: &str, hours| {
            looked(found.clone()).known(source, running, &daily, after(hours)).map(Option::<&Newer>::cloned)
        };
        let (two, none) = (Found::Newer(newer.clone()), Found::Nothing);
        assert_eq!(known(&two, Some(SOURCE), "1", 48), Ok(Some(newer)));
        assert_eq!(known(&none, Some(SOURCE), "1", 48), Ok(None));
        for found in [&two, &none] {
            let why = |source, running: &str, hours| known(found, source, running, hours).unwrap_err();
            assert!(why(Some(SOURCE), "1", 50).contains("too old"));
            assert!(why(Some(SOURCE), "1", -1).contains("too old"), "it is of the future");
            assert!(why(Some("https://other.example"), "1", 1).contains("not the source"));
            assert!(why(None, "1", 1).contains("not the source"));
            assert!(why(Some(SOURCE), "2", 1).contains("since 2 runs"));
        }
        let failed = Found::Failed { why: "nobody answers".into() };
        assert!(known(&failed, Some(SOURCE), "1", 1).unwrap_err().contains("nobody answers"));
    }

    #[test]
    fn a_version_that_was_taken_cannot_be_had_any_more() {
        let found = Found::Newer(Newer { version: "2".into(), ..Newer::default() });
        let taken = looked(found.clone()).without("2").unwrap();
        assert_eq!(taken.known(Some(SOURCE), "1", &update(None), after(1)), Ok(None));
        assert_eq!(looked(found).without("3"), None);
        assert_eq!(looked(Found::Failed { why: String::new() }).without("2"), None, "nothing is known");
    }

    #[test]
    fn the_next_look_is_due_after_its_time_and_sooner_after_a_failure() {
        let due = |found: Found, source: &str, running: &str, check, hours| {
            looked(found).is_due(source, running, &update(check), after(hours))
        };
        let (day, failed) = (Some(86_400), Found::Failed { why: String::new() });
        assert!(!due(Found::Nothing, SOURCE, "1", day, 23) && due(Found::Nothing, SOURCE, "1", day, 24));
        assert!(!due(failed.clone(), SOURCE, "1", day, 0) && due(failed, SOURCE, "1", day, 1));
        assert!(due(Found::Nothing, "https://other.example", "1", day, 1) && due(Found::Nothing, SOURCE, "2", day, 1));
        assert!(due(Found::Nothing, SOURCE, "1", day, -2), "the clock was set back");
        assert!(!due(Found::Nothing, SOURCE, "1", None, 999), "nobody is to look");
    }

    #[test]
    fn a_reason_to_wait_holds_for_a_while_and_is_not_written_again_and_again() {
        let held = |why: &str, minutes| Held {
            why: why.into(),
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes),
            failed: None,
        };
        assert_eq!(held("x", 0).holds(after(0)), Some("x"));
        assert_eq!((held("x", 0).holds(after(1)), held("", 0).holds(after(0))), (None, None));
        assert!(!held("x", 5).is_news(&held("x", 0)) && held("x", 15).is_news(&held("x", 0)));
        assert!(held("y", 5).is_news(&held("x", 0)));
    }

    #[test]
    fn a_version_is_as_old_as_it_says_or_as_it_is_known() {
        let found = |version: &str| Found::Newer(Newer { version: version.into(), ..Newer::default() });
        let next = |before: Option<&Checked>, found| Checked::after(before, SOURCE.into(), "1".into(), found);
        let first = Checked { first: Some(First { version: "2".into(), at: after(0) }), ..looked(found("2")) };
        // A failure between does not make it younger.
        let failed = next(Some(&first), Found::Failed { why: String::new() });
        let again = next(Some(&failed), found("2"));
        assert_eq!(again.first, first.first);
        let newer = |released| Newer { version: "2".into(), released, ..Newer::default() };
        let day = Span::seconds(86_400);
        assert_eq!(again.ripe(&newer(None), day), Some(after(24)));
        assert_eq!(again.ripe(&newer(Some(after(-24))), day), Some(after(0)));
        let third = next(Some(&again), found("3"));
        assert_eq!(third.first.as_ref().map(|first| first.version.as_str()), Some("3"));
        assert_eq!(third.ripe(&newer(None), day), None, "of another one nothing is known");
    }
}
