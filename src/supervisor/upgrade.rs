//! Another downstairs program, rolled over every region of the sled: one after the other, each
//! watched before the next, and back by itself as soon as one does not serve with it.
//!
//! What regions are to run is on record before anything is restarted: after a crash the roll goes
//! on where it was.

use super::Event;
use super::care::{self, Manner};
use super::company;
use super::workshop::{Workshop, cancelled};
use crate::act::progress::Progress;
use crate::act::{ledger, programs, units};
use crate::decide::facts::Busy;
use crate::port_map::LocalRegion;
use crate::programs::{Program, Programs, Roll};
use crate::region::HeldBy;
use crate::wire;
use bytes::Bytes;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::timeout;
use zbus::Connection;

/// What to roll.
#[derive(Debug, Clone)]
pub(super) enum Cargo {
    /// This program, which somebody brought from there.
    Brought(Bytes, PathBuf),
    /// The one of `sled.toml`.
    Configured,
    /// What a roll was at that was cut short.
    Unfinished,
}

/// An upgrade that was granted.
pub(super) struct Upgrade {
    pub(super) cargo: Cargo,
    pub(super) force: bool,
    /// What the regions run now whose hosts are connected: they speak with it.
    pub(super) spoken: Option<Program>,
}

/// The upgrade under way, with all that it needs.
struct Rolling<'a> {
    shop: &'a Workshop,
    job: u64,
    force: bool,
    bus: &'a Connection,
    progress: &'a Progress,
}

/// Stages a program and rolls it over every region.
pub(super) async fn upgrade(
    shop: &Workshop,
    job: u64,
    order: Upgrade,
    bus: &Connection,
    progress: &Progress,
) -> Result<String, wire::Error> {
    let mut rolling = Rolling { shop, job, force: order.force, bus, progress };
    let mut record = programs::load().map_err(unreadable)?;
    if !matches!(order.cargo, Cargo::Unfinished) {
        progress.step("checking the program", 0, 0);
        let to = rolling.stage(&mut record, &order).await?;
        progress.no_way_back().map_err(|_| cancelled())?;
        record.rolling = Some(Roll { to, done: Vec::new(), force: order.force });
        save(&record)?;
    }
    rolling.force = record.rolling.as_ref().is_some_and(|roll| roll.force);
    _ = progress.no_way_back();
    match rolling.roll(&mut record).await {
        Ok(restarted) => {
            record.arrive();
            let unused = record.forget_unused();
            save(&record)?;
            rolling.refresh().await?;
            programs::remove(&unused);
            Ok(format!("{restarted} region(s) restarted; all run {}", rolling.shown(&record)))
        }
        Err(why) => Err(rolling.back(&mut record, why).await),
    }
}

/// Whether a roll was begun that has not ended.
pub(super) fn upgrade_is_unfinished() -> bool {
    programs::load().is_ok_and(|record| record.rolling.is_some())
}

fn unreadable(why: std::io::Error) -> wire::Error {
    wire::Error::new("UPGRADE_REFUSED", format!("the record of programs cannot be read: {why}"), "nothing was changed")
}

fn save(record: &Programs) -> Result<(), wire::Error> {
    programs::save(record).map_err(|why| {
        wire::Error::new("NOT_RECORDED", format!("the record of programs is not written: {why}"), "mend that")
    })
}

impl Rolling<'_> {
    /// Puts the program on record, if it is one that may be rolled.
    async fn stage(&self, record: &mut Programs, order: &Upgrade) -> Result<Option<String>, wire::Error> {
        let refused = |why: String| {
            wire::Error::new("UPGRADE_REFUSED", format!("nothing was changed: {why}"), "bring a program that is right")
        };
        let configured = &self.shop.config.sled.downstairs;
        let copied = match &order.cargo {
            Cargo::Brought(bytes, _) => {
                let bytes = bytes.clone();
                let copying = tokio::task::spawn_blocking(move || programs::copy(&bytes)).await;
                let copied = copying.map_err(|why| refused(why.to_string()))?;
                Some(copied.map_err(|why| refused(format!("it cannot be staged: {why}")))?)
            }
            _ => None,
        };
        let path = copied.as_ref().map_or(&configured.program, |copied| &copied.path);
        let asked = programs::ask(self.bus, &configured.user, path).await;
        let fits = asked.and_then(|program| self.fits(&program, order).map(|()| program));
        match (copied, fits) {
            (None, fits) => fits.map(|_| None).map_err(refused),
            (Some(copied), Ok(program)) => {
                let from = match &order.cargo {
                    Cargo::Brought(_, from) => from.clone(),
                    _ => PathBuf::new(),
                };
                record.staged.insert(copied.digest.clone(), programs::staged(&copied, program, &from));
                Ok(Some(copied.digest))
            }
            (Some(copied), Err(why)) => {
                if !record.staged.contains_key(&copied.digest) {
                    programs::discard(&copied);
                }
                Err(refused(why))
            }
        }
    }

    /// Hosts that are connected speak one version of the messages, and no other.
    fn fits(&self, program: &Program, order: &Upgrade) -> Result<(), String> {
        match &order.spoken {
            Some(spoken) if spoken.messages != program.messages && !order.force => Err(format!(
                "it understands message version {}, and the hosts that are connected speak {}; with --force they are \
                 cut off",
                program.messages, spoken.messages
            )),
            _ => Ok(()),
        }
    }

    fn shown(&self, record: &Programs) -> String {
        let current = record.current.as_ref().and_then(|digest| record.staged.get(digest));
        let configured = || self.shop.config.sled.downstairs.program.display().to_string();
        current.map_or_else(configured, |staged| staged.program.version.clone())
    }

    /// Makes systemd know what each region is to run.
    async fn refresh(&self) -> Result<(), wire::Error> {
        let failed = |why| wire::Error::new("UPGRADE_FAILED", format!("systemd: {why}"), "systemctl status");
        units::refresh(self.bus, &self.shop.config).await.map_err(failed)
    }

    /// Rolls over every region that does not run the program yet. The number that was restarted.
    async fn roll(&self, record: &mut Programs) -> Result<usize, wire::Error> {
        let (all, mut restarted) = (self.regions().await?, 0);
        for (number, local) in all.iter().enumerate() {
            self.progress.step(format!("{}: its turn is waited for", local.name), number as u64, all.len() as u64);
            let done = record.rolling.as_ref().is_some_and(|roll| roll.done.contains(&local.name));
            let serves = self.shop.serving.borrow().contains(&local.name);
            if done && (!serves || self.runs_it(record, local).await.is_ok()) {
                continue;
            }
            let manner = Manner { force: self.force, rolling: true };
            care::turn(self.shop, self.job, local, manner, self.progress).await?;
            restarted += usize::from(self.switch(record, local).await?);
            self.shop.tell(Event::Free(local.name.clone(), self.job)).await;
        }
        Ok(restarted)
    }

    /// The regions that are on record.
    async fn regions(&self) -> Result<Vec<LocalRegion>, wire::Error> {
        let root = self.shop.config.sled.storage.root.clone();
        let loaded = self.shop.held(move || ledger::load(&root)).await?;
        let failed = |why: std::io::Error| wire::Error::new("LEDGER_UNREADABLE", why.to_string(), "sledctl status");
        let known = loaded.map_err(failed)?.ledger.regions;
        Ok(self.shop.config.local_regions().into_iter().filter(|local| known.contains_key(&local.name)).collect())
    }

    /// Gives one region the program and, if it serves, restarts and watches it; whether it did.
    async fn switch(&self, record: &mut Programs, local: &LocalRegion) -> Result<bool, wire::Error> {
        if let Some(roll) = record.rolling.as_mut().filter(|roll| !roll.done.contains(&local.name)) {
            roll.done.push(local.name.clone());
        }
        save(record)?;
        self.refresh().await?;
        if !self.shop.serving.borrow().contains(&local.name) {
            return Ok(false);
        }
        let hosts = company::hosts(local).await.unwrap_or_default();
        care::down_and_up(self.shop, local, self.bus, self.progress).await?;
        let failed = |why: String| wire::Error::new("UPGRADE_FAILED", format!("{}: {why}", local.name), "");
        self.runs_it(record, local).await.map_err(failed)?;
        if hosts.is_empty() {
            self.watch(local).await.map_err(failed)?;
        }
        Ok(true)
    }

    /// Whether the region's process is of the program that it is to run.
    async fn runs_it(&self, record: &Programs, local: &LocalRegion) -> Result<(), String> {
        let pid = units::main_pid(self.bus, &local.name).await?;
        let wanted = record.of(&local.name, &self.shop.config.sled.downstairs.program);
        match programs::is(pid, wanted) {
            true => Ok(()),
            false => Err(format!("its unit does not run {} (systemctl cat shows what it runs)", wanted.display())),
        }
    }

    /// Nobody is connected to it: that it goes on serving is all that can be seen.
    async fn watch(&self, local: &LocalRegion) -> Result<(), String> {
        let time: Duration = self.shop.config.sled.downstairs.steady_after.into();
        self.progress.step(format!("{}: watching it for {} s", local.name, time.as_secs()), 0, 0);
        let mut serving = self.shop.serving.subscribe();
        match timeout(time, serving.wait_for(|serving| !serving.contains(&local.name))).await {
            Err(_) => Ok(()),
            Ok(_) => Err(format!("it did not serve for {} s without a break", time.as_secs())),
        }
    }

    /// Gives every region its old program again, the last one first.
    async fn back(&self, record: &mut Programs, why: wire::Error) -> wire::Error {
        tracing::error!("the upgrade is taken back: {}", why.message);
        let done = record.rolling.as_ref().map(|roll| roll.done.clone()).unwrap_or_default();
        let all = self.shop.config.local_regions();
        let mut stuck = Vec::new();
        for local in done.iter().rev().filter_map(|name| all.iter().find(|local| local.name == *name)) {
            if let Err(why) = self.give_back(record, local).await {
                stuck.push(why.message);
            }
            self.shop.tell(Event::Free(local.name.clone(), self.job)).await;
        }
        record.rolling = None;
        let unused = record.forget_unused();
        let saved = save(record);
        if saved.is_ok() {
            programs::remove(&unused);
        }
        stuck.extend([saved, self.refresh().await].into_iter().filter_map(|done| Some(done.err()?.message)));
        let (end, remedy) = match stuck.as_slice() {
            [] => ("every region runs what it ran before".to_owned(), "see why: journalctl -u sledd"),
            stuck => (format!("taking it back met trouble, too: {}", stuck.join("; ")), "sledctl status"),
        };
        wire::Error::new("UPGRADE_FAILED", format!("{}; {end}", why.message), remedy)
    }

    async fn give_back(&self, record: &mut Programs, local: &LocalRegion) -> Result<(), wire::Error> {
        self.progress.step(format!("{}: taking it back", local.name), 0, 0);
        if let Some(roll) = &mut record.rolling {
            roll.done.retain(|name| *name != local.name);
        }
        save(record)?;
        self.refresh().await?;
        let serves = self.shop.serving.borrow().contains(&local.name);
        if serves && self.runs_it(record, local).await.is_ok() {
            return Ok(());
        }
        care::turn(self.shop, self.job, local, Manner { force: true, rolling: true }, self.progress).await?;
        // From here on nothing is done about it unasked; and what the program did wrong is not held
        // against the region.
        self.shop.tell(Event::Mark(local.name.clone(), Busy::Restarting)).await;
        care::forgive(self.shop, &local.name, |hold| hold.by != HeldBy::Operator).await?;
        match care::is_held(self.shop, &local.name).await? {
            true => Ok(()),
            false => care::down_and_up(self.shop, local, self.bus, self.progress).await,
        }
    }
}
