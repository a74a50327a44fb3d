//! What is in force, as it is kept: put on record before it is taken over, and told to whoever asks what
//! was in force before.

use crate::config::{Configuration, History, Texts};
use crate::decide::facts::InForce;
use crate::source::Fault;
use crate::store::in_force;
use crate::store::jobs::{self, Remembered};
use crate::supervisor::Supervisor;
use crate::supervisor::event::Event;
use crate::supervisor::requests::Answer;
use crate::wire::{self, Configurations, Files, Refusal};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// After this it is tried again to keep what could not be kept.
const AGAIN: Duration = Duration::from_secs(60);

/// With what a supervisor starts.
#[derive(Debug)]
pub struct Start {
    pub(in crate::supervisor) config: Configuration,
    pub(in crate::supervisor) kept: Keeping,
    /// What is known of jobs, and the numbers that are kept for it.
    pub(in crate::supervisor) jobs: Remembered,
}

/// What is in force, and what is kept of it.
#[derive(Debug)]
pub(in crate::supervisor) struct Keeping {
    texts: Texts,
    by: String,
    history: History,
    not_kept: Option<String>,
    tried: Instant,
    /// A record is being written, of this or of what takes its place.
    pub(in crate::supervisor) busy: bool,
}

impl Start {
    /// With this, of which nothing is on record.
    #[cfg(test)]
    pub(in crate::supervisor) fn of(config: Configuration) -> Self {
        let (texts, history, tried) = (Texts::default(), History::default(), Instant::now());
        let kept = Keeping { texts, by: String::new(), history, not_kept: None, tried, busy: false };
        Self { config, kept, jobs: Remembered { next: 1, reserved: 1 + jobs::BLOCK, jobs: Vec::new() } }
    }

    /// Puts what a supervisor starts with on record: before systemd is asked to read the units again,
    /// whose values are taken from there.
    pub fn new(choice: in_force::Choice, dir: &Path, by: String) -> Self {
        let map = &choice.config.map.digest;
        if let Some(faults) = &choice.instead_of {
            tell_faults(faults);
        }
        let (history, not_kept) = match in_force::record(dir, &choice.texts, map, &by) {
            Ok(history) => (history, None),
            Err(why) => (in_force::load(dir).unwrap_or_default(), Some(why.to_string())),
        };
        let (texts, tried, busy) = (choice.texts, Instant::now(), false);
        Self { config: choice.config, kept: Keeping { texts, by, history, not_kept, tried, busy }, jobs: jobs::begin() }
    }
}

/// Writes faults to the journal, each with its place.
pub(in crate::supervisor) fn tell_faults(faults: &[Fault]) {
    for fault in faults {
        tracing::error!("{fault}");
    }
}

impl Keeping {
    /// What is in force, as it is shown.
    pub(in crate::supervisor) fn in_force(&self) -> InForce {
        let digest = self.texts.digest();
        let last = self.history.last().filter(|last| last.digest == digest);
        InForce {
            number: last.map(|last| last.number),
            since: last.map(|last| last.since),
            not_kept: self.not_kept.clone(),
            digest,
        }
    }

    /// The texts that were in force under a number.
    ///
    /// # Errors
    /// There is none with it.
    pub(in crate::supervisor) fn texts(&self, number: u64) -> Result<Texts, wire::Error> {
        self.history.find(number).map(crate::config::Kept::texts).ok_or_else(|| unknown(number))
    }

    /// Another one is in force, and on record.
    pub(in crate::supervisor) fn replace(&mut self, texts: Texts, by: String, history: History) {
        (self.texts, self.by, self.history, self.not_kept) = (texts, by, history, None);
    }
}

fn unknown(number: u64) -> wire::Error {
    let message = format!("no configuration {number} is kept");
    wire::Error::new(Refusal::ConfigUnknown, message, "sledctl config history lists those that are")
}

impl Supervisor {
    /// Tries again to keep what is in force, if it could not be kept.
    pub(in crate::supervisor) fn keep_again(&mut self) {
        if self.kept.busy || self.kept.not_kept.is_none() || self.kept.tried.elapsed() < AGAIN {
            return;
        }
        (self.kept.busy, self.kept.tried) = (true, Instant::now());
        let (dir, texts, by) = (self.config_dir.clone(), self.kept.texts.clone(), self.kept.by.clone());
        let map = self.config.map.digest.clone();
        let lost = |why| Some(Event::Kept(Err(why)));
        self.tasks.run(lost, async move {
            let written = tokio::task::spawn_blocking(move || in_force::record(&dir, &texts, &map, &by)).await;
            let written = written.map_err(|why| why.to_string()).and_then(|done| done.map_err(|why| why.to_string()));
            Some(Event::Kept(written))
        });
    }

    /// What is in force was kept at last, or not.
    pub(in crate::supervisor) fn hear_kept(&mut self, written: Result<History, String>) {
        self.kept.busy = false;
        match written {
            Ok(history) => (self.kept.history, self.kept.not_kept) = (history, None),
            Err(why) => self.kept.not_kept = Some(why),
        }
        self.facts.in_force = Some(self.kept.in_force());
    }

    /// What was in force, or one of these with its files.
    pub(in crate::supervisor) fn configurations(&self, number: Option<u64>) -> Result<Answer, wire::Error> {
        if let Some(number) = number {
            let found = self.kept.history.find(number).ok_or_else(|| unknown(number))?;
            return Ok(Answer::Kept(Box::new(found.clone())));
        }
        let files = self.facts.files.as_ref().map(|files| Files {
            digest: files.digest.clone(),
            changed: files.changed,
            faults: files.read.as_ref().err().cloned().unwrap_or_default(),
        });
        let all = Configurations {
            dir: self.config_dir.display().to_string(),
            in_force: self.kept.in_force().number,
            files: files.unwrap_or_default(),
            kept: self.kept.history.kept.iter().rev().map(crate::config::Kept::brief).collect(),
        };
        Ok(Answer::Configurations(Box::new(all)))
    }
}
