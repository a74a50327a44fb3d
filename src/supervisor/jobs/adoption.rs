//! Adoption from its turn to its end: one region after the other, and none while a host would be
//! left with fewer than two of its regions.
//!
//! The order and the way back are decided here; how things are looked at, stopped, moved and
//! started is [`act`](crate::act)'s.

use crate::act::adopt::{self, Candidate};
use crate::act::legacy::{self, Served};
use crate::act::units;
use crate::kernel::processes;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::region::Adoption;
use crate::store::ledger;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::holds::anew;
use crate::supervisor::jobs::host_redundancy::{self, Lack};
use crate::supervisor::jobs::precedence;
use crate::supervisor::jobs::work::Work;
use crate::systemd::{job, names};
use crate::wire::{self, JobKind, Refusal};
use std::path::PathBuf;
use zbus::Connection;

impl Work {
    /// Adopt a region, from this directory or from where it is found.
    pub(in crate::supervisor) fn adopt(local: LocalRegion, from: Option<PathBuf>) -> Self {
        Self::new(JobKind::Adopt, &local.name.clone(), async move |job| {
            adopt(&job.context, &local, from, &job.bus, &job.progress).await
        })
    }
}

/// Adopt a region, or leave everything as it was.
async fn adopt(
    context: &Context,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    let _turn = tokio::select! {
        turn = context.adoptions.lock() => turn,
        () = progress.cancelled() => return Err(cancelled()),
    };
    progress.check().map_err(|_| cancelled())?;
    let name = &local.name;
    let refused = |why: String| {
        let message = format!("{name} is not adopted: {why}");
        wire::Error::new(Refusal::NotAdopted, message, "everything is as it was; mend that and ask again")
    };
    progress.step("checking", 0, 0);
    readable_ledger(context).await.map_err(refused)?;
    let (candidate, served) = proposal(context, local, from, bus).await.map_err(refused)?;
    precedence::may_come_back(context, name, local.geometry, candidate.dir.clone()).await?;
    host_redundancy::wait(context, local, &candidate.dir, progress).await.map_err(|lack| match lack {
        Lack::Cancelled => cancelled(),
        Lack::Of(what) => refused(format!("{what}; taking it down now would leave the host with one")),
    })?;
    host_redundancy::repairable(context, local, &candidate.dir).await.map_err(|why| refused(why.message))?;
    progress.no_way_back().map_err(|_| cancelled())?;
    progress.step("taking it over", 0, 0);
    let noted = adopt::adoption(&candidate, served.as_ref());
    let (root, region, note) = (context.config.sled.storage.root.clone(), name.clone(), noted);
    let begun = context.held(move || adopt::begin(&root, &region, note)).await?;
    // An earlier one that could not be undone has noted how everything was before it.
    let noted = begun.map_err(|why| refused(why.to_string()))?;
    match carry_out(context, local, &candidate, served.as_ref(), bus, progress).await {
        Ok(()) => Ok(format!("adopted from {} as {}", candidate.dir.display(), candidate.json.uuid)),
        Err(why) => {
            progress.step("undoing it", 0, 0);
            match undo(context, name, noted, bus).await {
                Ok(()) => Err(refused(why)),
                Err(undo) => Err(wire::Error::new(
                    Refusal::NotAdopted,
                    format!("{name} is not adopted: {why}; and it could not be undone: {undo}"),
                    "mend that; undoing it is tried again by itself",
                )),
            }
        }
    }
}

/// Make sure that the ledger can be read. If it cannot, adoption begins a new one: the regions
/// themselves tell what it said.
async fn readable_ledger(context: &Context) -> Result<(), String> {
    let root = context.config.sled.storage.root.clone();
    let regions = context.config.local_regions().into_iter().map(|local| local.name).collect();
    let anew = move || -> Result<bool, String> {
        match ledger::load(&root) {
            Ok(_) => Ok(false),
            Err(why) => {
                // One that a newer supervisor wrote is not lost, and this says so.
                let aside = ledger::begin_anew(&root, &regions);
                let aside = aside.map_err(|why| format!("the ledger cannot be read: {why}"))?;
                tracing::warn!("the ledger could not be read ({why}); a new one was begun, the old lies in {aside:?}");
                Ok(true)
            }
        }
    };
    if context.held(anew).await.map_err(|why| why.message)?? {
        // What lies in the trash is found again when the adoptions are done.
        if let Some(disk) = context.disk {
            context.tell(Report::Unsettled(disk)).await;
        }
    }
    Ok(())
}

/// Tell what adopting a region would come to, without doing it.
pub(in crate::supervisor) async fn propose(
    context: &Context,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
) -> wire::Proposal {
    let (port, region) = (local.port, local.name.clone());
    let hosts = tokio::task::spawn_blocking(move || processes::at_port(port)).await;
    let connected = hosts.into_iter().flatten().flatten().collect();
    match proposal(context, local, from, bus).await {
        Err(why) => wire::Proposal { region, from: None, uuid: None, unit: None, connected, problem: Some(why) },
        Ok((candidate, served)) => {
            let (config, local, dir) = (context.config.clone(), local.clone(), candidate.dir.clone());
            let problem = move || match precedence::older_wins(&config, &local.name, local.geometry, &dir) {
                Some(found) => Some(found.to_string()),
                None => host_redundancy::look(&config, &local, &dir).err(),
            };
            let problem = tokio::task::spawn_blocking(problem).await;
            wire::Proposal {
                from: Some(candidate.dir.display().to_string()),
                uuid: Some(candidate.json.uuid),
                unit: served.map(|served| served.unit.name),
                connected,
                problem: problem.unwrap_or_else(|why| Some(why.to_string())),
                region,
            }
        }
    }
}

/// Find what would be adopted: the directory and what serves it, both found to be as they should.
pub(in crate::supervisor) async fn proposal(
    context: &Context,
    local: &LocalRegion,
    from: Option<PathBuf>,
    bus: &Connection,
) -> Result<(Candidate, Option<Served>), String> {
    let (config, region) = (context.config.clone(), local.clone());
    let looked = tokio::task::spawn_blocking(move || adopt::candidate(&config, &region, from.as_deref())).await;
    let candidate = looked.map_err(|why| why.to_string())??;
    let served = legacy::find(bus, &local.name, &candidate.dir).await?;
    let local = local.clone();
    let checking = move || adopt::check_server(&local, &candidate, served.as_ref()).map(|()| (candidate, served));
    tokio::task::spawn_blocking(checking).await.map_err(|why| why.to_string())?
}

/// Stop what served it, take it over, and see it serve.
async fn carry_out(
    context: &Context,
    local: &LocalRegion,
    candidate: &Candidate,
    served: Option<&Served>,
    bus: &Connection,
    progress: &Progress,
) -> Result<(), String> {
    let name = &local.name;
    if let Some(served) = served {
        progress.step("stopping its old unit", 0, 0);
        legacy::switch_off(bus, &served.unit).await?;
    }
    progress.step("taking it over", 0, 0);
    let (config, region, found, own) = (context.config.clone(), name.clone(), candidate.clone(), names::unit(name));
    let taking = move || {
        // What was started since it was looked at; in its place its own unit may run on it.
        let in_place = found.dir == config.region_dir(&region);
        adopt::unused(&found.dir, |runner| in_place && runner.unit.as_ref() == Some(&own))?;
        adopt::take_over(&config, &region, &found).map_err(|why| why.to_string())
    };
    anew(context, name, taking).await.map_err(|why| why.message)??;
    // One that never ran and cannot: there is nobody to wait for.
    if served.is_some_and(|served| served.unit.active) {
        progress.step("starting its new unit", 0, 0);
        context.look_again().await;
        let before = units::invocation(bus, name).await?;
        units::start(bus, name).await?;
        host_redundancy::wait_until_it_serves(context, local, bus, before).await?;
    }
    let (root, region) = (context.config.sled.storage.root.clone(), name.clone());
    let ended = context.held(move || adopt::commit(&root, &region)).await.map_err(|why| why.message)?;
    ended.map_err(|why| why.to_string())
}

/// Undo an adoption wholly: the old unit serves the region again, as it was. Can be done again
/// after a crash.
///
/// # Errors
/// Why it is not undone, in words for an operator; it stays noted.
pub(in crate::supervisor) async fn undo(
    context: &Context,
    name: &RegionName,
    adoption: Adoption,
    bus: &Connection,
) -> Result<(), String> {
    // In place, and running under its own unit: that was so before.
    if adoption.unit.is_some() || adoption.from != context.config.region_dir(name) {
        job::stop(bus, &names::unit(name)).await?;
    }
    let (config, region, unit) = (context.config.clone(), name.clone(), adoption.unit.clone());
    context.held(move || adopt::give_back(&config, &region, &adoption)).await.map_err(|why| why.message)??;
    if let Some(unit) = &unit {
        legacy::switch_on(bus, unit).await?;
    }
    let (root, region) = (context.config.sled.storage.root.clone(), name.clone());
    let ended = context.held(move || adopt::commit(&root, &region)).await.map_err(|why| why.message)?;
    ended.map_err(|why| why.to_string())
}
