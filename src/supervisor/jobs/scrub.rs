//! Scrub of a region as a job: one at a time on the sled, whoever asks; and those that nobody asks for.

use crate::act::scrub::{ScrubError, Wish, scrub};
use crate::check::Code;
use crate::decide::scrub::{due, may_scrub, siblings};
use crate::metrics::Counts;
use crate::names::RegionName;
use crate::observe::observer::Kernel;
use crate::region::Record;
use crate::region::scrub::{BlockFault, Scrubs};
use crate::size::spoken;
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::context::cancelled;
use crate::supervisor::jobs::work::{Job, Outcome, Work};
use crate::times;
use crate::wire::{self, JobKind, Refusal};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Time before a region is tried again by the schedule: one that could not be begun was not put on record.
const TRIED_PAUSE: Duration = Duration::from_hours(1);
/// Control group of all regions' units: a template's instances have one of their own (systemd.unit(5)).
const REGIONS: &str = "fs/cgroup/system.slice/system-crucible\\x2ddownstairs.slice/io.pressure";

/// Scrubs, or repairs, that nobody asked for and that were begun, and when.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Scheduled(BTreeMap<RegionName, Instant>);

impl Scheduled {
    /// Tell whether a region was begun with a short time ago.
    pub(super) fn lately(&self, name: &RegionName) -> bool {
        self.0.get(name).is_some_and(|tried| tried.elapsed() < TRIED_PAUSE)
    }

    /// Note that a region is begun with.
    pub(super) fn note(&mut self, name: RegionName) {
        self.0.insert(name, Instant::now());
    }
}

/// Scrub that was granted.
#[derive(Debug)]
pub(in crate::supervisor) struct Granted {
    region: (RegionName, Record),
    siblings: Vec<(RegionName, Record)>,
    pressures: Vec<PathBuf>,
    counts: Counts,
}

impl Work {
    /// Scrub a region.
    pub(in crate::supervisor) fn scrub(granted: Granted) -> Self {
        let name = granted.region.0.clone();
        Self::new(JobKind::Scrub, &name, async move |job| run(job, granted).await)
    }
}

async fn run(Job { context, progress, .. }: Job, granted: Granted) -> Outcome {
    let Granted { region, siblings, pressures, counts } = granted;
    // The regions of a volume never are read at the same time, nor two of others: they have one disk.
    let _turn = tokio::select! {
        turn = context.scrubs.lock() => turn,
        () = progress.cancelled() => return Err(cancelled()),
    };
    let sled = &context.config.sled;
    let (storage, rate, disk) = (sled.storage.clone(), sled.scrub.rate, context.disk.unwrap_or_default());
    let name = region.0.clone();
    let wish = Wish { storage, disk, region, siblings, rate, pressures };
    let done = scrub(wish, progress, counts).await.map_err(|why| refusal(&name, &why))?;
    outcome(&name, &done)
}

/// How a scrub that has not come to its end reads.
pub(super) fn refusal(name: &RegionName, why: &ScrubError) -> wire::Error {
    let (code, remedy) = match why {
        ScrubError::Cancelled(_) => return cancelled(),
        ScrubError::Gone(_) => (Refusal::RegionUnknown, format!("see sledctl region show {name}, and sledctl storage")),
        ScrubError::Failed(_) => (Refusal::ScrubFailed, format!("mend that; then: sledctl region scrub {name}")),
        ScrubError::Unrecorded(_) => (Refusal::NotRecorded, "see sledctl storage and dmesg, and ask again".to_owned()),
    };
    wire::Error::new(code, format!("the scrub of {name} has not come to its end: {why}"), remedy)
}

/// What came of one that has.
fn outcome(name: &RegionName, done: &Scrubs) -> Outcome {
    let (read, blocks) = (spoken(done.last.bytes), done.last.blocks);
    let restless = match done.last.restless {
        0 => String::new(),
        count => format!(", {count} were being written all the time"),
    };
    let looked = format!("{read} were read, {blocks} written block(s) looked at{restless}");
    match wrong(name, (done.rotten(), done.unreadable()), done.faults.first(), &looked) {
        None => Ok(format!("nothing is wrong: {looked}")),
        Some(wrong) => Err(wrong),
    }
}

/// How what was found reads, if anything was.
pub(super) fn wrong(
    name: &RegionName,
    (rotten, unreadable): (u64, u64),
    first: Option<&BlockFault>,
    looked: &str,
) -> Option<wire::Error> {
    if rotten == 0 && unreadable == 0 {
        return None;
    }
    let first = first.map(|fault| format!("; the first: {fault}")).unwrap_or_default();
    let what = [(rotten, "block(s) are not what their checksums say"), (unreadable, "place(s) could not be read")];
    let what = what.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let message = format!("{name}: {}{first}; {looked}", what.collect::<Vec<_>>().join(", and "));
    let code = if rotten > 0 { Code::RegionBitrot } else { Code::ScrubUnfinished };
    Some(wire::Error::new(
        code,
        message,
        format!("see all of them, and what the siblings have: sledctl region show {name}"),
    ))
}

impl Supervisor {
    /// Begin a scrub, if it may be.
    pub(in crate::supervisor) fn scrub(&mut self, name: &RegionName) -> Result<wire::Granted, wire::Error> {
        let granted = self.may_scrub(name)?;
        self.grant(Work::scrub(granted))
    }

    fn may_scrub(&self, name: &RegionName) -> Result<Granted, wire::Error> {
        let record = may_scrub(&self.config, &self.facts, name)?;
        let Kernel { sysfs, proc, .. } = self.lookout.observers.kernel();
        Ok(Granted {
            region: (name.clone(), record),
            siblings: siblings(&self.config, &self.facts, name),
            pressures: vec![sysfs.join(REGIONS), proc.join("pressure/io")],
            counts: self.lookout.counts.clone(),
        })
    }

    /// Begin the scrub that is due by the schedule, if one is.
    pub(in crate::supervisor) fn scrub_what_is_due(&mut self) {
        let (Some(name), Some(disk)) = (due(&self.config, &self.facts, times::now()), self.disk()) else { return };
        let lately = self.jobs.scheduled.lately(&name);
        let (Ok(granted), Some(bus), false) = (self.may_scrub(&name), self.systemd.bus().cloned(), lately) else {
            return;
        };
        self.jobs.scheduled.note(name);
        self.begin_unasked(Work::scrub(granted), bus, disk);
    }
}
