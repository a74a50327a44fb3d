//! Events that the loop hears of what it had done aside.
//!
//! The rule: **an event says what it is a result of**, and nothing is believed for a world that has
//! changed meanwhile. Most name it: a run of a region's unit, a job, a disk, a request. What systemd
//! answered is a result of the connection on which it was asked and of the configuration for which
//! ([`World`]); of another one it is not believed, what had waited for it waits no more, and what
//! there is now is asked for again. Which of the two an event is, is its type: only [`Said`] has a
//! [`World`], and [`Supervisor::hear_systemd`](crate::supervisor::Supervisor::hear_systemd) is the only one to
//! take it. What observers tell is bound in the same way to the observer that told it
//! ([`observe::Told`](crate::observe::Told)).

use crate::act::units::NotRefreshed;
use crate::config::History;
use crate::decide::facts::{Awaited, Busy, Disk, Doing, Run, Start};
use crate::decide::failure::Failure;
use crate::decide::turns::{Denied, Manner};
use crate::desk::request::Request;
use crate::names::{RegionName, VolumeName};
use crate::port_map::Fence;
use crate::programs::Program;
use crate::progress::Step;
use crate::store::drains::Drains;
use crate::supervisor::configuration::reload::{Reading, Recorded};
use crate::supervisor::drains;
use crate::supervisor::fencing::grant::{Answered, Served};
use crate::supervisor::jobs::list::Ended;
use crate::supervisor::maintenance;
use crate::supervisor::systemd::World;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The end of an action, or a step of it.
pub(in crate::supervisor) enum Event {
    /// Result of what systemd was asked, done or not, in the world in which it was asked.
    Systemd(World, Said),
    /// Nothing is left undone on this disk, or it is, and why.
    Settled(Uuid, Result<(), String>),
    /// These adoptions on this disk were undone, but for some that could not be, and why.
    Undone(Uuid, Vec<RegionName>, BTreeMap<RegionName, String>),
    /// The ledger of this disk was begun anew: what lies there is settled by it once more.
    Unsettled(Uuid),
    /// The last words of a downstairs that has ended were looked up.
    Explained(LastWords),
    /// The process that does not answer is doing this; `None` if it has ended.
    Doing(RegionName, Option<Doing>),
    /// The holds of these regions, which were to be put on record on this disk, are there, or are not.
    Held { disk: Uuid, tried: BTreeSet<RegionName>, done: bool },
    /// A job asks whether a region's turn has come.
    Claim(Claim),
    /// The job that has the region's turn does this to it now.
    Mark { job: u64, region: RegionName, busy: Busy },
    /// The job does not need the region any more.
    Free { job: u64, region: RegionName },
    /// A run's process runs this program, as that states it.
    Runs(RegionName, Run, Program),
    /// A configuration was read, for a request, and what it speaks of was looked at.
    Read(Box<Reading>),
    /// A configuration that is to be taken over was put on record, or could not be.
    Recorded(Box<Recorded>),
    /// The configuration in force was kept at last, or could not be again, and why.
    Kept(Result<History, String>),
    /// Somebody who waited for a ticket was served, and this is what he is to be answered.
    Served(Served, Vec<Answered>),
    /// A region is not held any more on this disk.
    Released(Option<Uuid>, RegionName),
    /// Something was to be written of drains, and this became of it.
    Drains(Option<Box<(drains::Order, Drains)>>, std::io::Result<()>),
    /// Something was to be written of maintenance, and this became of it.
    Maintenance(maintenance::Order, std::io::Result<()>),
    /// The machine is being switched off; told when hosts have been told.
    Leaving(oneshot::Sender<()>),
    /// The disk was looked at.
    Seen(Disk),
    /// The disk was looked at, for a request that is to be answered by what is there now.
    Looked(Disk, Request),
    /// A job waits for the word of other sleds, of a region, and nobody waits for the job; or not any more.
    Awaits(RegionName, Option<Awaited>),
    /// An upgrade was begun and has not ended, by its record, or that is not so.
    Unfinished(bool),
    /// The record of jobs that are to be remembered was written, or could not be, and why.
    Noted(Result<(), String>),
    /// The hosts that are connected to a volume were told, or that could not be seen.
    HostsTold(VolumeName),
    /// A job is doing this now.
    Step(u64, Step),
    /// A job at this region has ended, and this is what the disk looked like then.
    Ended(RegionName, Box<Ended>, Option<Disk>),
}

/// Results of what systemd was asked: what it did, or did not do.
pub(in crate::supervisor) enum Said {
    /// The units are known to systemd as they are configured, or are not, and why.
    Refreshed(Result<(), NotRefreshed>),
    /// The wish to start a unit came to this.
    Started(RegionName, Start),
    /// A unit was stopped or restarted, or was not, and why.
    Changed(RegionName, Result<(), String>),
    /// The fence of a region's unit, whom it lets in, was changed, or was not, and why.
    Fenced(RegionName, Fence, Result<(), String>),
    /// These regions run, and are not in the map.
    Strays(Vec<RegionName>),
}

/// Reason why the downstairs of a region's run has ended, and the last lines that it wrote.
pub(in crate::supervisor) struct LastWords {
    pub(in crate::supervisor) region: RegionName,
    pub(in crate::supervisor) run: String,
    pub(in crate::supervisor) failure: Failure,
    pub(in crate::supervisor) lines: Vec<String>,
}

/// A job's question whether a region's turn has come.
pub(in crate::supervisor) struct Claim {
    pub(in crate::supervisor) job: u64,
    pub(in crate::supervisor) region: RegionName,
    pub(in crate::supervisor) manner: Manner,
    pub(in crate::supervisor) reply: oneshot::Sender<Result<(), Denied>>,
}
