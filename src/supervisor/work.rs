//! The long work, each kind from its turn to its end: what is asked of [`act`](crate::act), in
//! which order, and how a failure reads.
//!
//! Each job is a task of its own, in which even a panic is an end that is heard of. It takes
//! its own decisions only where time has passed since the request was granted.

use super::jobs::{CANCELLED, Ended};
use super::{Event, adoption};
use crate::act::create::{self, CreateError};
use crate::act::peers::peers;
use crate::act::progress::Progress;
use crate::act::reserve::ReserveError;
use crate::act::{places, trash, units};
use crate::config::{Configuration, Provisioning};
use crate::decide::permits::{Deletion, in_use};
use crate::names::RegionName;
use crate::observe::disk::Scanner;
use crate::port_map::LocalRegion;
use crate::region::Tombstone;
use crate::systemd::{job, names};
use crate::wire;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

/// How often to look how far a removal is.
const LOOK: Duration = Duration::from_secs(1);

/// What there is to do.
pub(super) enum Task {
    Create(LocalRegion),
    Delete(RegionName, Deletion),
    Restore(Tombstone),
    Purge(Tombstone),
    Adopt(LocalRegion, Option<PathBuf>),
}

impl Task {
    /// The region that it is done to.
    fn region(&self) -> RegionName {
        match self {
            Self::Create(local) | Self::Adopt(local, _) => local.name.clone(),
            Self::Delete(name, _) => name.clone(),
            Self::Restore(stone) | Self::Purge(stone) => stone.region.clone(),
        }
    }
}

/// What all work has in common. Cheap to clone.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) config: Arc<Configuration>,
    pub(super) scanner: Arc<Scanner>,
    events: mpsc::Sender<Event>,
    cores: Arc<Semaphore>,
    /// How many creations run side by side.
    turns: u32,
    /// Adoptions come one after the other: a host must never see two regions down.
    pub(super) adoptions: Arc<Mutex<()>>,
    /// The regions that serve, as the loop last judged.
    pub(super) serving: watch::Sender<BTreeSet<RegionName>>,
}

impl Workshop {
    pub(super) fn new(config: Arc<Configuration>, scanner: Arc<Scanner>, events: mpsc::Sender<Event>) -> Self {
        let turns = available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let cores = Arc::new(Semaphore::new(turns as usize));
        let serving = watch::Sender::new(BTreeSet::new());
        Self { config, scanner, events, cores, turns, adoptions: Arc::default(), serving }
    }

    /// Tells who waits for it which regions serve.
    pub(super) fn tell_serving(&self, serving: BTreeSet<RegionName>) {
        self.serving.send_if_modified(|known| {
            let changed = *known != serving;
            *known = serving;
            changed
        });
    }

    /// Tells the loop something. It hears it unless it has ended.
    pub(super) async fn tell(&self, event: Event) {
        _ = self.events.send(event).await;
    }

    /// Looks at the disk, and tells the loop what is there now.
    pub(super) async fn look_again(&self) {
        let scanner = self.scanner.clone();
        if let Ok(disk) = tokio::task::spawn_blocking(move || scanner.scan()).await {
            self.tell(Event::Seen(disk)).await;
        }
    }

    /// Begins a job.
    pub(super) fn begin(&self, id: u64, task: Task, bus: zbus::Connection, progress: Progress) {
        let shop = self.clone();
        tokio::spawn(async move {
            let (began, region, worker) = (Instant::now(), task.region(), shop.clone());
            let working = tokio::spawn(async move { worker.work(task, &bus, &progress).await });
            let result = working.await.unwrap_or_else(|why| Err(cut_short(&why)));
            let scanner = shop.scanner.clone();
            let disk = tokio::task::spawn_blocking(move || scanner.scan()).await.ok();
            let ended = Ended { id, result, took: began.elapsed() };
            _ = shop.events.send(Event::Ended(region, Box::new(ended), disk)).await;
        });
    }

    async fn work(&self, task: Task, bus: &zbus::Connection, progress: &Progress) -> Result<String, wire::Error> {
        match task {
            Task::Create(local) => {
                let name = local.name.clone();
                self.create(local, bus, progress).await.map_err(|why| not_created(&name, why))
            }
            Task::Delete(name, deletion) => self.delete(&name, deletion, bus, progress).await,
            Task::Restore(stone) => self.restore(stone, progress).await,
            Task::Purge(stone) => self.purge(stone, bus, progress).await,
            Task::Adopt(local, from) => adoption::adopt(self, &local, from, bus, progress).await,
        }
    }

    async fn create(&self, local: LocalRegion, bus: &zbus::Connection, p: &Progress) -> Result<String, CreateError> {
        // Thick regions are made one after the other: each counts what the one before it took.
        let thick = self.config.sled.storage.provisioning == Provisioning::Thick;
        let turns = if thick { self.turns } else { 1 };
        let _turn = tokio::select! {
            turn = self.cores.acquire_many(turns) => turn,
            () = p.cancelled() => return Err(crate::act::progress::Cancelled.into()),
        };
        let made = create::create(bus, &self.config, &local, p).await?;
        p.check()?;
        p.step_for_good("putting it in place", 0, 0);
        let config = self.config.clone();
        let placed = self.held(move || made.finish(&config, &local.name)).await;
        let record =
            placed.map_err(|why| CreateError::Io("the work was cut short", std::io::Error::other(why.message)))??;
        Ok(format!("created as {}", record.uuid))
    }

    async fn delete(
        &self,
        name: &RegionName,
        deletion: Deletion,
        bus: &zbus::Connection,
        progress: &Progress,
    ) -> Result<String, wire::Error> {
        progress.check().map_err(|_| cancelled())?;
        progress.step_for_good("stopping its unit", 0, 0);
        let failed = |why: String| {
            let message = format!("{name} was not deleted: {why}");
            wire::Error::new("DELETE_FAILED", message, "it is where it was; mend that and ask again")
        };
        let unit = names::unit(name);
        if let Some(pid) = units::main_pid(bus, &unit).await.map_err(failed)? {
            // One that connected since the request was granted.
            let hosts = peers(pid);
            if !hosts.is_empty() {
                return Err(in_use(name, &hosts));
            }
        }
        job::stop(bus, &unit).await.map_err(failed)?;
        let (root, name) = (self.config.sled.storage.root.clone(), name.clone());
        let keep = self.config.sled.storage.keep_deleted;
        let done = self.held(move || match deletion {
            Deletion::Forget(record) => {
                places::forget(&root, &name).map(|()| format!("{} was taken off the record", record.uuid))
            }
            Deletion::Bury(_) => {
                places::bury(&root, &name).map(|stone| format!("deleted; kept for {keep} as {}", stone.dir()))
            }
        });
        done.await?.map_err(|why| failed(why.to_string()))
    }

    async fn restore(&self, stone: Tombstone, progress: &Progress) -> Result<String, wire::Error> {
        progress.step_for_good("putting it in place", 0, 0);
        let (root, name) = (self.config.sled.storage.root.clone(), stone.region.clone());
        let uuid = stone.record.uuid;
        let done = self.held(move || places::restore(&root, &stone)).await?;
        done.map(|()| format!("restored as {uuid}")).map_err(|why| {
            let message = format!("{name} was not restored: {why}");
            wire::Error::new("RESTORE_FAILED", message, "it is in the trash as before; mend that and ask again")
        })
    }

    async fn purge(
        &self,
        stone: Tombstone,
        bus: &zbus::Connection,
        progress: &Progress,
    ) -> Result<String, wire::Error> {
        progress.check().map_err(|_| cancelled())?;
        progress.step_for_good("removing", 0, 0);
        let failed = |why: String| {
            let message = format!("{} was not removed for good: {why}", stone.dir());
            wire::Error::new("PURGE_FAILED", message, "mend that; it is tried again by itself")
        };
        let (root, dead) = (self.config.sled.storage.root.clone(), stone.clone());
        let dir = self.held(move || places::begin_removal(&root, &dead)).await?;
        let dir = dir.map_err(|why| failed(why.to_string()))?;
        let all = crate::act::inspect::allocated(&dir);
        let watch = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let left = crate::act::inspect::allocated(&dir);
                progress.step_for_good("removing", all.saturating_sub(left), all);
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

    /// Changes something on the disk, aside from the loop and while nobody else looks at it or
    /// changes it.
    pub(super) async fn held<T: Send + 'static>(
        &self,
        change: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, wire::Error> {
        let scanner = self.scanner.clone();
        let done = tokio::task::spawn_blocking(move || scanner.while_held(change)).await;
        done.map_err(|why| cut_short(&why))
    }
}

/// The end of work whose asker has changed his mind.
pub(super) fn cancelled() -> wire::Error {
    wire::Error::new(CANCELLED, "it was cancelled", "ask again")
}

fn cut_short(why: &tokio::task::JoinError) -> wire::Error {
    let message = format!("the work was cut short: {why}");
    wire::Error::new("FAILED", message, "see journalctl -u sledd; what it left is found at the next start of sledd")
}

fn not_created(name: &RegionName, why: CreateError) -> wire::Error {
    let (code, remedy) = match &why {
        CreateError::Cancelled(_) => return cancelled(),
        CreateError::NotMounted(root) => ("DATA_NOT_MOUNTED", format!("mount the data disk at {root}")),
        CreateError::Reserve(ReserveError::NoRoom(_)) => {
            ("NO_ROOM", "free some (sledctl storage), or set storage.provisioning = \"thin\"".to_owned())
        }
        CreateError::NoUser(user) => {
            ("NO_USER", format!("systemd-sysusers makes {user}; see downstairs.user of sled.toml"))
        }
        CreateError::Program(_) => (
            "CREATE_FAILED",
            format!("mend that and ask again; systemd's side of it: journalctl -u crucible-create-{name}"),
        ),
        CreateError::Wrong(_) => {
            ("CREATE_FAILED", "is downstairs.program of sled.toml the real crucible-downstairs?".to_owned())
        }
        CreateError::Reserve(ReserveError::Io(_)) | CreateError::Io(..) => {
            ("CREATE_FAILED", "see whether the data disk is full or read-only".to_owned())
        }
    };
    wire::Error::new(code, format!("{name} was not created: {why}"), remedy)
}
