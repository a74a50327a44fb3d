//! The sled asks its hosts to wait: during maintenance, which ends by itself, and while the
//! machine is being switched off, when the regions are stopped one volume after the other.

use super::Supervisor;
use super::event::Event;
use super::requests::{Answer, Asked};
use crate::act;
use crate::names::{RegionName, VolumeName};
use crate::observe::deaths;
use crate::systemd::names;
use crate::wire::{self, Maintenance};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use zbus::Connection;

/// How long the regions of one volume may take to end; they do nothing at their end.
const ONE_VOLUME: Duration = Duration::from_secs(5);
/// How long all of it may take, so that a machine that is switched off does go off.
const ALL: Duration = Duration::from_secs(30);

impl Supervisor {
    /// Takes up again what an earlier supervisor knew of maintenance.
    pub(super) fn resume_maintenance(&mut self) {
        match act::maintenance::read() {
            Ok(known) => self.facts.maintenance = known,
            Err(why) => tracing::error!("what was said of maintenance cannot be read: {why}; it is taken for over"),
        }
        self.end_maintenance();
    }

    /// Begins maintenance, or ends it.
    pub(super) fn maintain(&self, wanted: Option<Asked>, answer: oneshot::Sender<Result<Answer, wire::Error>>) {
        // Whole seconds, as people read them.
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let wanted = wanted.map(|Asked { time, reason }| {
            let until = time.and_then(|time| now.saturating_add(Duration::from(time)).ok());
            Maintenance { reason, since: now, until }
        });
        let failed = |why: std::io::Error| {
            wire::Error::new(
                "NOT_RECORDED",
                format!("maintenance is as it was, as it cannot be written down: {why}"),
                "see df -h /var/lib/sled and dmesg, and ask again",
            )
        };
        let shop = self.shop.clone();
        let writing = async move {
            let text = wanted.clone();
            let written = tokio::task::spawn_blocking(move || act::maintenance::write(text.as_ref())).await;
            let written = written.unwrap_or_else(|why| Err(std::io::Error::other(why))).map_err(failed);
            if written.is_ok() {
                shop.tell(Event::Maintenance(wanted.clone())).await;
            }
            _ = answer.send(written.map(|()| Answer::Maintenance(wanted)));
            None
        };
        self.errands.run(|_| None, writing);
    }

    /// Ends maintenance whose time is over.
    pub(super) fn end_maintenance(&mut self) {
        let over = |maintenance: &mut Maintenance| maintenance.until.is_some_and(|until| until <= Timestamp::now());
        if self.facts.maintenance.take_if(over).is_some() {
            tracing::info!("maintenance is over");
            tokio::task::spawn_blocking(|| {
                if let Err(why) = act::maintenance::write(None) {
                    tracing::warn!("that maintenance is over cannot be written down: {why}");
                }
            });
        }
    }

    /// When maintenance ends by itself.
    pub(super) fn end_of_maintenance(&self) -> Option<Instant> {
        let until = self.facts.maintenance.as_ref()?.until?;
        let left = until.duration_since(Timestamp::now()).try_into().unwrap_or_default();
        // A moment later, so that it is over when it is looked at.
        Some(Instant::now() + left + Duration::from_millis(1))
    }

    /// The daemon was told to end. If that is because the machine is being switched off, hosts are
    /// told first, and then the regions are stopped.
    pub(super) fn leave(&mut self, answer: oneshot::Sender<Result<Answer, wire::Error>>) {
        let Some(bus) = self.bus.clone() else {
            _ = answer.send(Ok(Answer::Left));
            return;
        };
        let mut volumes: BTreeMap<VolumeName, Vec<(RegionName, u32)>> = BTreeMap::new();
        for (name, region) in &self.facts.regions {
            if let Some(pid) = region.alive() {
                volumes.entry(name.volume().clone()).or_default().push((name.clone(), pid));
            }
        }
        let shop = self.shop.clone();
        let leaving = async move {
            if act::units::machine_stops(&bus).await {
                let (told, heard) = oneshot::channel();
                shop.tell(Event::Leaving(told)).await;
                _ = heard.await;
                if timeout(ALL, stop_each(&bus, volumes)).await.is_err() {
                    tracing::warn!("not every region was stopped within {} s", ALL.as_secs());
                }
            }
            _ = answer.send(Ok(Answer::Left));
            None
        };
        self.errands.run(|_| None, leaving);
    }
}

/// Stops the regions of one volume after those of the other. systemd has a job for each of these
/// units that waits for this supervisor's end; so it is the processes that are told.
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
        if timeout(ONE_VOLUME, all).await.is_err() {
            tracing::warn!("the regions of {volume} have not ended within {} s", ONE_VOLUME.as_secs());
        }
    }
}
