//! What the observers tell becomes facts, and a reason to look elsewhere.

use super::Supervisor;
use crate::decide::facts::{Active, Beat, Bus, Disk, Start, Unit};
use crate::decide::storage::{belongs, identity};
use crate::names::RegionName;
use crate::observe::{Observation, Told};

impl Supervisor {
    /// Takes a fact, unless whoever told it watches no more: it was of another configuration.
    pub(super) fn take(&mut self, told: Told) {
        if let Some(seen) = told.fact() {
            self.see(seen);
        }
    }

    fn see(&mut self, seen: Observation) {
        self.freshness.note(&seen);
        match seen {
            Observation::Bus(line) => self.see_line(line),
            Observation::Unit(name, unit) => self.see_unit(&name, unit),
            Observation::Ended(name, run) => self.see_end(&name, run),
            Observation::Intruders(seen) => self.facts.intruders = Some(seen),
            Observation::Sockets(seen) => {
                self.see_drops(&seen);
                for (name, sockets) in seen {
                    self.region(&name, |region| region.sockets = Some(sockets));
                }
                self.stamp_visitors();
            }
            Observation::Pulse(name, pulse) => {
                if pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Asked) {
                    self.observers.look_at_sockets();
                }
                let silent = pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Silent);
                self.region(&name, |region| region.pulse = pulse);
                self.tell_wards();
                if silent {
                    self.look_at_the_hung();
                }
            }
            Observation::Enforcement(found) => self.facts.enforcement = Some(found),
            Observation::Image(image) => self.facts.image = image,
            Observation::Tls(tls) => self.facts.tls = Some(tls),
            Observation::Network(network) => self.facts.network = Some(network),
            Observation::Disk(disk) => self.see_disk(*disk),
        }
    }

    /// Another connection to systemd, or none any more: what was asked on the one before has no answer.
    pub(super) fn see_line(&mut self, line: Result<zbus::Connection, String>) {
        self.world.line += 1;
        self.unrefreshed = false;
        match line {
            Ok(bus) => {
                self.line = Some(bus.clone());
                self.refresh_units(bus);
            }
            Err(why) => {
                (self.bus, self.line) = (None, None);
                self.facts.bus = Some(Bus::Unreachable(why));
            }
        }
    }

    pub(super) fn see_unit(&mut self, name: &RegionName, unit: Unit) {
        if self.facts.regions.get(name).is_none_or(|region| region.unit.as_ref() == Some(&unit)) {
            // A slow look has found nothing new, or one that is not in the map any more.
            return;
        }
        let runs = unit.active == Active::Active;
        self.note_end(name, &unit);
        self.observers.set_run(name, unit.run());
        self.observers.look_at_sockets();
        self.observers.look_at_intruders();
        // What lies on disk is looked at anew before a downstairs starts on it again.
        let needs_look = (!runs).then(|| self.observers.scanner.distrust(name));
        if !runs {
            self.observers.look_at_disk();
        }
        self.region(name, |region| {
            if region.unit.as_ref().is_none_or(|before| before.active != unit.active) {
                region.needs_look = needs_look.unwrap_or(region.needs_look);
            }
            if region.unit.as_ref().is_none_or(|before| before.run() != unit.run()) {
                // That was another run's, even if its process had the same number.
                (region.pulse, region.doing, region.program) = (None, None, None);
            }
            if unit.active != Active::Inactive {
                region.start = Start::Idle;
            }
            region.unit = Some(unit);
        });
    }

    pub(super) fn see_disk(&mut self, disk: Disk) {
        // Of another configuration it tells nothing of some regions; there is a look under way for this.
        let other = disk.config != self.world.config;
        if other || self.facts.disk.as_ref().is_some_and(|known| known.serial >= disk.serial) {
            return;
        }
        if let Some(now) = identity(&disk) {
            // One may have been away in between: then the last one that was there counts.
            if self.last_disk.replace(now).is_some_and(|before| before != now) {
                // What was to be held, and what was granted, lies on another disk.
                self.facts.holding.clear();
                self.facts.grants = None;
                self.facts.unread_grants.clear();
            }
        }
        self.see_grants(&disk);
        self.facts.disk = Some(disk);
    }

    /// Takes what is on record of tickets. Of two records the later counts: a look at the disk may
    /// have begun before the last ticket was granted. What cannot be read is as it was known.
    fn see_grants(&mut self, disk: &Disk) {
        if !disk.mounted || belongs(&self.config, disk).is_err() {
            return;
        }
        let Ok(seen) = &disk.grants else { return };
        let known = self.facts.grants.get_or_insert_default();
        for (volume, grant) in seen {
            match grant {
                Ok(grant) => {
                    self.facts.unread_grants.remove(volume);
                    if known.get(volume).is_none_or(|known| known.serial < grant.serial) {
                        known.insert(volume.clone(), grant.clone());
                    }
                }
                Err(why) if !known.contains_key(volume) => {
                    self.facts.unread_grants.insert(volume.clone(), why.clone());
                }
                Err(_) => {}
            }
        }
    }
}
