//! Observations, as they become facts, and a reason to look elsewhere.

use crate::config::Configuration;
use crate::decide::facts::{Active, Beat, Disk, Facts, Holder, Pulse, Start, Unit};
use crate::decide::storage::{full, identity};
use crate::names::RegionName;
use crate::observe::observer::Observer;
use crate::observe::{Observation, Told, network};
use crate::supervisor::Supervisor;
use crate::supervisor::facts::{Lookout, exits};
use crate::supervisor::fencing::visitors;

impl Supervisor {
    /// Take a fact, unless whoever told it watches no more: it was of another configuration. True when it is of the network:
    /// hosts wait to hear of that, and no region waits for anything to be done.
    pub(in crate::supervisor) fn take(&mut self, told: Told) -> bool {
        let by = told.by();
        if let Some(seen) = told.fact() {
            self.lookout.staleness.note(by);
            self.see(seen);
        }
        by == network::Watch::NAME
    }

    fn see(&mut self, seen: Observation) {
        match seen {
            Observation::Bus(line) => self.systemd.see_line(line, &self.config, &mut self.facts),
            Observation::Unit(name, unit) => self.lookout.see_unit(&name, unit, &self.config, &mut self.facts),
            Observation::Ended(name, run) => exits::see(&name, run, &mut self.facts),
            Observation::Sockets(seen) => {
                self.fencing.visitors.see_drops(&seen, &mut self.facts);
                for (name, sockets) in seen {
                    self.region(&name, |region| region.sockets = Some(sockets));
                }
                visitors::stamp(&self.config, &mut self.facts);
            }
            Observation::Pulse(name, pulse, took) => {
                took.into_iter().for_each(|took| self.lookout.counts.answered(&name, took));
                self.lookout.see_pulse(&name, pulse, &self.config, &mut self.facts);
            }
            Observation::Known(change) => {
                change.apply(&mut self.facts);
                self.fencing.tell_enforced(&self.facts);
            }
            Observation::Disk(disk) => self.see_disk(*disk),
        }
    }

    pub(in crate::supervisor) fn see_disk(&mut self, disk: Disk) {
        // Of another configuration it tells nothing of some regions; there is a look under way for this.
        let other = disk.config != self.systemd.configuration();
        if other || self.facts.disk.as_ref().is_some_and(|known| known.serial >= disk.serial) {
            return;
        }
        if let Some(now) = identity(&disk) {
            // One may have been away in between: then the last one that was there counts.
            if self.lookout.last_disk.replace(now).is_some_and(|before| before != now) {
                // What was to be held, and what was granted, lies on another disk.
                self.facts.holding.clear();
                self.jobs.forget_holds();
                self.facts.grants = None;
                self.facts.unread_grants.clear();
                self.facts.damaged_grants.clear();
            }
        }
        let (fencing, mut by) = self.fencing();
        fencing.see_records(&disk, &mut by);
        if let Ok(ledger) = &disk.ledger {
            self.jobs.see(ledger);
        }
        self.facts.disk = Some(disk);
        self.note_time();
    }
}

impl Lookout {
    /// Take how a region answers.
    fn see_pulse(&mut self, name: &RegionName, pulse: Option<Pulse>, config: &Configuration, facts: &mut Facts) {
        self.staleness.note_pulse(name);
        if pulse.as_ref().is_some_and(|pulse| sockets_are_due(name, pulse, facts)) {
            self.observers.look_at_sockets();
        }
        let answers = pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Answering);
        if answers && facts.disk.as_ref().is_some_and(full) {
            // There is room again, perhaps: nobody else tells of it.
            self.observers.look_at_disk();
        }
        let silent = pulse.as_ref().is_some_and(|pulse| pulse.beat == Beat::Silent);
        if let Some(region) = facts.regions.get_mut(name) {
            region.pulse = pulse;
        }
        self.tell_crashes(config, facts);
        if silent {
            self.look_at_the_hung(config, facts);
        }
    }

    /// Take how systemd has a region's unit.
    pub(in crate::supervisor) fn see_unit(
        &mut self,
        name: &RegionName,
        unit: Unit,
        config: &Configuration,
        facts: &mut Facts,
    ) {
        if facts.regions.get(name).is_none_or(|region| region.unit.as_ref() == Some(&unit)) {
            // A slow look has found nothing new, or one that is not in the map any more.
            return;
        }
        let runs = unit.active == Active::Active;
        self.note_end(name, &unit, config, facts);
        self.note_change(name, &unit, facts);
        self.observers.set_run(name, unit.run());
        self.observers.look_at_sockets();
        self.observers.look_at_intruders();
        // What lies on disk is looked at anew before a downstairs starts on it again.
        let needs_look = (!runs).then(|| self.observers.scanner().distrust(name));
        if !runs {
            self.observers.look_at_disk();
        }
        let Some(region) = facts.regions.get_mut(name) else { return };
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
    }
}

/// Tell whether the sockets tell less than a pulse does: the downstairs was reached just now, or
/// both of its ports answer, and they were not its own when they were last looked at.
fn sockets_are_due(name: &RegionName, pulse: &Pulse, facts: &Facts) -> bool {
    let sockets = facts.regions.get(name).and_then(|region| region.sockets.as_ref());
    let own = sockets
        .is_some_and(|seen| seen.pid == Some(pulse.pid) && seen.data == Holder::Own && seen.repair == Holder::Own);
    match (&pulse.beat, &pulse.identity) {
        (Beat::Asked, _) => true,
        (Beat::Answering, Some(Ok(_))) => !own,
        _ => false,
    }
}
