//! What the observers tell becomes facts, and a reason to look elsewhere.

use crate::decide::facts::{Active, Beat, Bus, Disk, Holder, Pulse, Start, Unit};
use crate::decide::storage::{belongs, full, identity};
use crate::names::RegionName;
use crate::observe::{Observation, Told};
use crate::supervisor::Supervisor;
use std::collections::{BTreeMap, BTreeSet};

impl Supervisor {
    /// Takes a fact, unless whoever told it watches no more: it was of another configuration.
    pub(in crate::supervisor) fn take(&mut self, told: Told) {
        let by = told.by();
        if let Some(seen) = told.fact() {
            self.freshness.note(by);
            self.see(seen);
        }
    }

    fn see(&mut self, seen: Observation) {
        match seen {
            Observation::Bus(line) => self.see_line(line),
            Observation::Unit(name, unit) => self.see_unit(&name, unit),
            Observation::Ended(name, run) => self.see_end(&name, run),
            Observation::Sockets(seen) => {
                self.see_drops(&seen);
                for (name, sockets) in seen {
                    self.region(&name, |region| region.sockets = Some(sockets));
                }
                self.stamp_visitors();
            }
            Observation::Pulse(name, pulse) => self.see_pulse(&name, pulse),
            Observation::Known(change) => {
                change.apply(&mut self.facts);
                self.tell_enforced();
            }
            Observation::Disk(disk) => self.see_disk(*disk),
        }
    }

    fn see_pulse(&mut self, name: &RegionName, pulse: Option<Pulse>) {
        self.freshness.note_pulse(name);
        if pulse.as_ref().is_some_and(|pulse| self.sockets_are_due(name, pulse)) {
            self.observers.look_at_sockets();
        }
        let answers = pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Answering);
        if answers && self.facts.disk.as_ref().is_some_and(full) {
            // There is room again, perhaps: nobody else tells of it.
            self.observers.look_at_disk();
        }
        let silent = pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Silent);
        self.region(name, |region| region.pulse = pulse);
        self.tell_wards();
        if silent {
            self.look_at_the_hung();
        }
    }

    /// Whether the sockets tell less than a pulse does: it was reached just now, or both of its ports
    /// answer, and they were not its own when they were last looked at.
    fn sockets_are_due(&self, name: &RegionName, pulse: &Pulse) -> bool {
        let sockets = self.facts.regions.get(name).and_then(|region| region.sockets.as_ref());
        let own = sockets
            .is_some_and(|seen| seen.pid == Some(pulse.pid) && seen.data == Holder::Own && seen.repair == Holder::Own);
        match (&pulse.beat, &pulse.identity) {
            (Beat::Asked, _) => true,
            (Beat::Answering, Some(Ok(_))) => !own,
            _ => false,
        }
    }

    /// Another connection to systemd, or none any more: what was asked on the one before has no answer.
    pub(in crate::supervisor) fn see_line(&mut self, line: Result<zbus::Connection, String>) {
        self.world.line += 1;
        self.unrefreshed = None;
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

    pub(in crate::supervisor) fn see_unit(&mut self, name: &RegionName, unit: Unit) {
        if self.facts.regions.get(name).is_none_or(|region| region.unit.as_ref() == Some(&unit)) {
            // A slow look has found nothing new, or one that is not in the map any more.
            return;
        }
        let runs = unit.active == Active::Active;
        self.note_end(name, &unit);
        self.note_change(name, &unit);
        self.observers.set_run(name, unit.run());
        self.observers.look_at_sockets();
        self.observers.look_at_intruders();
        // What lies on disk is looked at anew before a downstairs starts on it again.
        let needs_look = (!runs).then(|| self.observers.scanner().distrust(name));
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

    pub(in crate::supervisor) fn see_disk(&mut self, disk: Disk) {
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
                self.facts.damaged_grants.clear();
            }
        }
        self.see_grants(&disk);
        if let Ok(ledger) = &disk.ledger {
            self.removals.see(ledger);
        }
        self.facts.disk = Some(disk);
        self.note_time();
    }

    /// Takes what is on record of tickets. Of two records the later counts: a look at the disk may
    /// have begun before the last ticket was granted. What cannot be read, or is not there any more, is as it
    /// was known, and is written anew.
    fn see_grants(&mut self, disk: &Disk) {
        if !disk.mounted || belongs(&self.config, disk).is_err() {
            return;
        }
        let Ok(seen) = &disk.grants else { return };
        let known = self.facts.grants.get_or_insert_default();
        let mut damaged = BTreeMap::new();
        for volume in seen.keys().chain(known.keys()).cloned().collect::<BTreeSet<_>>() {
            let before = known.get(&volume);
            match (seen.get(&volume), before.map(|before| before.serial)) {
                (Some(Ok(grant)), serial) if serial.is_none_or(|serial| serial <= grant.serial) => {
                    self.desk.behind.remove(&volume);
                    self.facts.unread_grants.remove(&volume);
                    if serial != Some(grant.serial) {
                        known.insert(volume, grant.clone());
                    }
                }
                (Some(Err(why)), None) => _ = self.facts.unread_grants.insert(volume, why.clone()),
                (Some(Err(why)), Some(_)) => _ = damaged.insert(volume, why.clone()),
                (later, _) => {
                    let serial = later.and_then(|later| later.as_ref().ok()).map_or(0, |grant| grant.serial);
                    // Twice the same, and it is not that the look was too early.
                    if self.desk.behind.insert(volume.clone(), serial) == Some(serial) {
                        let why = if later.is_some() { "its last entry is missing" } else { "it is gone" };
                        damaged.insert(volume, why.into());
                    }
                }
            }
        }
        let volumes: Vec<_> = damaged.keys().cloned().collect();
        self.facts.damaged_grants = damaged;
        volumes.into_iter().for_each(|volume| self.write_anew(volume));
    }
}
