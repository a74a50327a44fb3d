//! Configuration in force, as it is kept: put on record before it is taken over, and told to whoever
//! asks what was in force before.

use crate::config::{Configuration, History, Texts};
use crate::decide::facts::{Facts, InForce, Unclean};
use crate::desk::answer::Answer;
use crate::region::verification::Verification;
use crate::source::Fault;
use crate::store::boots;
use crate::store::in_force;
use crate::store::jobs::{self, Remembered};
use crate::store::verification;
use crate::supervisor::configuration::Report;
use crate::supervisor::tasks::Tasks;
use crate::wire::{self, Configurations, Files, Refusal};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::Instant;

/// Pause before it is tried again to keep what could not be kept.
const RETRY_PAUSE: Duration = Duration::from_secs(60);

/// State with which a supervisor starts.
#[derive(Debug)]
pub struct Start {
    pub(in crate::supervisor) config: Configuration,
    pub(in crate::supervisor) kept: Keeping,
    /// Knowledge of jobs, and the numbers that are kept for it.
    pub(in crate::supervisor) jobs: Remembered,
    /// The end of the boot before this one, if that was no shutdown.
    pub(in crate::supervisor) unclean: Option<Unclean>,
    /// The verification that is left to this boot.
    pub(in crate::supervisor) verification: Option<Verification>,
}

/// Configuration in force, and what is kept of it.
#[derive(Debug)]
pub(in crate::supervisor) struct Keeping {
    /// Directory of its files.
    dir: PathBuf,
    texts: Texts,
    by: String,
    history: History,
    not_kept: Option<String>,
    tried: Instant,
    /// A record is being written, of this or of what takes its place.
    busy: bool,
}

impl Start {
    /// Begin with this configuration, of which nothing is on record.
    #[cfg(test)]
    pub(in crate::supervisor) fn of(config: Configuration) -> Self {
        let (texts, history, tried) = (Texts::default(), History::default(), Instant::now());
        let (dir, by) = ("/nowhere".into(), String::new());
        let kept = Keeping { dir, texts, by, history, not_kept: None, tried, busy: false };
        let jobs = Remembered { next: 1, reserved: 1 + jobs::BLOCK, jobs: Vec::new() };
        Self { config, kept, jobs, unclean: None, verification: None }
    }

    /// Put what a supervisor starts with on record: before systemd is asked to read the units again,
    /// whose values are taken from there. `sysfs` is where sysfs is mounted.
    pub fn new(choice: in_force::Choice, dir: &Path, sysfs: &Path, by: String) -> Self {
        let map = &choice.config.map.digest;
        if let Some(faults) = &choice.instead_of {
            tell_faults(faults);
        }
        let (history, not_kept) = match in_force::record(dir, &choice.texts, map, &by) {
            Ok(history) => (history, None),
            Err(why) => (in_force::load(dir).unwrap_or_default(), Some(why.to_string())),
        };
        let (texts, tried, busy) = (choice.texts, Instant::now(), false);
        let kept = Keeping { dir: dir.to_owned(), texts, by, history, not_kept, tried, busy };
        let unclean = boots::begin(sysfs).unclean();
        let verification = verification::begin(unclean.is_some());
        Self { config: choice.config, kept, jobs: jobs::begin(), unclean, verification }
    }
}

/// Write faults to the journal, each with its place.
pub(in crate::supervisor) fn tell_faults(faults: &[Fault]) {
    for fault in faults {
        tracing::error!("{fault}");
    }
}

impl Keeping {
    /// Name the directory of the files.
    pub(in crate::supervisor) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Tell whether a record is being written, of what is in force or of what takes its place.
    pub(in crate::supervisor) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Record that what takes its place is being written down, or that this is over.
    pub(in crate::supervisor) fn record(&mut self, busy: bool) {
        self.busy = busy;
    }

    /// Describe what is in force, as it is shown.
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

    /// Return the texts that were in force under a number.
    ///
    /// # Errors
    /// There is none with it.
    pub(in crate::supervisor) fn texts(&self, number: u64) -> Result<Texts, wire::Error> {
        self.history.find(number).map(crate::config::Kept::texts).ok_or_else(|| unknown(number))
    }

    /// Put in place another one, which is in force and on record.
    pub(in crate::supervisor) fn replace(&mut self, texts: Texts, by: String, history: History) {
        (self.texts, self.by, self.history, self.not_kept) = (texts, by, history, None);
    }
}

fn unknown(number: u64) -> wire::Error {
    let message = format!("no configuration {number} is kept");
    wire::Error::new(Refusal::ConfigUnknown, message, "sledctl config history lists those that are")
}

impl Keeping {
    /// Try again to keep what is in force, if it could not be kept.
    pub(in crate::supervisor) fn keep_again(&mut self, config: &Configuration, tasks: &Tasks<Report>) {
        if self.busy || self.not_kept.is_none() || self.tried.elapsed() < RETRY_PAUSE {
            return;
        }
        (self.busy, self.tried) = (true, Instant::now());
        let (dir, texts, by) = (self.dir.clone(), self.texts.clone(), self.by.clone());
        let map = config.map.digest.clone();
        let lost = |why| Some(Report::Kept(Err(why)));
        tasks.run(lost, async move {
            let written = tokio::task::spawn_blocking(move || in_force::record(&dir, &texts, &map, &by)).await;
            let written = written.map_err(|why| why.to_string()).and_then(|done| done.map_err(|why| why.to_string()));
            Some(Report::Kept(written))
        });
    }

    /// Hear that what is in force was kept at last, or was not.
    pub(in crate::supervisor) fn hear(&mut self, written: Result<History, String>, facts: &mut Facts) {
        self.busy = false;
        match written {
            Ok(history) => (self.history, self.not_kept) = (history, None),
            Err(why) => self.not_kept = Some(why),
        }
        facts.in_force = Some(self.in_force());
    }

    /// Read what was in force, or one of these with its files.
    pub(in crate::supervisor) fn configurations(
        &self,
        number: Option<u64>,
        facts: &Facts,
    ) -> Result<Answer, wire::Error> {
        if let Some(number) = number {
            let found = self.history.find(number).ok_or_else(|| unknown(number))?;
            return Ok(Answer::Kept(Box::new(found.clone())));
        }
        let files = facts.files.as_ref().map(|files| Files {
            digest: files.digest.clone(),
            changed: files.changed,
            faults: files.read.as_ref().err().cloned().unwrap_or_default(),
        });
        let all = Configurations {
            dir: self.dir.display().to_string(),
            in_force: self.in_force().number,
            files: files.unwrap_or_default(),
            kept: self.history.kept.iter().rev().map(crate::config::Kept::brief).collect(),
        };
        Ok(Answer::Configurations(Box::new(all)))
    }
}
