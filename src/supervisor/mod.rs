//! The supervisor: facts in, plan, actions out, verdict published.
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
mod jobs;
mod maintenance;
mod publish;
mod recovery;
mod relocations;
mod requests;
mod shutdown;
mod tasks;
#[cfg(test)]
mod tests;
pub mod unconfigured;
mod watchdog;

pub use crate::decide::turns::{Asks, Manner};
pub use configuration::in_force::Start;
pub use configuration::reload::{Reload, Reloading};
pub use publish::body::Body;
pub(crate) use publish::body::body;
pub use publish::publisher::{Bulletin, Page};
pub use requests::{Answer, Asked, Request, Wish};

use crate::config::Configuration;
use crate::decide::facts::{Facts, Region, Run, Stopped};
use crate::decide::region::serving;
use crate::decide::storage::identity;
use crate::decide::verdict::judge;
use crate::names::RegionName;
use crate::observe::{self, Told};
use configuration::in_force::Keeping;
use event::{Event, World};
use facts::crash_history::Ward;
use facts::observers::Observers;
use facts::running_programs::{Versions, upgrade_is_unfinished};
use facts::staleness::Freshness;
use facts::timer::alarm;
use fencing::queue::Desk;
use fencing::visitors::Knocks;
use jobs::context::Workshop;
use jobs::list::Jobs;
use publish::publisher::Editor;
use relocations::Moves;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tasks::Errands;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use uuid::Uuid;
pub use watchdog::LoopPulse;
use watchdog::Watchdog;

/// How many facts, endings or requests may wait. More than twelve regions can change at once
/// in a burst; whoever finds the channel full waits.
const QUEUE: usize = 256;
/// After this, what systemd refused to start is asked for again: a little less than two turns,
/// so that it is at every second one.
const TRY_AGAIN: Duration = Duration::from_millis(9500);
/// The first bulletin waits for a complete picture, but no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the rest of the daemon holds of the supervisor.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The last verdict, ready to be sent; `None` until the first picture is complete.
    pub bulletins: watch::Receiver<Option<Arc<Bulletin>>>,
    /// Where requests go.
    pub requests: mpsc::Sender<Request>,
    /// Whether the loop turns.
    pub pulse: LoopPulse,
}

/// Where the verdicts are published.
type Publish = watch::Sender<Option<Arc<Bulletin>>>;

/// The state of the loop.
struct Supervisor {
    config: Arc<Configuration>,
    /// Where its files are.
    config_dir: PathBuf,
    /// What is in force, and was before, on record.
    kept: Keeping,
    facts: Facts,
    /// The connection to systemd, when it knows the units as they are configured.
    bus: Option<zbus::Connection>,
    /// The connection that there is, whether or not.
    line: Option<zbus::Connection>,
    /// What results must be of to be believed.
    world: World,
    observers: Observers,
    jobs: Jobs,
    /// The jobs that are at a region, by the region.
    workers: BTreeMap<RegionName, u64>,
    removals: jobs::removals::Removals,
    versions: Versions,
    desk: Desk,
    knocks: Knocks,
    looks: jobs::host_redundancy::Looks,
    outside: facts::outside_stops::Outside,
    shop: Workshop,
    wards: BTreeMap<RegionName, Ward>,
    freshness: Freshness,
    editor: Editor,
    errands: Errands,
    /// Holds are being put on record.
    recording: bool,
    /// The regions whose process is being looked at, as it does not answer.
    looking: BTreeSet<RegionName>,
    /// The units that systemd would not stop or restart; asked again after a while.
    unchanged: BTreeSet<RegionName>,
    /// systemd would not read the units again, or to no effect; asked again from then on.
    unrefreshed: Option<Instant>,
    /// The data disk that was last there.
    last_disk: Option<Uuid>,
    moves: Moves,
    maintenance: maintenance::Maintenance,
    drains: drains::Queue,
    /// Who is waiting until what is known now has been published.
    told: Vec<oneshot::Sender<()>>,
    started: Instant,
    tried_again: Instant,
}

/// The other end of a [`Handle`]: what a supervisor publishes, and is asked.
#[derive(Debug)]
pub struct Line {
    publish: Publish,
    asked: mpsc::Receiver<Request>,
    watchdog: Watchdog,
}

/// A handle of the supervisor that is to be, and what it needs for that.
pub fn line() -> (Handle, Line) {
    let (publish, bulletins) = watch::channel(None);
    let (requests, asked) = mpsc::channel(QUEUE);
    let watchdog = Watchdog::new();
    (Handle { bulletins, requests, pulse: watchdog.pulse() }, Line { publish, asked, watchdog })
}

/// Supervises. The future is the loop; it ends when its handle is dropped,
/// and when an observer is lost, which only a new supervisor can mend.
/// `config_dir` is where the configuration lies, and `sysfs` where sysfs is mounted.
pub async fn supervise(start: Start, config_dir: PathBuf, sysfs: PathBuf, line: Line) {
    let (supervisor, inbox) = Supervisor::new(start, config_dir, sysfs, line);
    supervisor.run(inbox).await;
}

/// What comes to the loop, and what its turns feed.
struct Inbox {
    watchdog: Watchdog,
    observations: mpsc::Receiver<Told>,
    ended: mpsc::Receiver<Event>,
    asked: mpsc::Receiver<Request>,
}

impl Supervisor {
    /// One that knows nothing yet, with its observers.
    fn new(start: Start, config_dir: PathBuf, sysfs: PathBuf, line: Line) -> (Self, Inbox) {
        let Line { publish, asked, watchdog } = line;
        let (config, kept) = (Arc::new(start.config), start.kept);
        let (to, observations) = observe::channel(QUEUE);
        let (events, ended) = mpsc::channel(QUEUE);
        let errands = Errands::new(events);
        let now = Instant::now();
        let observers = Observers::spawn(&config, config_dir.clone(), sysfs, watchdog.turn(), &to);
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
            bus: None,
            line: None,
            world: World::default(),
            jobs: Jobs::new(errands.clone(), start.jobs),
            workers: BTreeMap::new(),
            removals: jobs::removals::Removals::default(),
            versions: Versions::default(),
            desk: Desk::default(),
            knocks: Knocks::default(),
            looks: jobs::host_redundancy::Looks::default(),
            shop: Workshop::new(config.clone(), observers.scanner().clone(), errands.clone()),
            wards: regions.iter().map(|local| (local.name.clone(), Ward::default())).collect(),
            freshness: Freshness::new(config.sled.downstairs.hung_after.into()),
            observers,
            outside: facts::outside_stops::Outside::default(),
            editor: Editor::new(config.clone(), publish, publish::since::Memory::begin(since, &errands)),
            errands,
            recording: false,
            looking: BTreeSet::new(),
            unchanged: BTreeSet::new(),
            unrefreshed: None,
            last_disk: None,
            moves: Moves::default(),
            maintenance: maintenance::Maintenance::default(),
            drains: drains::Queue::default(),
            told: Vec::new(),
            config_dir,
            kept,
            started: now,
            tried_again: now,
            config,
        };
        (supervisor, Inbox { watchdog, observations, ended, asked })
    }

    async fn run(mut self, inbox: Inbox) {
        let Inbox { mut watchdog, mut observations, mut ended, mut asked } = inbox;
        let mut turns = self.observers.turns();
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        self.resume_maintenance();
        self.resume_drains();
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
                    self.tell_wards();
                    self.end_maintenance();
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
            self.see_who_stopped();
            // What was begun, or is to be answered, does not wait until all has been judged.
            tokio::task::yield_now().await;
            self.act();
            self.note_jobs();
            self.ask_versions();
            let serving = serving(&self.config, &self.facts);
            self.recovered(&serving);
            self.note_absences(&serving);
            self.note_lacks(&serving);
            let breaks = self.wards.iter().map(|(name, ward)| (name.clone(), ward.breaks()));
            self.shop.tell_serving(self.runs_of(serving), breaks.collect());
            if self.complete() {
                let verdict = judge(&self.config, &self.facts);
                self.editor.publish(&self.facts, verdict, self.jobs.all());
                self.told.drain(..).for_each(|told| _ = told.send(()));
                if self.editor.has_settled() {
                    self.observers.settle();
                }
            }
            self.answer_served();
            watchdog.turned(|| self.editor.status());
        }
    }

    fn region(&mut self, name: &RegionName, change: impl FnOnce(&mut crate::decide::facts::Region)) {
        if let Some(region) = self.facts.regions.get_mut(name) {
            change(region);
        }
    }

    /// Takes the end of an action, or a step of it.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Systemd(of, said) => self.hear_systemd(of, said),
            Event::Settled(disk, result) => self.hear_settled(disk, result),
            Event::Undone(disk, names, stuck) => self.hear_undone(disk, names, stuck),
            Event::Unsettled(disk) => self.hear_unsettled(disk),
            Event::Explained(words) => self.hear_words(&words),
            Event::Doing(name, seen) => self.hear_doing(&name, seen),
            Event::Held { disk, tried, done } => self.hear_held(disk, &tried, done),
            Event::Claim(claim) => self.grant_turn(claim),
            Event::Mark { job, region, busy } => self.mark(job, region, busy),
            Event::Free { job, region } => self.free(&region, job),
            Event::Runs(name, run, program) => self.hear_program(&name, &run, program),
            Event::Served(served, answers) => self.hear_served(served, answers),
            Event::Read(reading) => self.hear_reading(*reading),
            Event::Recorded(recorded) => self.hear_recorded(*recorded),
            Event::Kept(written) => self.hear_kept(written),
            Event::Released(disk, name) => self.hear_released(disk, &name),
            Event::Maintenance(order, written) => self.hear_maintenance(order, written),
            Event::Drains(order, written) => self.hear_drains(order, written),
            Event::Leaving(told) => self.hear_leaving(told),
            Event::Seen(disk) => self.see_disk(disk),
            Event::Looked(disk, request) => self.hear_look(disk, request),
            Event::Awaits(name, what) => self.hear_awaits(name, what),
            Event::Unfinished(unfinished) => self.hear_unfinished(unfinished),
            Event::Noted(written) => self.jobs.written(written),
            Event::HostsTold(volume) => self.hear_hosts(volume),
            Event::Step(id, step) => self.jobs.step(id, step),
            Event::Ended(name, ended, disk) => self.end(&name, *ended, disk),
        }
    }

    /// The machine is being switched off; `told` is when hosts have been told.
    fn hear_leaving(&mut self, told: oneshot::Sender<()>) {
        self.facts.leaving = true;
        self.told.push(told);
    }

    /// Which run of each of these regions it is.
    fn runs_of(&self, names: BTreeSet<RegionName>) -> BTreeMap<RegionName, Run> {
        let run = |name: RegionName| Some((name.clone(), self.facts.regions.get(&name)?.run()?));
        names.into_iter().filter_map(run).collect()
    }

    /// The identity of the disk that was last looked at.
    fn disk(&self) -> Option<Uuid> {
        self.facts.disk.as_ref().and_then(identity)
    }
}
