//! The supervisor: facts in, plan, actions out, verdict published.
//!
//! One loop on one thread. Its tasks and channels:
//!
//! ```text
//! observe::{units, network, disk, tls, sockets, intruders, enforcement}; a pulse and a pidfd a
//! region
//!        │ observations (bounded)
//!        ▼
//!   ┌─ the loop ──────────────┐  pids (watch) ──► pulses, sockets
//!   │ apply → plan → judge    │  looks (notify) ──► sockets, disk
//!   └─────────────────────────┘  bulletin (watch) ──► http
//!        ▲              │ spawns: a start, a stop, a job, a settling
//!        │ endings,     ▼
//!        └ questions ── act, in the order that work, care, upgrade, adoption and settling say
//!        ▲ requests (bounded): http's admin socket
//! ```
//!
//! The loop never waits for an action: it spawns it and hears of its end. It holds no child
//! process but, for a moment, the journal's reader; when it dies, nothing that it started does.

mod absence;
mod actions;
mod adoption;
mod beforehand;
mod bulletin;
mod care;
mod company;
mod counter;
mod freshness;
mod health;
mod hindsight;
mod holders;
mod jobs;
mod kept;
mod looking;
mod maintenance;
mod moves;
mod observers;
mod pages;
mod reload;
mod removals;
mod requests;
mod settling;
mod sight;
mod strangers;
mod tickets;
mod upgrade;
mod versions;
pub mod waiting;
mod wards;
mod watchdog;
mod work;
mod workshop;

pub use crate::decide::turns::Manner;
pub(crate) use bulletin::body;
pub use bulletin::{Bulletin, Page};
pub use kept::Start;
pub use reload::{Reload, Reloading};
pub use requests::{Answer, Asked, Request, Wish};

use crate::act::progress::Step;
use crate::config::{Configuration, History};
use crate::decide::facts::{self, Active, Bus, Busy, Disk, Doing, Facts, Settled};
use crate::decide::failure::Failure;
use crate::decide::storage::identity;
use crate::decide::turns::Denied;
use crate::decide::verdict::{judge, serving};
use crate::names::RegionName;
use crate::observe::Observation;
use crate::port_map::Fence;
use crate::programs::Program;
use crate::wire::{self, JobKind};
use bulletin::Editor;
use counter::Served;
use freshness::Freshness;
use hindsight::alarm;
use jobs::{Ended, Jobs};
use kept::Keeping;
use moves::Moves;
use observers::Observers;
use reload::{Reading, Recorded};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use strangers::Knocks;
use tickets::Desk;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use upgrade::upgrade_is_unfinished;
use uuid::Uuid;
use versions::Versions;
use wards::Ward;
use watchdog::Watchdog;
use workshop::Workshop;

/// How many facts, endings or requests may wait. More than twelve regions can change at once
/// in a burst; whoever finds the channel full waits.
const QUEUE: usize = 256;
/// After this, what systemd refused to start is asked for again: a little less than two turns,
/// so that it is at every second one.
const TRY_AGAIN: Duration = Duration::from_millis(9500);
/// The first bulletin waits for a complete picture, but no longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of an action, or a step of it.
enum Event {
    /// systemd, on this connection, knows the units as they are configured, or does not, and
    /// why.
    Refreshed(zbus::Connection, Result<(), String>),
    /// What became of the wish to start a unit.
    Started(RegionName, facts::Start),
    /// Nothing is left undone on the disk with this identity, or it is, and why.
    Settled(Result<Uuid, String>),
    /// These adoptions were undone, but for some that could not be, and why.
    Undone(Vec<RegionName>, BTreeMap<RegionName, String>),
    /// The ledger was begun anew: what lies on the disk is settled by it once more.
    Unsettled,
    /// A downstairs has ended, for this reason, and wrote these last lines.
    Explained(RegionName, Failure, Vec<String>),
    /// systemd has stopped or restarted a unit, or has not, and why.
    Changed(RegionName, Result<(), String>),
    /// What one is doing that does not answer.
    Doing(RegionName, Doing),
    /// A job asks whether a region's turn has come.
    Claim(Claim),
    /// The job that has the region's turn does this to it now.
    Mark(RegionName, Busy),
    /// The job does not need the region any more.
    Free(RegionName, u64),
    /// What a process runs, as that states it.
    Runs(RegionName, u32, Program),
    /// systemd has changed whom a region's unit lets in, or has not, and why.
    Fenced(RegionName, Fence, Result<(), String>),
    /// These regions run, and are not in the map.
    Strays(Vec<RegionName>),
    /// A configuration was read, for a request, and what it speaks of was looked at.
    Read(Box<Reading>),
    /// A configuration that is to be taken over was put on record, or could not be.
    Recorded(Box<Recorded>),
    /// What is in force was kept at last, or could not be again, and why.
    Kept(Result<History, String>),
    /// Somebody was served at the ticket desk.
    Served(Served),
    /// A region is not held any more.
    Released(RegionName),
    /// What became of something that was to be written of maintenance.
    Maintenance(maintenance::Order, std::io::Result<()>),
    /// The machine is being switched off; told when hosts have been told.
    Leaving(oneshot::Sender<()>),
    /// The disk was looked at.
    Seen(Disk),
    /// The disk was looked at, for a request that is to be answered by what is there now.
    Looked(Disk, Request),
    /// What is to be remembered of jobs was written, or could not be.
    Noted,
    /// A job is doing this now.
    Step(u64, Step),
    /// A job has ended, and this is what the disk looked like then.
    Ended(RegionName, Box<Ended>, Option<Disk>),
}

/// A job's question whether a region's turn has come.
struct Claim {
    job: u64,
    region: RegionName,
    manner: Manner,
    reply: oneshot::Sender<Result<(), Denied>>,
}

/// What the rest of the daemon holds of the supervisor.
#[derive(Debug, Clone)]
pub struct Handle {
    /// The last verdict, ready to be sent; `None` until the first picture is complete.
    pub bulletins: watch::Receiver<Option<Arc<Bulletin>>>,
    /// Where requests go.
    pub requests: mpsc::Sender<Request>,
}

/// The state of the loop.
struct Supervisor {
    config: Arc<Configuration>,
    /// Where its files are.
    config_dir: PathBuf,
    /// What is in force, and was before, on record.
    kept: Keeping,
    facts: Facts,
    bus: Option<zbus::Connection>,
    observers: Observers,
    jobs: Jobs,
    /// The jobs that are at a region, by the region.
    workers: BTreeMap<RegionName, u64>,
    removals: removals::Removals,
    /// The job that rolls another program over the regions.
    upgrading: Option<u64>,
    versions: Versions,
    desk: Desk,
    knocks: Knocks,
    shop: Workshop,
    wards: BTreeMap<RegionName, Ward>,
    freshness: Freshness,
    editor: Editor,
    events: mpsc::Sender<Event>,
    /// The units that systemd would not stop or restart; asked again after a while.
    unchanged: BTreeSet<RegionName>,
    /// systemd on this connection would not read the units again; asked again after a while.
    unrefreshed: Option<zbus::Connection>,
    /// The data disk that was last there.
    last_disk: Option<Uuid>,
    moves: Moves,
    maintenance: maintenance::Maintenance,
    /// Other observers have taken the place of some: what these had told is old.
    renewed: bool,
    /// Who is waiting until what is known now has been published.
    told: Vec<oneshot::Sender<()>>,
    started: Instant,
    tried_again: Instant,
}

/// The other end of a [`Handle`]: what a supervisor publishes, and is asked.
#[derive(Debug)]
pub struct Line {
    publish: watch::Sender<Option<Arc<Bulletin>>>,
    asked: mpsc::Receiver<Request>,
}

/// A handle of the supervisor that is to be, and what it needs for that.
pub fn line() -> (Handle, Line) {
    let (publish, bulletins) = watch::channel(None);
    let (requests, asked) = mpsc::channel(QUEUE);
    (Handle { bulletins, requests }, Line { publish, asked })
}

/// Supervises. The future is the loop; it ends when its handle is dropped,
/// and when an observer is lost, which only a new supervisor can mend.
/// `config_dir` is where the configuration lies, and `sysfs` where sysfs is mounted.
pub fn supervise(start: Start, config_dir: PathBuf, sysfs: PathBuf, line: Line) -> impl Future<Output = ()> {
    let Line { publish, asked } = line;
    async move {
        let (config, kept) = (Arc::new(start.config), start.kept);
        let (to, observations) = mpsc::channel(QUEUE);
        let (events, ended) = mpsc::channel(QUEUE);
        let now = Instant::now();
        let watchdog = Watchdog::new();
        let observers = Observers::spawn(&config, config_dir.clone(), sysfs, watchdog.turn(), &to);
        let regions = config.local_regions();
        let supervisor = Supervisor {
            facts: Facts {
                regions: regions.iter().map(|local| (local.name.clone(), Default::default())).collect(),
                in_force: Some(kept.in_force()),
                ..Facts::default()
            },
            bus: None,
            jobs: Jobs::new(events.clone(), crate::act::jobs::read()),
            workers: BTreeMap::new(),
            removals: removals::Removals::default(),
            upgrading: None,
            versions: Versions::default(),
            desk: Desk::default(),
            knocks: Knocks::default(),
            shop: Workshop::new(config.clone(), observers.scanner.clone(), events.clone()),
            wards: regions.iter().map(|local| (local.name.clone(), Ward::default())).collect(),
            freshness: Freshness::new(config.sled.downstairs.hung_after.into()),
            observers,
            editor: Editor::new(config.clone(), publish),
            events,
            unchanged: BTreeSet::new(),
            unrefreshed: None,
            last_disk: None,
            moves: Moves::default(),
            maintenance: maintenance::Maintenance::default(),
            renewed: false,
            told: Vec::new(),
            config_dir,
            kept,
            started: now,
            tried_again: now,
            config,
        };
        supervisor.run(watchdog, observations, ended, asked).await;
    }
}

impl Supervisor {
    async fn run(
        mut self,
        mut watchdog: Watchdog,
        mut observations: mpsc::Receiver<Observation>,
        mut ended: mpsc::Receiver<Event>,
        mut asked: mpsc::Receiver<Request>,
    ) {
        let mut turns = self.observers.turns();
        let mut patience = std::pin::pin!(sleep(PATIENCE));
        self.resume_maintenance();
        self.facts.unfinished_upgrade = upgrade_is_unfinished();
        loop {
            let alarm_at = self.alarm();
            // Cancel-safe: `recv` and `next` lose nothing when another arm wins.
            tokio::select! {
                Some(seen) = observations.recv() => self.see(seen),
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
            if std::mem::take(&mut self.renewed) {
                self.forget_what_waits(&mut observations);
            }
            // A burst of facts is one change: everything that waits is taken before judging.
            while let Ok(seen) = observations.try_recv() {
                self.see(seen);
            }
            while let Ok(event) = ended.try_recv() {
                self.hear(event);
            }
            while let Ok(request) = asked.try_recv() {
                self.look_first(request);
            }
            // What was begun, or is to be answered, does not wait until all has been judged.
            tokio::task::yield_now().await;
            self.act();
            self.note_jobs();
            self.ask_versions();
            let serving = serving(&self.config, &self.facts);
            self.recovered(&serving);
            self.note_absences(&serving);
            self.shop.tell_serving(serving);
            if self.complete() {
                let verdict = judge(&self.config, &self.facts);
                self.editor.publish(&self.facts, verdict, self.jobs.all());
                self.told.drain(..).for_each(|told| _ = told.send(()));
                if self.editor.has_settled() {
                    self.observers.settle();
                }
            }
            watchdog.turned(|| self.editor.status());
        }
    }

    fn region(&mut self, name: &RegionName, change: impl FnOnce(&mut crate::decide::facts::Region)) {
        if let Some(region) = self.facts.regions.get_mut(name) {
            change(region);
        }
    }

    /// Takes the end of an action.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Refreshed(bus, result) => {
                self.facts.bus = Some(match &result {
                    Ok(()) => Bus::Connected,
                    Err(why) => Bus::Unreachable(format!("it does not read the units again: {why}")),
                });
                self.unrefreshed = result.is_err().then(|| bus.clone());
                self.bus = result.is_ok().then(|| bus.clone());
                if result.is_ok() {
                    self.facts.stale_units = false;
                    self.put_in_place(&bus);
                }
            }
            Event::Started(name, result) => self.region(&name, |region| {
                let inactive = region.unit.as_ref().is_some_and(|unit| unit.active == Active::Inactive);
                let granted = result == facts::Start::Granted && !inactive;
                region.start = if granted { facts::Start::Idle } else { result };
            }),
            Event::Settled(result) => {
                self.facts.settled = match result {
                    Ok(disk) => Settled::Done(disk),
                    Err(why) => Settled::Failed(why),
                };
            }
            Event::Undone(names, stuck) => {
                self.facts.stuck_adoptions.extend(stuck);
                for name in names {
                    self.facts.busy.remove(&name);
                }
            }
            Event::Explained(name, failure, lines) => self.hear_words(&name, &failure, &lines),
            Event::Changed(name, done) => self.hear_change(&name, done),
            Event::Doing(name, seen) => self.hear_doing(&name, seen),
            Event::Claim(claim) => self.grant_turn(claim),
            Event::Mark(name, busy) => _ = self.facts.busy.insert(name, busy),
            Event::Free(name, job) => self.free(&name, job),
            Event::Runs(name, pid, program) => self.region(&name, |region| {
                region.program = Some(program).filter(|_| region.alive() == Some(pid));
            }),
            Event::Fenced(name, fence, done) => self.hear_fenced(&name, fence, done),
            Event::Served(served) => self.hear_served(served),
            Event::Strays(strays) => self.hear_strays(strays),
            Event::Read(reading) => self.hear_reading(*reading),
            Event::Recorded(recorded) => self.hear_recorded(*recorded),
            Event::Kept(written) => self.hear_kept(written),
            Event::Released(name) => self.released(&name),
            Event::Maintenance(order, written) => self.hear_maintenance(order, written),
            Event::Leaving(told) => {
                self.facts.leaving = true;
                self.told.push(told);
            }
            Event::Unsettled => self.facts.settled = Settled::No,
            Event::Seen(disk) => self.see_disk(disk),
            Event::Looked(disk, request) => {
                self.see_disk(disk);
                self.answer(request);
            }
            Event::Noted => self.jobs.written(),
            Event::Step(id, step) => self.jobs.step(id, step),
            Event::Ended(name, ended, disk) => self.end(&name, *ended, disk),
        }
    }

    fn end(&mut self, name: &RegionName, ended: Ended, disk: Option<Disk>) {
        let id = ended.id;
        if let Some(pause) = self.removals.end(id, ended.result.is_ok()) {
            tracing::warn!(REGION = %name, "the removal is tried again in {} s", pause.as_secs());
        }
        self.facts.stuck_removals = self.removals.waiting();
        self.facts.removing = self.removals.is_busy();
        if self.upgrading.take_if(|job| *job == id).is_some() {
            self.facts.unfinished_upgrade = upgrade_is_unfinished();
            self.workers.retain(|name, job| {
                let others = *job != id;
                if !others {
                    self.facts.busy.remove(name);
                }
                others
            });
        }
        // What was held against a region is not held against what takes its place.
        let anew =
            |job: &wire::Job| matches!(job.kind, JobKind::Create | JobKind::Delete | JobKind::Restore | JobKind::Adopt);
        let made_anew = ended.result.is_ok() && self.jobs.all().get(&id).is_some_and(anew);
        let well = ended.result.is_ok();
        self.jobs.end(ended);
        self.moved(id, well);
        disk.into_iter().for_each(|disk| self.see_disk(disk));
        if made_anew {
            self.released(name);
        }
        // Only the job that is at a region leaves it: a removal of what it was is not.
        if self.workers.get(name) == Some(&id) {
            self.workers.remove(name);
            let was = self.facts.busy.remove(name);
            let creating = self.facts.busy.values().any(|busy| *busy == Busy::Creating);
            match creating {
                true if was == Some(Busy::Creating) => _ = self.facts.just_created.insert(name.clone()),
                true => {}
                false => self.facts.just_created.clear(),
            }
            self.region(name, |region| region.start = facts::Start::Idle);
        }
        self.observers.look_at_sockets();
        self.move_next();
    }

    /// Writes down what is to be remembered of jobs, if that has changed.
    fn note_jobs(&mut self) {
        let Some(known) = self.jobs.take_changes() else { return };
        let shop = self.shop.clone();
        tokio::spawn(async move {
            let written = tokio::task::spawn_blocking(move || crate::act::jobs::write(&known)).await;
            match written {
                Ok(Ok(())) => {}
                Ok(Err(why)) => tracing::warn!("what became of jobs cannot be remembered: {why}"),
                Err(why) => tracing::warn!("what became of jobs cannot be remembered: {why}"),
            }
            shop.tell(Event::Noted).await;
        });
    }

    /// The identity of the disk that was last looked at.
    fn disk(&self) -> Option<Uuid> {
        self.facts.disk.as_ref().and_then(identity)
    }
}
