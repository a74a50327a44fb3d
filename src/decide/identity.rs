//! Identity of a region's directory: whether it holds the region on record, whole and as the map wants it. Only then
//! may a downstairs run on it.

use super::facts::{Busy, Disk, Facts, OnDisk, Region};
use super::finding::Finding;
use super::remedy::{of_files, or_replace};
use super::storage::belongs;
use crate::check::Code;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{Ledger, Record, RegionJson};
use crate::times::in_seconds;
use crate::wire::State;
use jiff::Timestamp;
use std::path::Path;

/// The identity of what lies on disk, as far as it decides whether a downstairs may run on it.
pub(super) enum Identity<'a> {
    /// The data disk or its ledger is unavailable: a finding about the sled says so.
    Unavailable,
    /// The region was never created.
    NeverCreated,
    /// The region is there and is the one on record, as the map wants it.
    Known(&'a Record),
    /// Something else; this is what.
    Wrong(State, Box<Finding>),
}

/// Compare what lies on disk with the record and the map.
pub(super) fn identity<'a>(config: &Configuration, local: &LocalRegion, facts: &'a Facts) -> Identity<'a> {
    let Some(disk) = facts.disk.as_ref().filter(|disk| disk.mounted && belongs(config, disk).is_ok()) else {
        return Identity::Unavailable;
    };
    let (Ok(ledger), Some(on_disk)) = (&disk.ledger, disk.regions.get(&local.name)) else {
        return Identity::Unavailable;
    };
    if let Some(finding) = adopting(ledger, local, facts) {
        return Identity::wrong(State::Held, finding);
    }
    let alive = facts.regions.get(&local.name).and_then(Region::alive);
    match (ledger.regions.get(&local.name), on_disk) {
        (None, OnDisk::Absent) => absent(config, disk, ledger, local),
        (None, _) => Identity::wrong(State::Failed, unrecorded(config, local)),
        (Some(record), OnDisk::Absent) => {
            Identity::wrong(State::Missing, lost(local, record, &config.sled.storage.root, alive))
        }
        (Some(_), OnDisk::Unreadable(why)) => Identity::wrong(State::Failed, unreadable(config, local, why, alive)),
        (Some(record), OnDisk::Present(found)) => {
            let wrong = replaced(config, disk, ledger, local, record, found);
            let wrong = wrong.or_else(|| reshaped(local, record)).or_else(|| damaged(config, local, facts));
            wrong.map_or(Identity::Known(record), |finding| Identity::wrong(State::Failed, finding))
        }
    }
}

impl Identity<'_> {
    fn wrong(state: State, finding: Finding) -> Self {
        Self::Wrong(state, Box::new(finding))
    }
}

/// Its adoption has begun, and nobody is at it.
fn adopting(ledger: &Ledger, local: &LocalRegion, facts: &Facts) -> Option<Finding> {
    let at_it = facts.busy.get(&local.name) == Some(&Busy::Adopting);
    if !ledger.adoptions.contains_key(&local.name) || at_it {
        return None;
    }
    let (cause, remedy) = match facts.stuck_adoptions.get(&local.name) {
        None => ("its adoption was cut short, and is being undone".to_owned(), "wait".to_owned()),
        Some(why) => (
            format!("its adoption was cut short, and cannot be undone: {why}"),
            "mend that; it is tried again every 10 s".into(),
        ),
    };
    Some(Finding::about_region(local, Code::RegionAdopting, cause, remedy))
}

/// There is no region, and none is on record.
fn absent<'a>(config: &Configuration, disk: &Disk, ledger: &Ledger, local: &LocalRegion) -> Identity<'a> {
    if disk.unadopted.contains(&local.name) {
        return Identity::wrong(State::Held, unadopted(config, local));
    }
    match ledger.doubted(&local.name) {
        Some(since) => Identity::wrong(State::Missing, doubted(local, since, &config.sled.storage.root)),
        None => Identity::NeverCreated,
    }
}

fn unrecorded(config: &Configuration, local: &LocalRegion) -> Finding {
    let cause = format!("{} exists, and the ledger does not know it", config.region_dir(&local.name).display());
    let remedy = format!(
        "if it is a region: sledctl region adopt {} checks it and puts it on record; else move it away",
        local.name
    );
    Finding::about_region(local, Code::RegionUnrecorded, cause, remedy)
}

fn unreadable(config: &Configuration, local: &LocalRegion, why: &str, alive: Option<u32>) -> Finding {
    let dir = config.region_dir(&local.name).display().to_string();
    let remedy = alive.map_or_else(|| restore(&dir), |pid| rescue(pid, &dir));
    Finding::about_region(local, Code::RegionIdentity, format!("{dir}: {why}"), remedy)
}

/// The region that lies there is not the one on record.
fn replaced(
    config: &Configuration,
    disk: &Disk,
    ledger: &Ledger,
    local: &LocalRegion,
    record: &Record,
    found: &RegionJson,
) -> Option<Finding> {
    let cause = differences(record, found)?;
    let (cause, remedy) = other(config, disk, ledger, local, found, cause);
    Some(Finding::about_region(local, Code::RegionIdentity, cause, remedy))
}

/// The map wants another geometry than the region was made with.
fn reshaped(local: &LocalRegion, record: &Record) -> Option<Finding> {
    let (wants, has) = (local.geometry, record.geometry);
    let cause = format!("the port map wants {wants}, and the region was made as {has}");
    let remedy = format!("write {has} into port-map.toml: a region keeps its geometry");
    (has != wants).then(|| Finding::about_region(local, Code::RegionIdentity, cause, remedy))
}

fn damaged(config: &Configuration, local: &LocalRegion, facts: &Facts) -> Option<Finding> {
    let fault = damage(local, facts)?;
    let cause = format!("{}: {fault}", config.region_dir(&local.name).display());
    Some(Finding::about_region(local, Code::RegionDamaged, cause, of_files(config, &local.name, fault)))
}

/// The damage of its files, while nothing runs on them: a downstairs that repairs an extent replaces its file.
fn damage<'a>(local: &LocalRegion, facts: &'a Facts) -> Option<&'a str> {
    let runs = facts.regions.get(&local.name).is_some_and(|region| region.alive().is_some());
    // A disk that cannot be written to as a whole is told by another finding.
    let disk = facts.disk.as_ref().filter(|disk| !disk.read_only)?;
    disk.surveys.get(&local.name)?.fault.as_deref().filter(|_| !runs)
}

/// Another region than the one on record lies in the directory. If that one lies in another's place, the two were
/// swapped.
fn other(
    config: &Configuration,
    disk: &Disk,
    ledger: &Ledger,
    local: &LocalRegion,
    found: &RegionJson,
    mut cause: String,
) -> (String, String) {
    let dir = config.region_dir(&local.name);
    let uuid_of = |name: &RegionName| ledger.regions.get(name).map(|record| record.uuid);
    let own = uuid_of(&local.name);
    let mine = |on_disk: &OnDisk| matches!(on_disk, OnDisk::Present(json) if Some(json.uuid) == own);
    let there = disk.regions.iter().find(|(name, on_disk)| **name != local.name && mine(on_disk));
    let owner = ledger.regions.iter().find(|(name, record)| **name != local.name && record.uuid == found.uuid);
    if let Some((owner, _)) = owner {
        cause += &format!("; it is the region of {owner}");
    }
    let Some((there, _)) = there else { return (cause, restore(&dir.display().to_string())) };
    let place = config.region_dir(there);
    cause += &format!("; {} lies in {}", local.name, place.display());
    let remedy = format!(
        "the directories were swapped or renamed: give each its own name back; {} belongs at {}, and nothing of it is \
         lost; stop the downstairs of both before (sledctl region hold), and release them after",
        place.display(),
        dir.display()
    );
    (cause, remedy)
}

/// The directory of a region that is served was moved, removed or emptied: the process has the files
/// open, and as long as it lives they are all there.
pub(super) fn rescue(pid: u32, dir: &str) -> String {
    format!(
        "do not stop or restart process {pid}, and do not reboot: it still has the data, that of deleted files too, and \
         ls -l /proc/{pid}/fd shows where each is; if they were moved, move them back; if they are deleted: with no \
         host writing, copy each out to another directory by the name that is shown there (cp /proc/{pid}/fd/N \
         DIR/XX/YYY/ZZZ), give that a region.json as it was, and put it in the place of {dir}"
    )
}

fn unadopted(config: &Configuration, local: &LocalRegion) -> Finding {
    let (root, name) = (config.sled.storage.root.display(), &local.name);
    let cause = format!("{root}/vm-{name} is there, from before this supervisor");
    Finding::about_region(
        local,
        Code::RegionUnadopted,
        cause,
        format!("sledctl region adopt {name}; --dry-run shows what it does"),
    )
}

fn restore(dir: &str) -> String {
    format!("restore {dir}; the supervisor starts nothing on it as it is")
}

fn lost(local: &LocalRegion, record: &Record, root: &Path, alive: Option<u32>) -> Finding {
    let (name, root) = (&local.name, root.display());
    let since = in_seconds(record.created);
    let mut cause = format!("{root}/{name} is gone; the region {} was there since {since}", record.uuid);
    let remedy = match alive {
        Some(pid) => {
            cause += &format!("; its process {pid} serves it still, from the files that it has open");
            rescue(pid, &format!("{root}/{name}"))
        }
        None => or_replace(&format!("find out who moved or removed it, and put {root}/{name} back"), name),
    };
    Finding::about_region(local, Code::RegionMissing, cause, remedy)
}

/// The ledger that would tell is lost.
fn doubted(local: &LocalRegion, since: Timestamp, root: &Path) -> Finding {
    let (name, root) = (&local.name, root.display());
    let cause = format!(
        "{root}/{name} is not there, and it is not known whether it ever was: the ledger was lost, and begun anew at \
         {since}"
    );
    let remedy = format!(
        "if it existed, look for its directory, and: sledctl region adopt {name} --from DIR; if it never did, or is lost \
         for good: sledctl region create {name} --never-existed {name}"
    );
    Finding::about_region(local, Code::RegionMissing, cause, remedy)
}

fn differences(record: &Record, found: &RegionJson) -> Option<String> {
    if found.uuid != record.uuid {
        return Some(format!("region.json has the UUID {}, and {} is on record", found.uuid, record.uuid));
    }
    let (has, had) = (found.geometry(), record.geometry);
    (has != had).then(|| format!("region.json has the geometry {has}, and {had} is on record"))
}
