//! What is so when a job has ended: who was at a region leaves it, what was held against it is not held
//! against what takes its place, and what waited for the job goes on.

use crate::decide::facts::{Busy, Disk, Start};
use crate::names::RegionName;
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::list::Ended;
use crate::wire::JobKind;

impl Supervisor {
    /// Takes the end of a job at a region, and what the disk looked like then.
    pub(in crate::supervisor) fn end(&mut self, name: &RegionName, ended: Ended, disk: Option<Disk>) {
        let (id, why) = (ended.id, ended.result.as_ref().err().cloned());
        let well = why.is_none();
        self.end_removal(id, well, name);
        self.end_upgrade(id);
        let made_anew = well && self.makes_anew(id);
        self.facts.awaiting.retain(|_, awaited| awaited.job != id);
        self.jobs.end(ended);
        self.moved(id, why.as_ref());
        match disk {
            Some(disk) => self.see_disk(disk),
            None => self.observers.look_at_disk(),
        }
        if made_anew {
            self.released(name);
        }
        // Only the job that is at a region leaves it: a removal of what it was is not.
        if self.workers.get(name) == Some(&id) {
            self.is_left(name);
        }
        self.observers.look_at_sockets();
        self.move_next();
    }

    /// If it was a removal: in vain, it is tried again later.
    fn end_removal(&mut self, id: u64, well: bool, name: &RegionName) {
        if let Some(pause) = self.removals.end(id, well) {
            tracing::warn!(REGION = %name, "the removal is tried again in {} s", pause.as_secs());
        }
        self.facts.stuck_removals = self.removals.waiting();
        self.facts.removing = self.removals.is_busy();
    }

    /// If it was the upgrade: it leaves every region that it was at.
    fn end_upgrade(&mut self, id: u64) {
        if self.facts.upgrading.take_if(|job| *job == id).is_none() {
            return;
        }
        self.look_for_upgrade();
        self.workers.retain(|name, job| {
            let others = *job != id;
            if !others {
                self.facts.busy.remove(name);
            }
            others
        });
    }

    /// Whether a job puts another region in a region's place.
    fn makes_anew(&self, id: u64) -> bool {
        let kinds = [JobKind::Create, JobKind::Delete, JobKind::Restore, JobKind::Adopt];
        self.jobs.all().get(&id).is_some_and(|job| kinds.contains(&job.kind))
    }

    /// Nobody is at a region any more.
    fn is_left(&mut self, name: &RegionName) {
        self.workers.remove(name);
        let was = self.facts.busy.remove(name);
        let creating = self.facts.busy.values().any(|busy| *busy == Busy::Creating);
        match creating {
            true if was == Some(Busy::Creating) => _ = self.facts.just_created.insert(name.clone()),
            true => {}
            false => self.facts.just_created.clear(),
        }
        self.region(name, |region| region.start = Start::Idle);
    }
}
