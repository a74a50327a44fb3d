//! Verification after the machine ended without a shutdown: which regions it is to be done to before they serve, which are
//! passed over, and what came of it. How an extent is chosen is [`region::verification`](crate::region::verification)'s.

use super::facts::Facts;
use super::finding::Finding;
use super::storage::usable;
use crate::check::Code;
use crate::config::{Configuration, VerifyAfterCrash};
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::Ledger;
use crate::region::verification::{Outcome, Verified};
use crate::wire::{self, Refusal};
use std::collections::BTreeMap;

/// The regions that are to be verified, when the disk can be looked at for the first time: those of the port map that are
/// on record, and those in the trash, which may have been written to until just before; these wait until they come back.
/// What the map does not have was not run, and nobody has written to it. `None`: that is known, or is not to be.
pub fn listed(config: &Configuration, facts: &Facts) -> Option<BTreeMap<RegionName, Verified>> {
    let unlisted = facts.verification.as_ref().is_some_and(|verification| verification.regions.is_none());
    let ledger = usable(config, facts).ok().filter(|_| unlisted)?;
    let here = config.local_regions().into_iter().map(|local| local.name);
    let due = |name: RegionName| {
        let buried = || ledger.restorable(&name).pop().map(|stone| &stone.record);
        let record = ledger.regions.get(&name).or_else(buried)?;
        Some((name.clone(), Verified::due(record.uuid)))
    };
    Some(here.filter_map(due).collect())
}

/// What becomes of a region that is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// It counts as this.
    As(Outcome),
    /// The region is not there any more.
    Gone,
}

/// The regions that are passed over, as things are now: nobody wants them verified, they serve already, or are others by
/// now. Those that a job is at are left to it.
pub fn passed_over(config: &Configuration, facts: &Facts) -> BTreeMap<RegionName, Passed> {
    let regions = facts.verification.iter().filter_map(|verification| verification.regions.as_ref()).flatten();
    let idle = regions.filter(|(name, _)| !facts.scrubbing.contains_key(*name));
    idle.filter_map(|(name, known)| Some((name.clone(), passes(config, facts, name, known)?))).collect()
}

fn passes(config: &Configuration, facts: &Facts, name: &RegionName, known: &Verified) -> Option<Passed> {
    let ledger = usable(config, facts).ok();
    let now = ledger.map(|ledger| ledger.regions.get(name).map(|record| record.uuid));
    let buried = |ledger: &Ledger| ledger.restorable(name).iter().any(|stone| stone.record.uuid == known.uuid);
    let away = now.is_some_and(|now| now != Some(known.uuid));
    if away && !ledger.is_some_and(buried) {
        Some(Passed::Gone)
    } else if known.outcome.is_some() {
        None
    } else if config.sled.storage.verify_after_crash == VerifyAfterCrash::Off {
        Some(Passed::As(Outcome::Off))
    } else if away {
        // From the trash it may come back, and is as doubtful then as it was.
        None
    } else {
        let alive = facts.regions.get(name).is_some_and(|region| region.alive().is_some());
        alive.then_some(Passed::As(Outcome::Served))
    }
}

/// Whether a region is to be verified, or is being, before it serves.
pub(super) fn is_due(facts: &Facts, name: &RegionName) -> bool {
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let record = ledger.and_then(|ledger| ledger.regions.get(name));
    let known = record.and_then(|record| facts.verification.as_ref()?.of(name, record.uuid));
    known.is_some_and(|known| known.outcome.is_none())
}

/// Whether the end of a job at a region is that of its verification: of the one that is in place and on record. One that had
/// its name, and lies in the trash, is as doubtful as it was.
pub fn ends(config: &Configuration, facts: &Facts, name: &RegionName) -> bool {
    usable(config, facts).is_ok() && is_due(facts, name)
}

/// Whether a region of this sled is to be verified, or is being: what would restart them waits until none is.
pub fn is_open(config: &Configuration, facts: &Facts) -> bool {
    config.local_regions().iter().any(|local| is_due(facts, &local.name))
}

/// Find that a region is not to be verified before anything else is done to it.
///
/// # Errors
/// It is: then the other thing is for later.
pub(super) fn not_due(facts: &Facts, name: &RegionName) -> Result<(), wire::Error> {
    if is_due(facts, name) {
        let message = format!("{name} is being verified, as the machine ended without a shutdown, or will be");
        Err(wire::Error::new(Refusal::Busy, message, wait(facts, name)))
    } else {
        Ok(())
    }
}

fn wait(facts: &Facts, name: &RegionName) -> String {
    match facts.scrubbing.get(name) {
        Some(job) => format!(
            "wait; how far it is: sledctl jobs follow {job}; to have it serve without: sledctl jobs cancel {job}"
        ),
        None => "wait; how far it is: sledctl jobs".into(),
    }
}

/// The finding about a region that is verified before it serves.
pub(super) fn finding(local: &LocalRegion, facts: &Facts) -> Finding {
    Finding::about_region(
        local,
        Code::RegionVerifying,
        Code::RegionVerifying.about().cause.into(),
        wait(facts, &local.name),
    )
}

/// The finding that the record of what was to be verified could not be read.
pub(super) fn lost(facts: &Facts) -> Option<Finding> {
    let why = facts.verification.as_ref()?.lost.as_ref()?;
    let told = told(facts).map(|told| format!("; of these, {told}")).unwrap_or_default();
    let cause = format!(
        "the record of what was to be verified could not be read ({why}), so that all extents of the regions that did not \
         serve are{told}"
    );
    Some(Finding::new(Code::VerificationLost, "sled", cause, Code::VerificationLost.remedy()))
}

/// What was verified since the machine ended, in words; `None` if nothing was to be, or is not known.
pub(super) fn told(facts: &Facts) -> Option<String> {
    let regions = facts.verification.as_ref()?.regions.as_ref()?;
    let ledger = facts.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
    let buried = |name: &RegionName, known: &Verified| {
        let stones = ledger.map(|ledger| ledger.restorable(name)).unwrap_or_default();
        stones.iter().any(|stone| stone.record.uuid == known.uuid)
    };
    let of = |in_trash: bool, so: &dyn Fn(&Verified) -> bool| {
        let regions = regions.iter().filter(|(name, known)| so(known) && buried(name, known) == in_trash);
        let names = regions.map(|(name, _)| name.to_string());
        Some(names.collect::<Vec<_>>()).filter(|names| !names.is_empty()).map(|names| names.join(", "))
    };
    let which = |so: &dyn Fn(&Verified) -> bool| of(false, so);
    let is = |outcome: Outcome| move |known: &Verified| known.outcome.as_ref() == Some(&outcome);
    let mut said: Vec<String> = through(regions).into_iter().collect();
    said.extend(which(&|known| known.outcome.is_none()).map(|names| format!("not verified yet: {names}")));
    let waits = of(true, &|known| known.outcome.is_none());
    said.extend(waits.map(|names| format!("not verified unless restored from the trash: {names}")));
    let passed_over = [
        (Outcome::Cancelled, "not verified to the end, as that was cancelled"),
        (Outcome::Off, "not verified, by storage.verify_after_crash"),
        (Outcome::Served, "not verified, as it served already"),
    ];
    for (outcome, why) in passed_over {
        said.extend(which(&is(outcome)).map(|names| format!("{why}: {names}")));
    }
    let failed = regions.iter().filter_map(|(name, known)| match &known.outcome {
        Some(Outcome::Failed(why)) => Some(format!("{name} was not verified to the end: {why}")),
        _ => None,
    });
    said.extend(failed);
    (!said.is_empty()).then(|| said.join("; "))
}

/// What the verifications came to that are through.
fn through(regions: &BTreeMap<RegionName, Verified>) -> Option<String> {
    let (mut count, mut extents, mut wrong) = (0, 0, Vec::new());
    for (name, known) in regions.iter().filter(|(_, known)| known.outcome == Some(Outcome::Through)) {
        (count, extents) = (count + 1, extents + u64::from(known.extents));
        let what = [
            (known.rotten, "block(s) are not what their checksums say"),
            (known.unreadable, "place(s) could not be read"),
        ];
        wrong.extend(what.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what} in {name}")));
    }
    let found = if wrong.is_empty() { "nothing is wrong".to_owned() } else { wrong.join(", ") };
    (count > 0).then(|| {
        format!("{extents} extent(s) of {count} region(s) that may be so were held to their checksums since: {found}")
    })
}
