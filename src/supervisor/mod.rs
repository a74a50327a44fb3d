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
//!        │ reports      ▼
//!        └──────────── act, in the order that jobs and recovery say
//!        ▲ requests (bounded): http's admin socket
//! ```
//!
//! The loop never waits for an action: it spawns it and hears of its end. It holds no child
//! process but, for a moment, the journal's reader; when it dies, nothing that it started does.

mod actions;
mod configuration;
mod extents;
mod facts;
mod fencing;
mod hosts;
mod jobs;
mod notify;
mod publish;
mod recovery;
mod relocations;
mod report;
mod requests;
mod shutdown;
mod systemd;
mod tasks;
#[cfg(test)]
mod tests;
pub mod unconfigured;
mod verification;
mod watchdog;

pub use configuration::in_force::Start;

use crate::config::Configuration;
use crate::decide::facts::{Busy, Facts, Region, Run, Stopped};
use crate::decide::region::serving;
use crate::decide::storage::identity;
use crate::decide::verdict::judge_with_remarks;
use crate::desk::answer::Answer;
use crate::desk::request::Request;
use crate::desk::{Handle, Publish};
use crate::events::Feed;
use crate::names::{RegionName, VolumeName};
use crate::observe::observer::Kernel;
use crate::observe::{self, Told};
use crate::update::record::boot_id;
use configuration::in_force::Keeping;
use facts::Lookout;
use facts::exits::recovered;
use facts::observers::Observers;
use facts::running_programs::upgrade_is_unfinished;
use facts::timer::alarm;
use fencing::Fencing;
use fencing::ground::Ground;
use hosts::Hosts;
use hosts::drains::Drains;
use hosts::maintenance::Maintenance;
use jobs::Jobs;
use jobs::context::Context;
use jobs::list;
use notify::Notify;
use publish::events::Events;
use publish::publisher::Publisher;
use relocations::Relocations;
use report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use systemd::Systemd;
use tasks::Tasks;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use uuid::Uuid;
use verification::Verifications;
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
    jobs: Jobs,
    lookout: Lookout,
    fencing: Fencing,
    publisher: Publisher,
    /// Channel on which the loop hears what was done aside; nobody sends on it but by [`Tasks`].
    reports: mpsc::Sender<Report>,
    relocations: Relocations,
    hosts: Hosts,
    notify: Notify,
    verifications: Verifications,
}

/// Other end of a [`Handle`]: what a supervisor publishes, and is asked.
#[derive(Debug)]
pub struct Line {
    publish: Publish,
    asked: mpsc::Receiver<Request>,
    watchdog: Watchdog,
    feed: Feed,
}

/// Make a handle of the supervisor that is to be, and what it needs for that; its events go to this feed.
pub fn line(feed: Feed) -> (Handle, Line) {
    let (publish, bulletins) = watch::channel(None);
    let (requests, asked) = mpsc::channel(QUEUE);
    let watchdog = Watchdog::new();
    let handle = Handle { bulletins, requests, pulse: watchdog.pulse(), events: feed.clone() };
    (handle, Line { publish, asked, watchdog, feed })
}

/// Supervise. The future is the loop; it ends when its handle is dropped, and when an observer is
/// lost, which only a new supervisor can mend. `config_dir` is where the configuration lies, and
/// `kernel` where the kernel tells of the machine.
pub async fn supervise(start: Start, config_dir: PathBuf, kernel: Kernel, line: Line) {
    let (supervisor, inbox) = Supervisor::new(start, config_dir, kernel, line);
    supervisor.run(inbox).await;
}

/// Inbox of the loop, and the watchdog that its turns feed.
struct Inbox {
    watchdog: Watchdog,
    observations: mpsc::Receiver<Told>,
    reports: mpsc::Receiver<Report>,
    asked: mpsc::Receiver<Request>,
}

impl Supervisor {
    /// Begin with one that knows nothing yet, and its observers.
    fn new(start: Start, config_dir: PathBuf, kernel: Kernel, line: Line) -> (Self, Inbox) {
        let Line { publish, asked, watchdog, feed } = line;
        let (config, kept) = (Arc::new(start.config), start.kept);
        let (to, observations) = observe::channel(QUEUE);
        let (to_loop, reports) = mpsc::channel(QUEUE);
        let observers = Observers::spawn(&config, config_dir, kernel, watchdog.turn(), &to);
        let context = Context::new(config.clone(), observers.scanner().clone(), Tasks::new(to_loop.clone()));
        let regions = config.local_regions();
        let boot = boot_id().unwrap_or_default();
        let since = crate::store::since::read().in_boot(&boot);
        let mut events = Events::begin(feed, &since, &boot);
        events.write(&config, context.clock.clone());
        let known = |name: &RegionName| {
            let stopped = since.stopped.get(name).cloned().map(|(at, run)| Stopped { at, run });
            Region { stopped, ..Region::default() }
        };
        let supervisor = Self {
            facts: Facts {
                regions: regions.iter().map(|local| (local.name.clone(), known(&local.name))).collect(),
                in_force: Some(kept.in_force()),
                unclean: start.unclean,
                verification: start.verification,
                ..Facts::default()
            },
            systemd: Systemd::new(Tasks::new(to_loop.clone())),
            verifications: Verifications::default(),
            notify: Notify::new(&config, &publish, Tasks::new(to_loop.clone())),
            hosts: Hosts {
                maintenance: Maintenance::new(context.clock.clone(), Tasks::new(to_loop.clone())),
                drains: Drains::new(Tasks::new(to_loop.clone())),
            },
            jobs: Jobs::new(list::Jobs::new(Tasks::new(to_loop.clone()), start.jobs), context),
            lookout: Lookout::new(&config, observers, Tasks::new(to_loop.clone())),
            fencing: Fencing::new(Tasks::new(to_loop.clone())),
            publisher: Publisher::new(config.clone(), publish, publish::since::Memory::begin(since), events),
            reports: to_loop,
            relocations: Relocations::default(),
            kept,
            config,
        };
        (supervisor, Inbox { watchdog, observations, reports, asked })
    }

    async fn run(mut self, inbox: Inbox) {
        let Inbox { mut watchdog, mut observations, mut reports, mut asked } = inbox;
        let mut turns = self.lookout.observers.turns();
        let mut patience = std::pin::pin!(sleep(FIRST_PICTURE_LIMIT));
        self.hosts.resume(&mut self.facts);
        self.facts.unfinished_upgrade = upgrade_is_unfinished();
        loop {
            let (alarm_at, mut hosts_first) = (self.alarm(), false);
            // Cancel-safe: `recv` and `next` lose nothing when another arm wins.
            tokio::select! {
                Some(told) = observations.recv() => hosts_first = self.take(told),
                Some(report) = reports.recv() => self.hear(report),
                request = asked.recv() => match request {
                    Some(request) => self.look_first(request),
                    None => return,
                },
                () = self.lookout.observers.lost() => return,
                () = alarm(alarm_at) => {
                    self.lookout.tell_crashes(&self.config, &mut self.facts);
                    self.hosts.maintenance.end(&mut self.facts.maintenance);
                }
                _ = turns.next() => {
                    self.lookout.counts.late(turns.late());
                    self.look_back();
                }
                () = &mut patience, if !patience.is_elapsed() => self.look_back(),
            }
            // A burst of facts is one change: everything that waits is taken before judging.
            while let Ok(told) = observations.try_recv() {
                hosts_first &= self.take(told);
            }
            while let Ok(report) = reports.try_recv() {
                hosts_first = false;
                self.hear(report);
            }
            while let Ok(request) = asked.try_recv() {
                hosts_first = false;
                self.look_first(request);
            }
            self.lookout.see_who_stopped(&mut self.facts);
            self.turn(hosts_first).await;
            self.lookout.counts.turned();
            watchdog.turned(|| self.publisher.status());
        }
    }

    /// Do what is to be done, and show what is known. What was begun, or is to be answered, does not wait until all has been
    /// judged; but of a cable alone hosts hear first, as what they wait for is that.
    async fn turn(&mut self, hosts_first: bool) {
        if hosts_first {
            self.show().await;
            if self.act() {
                self.show().await;
            }
            return;
        }
        tokio::task::yield_now().await;
        self.act();
        self.show().await;
    }

    /// Judge what is known now, publish that, and answer who waits for it, before anything else goes on.
    async fn show(&mut self) {
        self.jobs.list.note();
        if let Some(bus) = self.systemd.bus().cloned() {
            self.lookout.ask_versions(&self.config, &mut self.facts, &bus);
            self.resume_upgrade(bus);
        }
        let serving = serving(&self.config, &self.facts);
        recovered(&serving, &mut self.facts);
        self.fencing.note_absences(&serving, &self.config, &mut self.facts);
        self.jobs.context().tell_serving(self.runs_of(serving), self.lookout.breaks());
        if self.complete() {
            let verdict = judge_with_remarks(&self.config, &self.facts);
            self.publisher.publish(&self.facts, verdict, self.jobs.list.all(), &self.lookout.counts);
            if self.publisher.has_settled() {
                self.lookout.observers.settle();
            }
        }
        self.fencing.answer_served();
        // Hosts that wait for what was published hear of it before systemd and the disk do.
        tokio::task::yield_now().await;
        self.publisher.tell_the_next(&self.facts);
    }

    fn hear_notify(&mut self, report: notify::Report) {
        if let Some(failed) = report.failed(&self.config) {
            self.facts.unnotified = failed;
        }
    }

    fn hear_hosts(&mut self, report: hosts::Report) {
        if let Some((reply, answer)) = self.hosts.hear(report, &self.config, &mut self.facts) {
            self.publisher.answer_when_shown(reply, answer);
        }
    }

    /// Make the starter of what a room does aside.
    fn tasks<R: Send + 'static>(&self) -> Tasks<R>
    where
        Report: From<R>,
    {
        Tasks::new(self.reports.clone())
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

    fn hear_served(&mut self, fencing::Report(served, answers): fencing::Report) {
        let last_disk = self.lookout.last_disk();
        let tickets = answers.iter().filter(|(_, answer)| matches!(answer, Ok(Answer::Ticket(_)))).count();
        self.lookout.counts.granted(&served.volume, tickets as u64, served.takeover && tickets > 0);
        let (fencing, mut by) = self.fencing();
        if fencing.hear_served(served, answers, last_disk, &mut by) {
            self.lookout.observers.look_at_sockets();
        }
    }

    /// Record that a job does something to the region whose turn it has.
    fn mark(&mut self, job: u64, region: RegionName, busy: Busy) {
        if self.jobs.is_at(&region, job) {
            if !busy.passive() {
                self.lookout.ends(&region, &self.facts);
            }
            self.facts.busy.insert(region, busy);
        }
    }

    fn region(&mut self, name: &RegionName, change: impl FnOnce(&mut crate::decide::facts::Region)) {
        if let Some(region) = self.facts.regions.get_mut(name) {
            change(region);
        }
    }

    /// Take a report of what was done aside.
    fn hear(&mut self, report: Report) {
        match report {
            Report::Systemd(report) => self.hear_systemd(report),
            Report::Recovery(report) => self.hear_recovery(report),
            Report::Facts(report) => self.lookout.hear(report, &self.config, &mut self.facts),
            Report::Jobs(report) => self.hear_jobs(report),
            Report::Fencing(report) => self.hear_served(report),
            Report::Configuration(report) => self.hear_configuration(report),
            Report::Hosts(report) => self.hear_hosts(report),
            Report::Notify(report) => self.hear_notify(report),
            Report::Requests(report) => self.hear_look(report),
            Report::Shutdown(report) => self.hear_leaving(report),
        }
    }

    /// Take a report of a job.
    fn hear_jobs(&mut self, report: jobs::Report) {
        match report {
            jobs::Report::Claim(claim) => self.jobs.grant_turn(claim, &self.config, &mut self.facts),
            jobs::Report::Mark { job, region, busy } => self.mark(job, region, busy),
            jobs::Report::Heard(told) => _ = told.send(()),
            jobs::Report::Free { job, region } => self.jobs.free(&region, job, &mut self.facts),
            jobs::Report::Held { disk, tried, done } => self.jobs.hear_holds((disk, &tried, done), &self.facts),
            jobs::Report::Released(disk, name) => {
                self.lookout.hear_released(disk, &name, &self.config, &mut self.facts);
            }
            jobs::Report::Unsettled(disk) => self.hear_unsettled(disk),
            jobs::Report::Seen(disk) => self.see_disk(disk),
            jobs::Report::Awaits(name, what) => self.hear_awaits(name, what),
            jobs::Report::Noted(written) => self.jobs.list.written(written),
            jobs::Report::HostsTold(volume) => self.jobs.hear_hosts(volume, &self.facts),
            jobs::Report::Verified(name, verified) => self.hear_verified(&name, verified),
            jobs::Report::Step(id, step) => self.jobs.list.step(id, step),
            jobs::Report::Ended(name, ended, disk) => self.end(&name, *ended, disk),
        }
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
