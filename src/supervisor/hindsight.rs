//! What has not happened: facts that have grown old, pauses that are over, what was asked for in
//! vain and may be asked for again; and whether enough has been seen to say anything at all.

use super::{PATIENCE, Supervisor, TRY_AGAIN};
use crate::decide::facts::{Active, Beat, Bus, Fencing, Settled, Start};
use jiff::Timestamp;
use std::collections::BTreeSet;
use tokio::time::Instant;

impl Supervisor {
    /// Looks back at what has not happened: facts that have grown old, and, less often, units
    /// that were asked for in vain and may be asked for again.
    pub(super) fn look_back(&mut self) {
        self.facts.unseen = self.freshness.unseen(PATIENCE);
        self.facts.expired = self.expired();
        for (name, region) in &mut self.facts.regions {
            if let Some(pulse) = region.pulse.as_mut().filter(|pulse| pulse.beat == Beat::Answering)
                && self.freshness.silent(name)
            {
                pulse.beat = Beat::Silent;
            }
            let steady = self.config.sled.downstairs.steady_after.into();
            region.steady = self.editor.serving_for(name).is_some_and(|time| time >= steady);
        }
        self.tell_wards();
        self.forget_knocks();
        self.look_at_the_hung();
        if self.tried_again.elapsed() >= TRY_AGAIN {
            self.tried_again = Instant::now();
            self.facts.just_created.clear();
            self.facts.stuck_adoptions.clear();
            self.facts.stuck_removals.clear();
            if matches!(self.facts.settled, Settled::Failed(_)) {
                self.facts.settled = Settled::No;
            }
            for region in self.facts.regions.values_mut().filter(|region| region.start != Start::Asked) {
                region.start = Start::Idle;
            }
            for region in self.facts.regions.values_mut().filter(|region| region.fencing != Fencing::Asked) {
                region.fencing = Fencing::Idle;
            }
            for name in std::mem::take(&mut self.unchanged) {
                self.region(&name, |region| region.changing = false);
            }
            self.move_again();
            self.versions.ask_again(&self.facts);
            if std::mem::take(&mut self.unrefreshed)
                && let Some(bus) = self.line.clone()
            {
                self.refresh_units(bus);
            }
            if let Some(disk) = self.disk() {
                self.record_holds(disk);
            }
        }
    }

    /// When something is to be told that nobody else tells of.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let settings = &self.config.sled.downstairs;
        self.wards.values().filter_map(|ward| ward.alarm(settings)).chain(self.end_of_maintenance()).min()
    }

    /// What lies in the trash and has been kept long enough.
    fn expired(&self) -> BTreeSet<String> {
        let ledger = self.facts.disk.iter().flat_map(|disk| disk.ledger.iter());
        let stones = ledger.flat_map(|ledger| &ledger.tombstones);
        let keep = self.config.sled.storage.keep_deleted.seconds.cast_signed();
        let now = Timestamp::now().as_second();
        stones.filter(|stone| stone.deleted.as_second() + keep <= now).map(|stone| stone.dir()).collect()
    }

    /// Whether the picture is complete enough to be shown: a supervisor that has just been
    /// restarted says nothing before it has seen what it said before.
    pub(super) fn complete(&self) -> bool {
        let facts = &self.facts;
        let asked = facts.bus.is_some() && facts.network.is_some() && facts.disk.is_some() && facts.intruders.is_some();
        let seen = facts.regions.values().all(|region| match (&region.unit, &region.sockets, &region.pulse) {
            (None, ..) => matches!(facts.bus, Some(Bus::Unreachable(_))),
            (Some(unit), ..) if unit.active != Active::Active => region.sockets.is_some(),
            (Some(unit), Some(sockets), Some(pulse)) => sockets.pid == unit.pid && pulse.beat != Beat::Asked,
            _ => false,
        });
        let asked = asked && (facts.tls.is_some() || self.config.sled.tls.is_none());
        let settled = !matches!(facts.settled, Settled::Running);
        self.editor.has_published() || (asked && seen && settled) || self.started.elapsed() > PATIENCE
    }
}

/// Waits for an alarm, if there is one. Cancel-safe: it is asked for anew each time.
pub(super) async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
