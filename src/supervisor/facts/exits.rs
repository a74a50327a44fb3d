//! What becomes of a region whose downstairs has ended or hangs: the end is noted and its reason
//! looked up, and what the plan says about it is set going.

use crate::act;
use crate::decide::facts::{Active, Beat, Doing, Exit, Region, Run, Unit};
use crate::decide::failure::{Failure, Kind, LOCKED, classify};
use crate::decide::storage::full;
use crate::names::RegionName;
use crate::observe::{doing, last_words};
use crate::region::{HeldBy, Hold};
use crate::store::ledger;
use crate::supervisor::Supervisor;
use crate::supervisor::event::{Event, LastWords, Said};
use crate::supervisor::facts::crash_history::Explained;
use crate::supervisor::jobs::context::Context;
use crate::times;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use zbus::Connection;

/// From here on an exit status is systemd's own word, and the program said nothing
/// (systemd.exec(5)).
const OF_SYSTEMD: i32 = 200;
/// A panic ends with it, and says why.
const SIGABRT: i32 = 6;

/// What systemd is asked for of a unit, unasked.
#[derive(Debug, Clone, Copy)]
pub(in crate::supervisor) enum Change {
    Stop,
    Restart,
}

impl Supervisor {
    /// Takes what the kernel says: the process has ended, whatever systemd may say yet. Nothing else
    /// is looked at now, before those who wait are told; systemd's word gives reason enough.
    pub(in crate::supervisor) fn see_end(&mut self, name: &RegionName, run: Run) {
        self.region(name, |region| region.ended = Some(run));
    }

    /// Notes the end that a change of the unit tells of, and looks up why it came.
    pub(in crate::supervisor) fn note_end(&mut self, name: &RegionName, unit: &Unit) {
        let region = self.facts.regions.get(name);
        if region.is_some_and(|region| region.is_former(unit.invocation.as_ref())) {
            return;
        }
        let before = region.and_then(|region| region.unit.clone());
        let Some(history) = self.crash_histories.get_mut(name) else { return };
        let Some((run, exit)) = history.changed(before.as_ref(), unit) else { return };
        let spoke = match exit {
            Exit::Status(status) => status != LOCKED && status < OF_SYSTEMD,
            Exit::Signal(signal) => signal == SIGABRT,
        };
        let Some(run) = run.filter(|_| spoke) else {
            let failure = classify(exit, &[]);
            history.ended(&failure);
            return self.explain(name, &failure);
        };
        history.awaits_words(run.clone());
        // Why the one before it crashed is not why this one has ended.
        self.region(name, |region| _ = region.failure.take_if(|failure| failure.kind == Kind::Transient));
        let explained = move |region, run, lines: Vec<String>| {
            let failure = classify(exit, &lines);
            Some(Event::Explained(LastWords { region, run, failure, lines }))
        };
        let (region, ended) = (name.clone(), run.clone());
        let lost = move |_| explained(region, ended, Vec::new());
        let region = name.clone();
        self.tasks.run(lost, async move {
            let lines = last_words::read(&run).await;
            explained(region, run, lines)
        });
    }

    /// Takes the last words of one that has ended.
    pub(in crate::supervisor) fn hear_words(&mut self, LastWords { region: name, run, failure, lines }: &LastWords) {
        let Some(history) = self.crash_histories.get_mut(name) else { return };
        let which = history.explained(run, failure);
        // It was over before there was this region.
        let former = self.facts.regions.get(name).is_none_or(|region| region.is_former(Some(run)));
        if former || which == Explained::Forgotten {
            return;
        }
        if failure.kind == Kind::Transient {
            // Nobody knows these words: whoever reads the journal gets to see all of them.
            let text = lines.join("\n");
            tracing::warn!(REGION = %name, "{name}: its downstairs {}; it wrote:\n{text}", failure.cause());
        }
        match which {
            Explained::Latest => self.explain(name, failure),
            // The words of the end that came after it are what is told.
            Explained::Earlier | Explained::Forgotten => self.tell_crashes(),
        }
    }

    /// Tells why a region's last end came.
    fn explain(&mut self, name: &RegionName, failure: &Failure) {
        if failure.kind != Kind::Transient {
            tracing::warn!(REGION = %name, "{name}: its downstairs {}", failure.cause());
        }
        self.region(name, |region| region.failure = Some(failure.clone()));
        self.tell_crashes();
    }

    /// A region is not held any more on this disk.
    pub(in crate::supervisor) fn hear_released(&mut self, disk: Option<Uuid>, name: &RegionName) {
        // On another disk something else may be held against it.
        if disk.is_none() || disk == self.last_disk {
            self.released(name);
        }
    }

    /// A region is not held any more, and nothing is held against it.
    pub(in crate::supervisor) fn released(&mut self, name: &RegionName) {
        self.facts.holding.remove(name);
        if let Some(history) = self.crash_histories.get_mut(name) {
            history.forget();
        }
        self.region(name, |region| {
            region.failure = None;
            let over = region.unit.as_ref().filter(|unit| matches!(unit.active, Active::Inactive | Active::Failed));
            region.former = over.and_then(|unit| unit.invocation.clone());
        });
        self.tell_crashes();
    }

    /// What failed is forgotten as soon as it serves again.
    pub(in crate::supervisor) fn recovered(&mut self, serving: &BTreeSet<RegionName>) {
        for name in serving {
            self.region(name, |region| region.failure = None);
        }
    }

    /// Writes what time has made of each region into the facts.
    pub(in crate::supervisor) fn tell_crashes(&mut self) {
        let settings = &self.config.sled.downstairs;
        let full = self.facts.disk.as_ref().is_some_and(full);
        for (name, history) in &mut self.crash_histories {
            if let Some(region) = self.facts.regions.get_mut(name) {
                history.tell(region, settings, full);
            }
        }
    }

    /// Puts a region on hold: at once here, and durably as soon as the disk has it.
    pub(in crate::supervisor) fn hold(
        &mut self,
        name: RegionName,
        by: HeldBy,
        why: String,
        remedy: Option<String>,
        disk: Uuid,
    ) {
        let hold = Hold { by, why, remedy, since: times::now() };
        tracing::error!(REGION = %name, "{name} is held: {}", hold.why);
        self.facts.holding.insert(name.clone(), hold);
        self.record_holds(disk);
    }

    /// The holds that the ledger is to have, and does not yet. A region that is not on record has none: with a
    /// ledger that was begun anew it is held in memory only, until it is adopted or made again.
    fn unrecorded(&self) -> BTreeMap<RegionName, Hold> {
        let Some(Ok(known)) = self.facts.disk.as_ref().map(|disk| &disk.ledger) else { return BTreeMap::new() };
        let new =
            |(name, _): &(&RegionName, &Hold)| known.regions.contains_key(*name) && !known.holds.contains_key(*name);
        let new = self.facts.holding.iter().filter(new);
        new.map(|(name, hold)| (name.clone(), hold.clone())).collect()
    }

    /// Writes the holds into the ledger that are not there yet.
    pub(in crate::supervisor) fn record_holds(&mut self, disk: Uuid) {
        let new = self.unrecorded();
        // A disk that hangs is not asked for more and more.
        if new.is_empty() || self.recording {
            return;
        }
        self.recording = true;
        let context = self.jobs.context().on(disk);
        let tried: BTreeSet<_> = new.keys().cloned().collect();
        let held = move |done| Some(Event::Held { disk, tried, done });
        let lost = held.clone();
        self.tasks.run(move |_| lost(false), async move {
            let written = write_holds(&context, new).await;
            match &written {
                Ok(()) => context.look_again().await,
                Err(why) => tracing::error!("a hold is not on record yet: {why}; it is tried again"),
            }
            held(written.is_ok())
        });
    }

    /// Takes the end of that. What came to be held meanwhile is put on record next; what was tried is not,
    /// whatever came of it: that waits for the next time that everything is tried again.
    pub(in crate::supervisor) fn hear_held(&mut self, disk: Uuid, tried: &BTreeSet<RegionName>, done: bool) {
        self.recording = false;
        let Some(now) = self.disk() else { return };
        let more = self.unrecorded().keys().any(|name| !tried.contains(name));
        if now != disk || (done && more) {
            self.record_holds(now);
        }
    }

    /// Stops a unit that serves nobody, or restarts one that has been hung for as long as was set.
    pub(in crate::supervisor) fn change(&mut self, name: RegionName, change: Change, bus: Connection) {
        match change {
            Change::Stop => tracing::info!(REGION = %name, "stopping {name}, which would only end again"),
            Change::Restart => tracing::warn!(REGION = %name, "restarting {name}, which has been hung for too long"),
        }
        self.ends(&name);
        if let Some(history) = self.crash_histories.get_mut(&name) {
            history.changed_unasked();
        }
        self.region(&name, |region| region.changing = true);
        let region = name.clone();
        let lost = move |why| Said::Changed(region, Err(why));
        self.systemd.ask(lost, async move {
            let done = match change {
                Change::Stop => act::units::stop(&bus, &name).await,
                Change::Restart => act::units::restart(&bus, &name).await,
            };
            Said::Changed(name, done)
        });
    }

    /// Takes systemd's answer to it.
    pub(in crate::supervisor) fn hear_change(&mut self, name: &RegionName, done: Result<(), String>) {
        match done {
            Ok(()) => self.region(name, |region| region.changing = false),
            Err(why) => {
                tracing::error!(REGION = %name, "systemd does not change {name}: {why}; it is asked again");
                self.systemd.has_not_changed(name.clone());
            }
        }
    }

    /// Looks at what those are doing that do not answer, and at the disk: a full one is the reason,
    /// and none is restarted then.
    pub(in crate::supervisor) fn look_at_the_hung(&mut self) {
        if self.facts.regions.values().any(silent) {
            self.observers.look_at_disk();
        }
        for local in self.config.local_regions() {
            let region = self.facts.regions.get(&local.name);
            let Some(pid) = region.filter(|region| silent(region)).and_then(Region::alive) else { continue };
            // One look at a time: a kernel that does not answer is not asked for more and more.
            if !self.looking.insert(local.name.clone()) {
                continue;
            }
            let name = local.name.clone();
            let lost = {
                let name = name.clone();
                move |_| Some(Event::Doing(name, None))
            };
            self.tasks.run(lost, async move {
                let looked = tokio::task::spawn_blocking(move || doing::look(pid, &local)).await;
                Some(Event::Doing(name, looked.ok().flatten()))
            });
        }
    }

    /// Takes what one is doing that does not answer, unless another process is there by now.
    pub(in crate::supervisor) fn hear_doing(&mut self, name: &RegionName, seen: Option<Doing>) {
        self.looking.remove(name);
        self.region(name, |region| {
            if let Some(seen) = seen.filter(|seen| Some(seen.pid) == region.alive()) {
                region.doing = Some(seen);
            }
        });
    }
}

/// Puts holds on record.
async fn write_holds(context: &Context, new: BTreeMap<RegionName, Hold>) -> Result<(), String> {
    let root = context.config.sled.storage.root.clone();
    let write = move || {
        ledger::change(&root, |ledger| {
            for (name, hold) in new {
                // A region that was deleted meanwhile is not held any more.
                if ledger.regions.contains_key(&name) {
                    ledger.holds.entry(name).or_insert(hold);
                }
            }
            Ok(())
        })
    };
    context.held(write).await.map_err(|why| why.message)?.map_err(|why| why.to_string())
}

fn silent(region: &Region) -> bool {
    region.pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Silent)
}
