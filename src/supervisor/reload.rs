//! Another configuration is taken over while everything runs: what it changes is shown first, one
//! with a fault changes nothing, and nobody is disturbed whom it does not concern.
//!
//! Whom the regions let in follows at once, as the plan finds that it is not as the map says. A
//! region whose port is another is restarted in its turn; one that has gone from the map is
//! stopped, and its data stays.

use super::requests::Answer;
use super::work::Task;
use super::{Event, Supervisor};
use crate::act::units;
use crate::config::Configuration;
use crate::config_dir;
use crate::decide::difference::{difference, gone, moved};
use crate::decide::turns::Manner;
use crate::names::RegionName;
use crate::source::Fault;
use crate::wire::{self, Difference, JobKind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What to do with the configuration in the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Show what it would change.
    Show,
    /// Take it over, unless a host that is connected would be cut off or interrupted.
    Gently,
    /// Take it over.
    Apply,
}

/// Where the answer goes.
type Reply = oneshot::Sender<Result<Answer, wire::Error>>;

/// The configuration as it was read from the files, for a request.
pub(super) struct Reading {
    read: Result<Configuration, Vec<Fault>>,
    reload: Reload,
    answer: Reply,
}

impl Supervisor {
    /// Reads the files, aside from the loop.
    pub(super) fn read_again(&self, reload: Reload, answer: Reply) {
        let (dir, events) = (self.config_dir.clone(), self.events.clone());
        tokio::spawn(async move {
            let read = tokio::task::spawn_blocking(move || config_dir::read(&dir)).await;
            match read {
                Ok(read) => _ = events.send(Event::Read(Box::new(Reading { read, reload, answer }))).await,
                Err(why) => _ = answer.send(Err(wire::Error::new("FAILED", why.to_string(), "ask again"))),
            }
        });
    }

    /// Takes what was read.
    pub(super) fn hear_reading(&mut self, Reading { read, reload, answer }: Reading) {
        let answered = match read {
            Err(faults) => Err(refused_for(&faults)),
            Ok(new) => self.reload(new, reload),
        };
        if let Err(why) = &answered
            && reload != Reload::Show
        {
            tracing::error!("the configuration is as it was: {}", why.message);
        }
        _ = answer.send(answered.map(|difference| Answer::Difference(Box::new(difference))));
    }

    fn reload(&mut self, new: Configuration, reload: Reload) -> Result<Difference, wire::Error> {
        let mut found = difference(&self.config, &new, &self.facts);
        if reload == Reload::Show {
            return Ok(found);
        }
        if let Some(change) = found.changes.iter().find(|change| change.needs_restart) {
            let message = format!("nothing was changed: {} cannot be changed while sledd runs", change.what);
            return Err(wire::Error::new("NEEDS_RESTART", message, change.effect.clone()));
        }
        if reload == Reload::Gently && found.interrupts() {
            let hit = found.changes.iter().filter(|change| change.interrupts);
            let list =
                hit.map(|change| format!("{}: {}", change.subject, change.effect)).collect::<Vec<_>>().join("; ");
            let message = format!("nothing was changed: hosts that are connected would be interrupted: {list}");
            return Err(wire::Error::new("HOSTS_CONNECTED", message, "if that is meant: sledctl reload --yes"));
        }
        self.nobody_is_at(&new)?;
        if !found.changes.is_empty() || found.from != found.to {
            for change in &found.changes {
                tracing::warn!("the configuration is another: {}: {}; {}", change.subject, change.what, change.effect);
            }
            self.take_over(new);
        }
        found.applied = true;
        Ok(found)
    }

    /// A job that is at a region goes on with what it began with: it must not be taken from it.
    fn nobody_is_at(&self, new: &Configuration) -> Result<(), wire::Error> {
        let moved: Vec<_> = moved(&self.config, new).into_iter().map(|local| local.name).collect();
        let touched = gone(&self.config, new).into_iter().chain(moved);
        match touched.into_iter().find(|name| self.facts.busy.contains_key(name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("nothing was changed: a job is at {name}, and the new map moves or removes it");
                Err(wire::Error::new("BUSY", message, "wait until it is done: sledctl jobs"))
            }
        }
    }

    fn take_over(&mut self, new: Configuration) {
        let old = std::mem::replace(&mut self.config, Arc::new(new));
        let config = &self.config;
        for name in gone(&old, config) {
            self.facts.regions.remove(&name);
            self.wards.remove(&name);
        }
        for local in config.local_regions() {
            self.facts.regions.entry(local.name.clone()).or_default();
            self.wards.entry(local.name).or_default();
        }
        if old.sled.tls != config.sled.tls {
            self.facts.tls = None;
        }
        self.editor.configure(config.clone());
        self.shop.config = config.clone();
        self.freshness.allow(config.sled.downstairs.hung_after.into());
        self.to_restart.extend(moved(&old, config).into_iter().map(|local| local.name));
        // systemd is asked to read the units anew when the new watch on it begins.
        self.observers.renew(&old, config);
        self.tell_wards();
    }

    /// systemd knows the units as they are configured now: what no unit is to serve is stopped,
    /// and what serves at another place than it is to is restarted in its turn.
    pub(super) fn put_in_place(&mut self, bus: &zbus::Connection) {
        let (config, connection) = (self.config.clone(), bus.clone());
        tokio::spawn(async move {
            match units::strays(&connection, &config).await {
                Ok(strays) => stop(&connection, strays).await,
                Err(why) => tracing::warn!("systemd does not tell which units run: {why}"),
            }
        });
        let Some(disk) = self.disk() else { return };
        for name in std::mem::take(&mut self.to_restart) {
            let runs = self.facts.regions.get(&name).is_some_and(crate::decide::facts::Region::runs);
            let local = self.config.local_regions().into_iter().find(|local| local.name == name);
            if let Some(local) = local.filter(|_| runs && !self.facts.busy.contains_key(&name)) {
                // Its siblings may have moved as well, and then no host is served by any of them.
                let manner = Manner { force: true, rolling: true, starts: true };
                self.begin(JobKind::Restart, Task::Restart(local, manner), bus.clone(), disk);
            }
        }
    }
}

async fn stop(bus: &zbus::Connection, strays: Vec<RegionName>) {
    for name in strays {
        tracing::warn!(REGION = %name, "{name} runs, and the port map has no such region here: it is stopped");
        if let Err(why) = units::stop(bus, &name).await {
            tracing::error!(REGION = %name, "{name} is not stopped: {why}");
        }
    }
}

fn refused_for(faults: &[Fault]) -> wire::Error {
    let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let message = format!("nothing was changed: the configuration has {} fault(s):\n{list}", faults.len());
    wire::Error::new("CONFIG_INVALID", message, "mend them, then: sledctl reload")
}
