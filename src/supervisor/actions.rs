//! Actions that the loop sets going: it spawns them, and hears of their end.

use crate::act;
use crate::act::units::NotRefreshed;
use crate::config::Configuration;
use crate::decide::facts::{Active, Fencing, Rejoined, Start};
use crate::decide::plan::{Action, plan};
use crate::kernel::ports::{self, Taken};
use crate::names::RegionName;
use crate::port_map::Fence;
use crate::progress::Progress;
use crate::region::{Hold, Tombstone};
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::work::{Conduct, Work};
use crate::supervisor::systemd::{self, Refreshed, Said};
use crate::supervisor::tasks::run_unheard;
use crate::times;
use crate::wire::{self, JobKind};
use std::sync::Arc;
use uuid::Uuid;

/// Change of a unit that systemd is asked for, unasked by anybody.
#[derive(Debug, Clone, Copy)]
pub(in crate::supervisor) enum Change {
    Stop,
    Restart,
}

impl Supervisor {
    /// Do what the plan says; false if that is nothing.
    pub(in crate::supervisor) fn act(&mut self) -> bool {
        self.settle_verification();
        let Some(bus) = self.systemd.bus().cloned() else { return false };
        let actions = plan(&self.config, &self.facts);
        let any = !actions.is_empty();
        for action in actions {
            match action {
                Action::Fence(name, wanted) => {
                    self.fence(name, wanted, bus.clone());
                    continue;
                }
                Action::Rejoin(index) => {
                    self.rejoin(index, bus.clone());
                    continue;
                }
                _ => {}
            }
            // Everything else is done on a disk, or to what runs on it.
            let Some(disk) = self.disk() else { return any };
            match action {
                Action::Settle => self.settle(disk, bus.clone()),
                Action::Undo(names) => self.undo(disk, names, bus.clone()),
                Action::Fence(..) | Action::Rejoin(_) => {}
                Action::Start(name) => self.start(name, bus.clone()),
                Action::Verify(name) => self.verify(&name, bus.clone(), disk),
                Action::Hold(name, by, why, remedy) => {
                    let hold = Hold { by, why, remedy, since: times::now() };
                    self.jobs.hold(name, hold, &mut self.facts);
                }
                Action::Stop(name) => self.change(name, Change::Stop, bus.clone()),
                Action::Restart(name) => self.change(name, Change::Restart, bus.clone()),
                Action::Forgive(name) => self.forgive(name, bus.clone()),
                Action::Remove(stone) => self.remove(stone, bus.clone(), disk),
            }
        }
        any
    }

    fn start(&mut self, name: RegionName, bus: zbus::Connection) {
        tracing::info!(REGION = %name, "starting {name}");
        self.region(&name, |region| region.start = Start::Asked);
        let (config, region) = (self.config.clone(), name.clone());
        let lost = move |why| Said::Started(region, Start::Refused(why));
        self.systemd.ask(lost, async move {
            let began = match tried(&config, &name).await {
                Err(taken) => taken,
                Ok(()) => match act::units::start(&bus, &name).await {
                    Ok(()) => Start::Granted,
                    Err(why) => Start::Refused(why),
                },
            };
            Said::Started(name, began)
        });
    }

    /// Change whom a region's unit lets in, and cut off those that it does not any more.
    fn fence(&mut self, name: RegionName, wanted: Fence, bus: zbus::Connection) {
        self.region(&name, |region| region.fencing = Fencing::Asked);
        let (config, region, fence) = (self.config.clone(), name.clone(), wanted.clone());
        let lost = move |why| Said::Fenced(region, fence, Err(why));
        self.systemd.ask(lost, async move {
            let done = act::fence::set(&bus, &name, &wanted).await;
            let local = config.local_regions().into_iter().find(|local| local.name == name);
            if let (Ok(()), Some(local)) = (&done, local) {
                let ended = act::fence::destroy(&[local], |address| !wanted.admits(address)).await;
                match ended {
                    Ok(ended) if ended.is_empty() => {}
                    Ok(ended) => tracing::warn!(REGION = %name, "{name}: {} connection(s) were cut off", ended.len()),
                    Err(why) => tracing::error!(REGION = %name, "{name}: not every connection was cut off: {why}"),
                }
            }
            Said::Fenced(name, wanted, done)
        });
    }

    /// Hear that systemd has changed whom a region's unit lets in, or has not.
    pub(in crate::supervisor) fn hear_fenced(&mut self, name: &RegionName, fence: Fence, done: Result<(), String>) {
        self.region(name, |region| match done {
            Ok(()) => {
                region.fencing = Fencing::Idle;
                // systemd sends no signal of it.
                region.unit.iter_mut().for_each(|unit| unit.fence = Some(fence.clone()));
            }
            Err(why) => {
                tracing::error!(REGION = %name, "systemd does not change whom {name} lets in: {why}");
                region.fencing = Fencing::Refused(why);
            }
        });
        self.lookout.observers.look_at_sockets();
        self.serve(&name.volume().clone());
    }

    /// Put the adapter that is back into its bridge.
    fn rejoin(&mut self, index: u32, bus: zbus::Connection) {
        let wanted = &self.config.sled.network;
        let (nic, bridge) = (wanted.nic.to_string(), wanted.bridge.clone());
        tracing::warn!("{nic} was away and is back, and nobody has put it into {bridge}: it is put there");
        self.facts.rejoin.tried = Some(index);
        let ended = Rejoined { index, nic, bridge, failure: None };
        let given_up = ended.clone();
        let lost = move |why| Said::Rejoined(Rejoined { failure: Some(why), ..given_up });
        self.systemd.ask(lost, async move {
            let failure = act::units::rejoin(&bus, index).await.err();
            Said::Rejoined(Rejoined { failure, ..ended })
        });
    }

    /// Take what came of it.
    fn hear_rejoined(&mut self, ended: Rejoined) {
        let Rejoined { nic, bridge, failure, .. } = &ended;
        match failure {
            None => {
                tracing::info!("{nic} is in {bridge} again");
                self.lookout.counts.rejoined();
            }
            Some(why) => tracing::error!("{nic} is not put into {bridge}: {why}"),
        }
        self.facts.rejoin.ended = Some(ended);
    }

    /// Stop a unit that serves nobody, or restart one that has been hung for as long as was set.
    pub(in crate::supervisor) fn change(&mut self, name: RegionName, change: Change, bus: zbus::Connection) {
        match change {
            Change::Stop => tracing::info!(REGION = %name, "stopping {name}, which would only end again"),
            Change::Restart => tracing::warn!(REGION = %name, "restarting {name}, which has been hung for too long"),
        }
        self.lookout.ends(&name, &self.facts);
        self.lookout.changed_unasked(&name);
        self.region(&name, |region| region.changing = true);
        let region = name.clone();
        let lost = move |why| Said::Changed(region, Err(why));
        self.systemd.ask(lost, async move {
            let done = match change {
                Change::Stop => act::units::stop(&bus, &name).await,
                Change::Restart => act::units::restart(&bus, &name).await,
            };
            Said::Changed(name, done)
        });
    }

    /// Take systemd's answer to it.
    pub(in crate::supervisor) fn hear_change(&mut self, name: &RegionName, done: Result<(), String>) {
        match done {
            Ok(()) => self.region(name, |region| region.changing = false),
            Err(why) => {
                tracing::error!(REGION = %name, "systemd does not change {name}: {why}; it is asked again");
                self.systemd.has_not_changed(name.clone());
            }
        }
    }

    fn forgive(&mut self, name: RegionName, bus: zbus::Connection) {
        // systemd sends no signal of it; what it says at the unit's next change is right again.
        self.region(&name, |region| region.unit.iter_mut().for_each(|unit| unit.restarts = 0));
        let forgiving = async move {
            if let Err(why) = act::units::forgive(&bus, &name).await {
                tracing::warn!(REGION = %name, "systemd does not forget the restarts of {name}: {why}");
            }
        };
        run_unheard(forgiving);
    }

    /// Begin a job, and mark the region as one that a job is at.
    pub(in crate::supervisor) fn begin(&mut self, work: Work, bus: zbus::Connection, disk: Uuid) -> wire::Job {
        let (job, progress) = self.jobs.list.register(work.kind, &work.region);
        self.set_going(work, job, progress, bus, disk)
    }

    /// Remove what was kept long enough. One of these that failed before is the same job once more.
    fn remove(&mut self, stone: Tombstone, bus: zbus::Connection, disk: Uuid) {
        let again = self.jobs.own_removal(&stone);
        let work = Work::purge(stone);
        let (job, progress) = self.jobs.list.register_unasked(work.kind, &work.region, again);
        self.set_going(work, job, progress, bus, disk);
    }

    /// Begin a job that nobody asked for.
    pub(in crate::supervisor) fn begin_unasked(&mut self, work: Work, bus: zbus::Connection, disk: Uuid) {
        let (job, progress) = self.jobs.list.register_unasked(work.kind, &work.region, None);
        self.set_going(work, job, progress, bus, disk);
    }

    fn set_going(
        &mut self,
        work: Work,
        job: wire::Job,
        progress: Progress,
        bus: zbus::Connection,
        disk: Uuid,
    ) -> wire::Job {
        let name = work.region.clone();
        if work.kind == JobKind::Upgrade {
            self.facts.upgrading = Some(job.id);
            self.facts.unfinished_upgrade = false;
        }
        if matches!(work.kind, JobKind::Scrub | JobKind::Repair | JobKind::Rebuild) {
            self.facts.scrubbing.insert(name.clone(), job.id);
        }
        if let Some(dir) = &work.removes {
            self.jobs.begin_removal(&job, dir.clone());
            self.facts.removing = true;
        }
        let busy = Conduct::of(work.kind).mark;
        if busy.is_some_and(|busy| !busy.passive()) {
            self.lookout.ends(&name, &self.facts);
        }
        if let Some(busy) = busy {
            self.jobs.begin_turn(name.clone(), job.id);
            self.facts.busy.insert(name, busy);
        }
        self.jobs.context().on(disk).begin(job.id, work, bus, progress);
        job
    }

    /// Take what systemd did, or did not do. Of another connection or another configuration than
    /// there is now it is not believed.
    pub(in crate::supervisor) fn hear_systemd(&mut self, systemd::Report(of, said): systemd::Report) {
        if !self.systemd.believes(of) {
            return self.not_believed(said);
        }
        match said {
            Said::Refreshed(result) => self.hear_refreshed(result),
            Said::Started(name, result) => self.region(&name, |region| {
                let inactive = region.unit.as_ref().is_some_and(|unit| unit.active == Active::Inactive);
                region.start = if result == Start::Granted && !inactive { Start::Idle } else { result };
            }),
            Said::Changed(name, done) => self.hear_change(&name, done),
            Said::Fenced(name, fence, done) => self.hear_fenced(&name, fence, done),
            Said::Strays(strays) => self.hear_strays(strays),
            Said::Rejoined(ended) => self.hear_rejoined(ended),
        }
    }

    /// Let what had waited for it wait no more; what there is now is asked for again by the plan, or
    /// is already.
    fn not_believed(&mut self, said: Said) {
        match said {
            // Whoever changed the world has asked for these again.
            Said::Refreshed(_) | Said::Strays(_) => {}
            // That was done to the machine, whichever configuration asked for it.
            Said::Rejoined(ended) => self.hear_rejoined(ended),
            Said::Started(name, _) => self.region(&name, |region| region.start = Start::Idle),
            Said::Changed(name, _) => self.region(&name, |region| region.changing = false),
            Said::Fenced(name, ..) => {
                self.region(&name, |region| {
                    region.fencing = Fencing::Idle;
                    // It may have been done, and in part.
                    region.unit.iter_mut().for_each(|unit| unit.fence = None);
                });
                self.serve(&name.volume().clone());
            }
        }
    }

    fn hear_refreshed(&mut self, result: Result<(), NotRefreshed>) {
        let Refreshed { readable_again, put_in_place } = self.systemd.hear_refreshed(result, &mut self.facts);
        if readable_again {
            // It was not to be seen in a record that could not be read.
            self.look_for_upgrade();
        }
        if let Some(bus) = put_in_place {
            self.put_in_place(&bus);
        }
    }
}

/// Try whether a region's ports can be had: nobody who does not listen yet is to be found out by a
/// downstairs that fails.
async fn tried(config: &Arc<Configuration>, name: &RegionName) -> Result<(), Start> {
    let (config, name) = (config.clone(), name.clone());
    let look = move || {
        let local = config.local_regions().into_iter().find(|local| local.name == name);
        local.map_or(Ok(()), |local| ports::free(config.address, &local))
    };
    let tried = tokio::task::spawn_blocking(look).await.unwrap_or(Ok(()));
    tried.map_err(|taken| match &taken {
        Taken::Port(port, _) | Taken::Refused(port, _) => Start::NoPort(*port, taken.to_string()),
        Taken::NoAddress(_) => Start::Refused(taken.to_string()),
    })
}
