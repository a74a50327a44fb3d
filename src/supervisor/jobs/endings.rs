//! Endings of jobs, and what is so then: who was at a region leaves it, what was held against it is not
//! held against what takes its place, and what waited for the job goes on.

use crate::decide::facts::{Busy, Disk, Facts, Start};
use crate::names::RegionName;
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::Jobs;
use crate::supervisor::jobs::list::Ended;
use crate::supervisor::jobs::work::Conduct;

impl Supervisor {
    /// Take the end of a job at a region, and what the disk looked like then.
    pub(in crate::supervisor) fn end(&mut self, name: &RegionName, ended: Ended, disk: Option<Disk>) {
        let (id, why) = (ended.id, ended.result.as_ref().err().cloned());
        let well = why.is_none();
        self.jobs.end_removal(id, well, name, &mut self.facts);
        if self.jobs.end_upgrade(id, &mut self.facts) {
            self.look_for_upgrade();
        }
        let made_anew = well && self.jobs.makes_anew(id);
        self.facts.awaiting.retain(|_, awaited| awaited.job != id);
        let scrubbed = self.facts.scrubbing.get(name) == Some(&id);
        self.facts.scrubbing.retain(|_, job| *job != id);
        self.jobs.list.end(ended);
        self.moved(id, why.as_ref());
        match disk {
            Some(disk) => self.see_disk(disk),
            None => self.lookout.observers.look_at_disk(),
        }
        if scrubbed {
            self.end_verification(name, why.as_ref());
        }
        if made_anew {
            self.lookout.released(name, &self.config, &mut self.facts);
        }
        // Only the job that is at a region leaves it: a removal of what it was is not.
        if self.jobs.is_at(name, id) {
            self.jobs.leave(name, &mut self.facts);
            self.region(name, |region| region.start = Start::Idle);
        }
        self.lookout.observers.look_at_sockets();
        self.move_next();
    }
}

impl Jobs {
    /// End a removal, if it was one: in vain, it is tried again later.
    fn end_removal(&mut self, id: u64, well: bool, name: &RegionName, facts: &mut Facts) {
        if let Some(pause) = self.removals.end(id, well) {
            tracing::warn!(REGION = %name, "the removal is tried again in {} s", pause.as_secs());
        }
        facts.stuck_removals = self.removals.waiting();
        facts.removing = self.removals.is_busy();
    }

    /// End the upgrade, if it was that, and tell whether it was: it leaves every region that it was at.
    fn end_upgrade(&mut self, id: u64, facts: &mut Facts) -> bool {
        let upgrade = facts.upgrading.take_if(|job| *job == id).is_some();
        if upgrade {
            self.turns.leave(id).iter().for_each(|region| _ = facts.busy.remove(region));
        }
        upgrade
    }

    /// Tell whether a job puts another region in a region's place.
    fn makes_anew(&self, id: u64) -> bool {
        self.list.all().get(&id).is_some_and(|job| Conduct::of(job.kind).makes_anew())
    }

    /// Record that nobody is at a region any more.
    fn leave(&mut self, name: &RegionName, facts: &mut Facts) {
        self.turns.end(name);
        let was = facts.busy.remove(name);
        let creating = facts.busy.values().any(|busy| *busy == Busy::Creating);
        if !creating {
            facts.just_created.clear();
        } else if was == Some(Busy::Creating) {
            facts.just_created.insert(name.clone());
        }
    }
}
