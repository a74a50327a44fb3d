//! Verification after the machine ended without a shutdown: what is to be done is a fact, is begun by the plan, and is put
//! on record whenever it has changed. And the signs of life by which the next boot chooses, one a minute. Without a
//! decision of its own.

use crate::config::VerifyAfterCrash;
use crate::decide::scrub::siblings;
use crate::decide::storage::usable;
use crate::decide::verification::{Passed, ends, listed, passed_over};
use crate::names::RegionName;
use crate::region::verification::{Outcome, Sign, Verification, Verified};
use crate::store::verification::{sign, write};
use crate::supervisor::Supervisor;
use crate::supervisor::jobs::list::CANCELLED;
use crate::supervisor::jobs::verification::Due;
use crate::supervisor::jobs::work::Work;
use crate::supervisor::tasks::run_unheard;
use crate::times;
use crate::wire;
use jiff::SignedDuration;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Time between two signs of life: a write of some hundred bytes, made durable.
const SIGN_PAUSE: Duration = Duration::from_secs(60);
/// What a clock may go wrong by without having been set.
const STEP: SignedDuration = SignedDuration::from_secs(1);

/// What is on record, and the last sign of life.
#[derive(Debug)]
pub(in crate::supervisor) struct Verifications {
    /// The change that was made last.
    change: u64,
    /// The change that is on record.
    written: Arc<Mutex<u64>>,
    sign: Sign,
    signed: Instant,
}

impl Default for Verifications {
    /// The first sign was given when it was found what this boot has to verify.
    fn default() -> Self {
        Self { change: 0, written: Arc::default(), sign: Sign::at(times::now(), None), signed: Instant::now() }
    }
}

impl Verifications {
    /// Give a sign of life, if it is time, or somebody has set the clock.
    pub(in crate::supervisor) fn give_sign(&mut self) {
        let (now, elapsed) = (times::now(), self.signed.elapsed());
        let meant = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        let is_set = (now.duration_since(self.sign.at) - meant).abs() > STEP;
        if elapsed < SIGN_PAUSE && !is_set {
            return;
        }
        (self.sign, self.signed) = (Sign::at(now, Some(self.sign)), Instant::now());
        let given = self.sign;
        run_unheard(async move {
            let signed = tokio::task::spawn_blocking(move || sign(&given)).await;
            if let Ok(Err(why)) = signed {
                // Then more is verified, should the machine end.
                tracing::warn!("a sign of life cannot be written down: {why}");
            }
        });
    }

    /// Put what is known on record; what is there by a later change stays.
    fn write(&mut self, verification: Verification) {
        self.change += 1;
        let (change, written) = (self.change, self.written.clone());
        let writing = move || {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            if *written < change {
                write(&verification)?;
                *written = change;
            }
            std::io::Result::Ok(())
        };
        run_unheard(async move {
            if let Ok(Err(why)) = tokio::task::spawn_blocking(writing).await {
                tracing::warn!("how far the verification is cannot be written down: {why}");
            }
        });
    }
}

impl Supervisor {
    /// List what is to be verified, once the disk can be looked at, and pass over what need not be any more.
    pub(in crate::supervisor) fn settle_verification(&mut self) {
        if let Some(regions) = listed(&self.config, &self.facts) {
            self.change_verification(|known| (known.regions, known.listed) = (Some(regions), Some(times::now())));
        }
        let passed = passed_over(&self.config, &self.facts);
        if !passed.is_empty() {
            self.change_verification(|known| {
                for (name, how) in passed {
                    let regions = known.regions.get_or_insert_default();
                    match how {
                        Passed::Gone => _ = regions.remove(&name),
                        Passed::As(outcome) => {
                            regions.entry(name).and_modify(|verified| verified.outcome = Some(outcome));
                        }
                    }
                }
            });
        }
    }

    /// Begin to verify a region.
    pub(in crate::supervisor) fn verify(&mut self, name: &RegionName, bus: zbus::Connection, disk: Uuid) {
        let Ok(ledger) = usable(&self.config, &self.facts) else { return };
        let (Some(record), Some(verification)) = (ledger.regions.get(name), &self.facts.verification) else { return };
        let Some(known) = verification.of(name, record.uuid) else { return };
        let mode = self.config.sled.storage.verify_after_crash;
        let due = Due {
            region: (name.clone(), record.clone()),
            siblings: siblings(&self.config, &self.facts, name),
            known: known.clone(),
            since: verification.since.filter(|_| mode != VerifyAfterCrash::All),
            counts: self.lookout.counts.clone(),
        };
        self.begin_unasked(Work::verify(due), bus, disk);
    }

    /// Hear how far it is with a region, or what came of it.
    pub(in crate::supervisor) fn hear_verified(&mut self, name: &RegionName, verified: Verified) {
        let known = self.facts.verification.as_ref().and_then(|known| known.of(name, verified.uuid));
        // Of one that has ended meanwhile nothing more is heard.
        if known.is_some_and(|known| known.outcome.is_none()) {
            self.change_verification(|known| {
                known.regions.get_or_insert_default().insert(name.clone(), verified);
            });
        }
    }

    /// End the verification of a region: one that it has not come to the end of serves all the same. Where the disk is away,
    /// or the region by now in the trash, it is begun again when that is back.
    pub(in crate::supervisor) fn end_verification(&mut self, name: &RegionName, why: Option<&wire::Error>) {
        let cancelled = why.is_some_and(|why| why.code == CANCELLED);
        let failed = why.map_or_else(|| "it has ended early".to_owned(), |why| why.message.clone());
        let outcome = if cancelled { Outcome::Cancelled } else { Outcome::Failed(failed) };
        if ends(&self.config, &self.facts, name) {
            self.change_verification(|known| {
                let regions = known.regions.get_or_insert_default();
                regions.entry(name.clone()).and_modify(|verified| verified.outcome = Some(outcome));
            });
        }
    }

    /// Change what is known, and put it on record.
    fn change_verification(&mut self, change: impl FnOnce(&mut Verification)) {
        if let Some(verification) = &mut self.facts.verification {
            change(verification);
            self.verifications.write(verification.clone());
        }
    }
}
