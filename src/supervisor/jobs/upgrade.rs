//! Upgrade to another downstairs program, rolled over every region of the sled: one after the
//! other, each watched before the next, and back by itself as soon as one does not serve with it.
//!
//! The record says what regions are to run before anything is restarted: after a crash the roll
//! goes on where it was.

mod taking_back;

use crate::act::{programs, units};
use crate::check::Code;
use crate::decide::turns::{Asks, Manner};
use crate::port_map::LocalRegion;
use crate::programs::{Program, Programs, Roll};
use crate::progress::Progress;
use crate::supervisor::jobs::Report;
use crate::supervisor::jobs::context::{Context, cancelled, cut_short};
use crate::supervisor::jobs::host_redundancy;
use crate::supervisor::jobs::list::CANCELLED;
use crate::supervisor::jobs::restart::{self, Standing};
use crate::supervisor::jobs::restart_check;
use crate::supervisor::jobs::upgrade_watch;
use crate::supervisor::jobs::work::{Job, Work};
use crate::wire::{self, JobKind, Refusal};
use bytes::Bytes;
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;
use zbus::Connection;

/// Time between looks what a process runs, and the most looks.
const PROGRAM_POLL: Duration = Duration::from_millis(100);
const PROGRAM_POLL_COUNT: usize = 30;

/// Program to roll, by where it comes from.
#[derive(Debug, Clone)]
pub(in crate::supervisor) enum Cargo {
    /// The program that somebody brought, from there.
    Brought(Bytes, PathBuf),
    /// The program of `sled.toml`.
    Configured,
    /// The program of a roll that was cut short.
    Unfinished,
}

/// An upgrade that was granted.
pub(in crate::supervisor) struct Upgrade {
    pub(in crate::supervisor) cargo: Cargo,
    pub(in crate::supervisor) force: bool,
    pub(in crate::supervisor) spoken: Spoken,
}

/// Language of the hosts that are connected: the version of the messages that their downstairs
/// understands.
pub(in crate::supervisor) enum Spoken {
    /// Nobody is connected.
    Nothing,
    /// The hosts speak this version.
    Version(u32),
    /// Somebody is connected, and what to is not known.
    Unknown,
}

/// The upgrade under way, with all that it needs.
struct Rolling<'a> {
    context: &'a Context,
    job: u64,
    force: bool,
    /// Choice whether the other sleds of a volume are asked.
    asks: Asks,
    bus: &'a Connection,
    progress: &'a Progress,
}

impl Work {
    /// Roll another program over all regions, of which this is the first.
    pub(in crate::supervisor) fn upgrade(first: &LocalRegion, order: Upgrade) -> Self {
        Self::new(JobKind::Upgrade, &first.name, async move |Job { context, id, bus, progress }| {
            upgrade(&context, id, order, &bus, &progress).await
        })
    }
}

/// Stage a program and roll it over every region; or go on with a roll that was cut short.
async fn upgrade(
    context: &Context,
    job: u64,
    order: Upgrade,
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    let unfinished = matches!(order.cargo, Cargo::Unfinished);
    let mut rolling = Rolling { context, job, force: order.force, asks: Asks::unless(order.force), bus, progress };
    let mut record = aside(programs::load).await?.map_err(unreadable)?;
    if !unfinished {
        progress.step("checking the program", 0, 0);
        let serving = context.serving.borrow().clone();
        for local in rolling.regions().await?.iter().filter(|local| serving.contains_key(&local.name)) {
            restart_check::files(&context.config, local).await?;
        }
        let to = rolling.stage(&mut record, order).await?;
        // What an earlier one left undone is of no account any more.
        record.rolling = None;
        if to == record.current && rolling.all_run(&record).await? {
            rolling.tidy(&mut record).await?;
            return Ok(format!("nothing was restarted: all regions run {} already", rolling.shown(&record)));
        }
        progress.check().map_err(|_| cancelled())?;
        let (force, since) = (rolling.force, Timestamp::now());
        record.rolling = Some(Roll { to, done: Vec::new(), force, since, back: false });
        save(&record).await?;
    }
    let Some(roll) = record.rolling.clone() else { return Ok("there was nothing left to do".into()) };
    rolling.force = roll.force;
    if unfinished {
        // Whoever asked for it has gone.
        rolling.asks = if roll.force { Asks::Nobody } else { Asks::Patiently };
    }
    if roll.back {
        let why = wire::Error::new(Refusal::UpgradeFailed, "an upgrade that was cut short was taken back", "");
        return Err(rolling.back(&mut record, why).await);
    }
    let rolled = rolling.roll(&mut record).await;
    match rolled.and_then(|restarted| progress.no_way_back().map(|()| restarted).map_err(|_| cancelled())) {
        Ok(restarted) => {
            record.arrive();
            rolling.tidy(&mut record).await?;
            Ok(format!("{restarted} region(s) restarted; all run {}", rolling.shown(&record)))
        }
        Err(why) => Err(rolling.back(&mut record, why).await),
    }
}

/// Do something that waits for the disk, aside from the loop.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, wire::Error> {
    tokio::task::spawn_blocking(work).await.map_err(|why| cut_short(&why))
}

fn unreadable(why: std::io::Error) -> wire::Error {
    wire::Error::new(
        Refusal::UpgradeRefused,
        format!("nothing was changed: the record of programs cannot be read: {why}"),
        "restore /var/lib/sled/programs.json; without it every region runs the program of sled.toml",
    )
}

async fn save(record: &Programs) -> Result<(), wire::Error> {
    let text = record.clone();
    aside(move || programs::save(&text)).await?.map_err(|why| {
        wire::Error::new(
            Refusal::NotRecorded,
            format!("the record of programs is not written: {why}"),
            "see df -h /var/lib/sled and dmesg",
        )
    })
}

impl Rolling<'_> {
    /// Put the program on record, if it is one that may be rolled.
    async fn stage(&self, record: &mut Programs, order: Upgrade) -> Result<Option<String>, wire::Error> {
        let known = record.clone();
        aside(move || programs::sweep(&known)).await?;
        let staged = self.examine(record, order).await;
        if staged.is_err() {
            let known = record.clone();
            aside(move || programs::sweep(&known)).await?;
        }
        staged
    }

    async fn examine(&self, record: &mut Programs, order: Upgrade) -> Result<Option<String>, wire::Error> {
        let refused = |why: String| {
            wire::Error::new(
                Refusal::UpgradeRefused,
                format!("nothing was changed: {why}"),
                "bring a program that is right",
            )
        };
        let configured = &self.context.config.sled.downstairs;
        let Cargo::Brought(bytes, from) = order.cargo else {
            let program = programs::ask(self.bus, &configured.user, &configured.program).await.map_err(refused)?;
            return self.fits(&program, &order.spoken).map(|()| None).map_err(refused);
        };
        let copied = aside(move || programs::copy(&bytes)).await?;
        let copied = copied.map_err(|why| refused(format!("it cannot be staged: {why}")))?;
        let program = programs::ask(self.bus, &configured.user, &copied.path).await.map_err(refused)?;
        self.fits(&program, &order.spoken).map_err(refused)?;
        record.staged.insert(copied.digest.clone(), programs::staged(&copied, program, &from));
        Ok(Some(copied.digest))
    }

    /// Forget what nothing runs any more; systemd knows it before the files go.
    async fn tidy(&self, record: &mut Programs) -> Result<(), wire::Error> {
        record.forget_unused();
        save(record).await?;
        self.refresh().await?;
        let known = record.clone();
        aside(move || programs::sweep(&known)).await
    }

    /// Make sure that the program fits the hosts: those that are connected speak one version of the
    /// messages, and no other.
    fn fits(&self, program: &Program, spoken: &Spoken) -> Result<(), String> {
        match spoken {
            Spoken::Unknown if !self.force => {
                Err("what connected hosts speak is not known yet: ask again in a moment, \
                                                   or with --force"
                    .into())
            }
            Spoken::Version(spoken) if *spoken != program.messages && !self.force => Err(format!(
                "it understands message version {}, and the hosts that are connected speak {}; with --force they are \
                 cut off",
                program.messages, spoken
            )),
            _ => Ok(()),
        }
    }

    fn shown(&self, record: &Programs) -> String {
        let current = record.current.as_ref().and_then(|digest| record.staged.get(digest));
        let configured = || self.context.config.sled.downstairs.program.display().to_string();
        current.map_or_else(configured, |staged| staged.program.version.clone())
    }

    /// Make systemd know what each region is to run.
    async fn refresh(&self) -> Result<(), wire::Error> {
        let failed = |why: units::NotRefreshed| {
            wire::Error::new(Refusal::UpgradeFailed, format!("systemd: {why}"), "systemctl status")
        };
        units::refresh(self.bus, &self.context.config).await.map_err(failed)
    }

    /// Roll over every region that does not run the program yet, and count those that were restarted.
    async fn roll(&self, record: &mut Programs) -> Result<usize, wire::Error> {
        let (all, mut restarted) = (self.regions().await?, 0);
        for (number, local) in all.iter().enumerate() {
            self.progress.check().map_err(|_| cancelled())?;
            let progress = self.progress.part(number as u64, all.len() as u64);
            let one = Rolling { progress: &progress, ..*self };
            let switched = one.roll_over(record, local).await;
            self.context.tell(Report::Free { job: self.job, region: local.name.clone() }).await;
            restarted += match switched {
                // It has nothing to do with the program any more, nor with the others.
                Err(why) if why.code != CANCELLED && self.is_gone(local).await? => {
                    tracing::info!(REGION = %local.name, "{} is left out of the upgrade: it is gone", local.name);
                    0
                }
                switched => usize::from(switched?),
            };
        }
        self.check_all(record, &all).await?;
        Ok(restarted)
    }

    /// Tell whether a region was deleted meanwhile, or left the map.
    async fn is_gone(&self, local: &LocalRegion) -> Result<bool, wire::Error> {
        let mapped = self.context.breaks.borrow().contains_key(&local.name);
        Ok(!mapped || restart::standing(self.context, &local.name).await? == Standing::Gone)
    }

    /// Roll over one region, and tell whether that was restarted.
    async fn roll_over(&self, record: &mut Programs, local: &LocalRegion) -> Result<bool, wire::Error> {
        self.progress.step(format!("{}: its turn is waited for", local.name), 0, 0);
        if restart::is_held(self.context, &local.name).await? {
            return self.pass_over(record, local).await;
        }
        let done = record.rolling.as_ref().is_some_and(|roll| roll.done.contains(&local.name));
        if done && self.serves_soon(local).await.is_ok() && self.runs_it(record, local).await.is_ok() {
            return Ok(false);
        }
        let manner = Manner { force: self.force, unrepaired: self.force, asks: self.asks, rolling: true, starts: true };
        match restart::turn(self.context, self.job, local, manner, self.bus, self.progress).await {
            // It came to be held since then.
            Err(why) if why.code == Code::RegionHeld && restart::is_held(self.context, &local.name).await? => {
                return self.pass_over(record, local).await;
            }
            turn => turn?,
        }
        self.switch(record, local).await?;
        Ok(true)
    }

    /// Have a region that is held get the program when it is released: nothing runs on it.
    async fn pass_over(&self, record: &mut Programs, local: &LocalRegion) -> Result<bool, wire::Error> {
        self.note(record, local).await?;
        Ok(false)
    }

    /// See that nothing runs anything else.
    async fn check_all(&self, record: &Programs, all: &[LocalRegion]) -> Result<(), wire::Error> {
        for local in all {
            if self.main_pid(local).await?.is_some() {
                let failed =
                    |why: String| wire::Error::new(Refusal::UpgradeFailed, format!("{}: {why}", local.name), "");
                self.runs_it(record, local).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Tell whether every region that runs is a process of the program on record: then there is
    /// nothing to roll. One that does not run is started with it.
    async fn all_run(&self, record: &Programs) -> Result<bool, wire::Error> {
        for local in self.regions().await? {
            let wanted = record.of(&local.name, &self.context.config.sled.downstairs.program);
            if self.main_pid(&local).await?.is_some_and(|pid| !programs::is(pid, wanted)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Find the process of a region, if it runs. No word from systemd is no answer.
    async fn main_pid(&self, local: &LocalRegion) -> Result<Option<u32>, wire::Error> {
        units::main_pid(self.bus, &local.name).await.map_err(|why| {
            let message = format!("{}: systemd does not tell which process it has: {why}", local.name);
            wire::Error::new(Refusal::UpgradeFailed, message, "systemctl status dbus")
        })
    }

    /// Wait until a region serves that is about to.
    async fn serves_soon(&self, local: &LocalRegion) -> Result<(), String> {
        if self.context.serving.borrow().contains_key(&local.name) {
            return Ok(());
        }
        self.progress.step(format!("{}: waiting until it serves", local.name), 0, 0);
        host_redundancy::wait_until_it_serves(self.context, local, self.bus, None).await
    }

    /// Put on record that a region is to run the program from now on.
    async fn note(&self, record: &mut Programs, local: &LocalRegion) -> Result<(), wire::Error> {
        if let Some(roll) = record.rolling.as_mut().filter(|roll| !roll.done.contains(&local.name)) {
            roll.done.push(local.name.clone());
            save(record).await?;
            self.refresh().await?;
        }
        Ok(())
    }

    /// Return the regions that are on record.
    async fn regions(&self) -> Result<Vec<LocalRegion>, wire::Error> {
        let known = restart::on_record(self.context).await?.regions;
        Ok(self.context.config.local_regions().into_iter().filter(|local| known.contains_key(&local.name)).collect())
    }

    /// Give one region the program, restart it, and watch it. With force one that does not serve is
    /// only given it, and restarted.
    async fn switch(&self, record: &mut Programs, local: &LocalRegion) -> Result<(), wire::Error> {
        let failed = |why: String| wire::Error::new(Refusal::UpgradeFailed, format!("{}: {why}", local.name), "");
        let served = if self.force {
            self.context.serving.borrow().contains_key(&local.name)
        } else {
            self.serves_soon(local).await.map(|()| true).map_err(failed)?;
            true
        };
        if served {
            // It runs what it ran before, and goes on doing so if it could not start again.
            restart_check::files(&self.context.config, local).await?;
        }
        self.note(record, local).await?;
        // A host that comes just now is no reason to watch for less long.
        let hosts = host_redundancy::hosts(local).await.unwrap_or_default();
        let away = match restart::down_and_up(self.context, self.job, local, self.bus, self.progress).await {
            Err(_) if !served => return Ok(()),
            away => away?,
        };
        self.runs_it(record, local).await.map_err(failed)?;
        if hosts.is_empty() {
            upgrade_watch::keep(self.context, self.job, local, away.breaks, (self.bus, self.progress)).await?;
        }
        Ok(())
    }

    /// Check whether the region's process is of the program that it is to run. One that was started
    /// just now is flock(1) for a moment, which becomes it.
    async fn runs_it(&self, record: &Programs, local: &LocalRegion) -> Result<(), String> {
        let wanted = record.of(&local.name, &self.context.config.sled.downstairs.program);
        for _ in 0..PROGRAM_POLL_COUNT {
            let pid = units::main_pid(self.bus, &local.name).await?.ok_or("its unit has no process")?;
            if programs::is(pid, wanted) {
                return Ok(());
            }
            sleep(PROGRAM_POLL).await;
        }
        Err(format!("its unit does not run {} (systemctl cat shows what it runs)", wanted.display()))
    }
}
