//! Verification of a region as a job that nobody asks for: a scrub of what may be wrong since the machine ended without a
//! shutdown, for which the region waits. A region that has nothing of that waits for no other.

use crate::act::scrub::Wish;
use crate::act::scrub::verify::{choose, verify};
use crate::metrics::Counts;
use crate::names::RegionName;
use crate::region::Record;
use crate::region::verification::{Outcome as Came, Verified};
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{cancelled, cut_short};
use crate::supervisor::jobs::scrub::{refusal, wrong};
use crate::supervisor::jobs::work::{Job, Outcome, Work};
use crate::wire::JobKind;
use jiff::Timestamp;

/// Verification that is to be done.
#[derive(Debug)]
pub(in crate::supervisor) struct Due {
    pub(in crate::supervisor) region: (RegionName, Record),
    pub(in crate::supervisor) siblings: Vec<(RegionName, Record)>,
    /// How far it is.
    pub(in crate::supervisor) known: Verified,
    /// The time since when a file counts as changed; `None`: all do.
    pub(in crate::supervisor) since: Option<Timestamp>,
    pub(in crate::supervisor) counts: Counts,
}

impl Work {
    /// Verify a region.
    pub(in crate::supervisor) fn verify(due: Due) -> Self {
        let name = due.region.0.clone();
        Self::new(JobKind::Scrub, &name, async move |job| run(job, due).await)
    }
}

async fn run(Job { context, progress, .. }: Job, due: Due) -> Outcome {
    let Due { region, siblings, known, since, counts } = due;
    let name = region.0.clone();
    let sled = &context.config.sled;
    let (storage, disk) = (sled.storage.clone(), context.disk.unwrap_or_default());
    let wish = Wish { storage, disk, region, siblings, rate: u64::MAX, pressures: Vec::new() };
    let (chooser, from) = (wish.clone(), known.next);
    let choosing = tokio::task::spawn_blocking(move || choose(&chooser, since, from));
    let extents = tokio::select! {
        chosen = choosing => chosen.map_err(|why| cut_short(&why))?,
        () = progress.cancelled() => return Err(cancelled()),
    };
    let verified = if extents.is_empty() {
        Verified { outcome: Some(Came::Through), ..known }
    } else {
        let _turn = tokio::select! {
            turn = context.verifications.lock() => turn,
            () = progress.cancelled() => return Err(cancelled()),
        };
        let (tasks, of) = (context.tasks.clone(), name.clone());
        let tell = move |verified| tasks.tell_if_room(Report::Verified(of.clone(), verified));
        verify(wish, (extents, known), progress, counts, tell).await.map_err(|why| refusal(&name, &why))?
    };
    context.tell(Report::Verified(name.clone(), verified.clone())).await;
    let extents = verified.extents;
    let looked = format!("{extents} extent(s) that may be wrong since the machine ended without a shutdown");
    match wrong(&name, (verified.rotten, verified.unreadable), None, &looked) {
        None => Ok(format!("nothing is wrong with {looked}")),
        Some(wrong) => Err(wrong),
    }
}
