//! Shutdown: while the machine is being switched off, hosts are told, and the regions are stopped
//! one volume after the other. Without a memory of its own: that the machine is being switched off is a fact.

use crate::act;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::names::{RegionName, VolumeName};
use crate::observe::deaths;
use crate::store::boots::{self, Leaving};
use crate::supervisor::Supervisor;
use crate::supervisor::publish::events::end;
use crate::supervisor::tasks::run_unheard;
use crate::systemd::names;
use nix::unistd::syncfs;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zbus::Connection;

/// Time that the regions of one volume may take to end; they do nothing at their end.
const VOLUME_LIMIT: Duration = Duration::from_secs(5);
/// Time that all of it may take, so that a machine that is switched off does go off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);
/// Time that the disk may take to have what the regions wrote: who unmounts it waits as long again. With the above and the
/// notes less than `TimeoutStopSec=` of sledd.service.
const SYNC_LIMIT: Duration = Duration::from_secs(45);
/// Time that it may take to write down what is to be remembered of jobs, and what happened.
const NOTING_LIMIT: Duration = Duration::from_secs(2);

/// Report that the machine is being switched off; told when hosts have been told.
pub(in crate::supervisor) struct Report(oneshot::Sender<()>);

impl Supervisor {
    /// Do what has to be done before the daemon ends, as it was told to. If that is because the
    /// machine is being switched off, hosts are told first, and then the regions are stopped.
    pub(in crate::supervisor) fn leave(&mut self, answer: Reply) {
        let (bus, noted) = (self.systemd.bus().cloned(), self.jobs.list.note_at_the_end());
        let mut volumes: BTreeMap<VolumeName, Vec<(RegionName, u32)>> = BTreeMap::new();
        for (name, region) in &self.facts.regions {
            if let Some(pid) = region.alive() {
                volumes.entry(name.volume().clone()).or_default().push((name.clone(), pid));
            }
        }
        let (tasks, feed) = (self.tasks(), self.publisher.events.feed().clone());
        let root = self.config.sled.storage.root.clone();
        let leaving = async move {
            let mut leaving = Leaving::Alone;
            if let Some(bus) = bus
                && crate::systemd::machine::machine_stops(&bus).await
            {
                let (told, heard) = oneshot::channel();
                tasks.tell(Report(told)).await;
                _ = heard.await;
                let ended = timeout(SHUTDOWN_LIMIT, stop_each(&bus, volumes)).await.unwrap_or_else(|_| {
                    tracing::warn!("not every region was stopped within {} s", SHUTDOWN_LIMIT.as_secs());
                    false
                });
                // One that does not end waits for the disk, as a rule: that is not asked for more.
                leaving = if ended && is_on_disk(root).await { Leaving::Whole } else { Leaving::Unfinished };
            }
            let stops = leaving != Leaving::Alone;
            // If the disk takes longer, some numbers are skipped.
            _ = timeout(NOTING_LIMIT, noted).await;
            _ = timeout(NOTING_LIMIT, tokio::task::spawn_blocking(move || boots::end(leaving))).await;
            feed.add(vec![end(stops)]);
            _ = timeout(NOTING_LIMIT, feed.is_written()).await;
            _ = answer.send(Ok(Answer::Left));
        };
        run_unheard(leaving);
    }

    /// Hear that the machine is being switched off.
    pub(in crate::supervisor) fn hear_leaving(&mut self, Report(told): Report) {
        self.facts.leaving = true;
        self.publisher.tell_when_shown(told);
    }
}

/// Stop the regions of one volume after those of the other. systemd has a job for each of these
/// units that waits for this supervisor's end; so the processes are told. Tell whether all have ended.
async fn stop_each(bus: &Connection, volumes: BTreeMap<VolumeName, Vec<(RegionName, u32)>>) -> bool {
    let mut ended = true;
    for (volume, regions) in volumes {
        tracing::info!("stopping {volume}: the machine is being switched off");
        let all = async {
            for (name, _) in &regions {
                if let Err(why) = act::units::end(bus, name).await {
                    tracing::warn!(REGION = %name, "{name} is not told to end: {why}");
                }
            }
            for (name, pid) in &regions {
                deaths::end(Some(*pid), &names::unit(name)).await;
            }
        };
        if timeout(VOLUME_LIMIT, all).await.is_err() {
            tracing::warn!("the regions of {volume} have not ended within {} s", VOLUME_LIMIT.as_secs());
            ended = false;
        }
    }
    ended
}

/// Have the disk take what the regions wrote, and tell whether it has. A disk that hangs is not waited for long, and where
/// there is none nothing was written.
async fn is_on_disk(root: PathBuf) -> bool {
    let sync = tokio::task::spawn_blocking(move || match File::open(root) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        opened => Ok(syncfs(&opened?)?),
    });
    let why: String = match timeout(SYNC_LIMIT, sync).await {
        Ok(Ok(Ok(()))) => return true,
        Ok(Ok(Err(why))) => io::Error::to_string(&why),
        Ok(Err(why)) => why.to_string(),
        Err(_) => format!("it takes more than {} s", SYNC_LIMIT.as_secs()),
    };
    tracing::warn!("the disk may not have all that the regions wrote: {why}");
    false
}
