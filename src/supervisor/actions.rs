//! What the loop sets going: it spawns, and hears of the end.

use super::health::Change;
use super::work::Task;
use super::{Event, Supervisor, settling};
use crate::act;
use crate::decide::facts::{Busy, Settled, Start};
use crate::decide::plan::{Action, plan};
use crate::names::RegionName;
use crate::wire::{self, JobKind};
use uuid::Uuid;

impl Supervisor {
    /// Does what the plan says.
    pub(super) fn act(&mut self) {
        let (Some(bus), Some(disk)) = (self.bus.clone(), self.disk()) else { return };
        for action in plan(&self.config, &self.facts) {
            match action {
                Action::Settle => {
                    self.facts.settled = Settled::Running;
                    tokio::spawn(settling::settle(self.shop.on(disk), disk, bus.clone()));
                }
                Action::Undo(names) => {
                    self.facts.busy.extend(names.iter().map(|name| (name.clone(), Busy::Adopting)));
                    tokio::spawn(settling::undo(self.shop.on(disk), names, bus.clone()));
                }
                Action::Start(name) => self.start(name, bus.clone()),
                Action::Hold(name, by, why, remedy) => self.hold(name, by, why, remedy, disk),
                Action::Stop(name) => self.change(name, Change::Stop, bus.clone()),
                Action::Restart(name) => self.change(name, Change::Restart, bus.clone()),
                Action::Forgive(name) => self.forgive(name, bus.clone()),
                Action::Remove(stone) => {
                    self.begin(JobKind::Purge, Task::Purge(stone), bus.clone(), disk);
                }
            }
        }
    }

    fn start(&mut self, name: RegionName, bus: zbus::Connection) {
        tracing::info!(REGION = %name, "starting {name}");
        self.region(&name, |region| region.start = Start::Asked);
        let events = self.events.clone();
        tokio::spawn(async move {
            let result = act::units::start(&bus, &name).await;
            _ = events.send(Event::Started(name, result)).await;
        });
    }

    fn forgive(&mut self, name: RegionName, bus: zbus::Connection) {
        // systemd sends no signal of it; what it says at the unit's next change is right again.
        self.region(&name, |region| region.unit.iter_mut().for_each(|unit| unit.restarts = 0));
        tokio::spawn(async move {
            if let Err(why) = act::units::forgive(&bus, &name).await {
                tracing::warn!(REGION = %name, "systemd does not forget the restarts of {name}: {why}");
            }
        });
    }

    /// Begins a job, and marks the region as one that a job is at.
    pub(super) fn begin(&mut self, kind: JobKind, task: Task, bus: zbus::Connection, disk: Uuid) -> wire::Job {
        let name = task.region();
        let (job, progress) = self.jobs.register(kind, &name);
        let busy = match &task {
            Task::Create(_) => Some(Busy::Creating),
            Task::Adopt(..) => Some(Busy::Adopting),
            Task::Delete(..) | Task::Restore(_) => Some(Busy::Deleting),
            Task::Restart(..) | Task::Hold(..) | Task::Release(_) => Some(Busy::Waiting),
            Task::Upgrade(..) => {
                self.upgrading = Some(job.id);
                self.facts.unfinished_upgrade = false;
                None
            }
            Task::Purge(stone) => {
                self.removal = Some((job.id, stone.dir()));
                self.facts.removing = true;
                None
            }
        };
        if let Some(busy) = busy {
            self.workers.insert(name.clone(), job.id);
            self.facts.busy.insert(name, busy);
        }
        self.shop.on(disk).begin(job.id, task, bus, progress);
        job
    }

    /// Sees to it that systemd knows the units as they are configured; nothing is started
    /// before that.
    pub(super) fn refresh_units(&self, bus: zbus::Connection) {
        let (config, events) = (self.config.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = act::units::refresh(&bus, &config).await;
            _ = events.send(Event::Refreshed(bus, result)).await;
        });
    }
}
