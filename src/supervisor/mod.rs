//! Supervisor: facts in, plan, actions out, verdict published.
//!
//! One loop on one thread. Its tasks and channels:
//!
//! ```text
//! the observers: observe::ALL
//!        │ observations (bounded)
//!        ▼
//!   ┌─ the loop ──────────────┐  runs, pids (watch) ──► deaths, pulse, sockets
//!   │ apply → plan → judge    │  looks (notify) ──► whichever observer hears them
//!   └─────────────────────────┘  bulletin (watch) ──► http
//!        ▲              │ spawns: a start, a stop, a job, a settling
//!        │ endings,     ▼
//!        └ questions ── act, in the order that jobs and recovery say
//!        ▲ requests (bounded): http's admin socket
//! ```
//!
//! The loop never waits for an action: it spawns it and hears of its end. It holds no child
//! process but, for a moment, the journal's reader; when it dies, nothing that it started does.

mod actions;
mod configuration;
mod drains;
mod event;
mod facts;
mod fencing;
mod holds;
mod jobs;
mod maintenance;
mod publish;
mod recovery;
mod relocations;
mod requests;
mod shutdown;
mod systemd;
mod tasks;
#[cfg(test)]
mod tests;
pub mod unconfigured;
mod watchdog;

pub use configuration::in_force::Start;

use crate::config::Configuration;
use crate::decide::facts::{Busy, Facts, Region, Run, Stopped};
use crate::decide::region::serving;
use crate::decide::storage::identity;
use crate::decide::verdict::judge;
use crate::desk::request::Request;
use crate::desk::{Handle, Publish};
use crate::names::{RegionName, VolumeName};
use crate::observe::{self, Told};
use crate::store;
use configuration::in_force::Keeping;
use drains::Drains;
use event::{Event, LastWords};
use facts::History;
use facts::exits::recovered;
use facts::observers::Observers;
use facts::running_programs::{hear_program, upgrade_is_unfinished};
use facts::timer::alarm;
use fencing::Fencing;
use fencing::grant::{Answered, Served};
use fencing::ground::Ground;
use holds::Holds;
use jobs::Jobs;
use jobs::context::Context;
use jobs::list;
use maintenance::Maintenance;
use publish::publisher::Publisher;
use relocations::Relocations;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use systemd::Systemd;
use tasks::Tasks;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use uuid::Uuid;
use watchdog::Watchdog;

/// Number of facts, endings or requests that may wait. More than twelve regions can change at once
/// in a burst; whoever finds the channel full waits.
const QUEUE: usize = 256;
/// Time after which what systemd refused to start is asked for again: a little less than two turns,
/// so that it is at every second one.
const RETRY_POLL: Duration = Duration::from_millis(9500);
/// Time for which the first bulletin waits for a complete picture, and no longer.
const FIRST_PICTURE_LIMIT: Duration = Duration::from_secs(5);

/// State of the loop.
struct Supervisor {
    config: Arc<Configuration>,
    /// Configurations in force now and before, on record.
    kept: Keeping,
    facts: Facts,
    systemd: Systemd,
    observers: Observers,
    jobs: Jobs,
    history: History,
    holds: Holds,
    fencing: Fencing,
    publisher: Publisher,
    tasks: Tasks,
    relocations: Relocations,
    maintenance: Maintenance,
    drains: Drains,
}

/// Other end of a [`Handle`]: what a supervisor publishes, and is asked.
#[derive(Debug)]
pub struct Line {
    publish: Publish,
    asked: mpsc::Receiver<Request>,
    watchdog: Watchdog,
}

/// Make a handle of the supervisor that is to be, and what it needs for that.
pub fn line() -> (Handle, Line) {
    let (publish, bulletins) = watch::channel(None);
    let (requests, asked) = mpsc::channel(QUEUE);
    let watchdog = Watchdog::new();
    (Handle { bulletins, requests, pulse: watchdog.pulse() }, Line { publish, asked, watchdog })
}

/// Supervise. The future is the loop; it ends when its handle is dropped, and when an observer is
/// lost, which only a new supervisor can mend. `config_dir` is where the configuration lies, and
/// `sysfs` where sysfs is mounted.
pub async fn supervise(start: Start, config_dir: PathBuf, sysfs: PathBuf, line: Line) {
    let (supervisor, inbox) = Supervisor::new(start, config_dir, sysfs, line);
    supervisor.run(inbox).await;
}

/// Inbox of the loop, and the watchdog that its turns feed.
struct Inbox {
    watchdog: Watchdog,
    observations: mpsc::Receiver<Told>,
    ended: mpsc::Receiver<Event>,
    asked: mpsc::Receiver<Request>,
}

impl Supervisor {
    /// Begin with one that knows nothing yet, and its observers.
    fn new(start: Start, config_dir: PathBuf, sysfs: PathBuf, line: Line) -> (Self, Inbox) {
        let Line { publish, asked, watchdog } = line;
        let (config, kept) = (Arc::new(start.config), start.kept);
        let (to, observations) = observe::channel(QUEUE);
        let (events, ended) = mpsc::channel(QUEUE);
        let tasks = Tasks::new(events);
        let observers = Observers::spawn(&config, config_dir, sysfs, watchdog.turn(), &to);
        let context = Context::new(config.clone(), observers.scanner().clone(), tasks.clone());
        let regions = config.local_regions();
        let since = crate::store::since::read();
        let known = |name: &RegionName| {
            let stopped = since.stopped.get(name).cloned().map(|(at, run)| Stopped { at, run });
            Region { stopped, ..Region::default() }
        };
        let supervisor = Self {
            facts: Facts {
                regions: regions.iter().map(|local| (local.name.clone(), known(&local.name))).collect(),
                in_force: Some(kept.in_force()),
                ..Facts::default()
            },
            drains: Drains::new(tasks.clone()),
            systemd: Systemd::new(tasks.clone()),
            maintenance: Maintenance::new(context.clock.clone(), tasks.clone()),
            jobs: Jobs::new(list::Jobs::new(tasks.clone(), start.jobs), context),
            history: History::new(&config, tasks.clone()),
            holds: Holds::new(tasks.clone()),
            fencing: Fencing::default(),
            observers,
            publisher: Publisher::new(config.clone(), publish, publish::since::Memory::begin(since, &tasks)),
            tasks,
            relocations: Relocations::default(),
            kept,
            config,
        };
        (supervisor, Inbox { watchdog, observations, ended, asked })
    }

    async fn run(mut self, inbox: Inbox) {
        let Inbox { mut watchdog, mut observations, mut ended, mut asked } = inbox;
        let mut turns = self.observers.turns();
        let mut patience = std::pin::pin!(sleep(FIRST_PICTURE_LIMIT));
        self.maintenance.resume(&mut self.facts.maintenance);
        self.drains.resume(&mut self.facts);
        self.facts.unfinished_upgrade = upgrade_is_unfinished();
        loop {
            let alarm_at = self.alarm();
            // Cancel-safe: `recv` and `next` lose nothing when another arm wins.
            tokio::select! {
                Some(told) = observations.recv() => self.take(told),
                Some(event) = ended.recv() => self.hear(event),
                request = asked.recv() => match request {
                    Some(request) => self.look_first(request),
                    None => return,
                },
                () = self.observers.lost() => return,
                () = alarm(alarm_at) => {
                    self.tell_crashes();
                    self.maintenance.end(&mut self.facts.maintenance);
                }
                _ = turns.next() => self.look_back(),
                () = &mut patience, if !patience.is_elapsed() => self.look_back(),
            }
            // A burst of facts is one change: everything that waits is taken before judging.
            while let Ok(told) = observations.try_recv() {
                self.take(told);
            }
            while let Ok(event) = ended.try_recv() {
                self.hear(event);
            }
            while let Ok(request) = asked.try_recv() {
                self.look_first(request);
            }
            self.history.see_who_stopped(&mut self.facts);
            // What was begun, or is to be answered, does not wait until all has been judged.
            tokio::task::yield_now().await;
            self.act();
            self.show();
            watchdog.turned(|| self.publisher.status());
        }
    }

    /// Judge what is known now, publish that, and answer who waits for it.
    fn show(&mut self) {
        self.jobs.list.note();
        if let Some(bus) = self.systemd.bus().cloned() {
            self.history.ask_versions(&self.config, &mut self.facts, &bus);
            self.resume_upgrade(bus);
        }
        let serving = serving(&self.config, &self.facts);
        recovered(&serving, &mut self.facts);
        self.fencing.note_absences(&serving, &self.config, &mut self.facts);
        self.jobs.context().tell_serving(self.runs_of(serving), self.history.breaks());
        if self.complete() {
            let verdict = judge(&self.config, &self.facts);
            self.publisher.publish(&self.facts, verdict, self.jobs.list.all());
            if self.publisher.has_settled() {
                self.observers.settle();
            }
        }
        self.fencing.answer_served();
    }

    fn hear_maintenance(&mut self, order: maintenance::Order, written: io::Result<()>) {
        if let Some((reply, answer)) = self.maintenance.hear(order, written, &mut self.facts.maintenance) {
            self.publisher.answer_when_shown(&self.tasks, reply, answer);
        }
    }

    fn hear_drains(&mut self, order: Option<Box<(drains::Order, store::drains::Drains)>>, written: io::Result<()>) {
        if let Some((reply, answer)) = self.drains.hear(order, written, &self.config, &mut self.facts) {
            self.publisher.answer_when_shown(&self.tasks, reply, answer);
        }
    }

    /// Lend what knows who reaches a volume, and the ground on which that is decided.
    fn fencing(&mut self) -> (&mut Fencing, Ground<'_>) {
        let Self { config, facts, publisher, jobs, systemd, fencing, .. } = self;
        (fencing, Ground { config, facts, publisher, context: jobs.context(), bus: systemd.bus() })
    }

    fn serve(&mut self, volume: &VolumeName) {
        let (fencing, mut by) = self.fencing();
        fencing.serve(volume, &mut by);
    }

    fn hear_served(&mut self, served: Served, answers: Vec<Answered>) {
        let last_disk = self.history.last_disk();
        let (fencing, mut by) = self.fencing();
        if fencing.hear_served(served, answers, last_disk, &mut by) {
            self.observers.look_at_sockets();
        }
    }

    /// Write what time has made of each region into the facts.
    fn tell_crashes(&mut self) {
        self.history.tell_crashes(&self.config.sled.downstairs, &mut self.facts);
    }

    fn hear_words(&mut self, words: &LastWords) {
        self.history.hear_words(words, &self.config.sled.downstairs, &mut self.facts);
    }

    fn hear_released(&mut self, disk: Option<Uuid>, name: &RegionName) {
        self.history.hear_released(disk, name, &self.config.sled.downstairs, &mut self.facts);
    }

    /// Record that a region is not held any more, and that nothing is held against it.
    fn released(&mut self, name: &RegionName) {
        self.history.released(name, &self.config.sled.downstairs, &mut self.facts);
    }

    /// Look at what those are doing that do not answer, and at the disk.
    fn look_at_the_hung(&mut self) {
        if self.history.look_at_the_hung(&self.config, &self.facts) {
            self.observers.look_at_disk();
        }
    }

    /// Record that a job does something to the region whose turn it has.
    fn mark(&mut self, job: u64, region: RegionName, busy: Busy) {
        if self.jobs.is_at(&region, job) {
            if !busy.passive() {
                self.history.ends(&region, &self.facts);
            }
            self.facts.busy.insert(region, busy);
        }
    }

    fn region(&mut self, name: &RegionName, change: impl FnOnce(&mut crate::decide::facts::Region)) {
        if let Some(region) = self.facts.regions.get_mut(name) {
            change(region);
        }
    }

    /// Take the end of an action, or a step of it.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Systemd(of, said) => self.hear_systemd(of, said),
            Event::Settled(disk, result) => self.hear_settled(disk, result),
            Event::Undone(disk, names, stuck) => self.hear_undone(disk, names, stuck),
            Event::Unsettled(disk) => self.hear_unsettled(disk),
            Event::Explained(words) => self.hear_words(&words),
            Event::Doing(name, seen) => self.history.hear_doing(&name, seen, &mut self.facts),
            Event::Held { disk, tried, done } => {
                self.holds.hear((disk, &tried, done), &self.facts, self.jobs.context());
            }
            Event::Claim(claim) => self.jobs.grant_turn(claim, &self.config, &mut self.facts),
            Event::Mark { job, region, busy } => self.mark(job, region, busy),
            Event::Free { job, region } => self.jobs.free(&region, job, &mut self.facts),
            Event::Runs(name, run, program) => hear_program(&name, &run, program, &mut self.facts),
            Event::Served(served, answers) => self.hear_served(served, answers),
            Event::Read(reading) => self.hear_reading(*reading),
            Event::Recorded(recorded) => self.hear_recorded(*recorded),
            Event::Kept(written) => self.kept.hear(written, &mut self.facts),
            Event::Released(disk, name) => self.hear_released(disk, &name),
            Event::Maintenance(order, written) => self.hear_maintenance(order, written),
            Event::Drains(order, written) => self.hear_drains(order, written),
            Event::Leaving(told) => self.hear_leaving(told),
            Event::Seen(disk) => self.see_disk(disk),
            Event::Looked(disk, request) => self.hear_look(disk, request),
            Event::Awaits(name, what) => self.hear_awaits(name, what),
            Event::Unfinished(unfinished) => self.hear_unfinished(unfinished),
            Event::Noted(written) => self.jobs.list.written(written),
            Event::HostsTold(volume) => self.jobs.hear_hosts(volume, &self.facts),
            Event::Step(id, step) => self.jobs.list.step(id, step),
            Event::Ended(name, ended, disk) => self.end(&name, *ended, disk),
        }
    }

    /// Hear that the machine is being switched off; `told` is when hosts have been told.
    fn hear_leaving(&mut self, told: oneshot::Sender<()>) {
        self.facts.leaving = true;
        self.publisher.tell_when_shown(told);
    }

    /// Tell which run of each of these regions it is.
    fn runs_of(&self, names: BTreeSet<RegionName>) -> BTreeMap<RegionName, Run> {
        let run = |name: RegionName| Some((name.clone(), self.facts.regions.get(&name)?.run()?));
        names.into_iter().filter_map(run).collect()
    }

    /// Tell the identity of the disk that was last looked at.
    fn disk(&self) -> Option<Uuid> {
        self.facts.disk.as_ref().and_then(identity)
    }
}
