//! The creations that were asked for: side by side, as many as there are cores, each a job
//! that can be followed.

use super::Event;
use crate::act::regions::{self, CreateError};
use crate::config::{Configuration, Provisioning};
use crate::decide::facts::Facts;
use crate::decide::plan::{Creation, may_create};
use crate::names::RegionName;
use crate::observe::disk::Scanner;
use crate::port_map::LocalRegion;
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
    jobs: Arc<BTreeMap<u64, wire::Job>>,
    next: u64,
    cores: Arc<Semaphore>,
    turns: u32,
    scanner: Arc<Scanner>,
}

impl Creations {
    pub(super) fn new(scanner: Arc<Scanner>) -> Self {
        let turns = available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        // No number that an earlier supervisor gave: who follows a job must not meet another.
        let next = Timestamp::now().as_millisecond().unsigned_abs();
        Self { jobs: Arc::default(), next, cores: Arc::new(Semaphore::new(turns as usize)), turns, scanner }
    }

    /// Every job that is remembered.
    pub(super) fn jobs(&self) -> &Arc<BTreeMap<u64, wire::Job>> {
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
            turns: self.turns,
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
        let jobs = Arc::make_mut(&mut self.jobs);
        jobs.insert(job.id, job.clone());
        while jobs.len() > REMEMBERED {
            jobs.pop_first();
        }
        job
    }

    /// Notes what a creation is doing.
    pub(super) fn step(&mut self, id: u64, step: &str) {
        if let Some(job) = Arc::make_mut(&mut self.jobs).get_mut(&id) {
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
        let Some(job) = Arc::make_mut(&mut self.jobs).get_mut(&ended.id) else { return };
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
        CreateError::NotMounted(root) => ("DATA_NOT_MOUNTED", format!("mount the data disk at {root}")),
        CreateError::NoRoom(_) => ("NO_ROOM", "free some, or set storage.provisioning = \"thin\"".to_owned()),
        CreateError::NoUser(user) => {
            ("NO_USER", format!("systemd-sysusers makes {user}; see downstairs.user of sled.toml"))
        }
        CreateError::Program(_) => (
            "CREATE_FAILED",
            format!("mend that and ask again; systemd's side of it: journalctl -u crucible-create-{name}"),
        ),
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
    /// How many creations run side by side.
    turns: u32,
    scanner: Arc<Scanner>,
    events: mpsc::Sender<Event>,
}

impl Work {
    async fn run(self) {
        // Thick regions are made one after the other: each counts what the one before it took.
        let thick = self.config.sled.storage.provisioning == Provisioning::Thick;
        let turns = if thick { self.turns } else { 1 };
        // The semaphore is never closed.
        let Ok(_turn) = self.cores.clone().acquire_many_owned(turns).await else { return };
        let began = Instant::now();
        let (config, local, bus) = (self.config.clone(), self.local.clone(), self.bus.clone());
        let (id, events) = (self.id, self.events.clone());
        // In a task of its own, so that even a panic in it is an end that is heard of.
        let making = tokio::spawn(async move {
            let progress = |step| {
                // A step that finds the channel full is not worth waiting for.
                _ = events.try_send(Event::Step(id, step));
            };
            regions::create(&bus, &config, &local, &progress).await
        });
        let made = making.await.unwrap_or_else(|why| Err(cut_short(why)));
        let (scanner, config, name) = (self.scanner.clone(), self.config.clone(), self.local.name.clone());
        let finishing = move || scanner.after(|| made.and_then(|made| made.finish(&config, &name)));
        let (result, disk) = match tokio::task::spawn_blocking(finishing).await {
            Ok((result, disk)) => (result, Some(disk)),
            Err(why) => (Err(cut_short(why)), None),
        };
        let ended = Ended { id: self.id, result, took: began.elapsed() };
        _ = self.events.send(Event::Ended(self.local.name.clone(), Box::new(ended), disk)).await;
    }
}

fn cut_short(why: tokio::task::JoinError) -> CreateError {
    CreateError::Io("the work was cut short", std::io::Error::other(why))
}
