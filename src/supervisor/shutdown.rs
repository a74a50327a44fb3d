//! Shutdown: while the machine is being switched off, hosts are told, and the regions are stopped
//! one volume after the other. Without a memory of its own: that the machine is being switched off is a fact.

use crate::act;
use crate::desk::answer::Answer;
use crate::desk::request::Reply;
use crate::names::{RegionName, VolumeName};
use crate::observe::deaths;
use crate::store::boots;
use crate::supervisor::Supervisor;
use crate::supervisor::publish::events::end;
use crate::supervisor::tasks::run_unheard;
use crate::systemd::names;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zbus::Connection;

/// Time that the regions of one volume may take to end; they do nothing at their end.
const VOLUME_LIMIT: Duration = Duration::from_secs(5);
/// Time that all of it may take, so that a machine that is switched off does go off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(30);
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
        let leaving = async move {
            let mut stops = false;
            if let Some(bus) = bus
                && crate::systemd::machine::machine_stops(&bus).await
            {
                stops = true;
                let (told, heard) = oneshot::channel();
                tasks.tell(Report(told)).await;
                _ = heard.await;
                if timeout(SHUTDOWN_LIMIT, stop_each(&bus, volumes)).await.is_err() {
                    tracing::warn!("not every region was stopped within {} s", SHUTDOWN_LIMIT.as_secs());
                }
            }
            // If the disk takes longer, some numbers are skipped.
            _ = timeout(NOTING_LIMIT, noted).await;
            _ = timeout(NOTING_LIMIT, tokio::task::spawn_blocking(move || boots::end(stops))).await;
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
/// units that waits for this supervisor's end; so the processes are told.
async fn stop_each(bus: &Connection, volumes: BTreeMap<VolumeName, Vec<(RegionName, u32)>>) {
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
        }
    }
}
