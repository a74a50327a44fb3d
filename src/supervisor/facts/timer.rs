//! Timer for what has not happened: facts that have grown old, pauses that are over, what was asked
//! for in vain and may be asked for again; and whether enough has been seen to say anything at all.

use crate::decide::facts::{Beat, Fencing, Settled, Start};
use crate::decide::machine::ahead;
use crate::observe;
use crate::region::Tombstone;
use crate::supervisor::{FIRST_PICTURE_LIMIT, RETRY_POLL, Supervisor};
use crate::times;
use std::time::Duration;
use tokio::time::Instant;

impl Supervisor {
    /// Look back at what has not happened: facts that have grown old, and, less often, units that
    /// were asked for in vain and may be asked for again.
    pub(in crate::supervisor) fn look_back(&mut self) {
        self.facts.unseen = self.lookout.staleness.unseen(FIRST_PICTURE_LIMIT);
        self.note_time();
        self.facts.stuck_removals = self.jobs.stuck_removals();
        for (name, region) in &mut self.facts.regions {
            if let Some(pulse) = region.pulse.as_mut().filter(|pulse| pulse.beat == Beat::Answering)
                && self.lookout.staleness.silent(name)
            {
                pulse.beat = Beat::Silent;
            }
            let steady = self.config.sled.downstairs.steady_after.into();
            region.steady = self.publisher.serving_for(name).is_some_and(|time| time >= steady);
        }
        self.kept.keep_again(&self.config, &self.tasks());
        self.jobs.list.write_again();
        self.verifications.give_sign();
        self.lookout.tell_crashes(&self.config, &mut self.facts);
        self.fencing.visitors.forget(&mut self.facts);
        self.fencing.refusals.forget(&mut self.facts);
        self.lookout.look_at_the_hung(&self.config, &self.facts);
        if self.lookout.tried_again.elapsed() >= RETRY_POLL {
            self.lookout.tried_again = Instant::now();
            self.facts.just_created.clear();
            self.facts.stuck_adoptions.clear();
            if matches!(self.facts.settled, Settled::Failed(_)) {
                self.facts.settled = Settled::No;
            }
            for region in self.facts.regions.values_mut().filter(|region| region.start != Start::Asked) {
                region.start = Start::Idle;
            }
            for region in self.facts.regions.values_mut().filter(|region| region.fencing != Fencing::Asked) {
                region.fencing = Fencing::Idle;
            }
            for name in self.systemd.take_unchanged() {
                self.region(&name, |region| region.changing = false);
            }
            self.move_again();
            self.lookout.programs.ask_again(&self.facts);
            self.systemd.refresh_again(&self.config);
            self.jobs.record_holds(&self.facts);
            self.scrub_what_is_due();
            self.repair_what_was_found();
        }
    }

    /// Tell when something is to be told that nobody else tells of.
    pub(in crate::supervisor) fn alarm(&self) -> Option<Instant> {
        let settings = &self.config.sled.downstairs;
        let crash_histories = self.lookout.crashes.values().filter_map(|history| history.alarm(settings));
        crash_histories.chain(self.hosts.maintenance.alarm()).chain(self.fencing.alarm()).min()
    }

    /// Record how long is left of what is kept for a while, and what ends by itself; and see to it
    /// that as long as something is counted, little of it is lost when the power is cut.
    pub(in crate::supervisor) fn note_time(&mut self) {
        let ledger = self.facts.disk.iter().flat_map(|disk| disk.ledger.iter());
        let stones = ledger.flat_map(|ledger| &ledger.tombstones);
        let (now, keep) = (self.jobs.context().clock.now(), Duration::from(self.config.sled.storage.keep_deleted));
        let left = |stone: &Tombstone| {
            let kept = stone.buried.and_then(|buried| now.since(buried))?;
            let left = keep.saturating_sub(kept);
            Some((stone.dir(), left.as_secs() + u64::from(left.subsec_nanos() > 0)))
        };
        self.facts.kept_for = stones.filter_map(left).collect();
        self.facts.ahead = self.facts.disk.as_ref().and_then(|disk| ahead(disk, times::now()));
        self.hosts.maintenance.show(&mut self.facts.maintenance);
        self.hosts.maintenance.end(&mut self.facts.maintenance);
        let counts = !self.facts.kept_for.is_empty() || self.hosts.maintenance.counts();
        if counts && self.jobs.context().clock.is_due() {
            let clock = self.jobs.context().clock.clone();
            tokio::task::spawn_blocking(move || clock.stamp());
        }
    }

    /// Tell whether the picture is complete enough to be shown: a supervisor that has just been
    /// restarted says nothing before it has seen what it said before.
    pub(in crate::supervisor) fn complete(&self) -> bool {
        let seen = || observe::ALL.iter().all(|observer| (observer.is_known)(&self.config, &self.facts));
        let settled = !matches!(self.facts.settled, Settled::Running);
        self.publisher.has_published() || (settled && seen()) || self.lookout.began.elapsed() > FIRST_PICTURE_LIMIT
    }
}

/// Wait for an alarm, if there is one. Cancel-safe: it is asked for anew each time.
pub(in crate::supervisor) async fn alarm(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
