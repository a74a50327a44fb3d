//! Context that all work has in common: the configuration, the disk that it is granted for, turns,
//! and the way back to the loop. Never the work itself.

use crate::check::Code;
use crate::config::Configuration;
use crate::decide::facts::Run;
use crate::names::RegionName;
use crate::observe::scanner::Scanner;
use crate::store::lived::Clock;
use crate::store::mark::is_mounted;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::list::CANCELLED;
use crate::supervisor::jobs::program_checks::Lately;
use crate::supervisor::jobs::standing_holds::StandingHolds;
use crate::supervisor::tasks::Tasks;
use crate::wire::{self, Refusal};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;
use uuid::Uuid;

/// Context that all work has in common. Cheap to clone.
#[derive(Clone)]
pub(in crate::supervisor) struct Context {
    pub(in crate::supervisor) config: Arc<Configuration>,
    pub(in crate::supervisor) scanner: Arc<Scanner>,
    pub(in crate::supervisor) tasks: Tasks<Report>,
    /// Turns of creations.
    pub(in crate::supervisor) cores: Arc<Semaphore>,
    /// Number of creations that run side by side.
    pub(in crate::supervisor) turns: u32,
    /// Turn of adoptions, which come one after the other: a host must never see two regions down.
    pub(in crate::supervisor) adoptions: Arc<Mutex<()>>,
    /// Turn of scrubs, which come one after the other: a disk has one at a time.
    pub(in crate::supervisor) scrubs: Arc<Mutex<()>>,
    /// Turn of verifications, for which regions wait: not that of scrubs, which take their time.
    pub(in crate::supervisor) verifications: Arc<Mutex<()>>,
    /// Disk that the work was granted for; without one it is not asked which it is.
    pub(in crate::supervisor) disk: Option<Uuid>,
    /// Regions that serve, as the loop last judged, and which of their runs it is that does.
    pub(in crate::supervisor) serving: watch::Sender<BTreeMap<RegionName, Run>>,
    /// Regions of the map that is in force, and how often each has not gone on as it should, ever: it
    /// ended by itself, hung, or was stopped or restarted unasked.
    pub(in crate::supervisor) breaks: watch::Sender<BTreeMap<RegionName, u64>>,
    /// Clock that tells how long the sled has lived.
    pub(in crate::supervisor) clock: Arc<Clock>,
    /// Programs that were found to run a moment ago.
    pub(in crate::supervisor) lately: Arc<Lately>,
    /// Holds that the loop has put, as long as nobody has taken them away.
    pub(super) holds: StandingHolds,
}

impl Context {
    pub(in crate::supervisor) fn new(config: Arc<Configuration>, scanner: Arc<Scanner>, tasks: Tasks<Report>) -> Self {
        // Several for each core: a creation mostly waits for the disk's journal, and the commits
        // of those that wait together are one. Two cores: 2 side by side took 2100 ms for twelve
        // regions, 4 took 730, 8 took 670, 12 took 580.
        let turns = available_parallelism().map_or(6, |cores| u32::try_from(cores.get() * 6).unwrap_or(6));
        let cores = Arc::new(Semaphore::new(turns as usize));
        let (serving, breaks) = (watch::Sender::new(BTreeMap::new()), watch::Sender::new(BTreeMap::new()));
        let clock = Arc::new(Clock::open());
        let (adoptions, scrubs, verifications, lately, holds) = Default::default();
        let disk = None;
        Self {
            config,
            scanner,
            tasks,
            cores,
            turns,
            adoptions,
            scrubs,
            verifications,
            disk,
            serving,
            breaks,
            clock,
            lately,
            holds,
        }
    }

    /// Make one for work on this disk, and no other that may be mounted when its turn comes.
    pub(in crate::supervisor) fn on(&self, disk: Uuid) -> Self {
        Self { disk: Some(disk), ..self.clone() }
    }

    /// Tell who waits for it which regions serve, and how often each of the map's has not gone on as it
    /// should.
    pub(in crate::supervisor) fn tell_serving(
        &self,
        serving: BTreeMap<RegionName, Run>,
        breaks: BTreeMap<RegionName, u64>,
    ) {
        // Of what has just broken it is not heard first that it serves again.
        publish(&self.breaks, breaks);
        publish(&self.serving, serving);
    }

    /// Tell the loop something. It hears it unless it has ended.
    pub(in crate::supervisor) async fn tell(&self, report: Report) {
        self.tasks.tell(report).await;
    }

    /// Wait until the loop has heard what it was told before: what it decides from then on, it decides by that.
    pub(in crate::supervisor) async fn heard(&self) {
        let (heard, all) = oneshot::channel();
        self.tell(Report::Heard(heard)).await;
        // A loop that has ended decides nothing more.
        _ = all.await;
    }

    /// Look at the disk, and tell the loop what is there now.
    pub(in crate::supervisor) async fn look_again(&self) {
        if let Some(disk) = self.scanner.look().await {
            self.tell(Report::Seen(disk)).await;
        }
    }

    /// Change something on the disk, aside from the loop and while nobody else looks at it or
    /// changes it; on the disk that it was granted for, and on no other.
    pub(in crate::supervisor) async fn held<T: Send + 'static>(
        &self,
        change: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, wire::Error> {
        let done = self.scanner.change(self.of_the_disk(change)).await.map_err(|why| cut_short(&why))?;
        done.map_err(|why| foreign(&why))
    }

    /// Look at the disk while others do as well: what is seen there is no reason to change anything.
    ///
    /// # Errors
    /// It is another disk by now, or the look was cut short.
    pub(in crate::supervisor) async fn aside<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, wire::Error> {
        let done = spawn_blocking(self.of_the_disk(look)).await.map_err(|why| cut_short(&why))?;
        done.map_err(|why| foreign(&why))
    }

    /// Have something done only while the disk is the one that was meant.
    fn of_the_disk<T>(
        &self,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> impl FnOnce() -> std::io::Result<T> + Send + 'static {
        let (config, disk) = (self.config.clone(), self.disk);
        move || {
            if let Some(disk) = disk {
                is_mounted(&config.sled.storage, disk)?;
            }
            Ok(what())
        }
    }
}

/// Put a value in place of the one that is known, and wake who waits if it is another.
fn publish<T: PartialEq>(to: &watch::Sender<T>, value: T) {
    to.send_if_modified(|known| {
        let changed = *known != value;
        *known = value;
        changed
    });
}

/// Make the error with which work ends whose asker has changed his mind.
pub(in crate::supervisor) fn cancelled() -> wire::Error {
    wire::Error::new(CANCELLED, "it was cancelled", "ask again")
}

fn foreign(why: &std::io::Error) -> wire::Error {
    wire::Error::new(Code::DataForeign, why.to_string(), "sledctl status shows the disk")
}

/// Make the error with which work ends that panicked or was dropped.
pub(in crate::supervisor) fn cut_short(why: &impl std::fmt::Display) -> wire::Error {
    let message = format!("the work was cut short: {why}");
    wire::Error::new(
        Refusal::Failed,
        message,
        "see journalctl -u sledd; what it left is found at the next start of sledd",
    )
}
