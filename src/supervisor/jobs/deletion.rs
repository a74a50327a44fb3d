//! Deletion of a region, its way back, and its removal for good: each from its turn to its end, and how a failure
//! reads. When what could not be removed is tried again is [`removals`](crate::supervisor::jobs::removals)' matter.

use crate::act::{adopt, trash};
use crate::decide::permits::{Deletion, in_use};
use crate::kernel::processes::{at_port, listening, runners};
use crate::names::RegionName;
use crate::progress::Progress;
use crate::region::Tombstone;
use crate::store::layout::TRASH;
use crate::store::ledger;
use crate::store::places;
use crate::store::region_dir::allocated;
use crate::supervisor::jobs::context::{Context, cancelled};
use crate::supervisor::jobs::holds::anew;
use crate::supervisor::jobs::precedence;
use crate::supervisor::jobs::work::{Job, Work};
use crate::systemd::{job, names};
use crate::wire::{self, JobKind, Refusal};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Time between looks how far a removal is.
const REMOVAL_POLL: Duration = Duration::from_secs(1);

impl Work {
    /// Delete a region: it is kept in the trash, or only taken off the record.
    pub(in crate::supervisor) fn delete(name: RegionName, deletion: Deletion) -> Self {
        Self::new(JobKind::Delete, &name.clone(), async move |job| {
            job.context.delete(&name, deletion, &job.bus, &job.progress).await
        })
    }

    /// Give a deleted region its place again.
    pub(in crate::supervisor) fn restore(stone: Tombstone) -> Self {
        Self::new(JobKind::Restore, &stone.region.clone(), async move |job| {
            job.context.restore(stone, &job.progress).await
        })
    }

    /// Remove a deleted region for good.
    pub(in crate::supervisor) fn purge(stone: Tombstone) -> Self {
        let (region, dir) = (stone.region.clone(), stone.dir());
        let work = async move |job: Job| job.context.purge(stone, &job.bus, &job.progress).await;
        Self::new(JobKind::Purge, &region, work).removing(dir)
    }
}

impl Context {
    async fn delete(
        &self,
        name: &RegionName,
        deletion: Deletion,
        bus: &zbus::Connection,
        progress: &Progress,
    ) -> Result<String, wire::Error> {
        progress.no_way_back().map_err(|_| cancelled())?;
        progress.step("stopping its unit", 0, 0);
        let failed = |why: String| {
            let message = format!("{name} was not deleted: {why}");
            wire::Error::new(Refusal::DeleteFailed, message, "it is where it was; mend that and ask again")
        };
        // One that connected since the request was granted, or that others serve.
        let hosts = self.hosts(name).await.map_err(failed)?;
        if !hosts.is_empty() {
            return Err(in_use(name, &hosts));
        }
        let root = self.config.sled.storage.root.clone();
        let room = self.held(move || ledger::keep_room(&root)).await?;
        room.map_err(|why| failed(format!("that cannot be put on record: {why}; nothing was stopped")))?;
        job::stop(bus, &names::unit(name)).await.map_err(failed)?;
        let (root, place, name) = (self.config.sled.storage.root.clone(), self.config.region_dir(name), name.clone());
        let (keep, clock) = (self.config.sled.storage.keep_deleted, self.clock.clone());
        let of = name.clone();
        let done = anew(self, &of, move || match deletion {
            Deletion::Forget(record) => {
                places::forget(&root, &name).map(|()| format!("{} was taken off the record", record.uuid))
            }
            Deletion::Bury(_) => adopt::unused(&place, |_| false)
                .map_err(std::io::Error::other)
                .and_then(|()| places::bury(&root, &name, clock.stamp()))
                .map(|stone| format!("deleted; kept for {keep} as {}", stone.dir())),
        });
        done.await?.map_err(|why| failed(why.to_string()))
    }

    /// Find who is connected to the volume: by the ports of its regions on this sled, whoever
    /// listens there, and by what runs on this region, wherever that listens.
    pub(in crate::supervisor) async fn hosts(&self, name: &RegionName) -> Result<BTreeSet<IpAddr>, String> {
        let (config, name) = (self.config.clone(), name.clone());
        let look = move || -> std::io::Result<BTreeSet<IpAddr>> {
            let local = config.local_regions().into_iter().filter(|local| local.name.volume() == name.volume());
            let mut ports: BTreeSet<u16> = local.map(|local| local.port).collect();
            for runner in runners(&config.region_dir(&name))? {
                ports.extend(listening(runner.pid)?);
            }
            let hosts: Vec<_> = ports.into_iter().map(at_port).collect::<Result<_, _>>()?;
            Ok(hosts.into_iter().flatten().collect())
        };
        let looked = tokio::task::spawn_blocking(look).await.map_err(|why| why.to_string())?;
        looked.map_err(|why| format!("it cannot be told who is connected: {why}"))
    }

    async fn restore(&self, stone: Tombstone, progress: &Progress) -> Result<String, wire::Error> {
        progress.step("comparing it with its siblings", 0, 0);
        let dir = self.config.sled.storage.root.join(TRASH).join(stone.dir());
        precedence::may_come_back(self, &stone.region, stone.record.geometry, dir).await?;
        progress.no_way_back().map_err(|_| cancelled())?;
        progress.step("putting it in place", 0, 0);
        let (root, name) = (self.config.sled.storage.root.clone(), stone.region.clone());
        let uuid = stone.record.uuid;
        let done = anew(self, &name, move || places::restore(&root, &stone)).await?;
        done.map(|()| format!("restored as {uuid}")).map_err(|why| {
            let message = format!("{name} was not restored: {why}");
            wire::Error::new(Refusal::RestoreFailed, message, "it is in the trash as before; mend that and ask again")
        })
    }

    async fn purge(
        &self,
        stone: Tombstone,
        bus: &zbus::Connection,
        progress: &Progress,
    ) -> Result<String, wire::Error> {
        progress.no_way_back().map_err(|_| cancelled())?;
        progress.step("removing", 0, 0);
        let failed = |why: String| {
            let message = format!("{} was not removed for good: {why}", stone.dir());
            wire::Error::new(Refusal::PurgeFailed, message, "mend that; what has begun is tried again by itself")
        };
        let (root, dead) = (self.config.sled.storage.root.clone(), stone.clone());
        let dir = self.held(move || places::begin_removal(&root, &dead)).await?;
        let dir = dir.map_err(|why| failed(why.to_string()))?;
        let size = || {
            let dir = dir.clone();
            async move { tokio::task::spawn_blocking(move || allocated(&dir)).await.unwrap_or_default() }
        };
        let all = size().await;
        let watch = async {
            loop {
                tokio::time::sleep(REMOVAL_POLL).await;
                progress.step("removing", all.saturating_sub(size().await), all);
            }
        };
        tokio::select! {
            removed = trash::remove(bus, &self.config, &stone) => removed.map_err(failed)?,
            () = watch => {}
        }
        let (root, dead) = (self.config.sled.storage.root.clone(), stone.clone());
        let ended = self.held(move || places::end_removal(&root, &dead)).await?;
        ended.map(|()| format!("removed {} for good", stone.dir())).map_err(|why| failed(why.to_string()))
    }
}
