//! Long work, each kind from its turn to its end: what is asked of [`act`](crate::act), in which
//! order, and how a failure reads.
//!
//! Each job is a task of its own, in which even a panic is an end that is heard of. It takes
//! its own decisions only where time has passed since the request was granted.

use crate::act::create::{self, CreateError};
use crate::act::thick::ReserveError;
use crate::act::{adopt, trash, units};
use crate::check::Code;
use crate::config::Provisioning;
use crate::decide::facts::Busy;
use crate::decide::permits::{Deletion, in_use};
use crate::decide::turns::Manner;
use crate::kernel::ports::{self, Taken};
use crate::kernel::processes::{at_port, listening, runners};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::progress::Progress;
use crate::region::Tombstone;
use crate::store::ledger;
use crate::store::places;
use crate::store::region_dir::allocated;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::adoption;
use crate::supervisor::jobs::context::{Context, cancelled, cut_short};
use crate::supervisor::jobs::list::Ended;
use crate::supervisor::jobs::restart;
use crate::supervisor::jobs::upgrade::{self, Upgrade};
use crate::systemd::{job, names};
use crate::wire::{self, ErrorCode, JobKind, Refusal};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Time between looks how far a removal is.
const RUN_POLL: Duration = Duration::from_secs(1);

pub(in crate::supervisor) enum Task {
    Create(LocalRegion),
    Delete(RegionName, Deletion),
    Restore(Tombstone),
    Purge(Tombstone),
    Adopt(LocalRegion, Option<PathBuf>),
    Restart(LocalRegion, Manner),
    Hold(LocalRegion, String, Manner),
    Release(LocalRegion),
    /// Another program is rolled over all regions, of which this is the first.
    Upgrade(LocalRegion, Box<Upgrade>),
}

impl Task {
    /// Tell whether what is promised to regions changes by it, or what is free.
    fn changes(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Delete(..) | Self::Restore(_) | Self::Purge(_) | Self::Adopt(..))
    }

    /// Name the kind of the job that does it.
    pub(in crate::supervisor) fn kind(&self) -> JobKind {
        match self {
            Self::Create(_) => JobKind::Create,
            Self::Delete(..) => JobKind::Delete,
            Self::Restore(_) => JobKind::Restore,
            Self::Purge(_) => JobKind::Purge,
            Self::Adopt(..) => JobKind::Adopt,
            Self::Restart(..) => JobKind::Restart,
            Self::Hold(..) => JobKind::Hold,
            Self::Release(_) => JobKind::Release,
            Self::Upgrade(..) => JobKind::Upgrade,
        }
    }

    /// Tell what its region is marked with from the beginning; `None`: its region is not marked.
    pub(in crate::supervisor) fn busy(&self) -> Option<Busy> {
        match self {
            Self::Create(_) => Some(Busy::Creating),
            Self::Adopt(..) => Some(Busy::Adopting),
            Self::Delete(..) | Self::Restore(_) => Some(Busy::Deleting),
            Self::Restart(..) | Self::Hold(..) | Self::Release(_) => Some(Busy::Waiting),
            Self::Upgrade(..) | Self::Purge(_) => None,
        }
    }

    /// Name the region that it is done to.
    pub(in crate::supervisor) fn region(&self) -> RegionName {
        match self {
            Self::Create(local)
            | Self::Adopt(local, _)
            | Self::Restart(local, _)
            | Self::Hold(local, ..)
            | Self::Upgrade(local, _)
            | Self::Release(local) => local.name.clone(),
            Self::Delete(name, _) => name.clone(),
            Self::Restore(stone) | Self::Purge(stone) => stone.region.clone(),
        }
    }
}

impl Context {
    pub(in crate::supervisor) fn begin(&self, id: u64, task: Task, bus: zbus::Connection, progress: Progress) {
        let (context, began, region, changes) = (self.clone(), Instant::now(), task.region(), task.changes());
        let end = move |region, result, disk| {
            Some(Report::Ended(region, Box::new(Ended { id, result, took: began.elapsed() }), disk))
        };
        let of = region.clone();
        let lost = move |why: String| end(of, Err(cut_short(&why)), None);
        self.tasks.run(lost, async move {
            let result = context.work(id, task, &bus, &progress).await;
            let disk = if changes { context.scanner.look_changed().await } else { context.scanner.look().await };
            end(region, result, disk)
        });
    }

    async fn work(
        &self,
        id: u64,
        task: Task,
        bus: &zbus::Connection,
        progress: &Progress,
    ) -> Result<String, wire::Error> {
        if matches!(task, Task::Create(_) | Task::Restore(_) | Task::Adopt(..)) {
            // What its unit ended with before is not the new region's doing. It need not be known yet.
            _ = units::forgive(bus, &task.region()).await;
        }
        match task {
            Task::Create(local) => {
                let name = local.name.clone();
                self.create(local, bus, progress).await.map_err(|why| not_created(&name, why))
            }
            Task::Delete(name, deletion) => self.delete(&name, deletion, bus, progress).await,
            Task::Restore(stone) => self.restore(stone, progress).await,
            Task::Purge(stone) => self.purge(stone, bus, progress).await,
            Task::Adopt(local, from) => adoption::adopt(self, &local, from, bus, progress).await,
            Task::Restart(local, manner) => restart::restart(self, id, &local, manner, bus, progress).await,
            Task::Hold(local, why, manner) => restart::hold(self, id, &local, (why, manner), bus, progress).await,
            Task::Upgrade(_, order) => upgrade::upgrade(self, id, *order, bus, progress).await,
            Task::Release(local) => restart::release(self, &local, progress).await,
        }
    }

    async fn create(&self, local: LocalRegion, bus: &zbus::Connection, p: &Progress) -> Result<String, CreateError> {
        // Thick regions are made one after the other: each counts what the one before it took.
        let thick = self.config.sled.storage.provisioning == Provisioning::Thick;
        let turns = if thick { self.turns } else { 1 };
        let _turn = tokio::select! {
            turn = self.cores.acquire_many(turns) => turn,
            () = p.cancelled() => return Err(crate::progress::Cancelled.into()),
        };
        let (address, wanted) = (self.config.address, local.clone());
        match tokio::task::spawn_blocking(move || ports::free(address, &wanted)).await {
            // Without the address, which a cable may bring, it can be made all the same.
            Ok(Err(taken)) if !matches!(taken, Taken::NoAddress(_)) => return Err(CreateError::PortTaken(taken)),
            _ => {}
        }
        let disk = self.disk.unwrap_or_default();
        let made = create::create(bus, &self.config, &local, disk, p).await?;
        p.step("putting it in place", 0, 0);
        let (config, progress) = (self.config.clone(), p.clone());
        // What is not put in place is removed there, too, and not on the loop's thread.
        let finish = move || {
            progress.no_way_back()?;
            made.finish(&config, &local.name)
        };
        let record = self.held(finish).await.map_err(|why| CreateError::NotMounted(why.message))??;
        Ok(format!("created as {}", record.uuid))
    }

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
        let done = self.held(move || match deletion {
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
        progress.no_way_back().map_err(|_| cancelled())?;
        progress.step("putting it in place", 0, 0);
        let (root, name) = (self.config.sled.storage.root.clone(), stone.region.clone());
        let uuid = stone.record.uuid;
        let done = self.held(move || places::restore(&root, &stone)).await?;
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
                tokio::time::sleep(RUN_POLL).await;
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

fn not_created(name: &RegionName, why: CreateError) -> wire::Error {
    let (code, remedy): (ErrorCode, _) = match &why {
        CreateError::Cancelled(_) => return cancelled(),
        CreateError::PortTaken(_) => {
            (Code::PortTaken.into(), "free it, or write another port into port-map.toml".to_owned())
        }
        CreateError::NotMounted(_) => (Code::DataNotMounted.into(), "sledctl status shows the disk".to_owned()),
        CreateError::Reserve(ReserveError::NoRoom(_)) => {
            (Refusal::NoRoom.into(), "free some (sledctl storage), or set storage.provisioning = \"thin\"".to_owned())
        }
        CreateError::NoUser(user) => {
            (Refusal::NoUser.into(), format!("systemd-sysusers makes {user}; see downstairs.user of sled.toml"))
        }
        CreateError::Program(_) => (
            Refusal::CreateFailed.into(),
            format!("mend that and ask again; systemd's side of it: journalctl -u crucible-create-{name}"),
        ),
        CreateError::Wrong(_) => (
            Refusal::CreateFailed.into(),
            "is downstairs.program of sled.toml the real crucible-downstairs?".to_owned(),
        ),
        CreateError::Reserve(ReserveError::Io(_)) | CreateError::Io(..) => {
            (Refusal::CreateFailed.into(), "see whether the data disk is full or read-only".to_owned())
        }
    };
    wire::Error::new(code, format!("{name} was not created: {why}"), remedy)
}
