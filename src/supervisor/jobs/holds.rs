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

    /// Forget what is to be held, as that lies on another disk than the one that is here by now.
    pub(in crate::supervisor) fn forget_holds(&self) {
        self.context.holds.all().clear();
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

/// Change which region is on record by a name, while nobody else changes the ledger: what was held against the one before,
/// and is on its way to the record still, is not held against the next.
///
/// # Errors
/// It is another disk by now, or the change was cut short. If the change itself fails, nothing is forgotten.
pub(super) async fn anew<T: Send + 'static, E: Send + 'static>(
    context: &Context,
    name: &RegionName,
    change: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<Result<T, E>, wire::Error> {
    let (wanted, name) = (context.holds.clone(), name.clone());
    let change = move || change().inspect(|_| _ = wanted.take(&name));
    context.held(change).await
}

/// Hold a region on record, and tell whether it was held before: then by the hold that there was, be that on record or on
/// its way there. The region is marked by its job: after this none comes that was decided before.
///
/// # Errors
/// The ledger was not read, or not written.
pub(super) async fn keep(context: &Context, name: &RegionName, hold: Hold) -> Result<bool, wire::Error> {
    context.heard().await;
    let (root, wanted, region) = (context.config.sled.storage.root.clone(), context.holds.clone(), name.clone());
    let keep = move || {
        if ledger::load(&root)?.ledger.holds.contains_key(&region) {
            return Ok(true);
        }
        let waiting = wanted.of(&region);
        let held = waiting.is_some();
        ledger::change(&root, |ledger| {
            ledger.holds.insert(region, waiting.unwrap_or(hold));
            Ok(held)
        })
    };
    context.held(keep).await?.map_err(|why| not_recorded(&why))
}

/// Outcome of taking a hold away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    /// The hold was taken away.
    Taken,
    /// The region was not held.
    NotHeld,
    /// The hold is one that is to stay.
    Stays,
}

/// Take away the hold of a region that `which` says is not to stay, whether it is on record or on its way there.
///
/// # Errors
/// The ledger was not read, or not written: then the region is held as before.
pub(super) async fn take_away(
    context: &Context,
    name: &RegionName,
    which: impl FnOnce(&Hold) -> bool + Send + 'static,
) -> Result<Taking, wire::Error> {
    let (root, wanted, region) = (context.config.sled.storage.root.clone(), context.holds.clone(), name.clone());
    let take = move || {
        let recorded = ledger::load(&root)?.ledger.holds.remove(&region);
        let Some(hold) = recorded.clone().or_else(|| wanted.of(&region)) else { return Ok(Taking::NotHeld) };
        if !which(&hold) {
            return Ok(Taking::Stays);
        }
        if recorded.is_some() {
            ledger::change(&root, |ledger| {
                ledger.holds.remove(&region);
                Ok(())
            })?;
        }
        wanted.take(&region);
        Ok(Taking::Taken)
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
    use crate::port_map::LocalRegion;
    use crate::region::{HeldBy, Mark, Record};
    use crate::store::places;
    use crate::supervisor::Supervisor;
    use crate::supervisor::jobs::restart::{self, Standing};
    use crate::supervisor::tasks::Tasks;
    use crate::supervisor::tests::supervisor_of;
    use tokio::sync::mpsc;

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

    /// A disk with a ledger that has one region, and work on it that tells what it tells here.
    struct Scene {
        dir: tempfile::TempDir,
        context: Context,
        local: LocalRegion,
    }

    impl Scene {
        fn begin() -> (Self, mpsc::Receiver<Report>) {
            let dir = tempfile::tempdir().unwrap();
            let storage = format!("[storage]\nroot = \"{}\"\nrequire_mount = false\n", dir.path().display());
            let (supervisor, _inbox) = supervisor_of(config::shipped(&storage));
            let local = supervisor.config.local_regions().swap_remove(0);
            let (tell, told) = mpsc::channel(9);
            let context = Context { tasks: Tasks::new(tell), ..supervisor.jobs.context().clone() };
            ledger::begin(dir.path(), &BTreeSet::new()).unwrap();
            let scene = Self { dir, context, local };
            scene.on_record();
            (scene, told)
        }

        fn on_record(&self) {
            let (geometry, created) = (self.local.geometry, jiff::Timestamp::UNIX_EPOCH);
            let record = Record { uuid: Uuid::nil(), geometry, created, by: "a test".into() };
            ledger::change(self.dir.path(), |ledger| {
                ledger.regions.insert(self.local.name.clone(), record);
                Ok(())
            })
            .unwrap();
        }

        /// Hold the region in memory only, as long as nobody writes that.
        fn hold(&self) -> BTreeMap<RegionName, Hold> {
            self.context.holds.all().insert(self.local.name.clone(), of_a_crash_loop());
            BTreeMap::from([(self.local.name.clone(), of_a_crash_loop())])
        }

        /// Hear, as the loop, what work waits for; and decide before that on a hold, if it is to.
        async fn hear(&self, told: &mut mpsc::Receiver<Report>, holds: bool) {
            let Some(Report::Heard(all)) = told.recv().await else { panic!("the loop was not waited for") };
            if holds {
                self.hold();
            }
            all.send(()).unwrap();
        }

        fn held(&self) -> Option<HeldBy> {
            let ledger = ledger::load(self.dir.path()).unwrap().ledger;
            ledger.holds.get(&self.local.name).map(|hold| hold.by)
        }

        async fn take(&self, by: HeldBy) -> Taking {
            take_away(&self.context, &self.local.name, move |hold| hold.by == by).await.unwrap()
        }

        async fn standing(&self) -> Standing {
            restart::standing(&self.context, &self.local.name).await.unwrap()
        }
    }

    /// The disk may take long to have a hold: whoever takes it away meanwhile is not to find it there afterwards.
    #[tokio::test]
    async fn a_hold_that_was_taken_away_on_its_way_to_the_record_does_not_get_there() {
        let (scene, _told) = Scene::begin();
        let (context, name) = (&scene.context, &scene.local.name);
        assert_eq!(scene.take(HeldBy::CrashLoop).await, Taking::NotHeld);
        let on_its_way = scene.hold();
        assert_eq!(scene.take(HeldBy::Operator).await, Taking::Stays);
        write_holds(context, on_its_way).await.unwrap();
        assert!(scene.held().is_some(), "it was not to be taken away");
        assert!(scene.take(HeldBy::CrashLoop).await == Taking::Taken && scene.held().is_none());
        // Before it is written; and by a release, which takes whatever there is.
        let on_its_way = scene.hold();
        assert_eq!(scene.take(HeldBy::CrashLoop).await, Taking::Taken);
        write_holds(context, on_its_way).await.unwrap();
        assert!(scene.held().is_none());
        let on_its_way = scene.hold();
        restart::record(context, name, None).await.unwrap();
        write_holds(context, on_its_way).await.unwrap();
        assert!(scene.held().is_none());
        // And by whatever puts another region in its place.
        let on_its_way = scene.hold();
        let failed = anew(context, name, || Err::<(), _>("it was not put there")).await.unwrap();
        assert!(failed.is_err() && scene.standing().await == Standing::Held);
        anew(context, name, || Ok::<_, ()>(())).await.unwrap().unwrap();
        write_holds(context, on_its_way).await.unwrap();
        assert!(scene.held().is_none() && scene.standing().await == Standing::Kept);
    }

    /// A hold counts that the loop has decided on before it hears that the region is marked, however late that is.
    #[tokio::test]
    async fn a_region_is_held_whether_that_is_on_record_or_on_its_way_there() {
        let by_operator = || Hold { by: HeldBy::Operator, ..of_a_crash_loop() };
        for (holds, known, by) in [(true, true, HeldBy::CrashLoop), (false, false, HeldBy::Operator)] {
            let (scene, mut told) = Scene::begin();
            assert_eq!(scene.standing().await, Standing::Kept);
            let keep = keep(&scene.context, &scene.local.name, by_operator());
            let (held, ()) = tokio::join!(keep, scene.hear(&mut told, holds));
            assert_eq!((held.unwrap(), scene.held()), (known, Some(by)));
            assert_eq!(scene.standing().await, Standing::Held);
        }
        let (scene, _told) = Scene::begin();
        scene.hold();
        assert!(scene.held().is_none() && scene.standing().await == Standing::Held);
        places::forget(scene.dir.path(), &scene.local.name).unwrap();
        assert_eq!(scene.standing().await, Standing::Gone);
    }

    #[tokio::test]
    async fn a_hold_of_which_is_heard_late_is_forgiven_or_stays() {
        for forgives in [true, false] {
            let (scene, mut told) = Scene::begin();
            let forgive = restart::forgive(&scene.context, &scene.local.name, move |_| forgives);
            let (free, ()) = tokio::join!(forgive, scene.hear(&mut told, true));
            assert_eq!(free.unwrap(), forgives);
            assert_eq!(scene.standing().await == Standing::Kept, forgives);
            // Of one that stays the loop keeps what it has.
            let released = std::iter::from_fn(|| told.try_recv().ok()).any(|told| matches!(told, Report::Released(..)));
            assert_eq!(released, forgives);
        }
    }
}
