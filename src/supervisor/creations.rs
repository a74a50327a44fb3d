//! The creations that were asked for: side by side, as many as there are cores, each a job
//! that can be followed.

use super::Event;
use crate::act::regions::{self, CreateError};
use crate::config::{Configuration, LocalRegion};
use crate::decide::facts::Facts;
use crate::decide::plan::{Creation, may_create};
use crate::names::RegionName;
use crate::observe::disk::Scanner;
use crate::region::Record;
use crate::wire::{self, JobState};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};

/// How many jobs are remembered after their end.
const REMEMBERED: usize = 1000;

/// The end of a creation.
pub(super) struct Ended {
    id: u64,
    result: Result<Record, CreateError>,
    took: Duration,
}

/// All creations, by the numbers of their jobs.
pub(super) struct Creations {
    jobs: BTreeMap<u64, wire::Job>,
    next: u64,
    cores: Arc<Semaphore>,
    scanner: Arc<Scanner>,
}

impl Creations {
    pub(super) fn new(scanner: Arc<Scanner>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self { jobs: BTreeMap::new(), next: 1, cores: Arc::new(Semaphore::new(cores)), scanner }
    }

    /// Every job that is remembered.
    pub(super) fn jobs(&self) -> &BTreeMap<u64, wire::Job> {
        &self.jobs
    }

    /// Begins a creation, if it may be begun.
    pub(super) fn ask(
        &mut self,
        config: &Arc<Configuration>,
        facts: &Facts,
        bus: Option<&zbus::Connection>,
        name: &RegionName,
        events: &mpsc::Sender<Event>,
    ) -> Result<wire::Created, wire::Error> {
        let local = match may_create(config, facts, name)? {
            Creation::AlreadyThere(uuid) => return Ok(wire::Created::AlreadyThere(uuid)),
            Creation::Go(local) => local,
        };
        let bus = bus.cloned().ok_or_else(|| {
            let message = "systemd does not answer on D-Bus, and create runs under systemd";
            wire::Error::new("SYSTEMD_UNREACHABLE", message, "systemctl status dbus")
        })?;
        let job = self.register(name);
        let work = Work {
            id: job.id,
            config: config.clone(),
            local,
            bus,
            cores: self.cores.clone(),
            scanner: self.scanner.clone(),
            events: events.clone(),
        };
        tokio::spawn(work.run());
        Ok(wire::Created::Job(job))
    }

    fn register(&mut self, name: &RegionName) -> wire::Job {
        let job = wire::Job {
            id: self.next,
            kind: "create".into(),
            region: name.clone(),
            state: JobState::Running,
            step: "waiting for its turn".into(),
            error: None,
            asked: Timestamp::now(),
            took_ms: None,
        };
        self.next += 1;
        self.jobs.insert(job.id, job.clone());
        while self.jobs.len() > REMEMBERED {
            self.jobs.pop_first();
        }
        job
    }

    /// Notes what a creation is doing.
    pub(super) fn step(&mut self, id: u64, step: &str) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.step = step.into();
        }
    }

    /// Notes the end of a creation.
    pub(super) fn end(&mut self, ended: Ended, name: &RegionName) {
        match &ended.result {
            Ok(record) => {
                let (uuid, took) = (record.uuid, ended.took.as_millis());
                tracing::info!(REGION = %name, UUID = %uuid, "created {name} as {uuid} in {took} ms");
            }
            Err(why) => tracing::error!(REGION = %name, "{name} was not created: {why}"),
        }
        let Some(job) = self.jobs.get_mut(&ended.id) else { return };
        job.took_ms = ended.took.as_millis().try_into().ok();
        (job.state, job.error) = match ended.result {
            Ok(_) => (JobState::Done, None),
            Err(why) => (JobState::Failed, Some(refused(name, &why))),
        };
        if job.error.is_none() {
            job.step = "done".into();
        }
    }
}

fn refused(name: &RegionName, why: &CreateError) -> wire::Error {
    let (code, remedy) = match why {
        CreateError::NoRoom(_) => ("NO_ROOM", "free some, or set storage.provisioning = \"thin\"".to_owned()),
        CreateError::NoUser(user) => {
            ("NO_USER", format!("systemd-sysusers makes {user}; see downstairs.user of sled.toml"))
        }
        CreateError::Program(_) => {
            ("CREATE_FAILED", format!("journalctl -u crucible-create-{name}; nothing was left behind"))
        }
        CreateError::Wrong(_) => {
            ("CREATE_FAILED", "is downstairs.program of sled.toml the real crucible-downstairs?".to_owned())
        }
        CreateError::Io(..) => ("CREATE_FAILED", "see whether the data disk is full or read-only".to_owned()),
    };
    wire::Error::new(code, format!("{name} was not created: {why}"), remedy)
}

/// One creation.
struct Work {
    id: u64,
    config: Arc<Configuration>,
    local: LocalRegion,
    bus: zbus::Connection,
    cores: Arc<Semaphore>,
    scanner: Arc<Scanner>,
    events: mpsc::Sender<Event>,
}

impl Work {
    async fn run(self) {
        // The semaphore is never closed.
        let Ok(_turn) = self.cores.acquire().await else { return };
        let began = Instant::now();
        let progress = |step| {
            // A step that finds the channel full is not worth waiting for.
            _ = self.events.try_send(Event::Step(self.id, step));
        };
        let made = regions::create(&self.bus, &self.config, &self.local, &progress).await;
        let (scanner, config, name) = (self.scanner.clone(), self.config.clone(), self.local.name.clone());
        let finishing = move || scanner.after(|| made.and_then(|made| made.finish(&config, &name)));
        let Ok((result, disk)) = tokio::task::spawn_blocking(finishing).await else { return };
        let ended = Ended { id: self.id, result, took: began.elapsed() };
        _ = self.events.send(Event::Ended(self.local.name.clone(), Box::new(ended), disk)).await;
    }
}
