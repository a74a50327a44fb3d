//! Scrubs: which may be begun, which is due, and what their records mean.

use super::facts::{Busy, Facts, Scrubbed};
use super::finding::Finding;
use super::permits::not_on_record;
use super::region::serving;
use super::storage::{readable, usable};
use super::verification;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use crate::port_map::LocalRegion;
use crate::region::Record;
use crate::region::scrub::{BlockFault, End, Scrubs, Wrong};
use crate::times::in_seconds;
use crate::wire::{self, Refusal};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// The faults of a region that a cause names; `region show` has more.
const NAMED: usize = 3;
/// The seconds from its own moment on for which a region that was never scrubbed may be begun with: not all of them
/// begin at once on the day on which scrubs come to a fleet.
const FIRST_WITHIN_SECONDS: i64 = 86_400;

/// Find whether a region may be scrubbed. Whether it serves, is held or stopped, is all the same: it is only read.
///
/// # Errors
/// Why not: it is not on record, the disk cannot be used, it is being scrubbed or repaired already, or made or deleted.
pub fn may_scrub(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<Record, wire::Error> {
    let record = usable(config, facts)?.regions.get(name).ok_or_else(|| not_on_record(config, name))?;
    if let Some(job) = facts.scrubbing.get(name) {
        let message = format!("{name} is being scrubbed or repaired, or will be: job {job}");
        return Err(wire::Error::new(Refusal::Busy, message, format!("follow it: sledctl jobs follow {job}")));
    }
    verification::not_due(facts, name)?;
    match facts.busy.get(name) {
        Some(Busy::Creating | Busy::Adopting | Busy::Deleting) => {
            let message = format!("another job makes {name}, or takes it away");
            Err(wire::Error::new(Refusal::Busy, message, "ask again when it is done: sledctl jobs"))
        }
        _ => Ok(record.clone()),
    }
}

/// Find the volume's other regions that lie on this sled, with their records.
pub fn siblings(config: &Configuration, facts: &Facts, name: &RegionName) -> Vec<(RegionName, Record)> {
    let regions = readable(config, facts).ok().into_iter().flat_map(|ledger| &ledger.regions);
    let others = regions.filter(|(other, _)| other.volume() == name.volume() && *other != name);
    others.map(|(other, record)| (other.clone(), record.clone())).collect()
}

/// Find the region that is to be scrubbed now without being asked, by the schedule.
pub fn due(config: &Configuration, facts: &Facts, now: Timestamp) -> Option<RegionName> {
    let period = i64::try_from(config.sled.scrub.schedule.period()?.as_secs()).ok()?;
    if !facts.scrubbing.is_empty() || facts.maintenance.is_some() || facts.upgrading.is_some() || facts.leaving {
        return None;
    }
    let disk = facts.disk.as_ref()?;
    let due = disk.scrubs.iter().filter(|(name, _)| is_due(name, facts, (period, now)));
    let mut due: Vec<_> = due.filter(|(name, _)| is_calm(config, facts, name.volume())).collect();
    // Who was left in the middle first, and then who has waited longest.
    due.sort_by_key(|(_, seen)| {
        (!seen.record.as_ref().is_some_and(Scrubs::is_interrupted), std::cmp::Reverse(seen.hours))
    });
    due.into_iter().map(|(name, _)| name.clone()).find(|name| may_scrub(config, facts, name).is_ok())
}

/// Find a region of which something was found that is to be repaired without being asked; none of `lately`, which were tried
/// a short time ago.
pub fn to_repair(config: &Configuration, facts: &Facts, lately: impl Fn(&RegionName) -> bool) -> Option<LocalRegion> {
    if !config.sled.scrub.repair || facts.maintenance.is_some() || facts.upgrading.is_some() || facts.leaving {
        return None;
    }
    let disk = facts.disk.as_ref()?;
    let wrong = |name: &RegionName| {
        let record = disk.scrubs.get(name).and_then(|seen| seen.record.as_ref());
        record.is_some_and(|record| record.rotten() + record.unreadable() > 0)
    };
    let mut all = config.local_regions().into_iter();
    all.find(|local| {
        let name = &local.name;
        // What is being read has not been told yet.
        wrong(name) && !facts.scrubbing.contains_key(name) && is_calm(config, facts, name.volume()) && !lately(name)
    })
}

/// Whether a region's own moment has come since it was begun with last.
fn is_due(name: &RegionName, facts: &Facts, (period, now): (i64, Timestamp)) -> bool {
    let disk = facts.disk.as_ref();
    let ledger = disk.and_then(|disk| disk.ledger.as_ref().ok());
    let Some(record) = ledger.and_then(|ledger| ledger.regions.get(name)) else { return false };
    let now = now.as_second();
    let since = (now - moment(name, period)).rem_euclid(period);
    match disk.and_then(|disk| disk.scrubs.get(name)?.record.as_ref()) {
        Some(scrubs) if !scrubs.is_only_verified() => {
            scrubs.is_interrupted() || scrubs.last.begun.as_second() < now - since
        }
        _ => since < FIRST_WITHIN_SECONDS && record.created.as_second() < now - since,
    }
}

/// A region's own moment in the period, in seconds: by what its volume is called, so that not all have the same; those of
/// one volume are a third of the period apart, on whichever sleds they are, without these having to ask each other.
fn moment(name: &RegionName, period: i64) -> i64 {
    let digest = Sha256::digest(name.volume().as_str());
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest[..8]);
    (i64::from_be_bytes(eight).rem_euclid(period) + period / 3 * i64::from(name.index())).rem_euclid(period)
}

/// Whether nothing goes on at a volume that a scrub would be in the way of.
fn is_calm(config: &Configuration, facts: &Facts, volume: &VolumeName) -> bool {
    let serve = serving(config, facts);
    let mut own = config.local_regions().into_iter().filter(|local| local.name.volume() == volume);
    let all_serve = own.all(|local| serve.contains(&local.name));
    let at_work = facts.busy.keys().any(|name| name.volume() == volume);
    // A host that lacks a region has it repaired when it is back.
    let lacking = facts.lacks.keys().any(|(name, _)| name.volume() == volume);
    all_serve && !at_work && !lacking && !facts.granting.contains(volume)
}

/// The findings of the regions' data.
pub(super) fn findings(config: &Configuration, facts: &Facts) -> Vec<Finding> {
    let Some(disk) = &facts.disk else { return Vec::new() };
    let known = |local: LocalRegion| disk.scrubs.get(&local.name).map(|seen| of(config, &local, seen, facts));
    config.local_regions().into_iter().filter_map(known).flatten().collect()
}

fn of(config: &Configuration, local: &LocalRegion, seen: &Scrubbed, facts: &Facts) -> Vec<Finding> {
    let rotten = seen.record.as_ref().filter(|scrubs| scrubs.rotten() > 0).map(|scrubs| bitrot(local, scrubs));
    let unfinished = seen.record.as_ref().and_then(|scrubs| unfinished(local, scrubs));
    // One that is under way is what would be asked for.
    let overdue = config.sled.scrub.outdated_after.filter(|span| seen.hours >= span.seconds.div_ceil(3600));
    let overdue = overdue.filter(|_| !facts.scrubbing.contains_key(&local.name)).map(|span| {
        let last = seen.record.as_ref().and_then(|scrubs| scrubs.completed);
        let last = last.map_or_else(
            || "it was never scrubbed".to_owned(),
            |at| format!("it was last scrubbed at {}", in_seconds(at)),
        );
        let remedy = format!(
            "sledctl region scrub {}; a schedule does it by itself (scrub.schedule of sled.toml is {})",
            local.name, config.sled.scrub.schedule
        );
        let cause = format!("{last}, and is to be within {span}");
        Finding::about_region(local, Code::ScrubOverdue, cause, remedy)
    });
    [rotten, unfinished, overdue].into_iter().flatten().collect()
}

/// The finding that blocks are not what they were.
fn bitrot(local: &LocalRegion, scrubs: &Scrubs) -> Finding {
    let (count, name, volume) = (scrubs.rotten(), &local.name, local.name.volume());
    let faults: Vec<_> = scrubs.faults.iter().filter(|fault| !fault.wrong.is_unreadable()).collect();
    let named = named(&faults, count);
    // Of one whose context is none, the host may read the other: what falls over for certain is the next start.
    let contexts = faults.len() as u64 == count && faults.iter().all(|fault| fault.wrong == Wrong::NoContext);
    let what = if contexts {
        "a host that reads one may fall over, and a downstairs that is killed does not start on them again"
    } else {
        "a host that reads one falls over"
    };
    let cause = format!("{count} block(s) are not what their checksums say, and {what}{named}");
    let remedy = format!(
        "see which, and what the volume's other regions on this sled have: sledctl region show {name}; if one is \
         right there: sledctl region repair {name}; if none fits: sledctl region rebuild {name}; have the others \
         scrubbed: sledctl region scrub --volume {volume}; and look at the disk (sledctl hardware, smartctl -x DISK)"
    );
    Finding::about_region(local, Code::RegionBitrot, cause, remedy)
}

/// The first faults in words, and how many more there are.
fn named(faults: &[&BlockFault], count: u64) -> String {
    let first: Vec<_> = faults.iter().take(NAMED).map(ToString::to_string).collect();
    let more = count.saturating_sub(first.len() as u64);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    if first.is_empty() { String::new() } else { format!(": {}{more}", first.join("; ")) }
}

/// The finding that the last scrub has not seen everything.
fn unfinished(local: &LocalRegion, scrubs: &Scrubs) -> Option<Finding> {
    let begun = in_seconds(scrubs.last.begun);
    let failed = scrubs.last.ended.as_ref().and_then(|ended| match &ended.how {
        End::Failed(why) => Some(format!("its scrub of {begun} could not go on at extent {}: {why}", scrubs.last.next)),
        End::Through | End::Cancelled | End::Verified => None,
    });
    let count = scrubs.unreadable();
    let unread = (count > 0).then(|| {
        let faults: Vec<_> = scrubs.faults.iter().filter(|fault| fault.wrong.is_unreadable()).collect();
        let what = if scrubs.is_only_verified() { "verification" } else { "scrub" };
        format!("its {what} of {begun} could not read {count} place(s){}", named(&faults, count))
    });
    let cause = [failed, unread].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let remedy = format!(
        "look at the disk first (dmesg, sledctl hardware, smartctl -x DISK); then: sledctl region scrub {}",
        local.name
    );
    (!cause.is_empty()).then(|| Finding::about_region(local, Code::ScrubUnfinished, cause, remedy))
}

/// The scrubs of a region, as they are shown; `None` if there was none.
pub fn shown(facts: &Facts, name: &RegionName) -> Option<wire::Scrub> {
    let scrubs = facts.disk.as_ref()?.scrubs.get(name)?.record.as_ref()?;
    let ended = scrubs.last.ended.as_ref();
    let failed = ended.and_then(|ended| match &ended.how {
        End::Failed(why) => Some(why.clone()),
        End::Through | End::Cancelled | End::Verified => None,
    });
    Some(wire::Scrub {
        completed: scrubs.completed,
        begun: scrubs.last.begun,
        ended: ended.map(|ended| ended.at),
        failed,
        verified: scrubs.verified,
        rotten: scrubs.rotten(),
        unreadable: scrubs.unreadable(),
        faults: scrubs.faults.clone(),
    })
}
