//! Long work: it is asked for, waits its turn, tells how far it is, and ends.
//!
//! | module | job |
//! |---|---|
//! | [`list`] | the jobs, how far each is, and how each ended |
//! | [`work`] | work as a job: its kind, its region, what the loop has to know of a kind |
//! | [`creation`], [`deletion`] | regions that come and go |
//! | [`turns`] | whose turn it is at a region |
//! | [`context`] | what all of it has in common |
//! | [`restart`], [`restart_check`], [`program_checks`] | restarting, holding, releasing; and whether a region could start again |
//! | [`host_redundancy`], [`other_sleds`] | what its hosts have beside a region before it goes away |
//! | [`adoption`] | taking regions over from what served them before |
//! | [`scrub`] | holding regions' blocks to their checksums, asked for or by the schedule |
//! | [`upgrade`], [`upgrade_watch`] | another program, rolled over every region |
//! | [`precedence`] | whether what comes back would win over what is newer |
//! | [`repair`] | rotten extents, replaced from siblings |
//! | [`rebuild`], [`filling`] | a region made anew in the place of one that cannot be repaired, and how far it is filled |
//! | [`verification`] | what was being written when the machine ended without a shutdown, held to its checksums |
//! | [`holds`], [`standing_holds`] | regions that the plan holds, until that is on record or taken away |
//! | [`removals`] | what is removed from the trash |
//! | [`endings`] | what is so when a job has ended |

pub(super) mod adoption;
pub(super) mod context;
mod creation;
mod deletion;
pub(super) mod endings;
mod filling;
mod holds;
pub(super) mod host_redundancy;
pub(super) mod list;
pub(super) mod other_sleds;
mod precedence;
mod program_checks;
mod rebuild;
pub(super) mod removals;
mod repair;
pub(super) mod restart;
pub(super) mod restart_check;
pub(super) mod scrub;
mod standing_holds;
mod turns;
pub(super) mod upgrade;
pub(super) mod upgrade_watch;
pub(super) mod verification;
pub(super) mod work;

use crate::config::Configuration;
use crate::decide::facts::{Awaited, Busy, Disk};
use crate::names::{RegionName, VolumeName};
use crate::progress::Step;
use crate::region::verification::Verified;
use crate::region::{Ledger, Tombstone};
use crate::wire;
use context::Context;
use holds::Holds;
use host_redundancy::Looks;
use list::Ended;
use removals::Removals;
use scrub::Scheduled;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::oneshot;
use turns::{Claim, Turns};
use uuid::Uuid;

/// Report of a job: how far it is, what it needs, or that it has ended.
pub(super) enum Report {
    /// A job asks whether a region's turn has come.
    Claim(Claim),
    /// The job that has the region's turn does this to it now.
    Mark { job: u64, region: RegionName, busy: Busy },
    /// A job waits until what it told before was heard.
    Heard(oneshot::Sender<()>),
    /// The job does not need the region any more.
    Free { job: u64, region: RegionName },
    /// The holds of these regions, which were to be put on record on this disk, are there, or are not.
    Held { disk: Uuid, tried: BTreeSet<RegionName>, done: bool },
    /// A region is not held any more on this disk.
    Released(Option<Uuid>, RegionName),
    /// The ledger of this disk was begun anew: what lies there is to be settled by it once more.
    Unsettled(Uuid),
    /// The disk was looked at.
    Seen(Disk),
    /// A job waits for the word of other sleds, of a region, and nobody waits for the job; or not any more.
    Awaits(RegionName, Option<Awaited>),
    /// The record of jobs that are to be remembered was written, or could not be, and why.
    Noted(Result<(), String>),
    /// The hosts that are connected to a volume were told, or that could not be seen.
    HostsTold(VolumeName),
    /// How far the verification of this region is, or what came of it.
    Verified(RegionName, Verified),
    /// A job is doing this now.
    Step(u64, Step),
    /// A job at this region has ended, and this is what the disk looked like then.
    Ended(RegionName, Box<Ended>, Option<Disk>),
}

/// Work that is under way, and what it has in common.
pub(super) struct Jobs {
    /// List of the jobs, as it is shown.
    pub(super) list: list::Jobs,
    turns: Turns,
    removals: Removals,
    looks: Looks,
    holds: Holds,
    scheduled: Scheduled,
    /// Repairs that nobody asked for.
    repairs: Scheduled,
    context: Context,
}

impl Jobs {
    /// Begin with none that is under way.
    pub(super) fn new(list: list::Jobs, context: Context) -> Self {
        let (turns, removals, looks, holds, scheduled, repairs) = Default::default();
        Self { list, turns, removals, looks, holds, scheduled, repairs, context }
    }

    /// Share what all work has in common.
    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// Take over another configuration. What is under way goes on with what it began with.
    pub(super) fn take_over(&mut self, config: Arc<Configuration>) {
        self.context.config = config;
    }

    /// Name the job that is at a region.
    pub(super) fn at(&self, region: &RegionName) -> Option<u64> {
        self.turns.at(region)
    }

    /// Record that a job that was begun is at this region.
    pub(super) fn begin_turn(&mut self, region: RegionName, job: u64) {
        self.turns.begin(region, job);
    }

    /// Find the supervisor's own job that has tried to remove this before, if one has.
    pub(super) fn own_removal(&self, stone: &Tombstone) -> Option<u64> {
        self.removals.own_job_of(&stone.dir())
    }

    /// Record that a job begins to remove a directory from the trash.
    pub(super) fn begin_removal(&mut self, job: &wire::Job, dir: String) {
        self.removals.begin(job, dir);
    }

    /// Tell what could not be removed, until it is time to try it again.
    pub(super) fn stuck_removals(&self) -> BTreeSet<String> {
        self.removals.waiting()
    }

    /// Forget what is not in the trash any more, by the ledger.
    pub(super) fn see(&mut self, ledger: &Ledger) {
        self.removals.see(ledger);
    }

    /// Return the volumes whose hosts are being looked for.
    #[cfg(test)]
    pub(super) fn looks(&self) -> &Looks {
        &self.looks
    }
}
