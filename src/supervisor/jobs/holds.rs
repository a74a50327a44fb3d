//! Regions that are held: at once in memory, and on record as soon as the disk has it. What could not be written is
//! tried again with everything else; what was taken away meanwhile never comes to be on record after that.

use crate::decide::facts::Facts;
use crate::decide::storage::identity;
use crate::names::RegionName;
use crate::region::Hold;
use crate::store::ledger;
use crate::supervisor::jobs::context::Context;
use crate::supervisor::jobs::{Jobs, Report};
use crate::wire::{self, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Holds that are on their way to the record.
#[derive(Default)]
pub(super) struct Holds {
    /// Some are being put there.
    recording: bool,
}

impl Jobs {
    /// Put a region on hold: at once here, and durably as soon as the disk has it.
    pub(in crate::supervisor) fn hold(&mut self, name: RegionName, hold: Hold, facts: &mut Facts) {
        tracing::error!(REGION = %name, "{name} is held: {}", hold.why);
        self.context.holds.all().insert(name.clone(), hold.clone());
        facts.holding.insert(name, hold);
        self.record_holds(facts);
    }

    /// Write the holds into the ledger that are not there yet.
    pub(in crate::supervisor) fn record_holds(&mut self, facts: &Facts) {
        let (new, Some(disk)) = (unrecorded(facts), facts.disk.as_ref().and_then(identity)) else { return };
        // A disk that hangs is not asked for more and more.
        if new.is_empty() || self.holds.recording {
            return;
        }
        self.holds.recording = true;
        let context = self.context.on(disk);
        let tried: BTreeSet<_> = new.keys().cloned().collect();
        let held = move |done| Some(Report::Held { disk, tried, done });
        let lost = held.clone();
        self.context.tasks.run(move |_| lost(false), async move {
            let written = write_holds(&context, new).await;
            match &written {
                Ok(()) => context.look_again().await,
                Err(why) => tracing::error!("a hold is not on record yet: {why}; it is tried again"),
            }
            held(written.is_ok())
        });
    }

    /// Take the end of that writing. What came to be held meanwhile is put on record next; what was tried
    /// is not, whatever came of it: that waits for the next time that everything is tried again.
    pub(in crate::supervisor) fn hear_holds(
        &mut self,
        (disk, tried, done): (Uuid, &BTreeSet<RegionName>, bool),
        facts: &Facts,
    ) {
        self.holds.recording = false;
        let more = unrecorded(facts).keys().any(|name| !tried.contains(name));
        if facts.disk.as_ref().and_then(identity) != Some(disk) || (done && more) {
            self.record_holds(facts);
        }
    }
}

/// Find the holds that the ledger is to have, and does not yet. A region that is not on record has none:
/// with a ledger that was begun anew it is held in memory only, until it is adopted or made again.
fn unrecorded(facts: &Facts) -> BTreeMap<RegionName, Hold> {
    let Some(Ok(known)) = facts.disk.as_ref().map(|disk| &disk.ledger) else { return BTreeMap::new() };
    let new = |(name, _): &(&RegionName, &Hold)| known.regions.contains_key(*name) && !known.holds.contains_key(*name);
    let new = facts.holding.iter().filter(new);
    new.map(|(name, hold)| (name.clone(), hold.clone())).collect()
}

async fn write_holds(context: &Context, new: BTreeMap<RegionName, Hold>) -> Result<(), String> {
    let (root, wanted) = (context.config.sled.storage.root.clone(), context.holds.clone());
    let write = move || {
        let stands = |(name, hold): &(RegionName, Hold)| wanted.all().get(name) == Some(hold);
        let new: Vec<_> = new.into_iter().filter(stands).collect();
        if new.is_empty() {
            return Ok(());
        }
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

/// Take away the hold of a region that `which` says is not to stay, whether it is on record or on its way there, and
/// tell whether there was one.
///
/// # Errors
/// The ledger was not read, or not written: then the region is held as before.
pub(super) async fn take_away(
    context: &Context,
    name: &RegionName,
    which: impl FnOnce(&Hold) -> bool + Send + 'static,
) -> Result<bool, wire::Error> {
    let (root, wanted, region) = (context.config.sled.storage.root.clone(), context.holds.clone(), name.clone());
    let take = move || {
        let recorded = ledger::load(&root)?.ledger.holds.remove(&region);
        let held = recorded.clone().or_else(|| wanted.all().get(&region).cloned());
        if !held.is_some_and(|hold| which(&hold)) {
            return Ok(false);
        }
        if recorded.is_some() {
            ledger::change(&root, |ledger| {
                ledger.holds.remove(&region);
                Ok(())
            })?;
        }
        wanted.take(&region);
        Ok(true)
    };
    context.held(take).await?.map_err(|why| not_recorded(&why))
}

/// Make the error that the ledger was not written.
pub(super) fn not_recorded(why: &std::io::Error) -> wire::Error {
    let message = format!("the ledger was not written: {why}");
    wire::Error::new(Refusal::NotRecorded, message, "see sledctl storage and dmesg, and ask again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::decide::facts::Disk;
    use crate::region::{HeldBy, Mark, Record};
    use crate::supervisor::Supervisor;
    use crate::supervisor::jobs::restart;
    use crate::supervisor::tests::supervisor_of;

    fn of_a_crash_loop() -> Hold {
        Hold { by: HeldBy::CrashLoop, why: "x".into(), remedy: None, since: jiff::Timestamp::UNIX_EPOCH }
    }

    /// With a ledger that was begun anew nothing of a region that is held is on record.
    #[tokio::test]
    async fn a_hold_is_put_on_record_once_and_only_of_a_region_that_is() {
        let (mut supervisor, _inbox) = supervisor_of(config::shipped(""));
        let names: Vec<_> = supervisor.config.local_regions().into_iter().map(|local| local.name).collect();
        let geometry = supervisor.config.local_regions()[0].geometry;
        let mark = Mark::new(supervisor.config.sled.name.clone());
        let uuid = mark.disk;
        let seen = |serial, known: &[usize]| {
            let mut disk = Disk { serial, mounted: true, mark: Ok(Some(mark.clone())), ..Disk::default() };
            let ledger = disk.ledger.as_mut().unwrap();
            for index in known {
                let (uuid, created) = (Uuid::from_u128(*index as u128), jiff::Timestamp::UNIX_EPOCH);
                ledger.regions.insert(names[*index].clone(), Record { uuid, geometry, created, by: "a test".into() });
            }
            disk
        };
        let record = |supervisor: &mut Supervisor| supervisor.jobs.record_holds(&supervisor.facts);
        let hold = |supervisor: &mut Supervisor, index: usize| {
            supervisor.facts.holding.insert(names[index].clone(), of_a_crash_loop());
            record(supervisor);
        };
        let heard = |done: bool, tried: &[usize]| {
            let tried: BTreeSet<_> = tried.iter().map(|index| names[*index].clone()).collect();
            Report::Held { disk: uuid, tried, done }.into()
        };
        supervisor.see_disk(seen(1, &[]));
        hold(&mut supervisor, 0);
        assert!(
            !supervisor.jobs.holds.recording && supervisor.facts.held(&names[0]).is_some(),
            "it is held, and not on record"
        );
        supervisor.see_disk(seen(2, &[0]));
        record(&mut supervisor);
        assert!(supervisor.jobs.holds.recording);
        // It is written, and it is not there: that is no reason to write it once more at once, nor that it failed.
        for done in [true, false] {
            supervisor.hear(heard(done, &[0]));
            assert!(!supervisor.jobs.holds.recording, "{done}");
        }
        // Another one came to be held meanwhile, of a region that is on record, or is not.
        hold(&mut supervisor, 1);
        supervisor.jobs.holds.recording = true;
        supervisor.hear(heard(true, &[0]));
        assert!(!supervisor.jobs.holds.recording);
        supervisor.see_disk(seen(3, &[0, 1]));
        supervisor.hear(heard(true, &[0]));
        assert!(supervisor.jobs.holds.recording);
    }

    /// The disk may take long to have a hold: whoever takes it away meanwhile is not to find it there afterwards.
    #[tokio::test]
    async fn a_hold_that_was_taken_away_on_its_way_to_the_record_does_not_get_there() {
        let dir = tempfile::tempdir().unwrap();
        let storage = format!("[storage]\nroot = \"{}\"\nrequire_mount = false\n", dir.path().display());
        let (supervisor, _inbox) = supervisor_of(config::shipped(&storage));
        let (context, local) = (supervisor.jobs.context(), supervisor.config.local_regions().swap_remove(0));
        let record = Record {
            uuid: Uuid::nil(),
            geometry: local.geometry,
            created: jiff::Timestamp::UNIX_EPOCH,
            by: "a test".into(),
        };
        ledger::begin(dir.path(), &BTreeSet::new()).unwrap();
        ledger::change(dir.path(), |ledger| {
            ledger.regions.insert(local.name.clone(), record);
            Ok(())
        })
        .unwrap();
        let put = || {
            context.holds.all().insert(local.name.clone(), of_a_crash_loop());
            BTreeMap::from([(local.name.clone(), of_a_crash_loop())])
        };
        let held = || ledger::load(dir.path()).unwrap().ledger.holds.contains_key(&local.name);
        let on_its_way = put();
        assert!(!take_away(context, &local.name, |hold| hold.by == HeldBy::Operator).await.unwrap());
        write_holds(context, on_its_way).await.unwrap();
        assert!(held(), "it was not to be taken away");
        assert!(take_away(context, &local.name, |hold| hold.by == HeldBy::CrashLoop).await.unwrap() && !held());
        // Before it is written; and by a release, which takes whatever there is.
        let on_its_way = put();
        assert!(take_away(context, &local.name, |_| true).await.unwrap());
        write_holds(context, on_its_way).await.unwrap();
        assert!(!held());
        let on_its_way = put();
        restart::record(context, &local.name, None).await.unwrap();
        write_holds(context, on_its_way).await.unwrap();
        assert!(!held());
    }
}
