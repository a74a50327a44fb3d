//! Exits of downstairs, and what becomes of their regions: the end is noted and its reason looked
//! up.

use crate::config::Configuration;
use crate::decide::facts::{Active, Exit, Facts, Run, Unit};
use crate::decide::failure::{Failure, Kind, LOCKED, classify};
use crate::decide::storage::full;
use crate::metrics::Class;
use crate::names::RegionName;
use crate::observe::last_words;
use crate::supervisor::facts::crash_history::Explained;
use crate::supervisor::facts::{Lookout, Report};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Exit status from which on it is systemd's own word, and the program said nothing
/// (systemd.exec(5)).
const OF_SYSTEMD: i32 = 200;
/// Signal that a panic ends with, which says why.
const SIGABRT: i32 = 6;

/// Take the kernel's word that the process has ended, whatever systemd may say yet. Nothing else is looked at now,
/// before those who wait are told; systemd's word gives reason enough.
pub(in crate::supervisor) fn see(name: &RegionName, run: Run, facts: &mut Facts) {
    if let Some(region) = facts.regions.get_mut(name) {
        region.ended = Some(run);
    }
}

/// Forget what failed as soon as it serves again.
pub(in crate::supervisor) fn recovered(serving: &BTreeSet<RegionName>, facts: &mut Facts) {
    let recovered = facts.regions.iter_mut().filter(|(name, _)| serving.contains(name));
    recovered.for_each(|(_, region)| region.failure = None);
}

/// Reason why the downstairs of a region's run has ended, and the last lines that it wrote.
pub(in crate::supervisor) struct LastWords {
    pub(in crate::supervisor) region: RegionName,
    pub(in crate::supervisor) run: String,
    pub(in crate::supervisor) failure: Failure,
    pub(in crate::supervisor) lines: Vec<String>,
}

impl Lookout {
    /// Record the end that a change of the unit tells of, and look up why it came.
    pub(super) fn note_end(&mut self, name: &RegionName, unit: &Unit, config: &Configuration, facts: &mut Facts) {
        let region = facts.regions.get(name);
        if region.is_some_and(|region| region.is_former(unit.invocation.as_ref())) {
            return;
        }
        let Some(history) = self.crashes.get_mut(name) else { return };
        let changed = history.changed(region.and_then(|region| region.unit.as_ref()), unit);
        self.counts.ended(name, Class::Unseen, history.take_unseen());
        let Some((run, exit)) = changed else { return };
        let spoke = match exit {
            Exit::Status(status) => status != LOCKED && status < OF_SYSTEMD,
            Exit::Signal(signal) => signal == SIGABRT,
        };
        let Some(run) = run.filter(|_| spoke) else {
            let failure = classify(exit, &[]);
            history.ended(&failure);
            self.counts.ended(name, Class::of(&failure), 1);
            return self.explain(name, &failure, config, facts);
        };
        history.awaits_words(run.clone());
        // Why the one before it crashed is not why this one has ended.
        let before = facts.regions.get_mut(name).map(|region| &mut region.failure);
        before.into_iter().for_each(|before| _ = before.take_if(|failure| failure.kind == Kind::Transient));
        self.look_up(name, run, exit);
    }

    /// Look up what it wrote last, aside from the loop.
    fn look_up(&self, name: &RegionName, run: String, exit: Exit) {
        let explained = move |region, run, lines: Vec<String>| {
            let failure = classify(exit, &lines);
            Some(Report::Explained(LastWords { region, run, failure, lines }))
        };
        let (region, ended) = (name.clone(), run.clone());
        let lost = move |_| explained(region, ended, Vec::new());
        let region = name.clone();
        self.tasks.run(lost, async move {
            let lines = last_words::read(&run).await;
            explained(region, run, lines)
        });
    }

    /// Take the last words of one that has ended.
    pub(super) fn hear_words(&mut self, words: &LastWords, config: &Configuration, facts: &mut Facts) {
        let LastWords { region: name, run, failure, lines } = words;
        let Some(history) = self.crashes.get_mut(name) else { return };
        let which = history.explained(run, failure);
        self.counts.ended(name, Class::of(failure), 1);
        // It was over before there was this region.
        let former = facts.regions.get(name).is_none_or(|region| region.is_former(Some(run)));
        if former || which == Explained::Forgotten {
            return;
        }
        if failure.kind == Kind::Transient {
            // Nobody knows these words: whoever reads the journal gets to see all of them.
            let text = lines.join("\n");
            tracing::warn!(REGION = %name, "{name}: its downstairs {}; it wrote:\n{text}", failure.cause());
        }
        match which {
            Explained::Latest => self.explain(name, failure, config, facts),
            // The words of the end that came after it are what is told.
            Explained::Earlier | Explained::Forgotten => self.tell_crashes(config, facts),
        }
    }

    /// Tell why a region's last end came.
    fn explain(&mut self, name: &RegionName, failure: &Failure, config: &Configuration, facts: &mut Facts) {
        if failure.kind != Kind::Transient {
            tracing::warn!(REGION = %name, "{name}: its downstairs {}", failure.cause());
        }
        if let Some(region) = facts.regions.get_mut(name) {
            region.failure = Some(failure.clone());
        }
        self.tell_crashes(config, facts);
    }

    /// Hear that a region is not held any more on this disk.
    pub(in crate::supervisor) fn hear_released(
        &mut self,
        disk: Option<Uuid>,
        name: &RegionName,
        config: &Configuration,
        facts: &mut Facts,
    ) {
        // On another disk something else may be held against it.
        if disk.is_none() || disk == self.last_disk {
            self.released(name, config, facts);
        }
    }

    /// Record that a region is not held any more, and that nothing is held against it.
    pub(in crate::supervisor) fn released(&mut self, name: &RegionName, config: &Configuration, facts: &mut Facts) {
        facts.holding.remove(name);
        if let Some(history) = self.crashes.get_mut(name) {
            history.forget();
        }
        if let Some(region) = facts.regions.get_mut(name) {
            region.failure = None;
            let over = region.unit.as_ref().filter(|unit| matches!(unit.active, Active::Inactive | Active::Failed));
            region.former = over.and_then(|unit| unit.invocation.clone());
        }
        self.tell_crashes(config, facts);
    }

    /// Write what time has made of each region into the facts.
    pub(in crate::supervisor) fn tell_crashes(&mut self, config: &Configuration, facts: &mut Facts) {
        let full = facts.disk.as_ref().is_some_and(full);
        for (name, history) in &mut self.crashes {
            if let Some(region) = facts.regions.get_mut(name) {
                history.tell(region, &config.sled.downstairs, full);
            }
        }
    }

    /// Record that a region is stopped or restarted, and nobody has asked for that.
    pub(in crate::supervisor) fn changed_unasked(&mut self, name: &RegionName) {
        if let Some(history) = self.crashes.get_mut(name) {
            history.changed_unasked();
        }
    }

    /// Count how often each region has not gone on as it should, ever.
    pub(in crate::supervisor) fn breaks(&self) -> BTreeMap<RegionName, u64> {
        self.crashes.iter().map(|(name, history)| (name.clone(), history.breaks())).collect()
    }
}
