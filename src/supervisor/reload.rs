//! Another configuration is taken over while everything runs: what it changes is shown first, one
//! with a fault changes nothing, and nobody is disturbed whom it does not concern.
//!
//! Whom the regions let in follows at once, as the plan finds that it is not as the map says. What
//! becomes of regions that moved or went is in [`moves`](super::moves).

use super::Supervisor;
use super::event::Event;
use super::requests::Answer;
use crate::config::Configuration;
use crate::config_dir;
use crate::decide::difference::{difference, gone, moved};
use crate::decide::facts::{Facts, Region};
use crate::source::Fault;
use crate::wire::{self, Difference};
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
        let dir = self.config_dir.clone();
        let reading = async move {
            match tokio::task::spawn_blocking(move || config_dir::read(&dir)).await {
                Ok(read) => Some(Event::Read(Box::new(Reading { read, reload, answer }))),
                Err(why) => {
                    _ = answer.send(Err(wire::Error::new("FAILED", why.to_string(), "ask again")));
                    None
                }
            }
        };
        self.errands.run(|_| None, reading);
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
        if self.bus.is_none() {
            let message = "nothing was changed: systemd does not answer, and could not be told";
            return Err(wire::Error::new("SYSTEMD_UNREACHABLE", message, "systemctl status dbus"));
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

    /// What is under way goes on with what it began with: a region must not be taken from it.
    fn nobody_is_at(&self, new: &Configuration) -> Result<(), wire::Error> {
        let busy = |what: String| {
            let message = format!("nothing was changed: {what}");
            Err(wire::Error::new("BUSY", message, "wait until it is done: sledctl jobs"))
        };
        if self.upgrading.is_some() {
            return busy("another downstairs program is being rolled over the regions".into());
        }
        let moved: Vec<_> = moved(&self.config, new).into_iter().map(|local| local.name).collect();
        let touched = gone(&self.config, new).into_iter().chain(moved);
        match touched.into_iter().find(|name| self.facts.busy.contains_key(name)) {
            None => Ok(()),
            Some(name) => busy(format!("a job is at {name}, and the new map moves or removes it")),
        }
    }

    /// Forgets what another configuration has made old. Every fact stands here, so that whoever adds
    /// one thinks of it; what observers told and nobody took yet is old with them
    /// ([`Told`](crate::observe::Told)).
    fn forget(&mut self, old: &Configuration) {
        let new = &self.config.sled;
        let Facts {
            // Of what was looked for by the old one.
            network,
            tls,
            expired,
            // Of regions: those that are new or elsewhere have been seen to.
            regions: _,
            intruders: _,
            // A look for the other regions is asked for.
            disk: _,
            // Said anew with the connection.
            bus: _,
            stale_units: _,
            // Of this machine, this disk and whoever comes, whatever the configuration.
            enforcement: _,
            image: _,
            settled: _,
            removing: _,
            unseen: _,
            busy: _,
            just_created: _,
            holding: _,
            grants: _,
            unread_grants: _,
            seen_since: _,
            knocks: _,
            granting: _,
            maintenance: _,
            unfinished_upgrade: _,
            leaving: _,
            stuck_adoptions: _,
            stuck_removals: _,
        } = &mut self.facts;
        if old.sled.network != new.network {
            *network = None;
        }
        if old.sled.tls != new.tls {
            *tls = None;
        }
        if old.sled.storage.keep_deleted != new.storage.keep_deleted {
            expired.clear();
        }
    }

    pub(super) fn take_over(&mut self, new: Configuration) {
        let old = std::mem::replace(&mut self.config, Arc::new(new));
        let config = self.config.clone();
        for name in gone(&old, &config) {
            self.facts.regions.remove(&name);
            self.wards.remove(&name);
            self.moves.removed.insert(name);
        }
        for local in config.local_regions() {
            self.moves.removed.remove(&local.name);
            self.wards.entry(local.name.clone()).or_default();
            self.facts.regions.entry(local.name).or_insert_with(|| {
                // Whoever writes to it was not looked for.
                self.facts.intruders = None;
                Region::default()
            });
        }
        for local in moved(&old, &config) {
            // What is known of it is known of another place.
            self.region(&local.name, |region| (region.sockets, region.pulse) = (None, None));
            self.moves.waiting.insert(local.name);
        }
        self.world.config += 1;
        self.forget(&old);
        self.facts.stale_units = true;
        self.editor.configure(config.clone());
        self.shop.config = config.clone();
        self.freshness.allow(config.sled.downstairs.hung_after.into());
        // systemd is asked to read the units anew when the new watch on it begins.
        self.observers.renew(&old, &config, self.world.config);
        self.tell_wards();
    }
}

fn refused_for(faults: &[Fault]) -> wire::Error {
    let list = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let message = format!("nothing was changed: the configuration has {} fault(s):\n{list}", faults.len());
    wire::Error::new("CONFIG_INVALID", message, "mend them, then: sledctl reload")
}
