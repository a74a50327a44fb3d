//! Recovery of what an earlier supervisor left undone: the directories are settled before anything
//! else is done on the disk, and adoptions that were cut short are undone beside it. Without a memory of its own:
//! how far it is, is a fact.

use crate::act::settle;
use crate::decide::facts::{Busy, Settled};
use crate::names::RegionName;
use crate::store::ledger;
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::adoption;
use crate::supervisor::jobs::context::Context;
use std::collections::BTreeMap;
use uuid::Uuid;
use zbus::Connection;

/// Report of what was done on a disk.
pub(in crate::supervisor) enum Report {
    /// Nothing is left undone on this disk, or it is, and why.
    Settled(Uuid, Result<(), String>),
    /// These adoptions on this disk were undone, but for some that could not be, and why.
    Undone(Uuid, Vec<RegionName>, BTreeMap<RegionName, String>),
}

impl Supervisor {
    /// Take what was done.
    pub(in crate::supervisor) fn hear_recovery(&mut self, report: Report) {
        match report {
            Report::Settled(disk, result) => self.hear_settled(disk, result),
            Report::Undone(disk, names, stuck) => self.hear_undone(disk, names, stuck),
        }
    }

    /// Settle what is on this disk, look at it, and tell the loop.
    pub(in crate::supervisor) fn settle(&mut self, disk: Uuid, bus: Connection) {
        self.facts.settled = Settled::Running;
        let context = self.jobs.context().on(disk);
        let lost = move |why| Some(Report::Settled(disk, Err(why)));
        self.tasks().run(lost, async move {
            let settled = steps(&context, &bus).await;
            context.look_again().await;
            Some(Report::Settled(disk, settled))
        });
    }

    /// Take the end of that settling. Of another disk than is there now it says nothing.
    fn hear_settled(&mut self, disk: Uuid, result: Result<(), String>) {
        self.facts.settled = match result {
            _ if self.lookout.last_disk() != Some(disk) => Settled::No,
            Ok(()) => Settled::Done(disk),
            Err(why) => {
                tracing::error!("what an earlier supervisor left undone cannot be finished: {why}");
                Settled::Failed(why)
            }
        };
    }

    /// Hear that the ledger of this disk was begun anew. Of another disk than is there now that
    /// says nothing.
    pub(in crate::supervisor) fn hear_unsettled(&mut self, disk: Uuid) {
        if self.lookout.last_disk() == Some(disk) {
            self.facts.settled = Settled::No;
        }
    }

    /// Undo adoptions that were cut short, and tell the loop which could not be undone, and why.
    pub(in crate::supervisor) fn undo(&mut self, disk: Uuid, names: Vec<RegionName>, bus: Connection) {
        self.facts.busy.extend(names.iter().map(|name| (name.clone(), Busy::Adopting)));
        let (context, wanted) = (self.jobs.context().on(disk), names.clone());
        let all = move |why: String| names.iter().map(|name| (name.clone(), why.clone())).collect();
        let (lost, failed) = (wanted.clone(), all.clone());
        let lost = move |why| Some(Report::Undone(disk, lost, failed(why)));
        self.tasks().run(lost, async move {
            let stuck = undo_each(&context, &wanted, &bus).await.unwrap_or_else(all);
            context.look_again().await;
            Some(Report::Undone(disk, wanted, stuck))
        });
    }

    /// Take the end of that undoing. What is stuck on another disk than is there now is none of its
    /// business.
    fn hear_undone(&mut self, disk: Uuid, names: Vec<RegionName>, stuck: BTreeMap<RegionName, String>) {
        if self.lookout.last_disk() == Some(disk) {
            self.facts.stuck_adoptions.extend(stuck);
        }
        for name in names {
            self.facts.busy.remove(&name);
        }
    }
}

async fn steps(context: &Context, bus: &Connection) -> Result<(), String> {
    settle::stop_left_over_units(bus).await?;
    let config = context.config.clone();
    let clock = context.clock.clone();
    let left_over = context.held(move || settle::directories(&config, clock.now())).await.map_err(|why| why.message)?;
    let left_over = left_over.map_err(|why| why.to_string())?;
    tokio::task::spawn_blocking(move || settle::sweep(left_over)).await.map_err(|why| why.to_string())
}

async fn undo_each(
    context: &Context,
    names: &[RegionName],
    bus: &Connection,
) -> Result<BTreeMap<RegionName, String>, String> {
    let root = context.config.sled.storage.root.clone();
    let loaded = context.held(move || ledger::load(&root)).await.map_err(|why| why.message)?;
    let noted = loaded.map_err(|why| why.to_string())?.ledger.adoptions;
    let mut stuck = BTreeMap::new();
    for (name, adoption) in noted.into_iter().filter(|(name, _)| names.contains(name)) {
        tracing::warn!(REGION = %name, "undoing the adoption of {name}, which was cut short");
        if let Err(why) = adoption::undo(context, &name, adoption, bus).await {
            tracing::error!(REGION = %name, "the adoption of {name} could not be undone: {why}");
            stuck.insert(name, why);
        }
    }
    Ok(stuck)
}
