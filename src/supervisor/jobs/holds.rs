//! Regions that are held: at once in memory, and on record as soon as the disk has it. What could not be written is
//! tried again with everything else.

use crate::decide::facts::Facts;
use crate::decide::storage::identity;
use crate::names::RegionName;
use crate::region::Hold;
use crate::store::ledger;
use crate::supervisor::jobs::context::Context;
use crate::supervisor::jobs::{Jobs, Report};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::decide::facts::Disk;
    use crate::region::{HeldBy, Mark, Record};
    use crate::supervisor::Supervisor;
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
}
