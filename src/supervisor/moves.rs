//! What becomes of regions whose place another configuration has changed: one that is to be at other
//! ports is restarted in its turn, and one that the map does not put here any more is stopped. Data
//! stays where it is.
//!
//! A region leaves the list of those that are to move when it is where it should be, and not before;
//! if one does not come up again, the others stay.

use super::Supervisor;
use super::event::Said;
use super::health::Change;
use super::work::Task;
use crate::act::units;
use crate::config::Configuration;
use crate::decide::difference::moves_elsewhere;
use crate::decide::facts::{Awaited, Beat, Holder, Region};
use crate::decide::repair::may_go_now;
use crate::decide::storage::usable;
use crate::decide::turns::{Asks, Manner, fit, is_spread};
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::systemd::names;
use crate::wire::JobKind;
use std::collections::BTreeSet;

/// The regions whose place was changed.
#[derive(Default)]
pub(super) struct Moves {
    /// Those that are to be restarted.
    pub(super) waiting: BTreeSet<RegionName>,
    /// Those that were stopped to make room for another, as long as others are to move.
    aside: BTreeSet<RegionName>,
    /// The job that restarts one of them.
    job: Option<u64>,
    /// Those that run and are not in the map, as long as it cannot be told whether that is right.
    strays: Vec<RegionName>,
    /// Those of which was told that they wait until what they miss could be repaired.
    told: BTreeSet<RegionName>,
    /// The volumes that have moved on other sleds as well: whoever used them where they were uses none of
    /// them any more, and these sleds wait for each other in vain.
    all_over: BTreeSet<VolumeName>,
    /// Those that the map had here, until another one was taken over.
    pub(super) removed: BTreeSet<RegionName>,
}

impl Moves {
    /// Notes what another configuration moves.
    pub(super) fn note(&mut self, old: &Configuration, new: &Configuration, anew: &[LocalRegion]) {
        for volume in anew.iter().map(|local| local.name.volume()) {
            if moves_elsewhere(old, new, volume) {
                self.all_over.insert(volume.clone());
            }
        }
    }
}

impl Supervisor {
    /// systemd knows the units as they are configured now.
    pub(super) fn put_in_place(&mut self, bus: &zbus::Connection) {
        let (config, bus) = (self.config.clone(), bus.clone());
        self.ask_systemd(|_| Said::Strays(Vec::new()), async move {
            let strays = units::strays(&bus, &config).await;
            let strays = strays.inspect_err(|why| tracing::warn!("systemd does not tell which units run: {why}"));
            Said::Strays(strays.unwrap_or_default())
        });
        self.move_next();
    }

    /// Stops what runs and is not in the map. One to which a host is connected only if the map that
    /// is in force was taken over knowing that: it is not the slip of a pen that cuts him off.
    pub(super) fn hear_strays(&mut self, strays: Vec<RegionName>) {
        let here: Vec<_> = self.config.local_regions().into_iter().map(|local| local.name).collect();
        let (Some(bus), true) = (self.bus.clone(), usable(&self.config, &self.facts).is_ok()) else {
            // On a disk that is another sled's the map may be another's, too: it is waited for.
            self.moves.strays = strays;
            return;
        };
        for name in strays.into_iter().filter(|name| !here.contains(name)) {
            let (shop, bus, meant) = (self.shop.clone(), bus.clone(), self.moves.removed.contains(&name));
            let stopping = async move {
                let hosts = shop.hosts(&name).await.map(|hosts| !hosts.is_empty()).unwrap_or(true);
                if hosts && !meant {
                    tracing::error!(REGION = %name, "{name} runs and is not in the port map; hosts use it, so it is left: put it back into the map, or sledctl region delete {name}");
                    return None;
                }
                tracing::warn!(REGION = %name, "{name} runs, and the port map has no such region here: it is stopped");
                if let Err(why) = units::stop(&bus, &name).await {
                    tracing::error!(REGION = %name, "{name} is not stopped: {why}");
                }
                None
            };
            self.errands.run(|_| None, stopping);
        }
    }

    /// Does what could not be done so far.
    pub(super) fn move_again(&mut self) {
        if !self.moves.strays.is_empty() {
            let strays = std::mem::take(&mut self.moves.strays);
            self.hear_strays(strays);
        }
        self.move_next();
    }

    /// Restarts the next region that is to move, if it is time for it.
    pub(super) fn move_next(&mut self) {
        let (Some(bus), Some(disk)) = (self.bus.clone(), self.disk()) else { return };
        if self.moves.job.is_some() || self.facts.stale_units {
            return;
        }
        if self.moves.waiting.is_empty() {
            self.moves.aside.clear();
            self.moves.told.clear();
            self.moves.all_over.clear();
            return;
        }
        let waiting = std::mem::take(&mut self.moves.waiting);
        self.moves.waiting = waiting.into_iter().filter(|name| self.is_elsewhere(name)).collect();
        let wanted = self.config.local_regions().into_iter().filter(|local| self.moves.waiting.contains(&local.name));
        let mut wanted: Vec<_> = wanted.filter(|local| !self.facts.busy.contains_key(&local.name)).collect();
        // Those of volumes that have regions on other sleds may have to wait for these.
        wanted.sort_by_key(|local| is_spread(&self.config, &local.name));
        // One that a host could not repair afterwards waits where it is until there is room for that.
        let may_go = |local: &LocalRegion| may_go_now(&self.config, &self.facts, local).is_ok();
        let next = wanted.iter().find(|local| fit(&self.config, &self.facts, local).is_ok() && may_go(local));
        let kept =
            wanted.iter().filter_map(|local| Some((&local.name, may_go_now(&self.config, &self.facts, local).err()?)));
        for (name, why) in kept.filter(|(name, _)| self.moves.told.insert((*name).clone())) {
            tracing::warn!(REGION = %name, CODE = %why.code, "it is not moved to where the port map has it now: {}", why.message);
        }
        if let Some(local) = next.cloned() {
            // Siblings that are to move as well serve no host where the map has them.
            let sibling = |other: &&RegionName| **other != local.name && other.volume() == local.name.volume();
            let force = self.moves.waiting.iter().chain(&self.moves.aside).any(|other| sibling(&other));
            let all_over = self.moves.all_over.contains(local.name.volume());
            let asks = if all_over { Asks::Nobody } else { Asks::Patiently };
            let manner = Manner { force, unrepaired: false, asks, rolling: true, starts: true };
            let job = self.begin(JobKind::Restart, Task::Restart(local, manner), bus, disk);
            self.moves.job = Some(job.id);
        } else if let Some(local) = wanted.iter().find(|local| self.waits_for_another(local) && may_go(local)) {
            // They want each other's ports: one steps aside, and is started when its own are free.
            self.moves.aside.insert(local.name.clone());
            self.change(local.name.clone(), Change::Stop, bus);
        }
    }

    /// A job that nobody waits for waits for other sleds itself, or does not any more.
    pub(super) fn hear_awaits(&mut self, name: RegionName, what: Option<Awaited>) {
        match what {
            Some(what) => _ = self.facts.awaiting.insert(name, what),
            None => _ = self.facts.awaiting.remove(&name),
        }
    }

    /// The job that restarts one of them has ended.
    pub(super) fn moved(&mut self, job: u64, well: bool) {
        if self.moves.job.take_if(|running| *running == job).is_none() {
            return;
        }
        if !well {
            let left: Vec<_> = std::mem::take(&mut self.moves.waiting).iter().map(ToString::to_string).collect();
            tracing::error!(
                "a region did not come up at its new place (sledctl jobs); these stay where they are until sledctl region restart: {}",
                left.join(" ")
            );
        }
    }

    /// Whether a region runs, and not where the configuration has it, as far as is known.
    fn is_elsewhere(&self, name: &RegionName) -> bool {
        let Some(region) = self.facts.regions.get(name).filter(|region| region.runs()) else { return false };
        let otherwise = region.pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Otherwise);
        let known = region.sockets.as_ref().filter(|sockets| sockets.pid.is_some() && sockets.pid == region.alive());
        otherwise || known.is_none_or(|sockets| !sockets.elsewhere.is_empty() || sockets.data != Holder::Own)
    }

    /// Whether one of a region's ports is still held by another that is to move.
    fn waits_for_another(&self, local: &LocalRegion) -> bool {
        let sockets = self.facts.regions.get(&local.name).and_then(|region: &Region| region.sockets.as_ref());
        let held = |holder: &Holder| match holder {
            Holder::Other(stranger) => {
                self.moves.waiting.iter().any(|other| stranger.unit.as_deref() == Some(&names::unit(other)))
            }
            _ => false,
        };
        sockets.is_some_and(|sockets| held(&sockets.data) || held(&sockets.repair))
    }
}
