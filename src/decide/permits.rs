//! Permits for a request: whether it may be done now and, if not, why and what to do.
//!
//! Nothing here is done by itself: [`plan`](super::plan::plan) is what the supervisor does
//! unasked.

use super::facts::{Busy, Facts, Holder, OnDisk, Region};
use super::identity::{Identity, identity};
use super::storage::{readable, usable};
use crate::check::Code;
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{Ledger, Record, Tombstone};
use crate::wire::{self, ErrorCode, Refusal, State};
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// The answer to a request to create a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// The region exists, as it was asked for.
    AlreadyThere(Uuid),
    /// The region may be created.
    Go(LocalRegion),
}

/// Find whether a region may be created. `never_existed` is the name that the operator repeated, of one that a ledger
/// that was lost may have known.
///
/// # Errors
/// Why not, with a remedy: no such region here, no disk, something in its place, a port that
/// is taken, a job that is at it already.
pub fn may_create(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    never_existed: Option<&RegionName>,
) -> Result<Creation, wire::Error> {
    let local = local(config, name)?;
    let region = idle(facts, name)?;
    let ledger = readable(config, facts)?;
    match identity(config, &local, facts) {
        Identity::Known(record) => Ok(Creation::AlreadyThere(record.uuid)),
        Identity::NeverCreated => {
            usable(config, facts)?;
            ports_free(&region, &local).map(|()| Creation::Go(local))
        }
        Identity::Wrong(_, finding) if ledger.regions.contains_key(name) => {
            let message = format!("{name} is on record and is never created again: {}", finding.cause);
            Err(wire::Error::new(Refusal::RegionExists, message, finding.remedy))
        }
        Identity::Wrong(State::Missing, _) if never_existed == Some(name) && ledger.doubted(name).is_some() => {
            usable(config, facts)?;
            ports_free(&region, &local).map(|()| Creation::Go(local))
        }
        Identity::Wrong(_, finding) => {
            let message = format!("nothing is destroyed to create: {}", finding.cause);
            Err(wire::Error::new(finding.code, message, finding.remedy))
        }
        Identity::Unavailable => Err(unseen(config, name)),
    }
}

/// The answer to a request to delete a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// The region's unit is stopped, and its directory goes to the trash.
    Bury(Record),
    /// The region's directory is gone; the record of it is dropped.
    Forget(Record),
}

/// Find whether a region may be deleted. `yes` is the name that the operator repeated.
///
/// # Errors
/// Why not: a host uses its volume, the map wants it and the name was not repeated, it is not
/// on record, a job is at it.
pub fn may_delete(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    yes: Option<&str>,
) -> Result<Deletion, wire::Error> {
    idle(facts, name)?;
    let record = usable(config, facts)?.regions.get(name).ok_or_else(|| not_on_record(config, name))?;
    let hosts: BTreeSet<_> = connected(facts, name);
    if !hosts.is_empty() {
        return Err(in_use(name, &hosts));
    }
    if config.map.volumes.contains_key(name.volume()) && yes != Some(name.to_string().as_str()) {
        let message = format!("{name} carries the volume {}, which the port map has: it is not deleted", name.volume());
        let remedy = format!("to destroy this replica: sledctl region delete {name} --yes-destroy {name}");
        return Err(wire::Error::new(Refusal::YesDestroy, message, remedy));
    }
    let there = facts.disk.as_ref().and_then(|disk| disk.regions.get(name));
    Ok(match there {
        // A region that the map does not have any more is looked at, too.
        Some(OnDisk::Absent) => Deletion::Forget(record.clone()),
        _ => Deletion::Bury(record.clone()),
    })
}

/// The hosts that are connected to any region of the volume on this sled.
fn connected(facts: &Facts, name: &RegionName) -> BTreeSet<IpAddr> {
    let regions = facts.regions.iter().filter(|(other, _)| other.volume() == name.volume());
    let sockets = regions.filter_map(|(_, region)| region.sockets.as_ref());
    sockets.flat_map(|sockets| sockets.connected.iter().map(|peer| peer.address)).collect()
}

/// Refuse to take a region away from hosts that are connected.
pub fn in_use<'a>(name: &RegionName, hosts: impl IntoIterator<Item = &'a IpAddr>) -> wire::Error {
    let hosts = hosts.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!("{hosts} is connected to the volume {}: {name} is not taken away", name.volume());
    wire::Error::new(Refusal::InUse, message, "detach the volume there first, then ask again")
}

/// Find whether a deleted region may be had back; `time` tells which, if there are several.
///
/// # Errors
/// Why not: there is none in the trash, its place is taken, it is not said which of several, a
/// job is at it.
pub fn may_restore(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    time: Option<i64>,
) -> Result<Tombstone, wire::Error> {
    idle(facts, name)?;
    let ledger = usable(config, facts)?;
    if ledger.regions.contains_key(name) {
        let message = format!("{name} exists: what was deleted is not put over it");
        return Err(wire::Error::new(Refusal::RegionExists, message, "sledctl storage lists what lies in the trash"));
    }
    the_one(name, time, ledger.restorable(name))
}

/// Find whether a deleted region may be removed for good, before its time. `time` tells which, if there are several,
/// and `yes` is what the operator repeated.
///
/// # Errors
/// Why not: there is none, it is not said which of several, it was not repeated, a job is at it.
pub fn may_purge(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    time: Option<i64>,
    yes: Option<&str>,
) -> Result<Tombstone, wire::Error> {
    idle(facts, name)?;
    let stones = usable(config, facts)?.tombstones.iter().filter(|stone| stone.region == *name).collect();
    let stone = the_one(name, time, stones)?;
    let meant = if time.is_some() { stone.dir() } else { name.to_string() };
    if yes != Some(meant.as_str()) {
        let message = format!("what was deleted of {name} is removed for good only if that is said twice");
        let remedy = format!("sledctl region purge {meant} --yes-destroy {meant}");
        return Err(wire::Error::new(Refusal::YesDestroy, message, remedy));
    }
    if facts.removing {
        let message = "something else is being removed for good";
        return Err(wire::Error::new(Refusal::Busy, message, "ask again when it is done: sledctl jobs"));
    }
    Ok(stone)
}

/// The only one of several tombstones that is meant: which one is never guessed.
fn the_one(name: &RegionName, time: Option<i64>, stones: Vec<&Tombstone>) -> Result<Tombstone, wire::Error> {
    let named = |stone: &&Tombstone| time.is_none_or(|time| stone.deleted.as_second() == time);
    let meant: Vec<_> = stones.into_iter().filter(named).collect();
    match meant.as_slice() {
        [] => {
            let message = format!("no such deleted region {name} is kept");
            Err(wire::Error::new(Refusal::RegionUnknown, message, "sledctl storage lists what lies in the trash"))
        }
        [one] => Ok((*one).clone()),
        several => {
            let dirs = several.iter().map(|stone| format!("{} ({})", stone.dir(), stone.deleted));
            let message = format!("{name} was deleted more than once: {}", dirs.collect::<Vec<_>>().join(", "));
            Err(wire::Error::new(Refusal::Ambiguous, message, "say which, by its name in the trash"))
        }
    }
}

/// Find whether a region may be adopted, as far as the facts tell; what lies in its directory and what serves it is
/// looked at by the adoption itself.
///
/// # Errors
/// Why not: no such region here, no disk, on record already, a job is at it.
pub fn may_adopt(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    let local = local(config, name)?;
    idle(facts, name)?;
    let ledger = match readable(config, facts) {
        Err(why) if why.code == Code::LedgerUnreadable => return Ok(local),
        ledger => ledger?,
    };
    usable(config, facts)?;
    not_yet_on_record(ledger, name)?;
    // A region that is being restarted or held would be away together with this one.
    let away = |busy: &Busy| matches!(busy, Busy::Watching | Busy::Restarting | Busy::Holding);
    let sibling = facts.busy.iter().find(|(other, busy)| other.volume() == name.volume() && away(busy));
    if let Some((sibling, _)) = sibling {
        let message = format!("another job is at {sibling}: {name} is not adopted meanwhile");
        return Err(wire::Error::new(Refusal::Busy, message, "ask again when it is done: sledctl jobs"));
    }
    Ok(local)
}

fn not_yet_on_record(ledger: &Ledger, name: &RegionName) -> Result<(), wire::Error> {
    match ledger.regions.get(name) {
        None => Ok(()),
        Some(record) => {
            let message = format!("{name} is on record already, as {} ({})", record.uuid, record.by);
            Err(wire::Error::new(Refusal::RegionExists, message, format!("see sledctl region show {name}")))
        }
    }
}

/// The region as the map puts it on this sled.
pub(super) fn local(config: &Configuration, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    config.local_regions().into_iter().find(|local| local.name == *name).ok_or_else(|| not_here(config, name))
}

fn not_here(config: &Configuration, name: &RegionName) -> wire::Error {
    let volume = config.map.volumes.get(name.volume());
    let placement = volume.and_then(|volume| volume.regions.get(usize::from(name.index())));
    match placement {
        Some(placement) => {
            let message = format!("{name} belongs on {}, and this is {}", placement.sled, config.sled.name);
            wire::Error::new(Refusal::RegionElsewhere, message, format!("ask {}", placement.sled))
        }
        None => {
            let message = format!("the port map has no region {name}");
            wire::Error::new(Refusal::RegionUnknown, message, "see sledctl region list for those it has")
        }
    }
}

/// The facts of a region that no job is at.
pub(super) fn idle(facts: &Facts, name: &RegionName) -> Result<Region, wire::Error> {
    let region = facts.regions.get(name).cloned().unwrap_or_default();
    let (code, doing): (ErrorCode, _) = match facts.busy.get(name) {
        None => return Ok(region),
        Some(Busy::Creating) => (Code::RegionCreating.into(), "created"),
        Some(Busy::Adopting) => (Code::RegionAdopting.into(), "adopted"),
        Some(Busy::Deleting) => (Code::RegionDeleting.into(), "deleted or restored"),
        Some(Busy::Restarting | Busy::Watching) => (Refusal::Busy.into(), "restarted"),
        Some(Busy::Holding) => (Refusal::Busy.into(), "put on hold"),
        Some(Busy::Waiting) => {
            let message = format!("a job for {name} waits for its turn");
            return Err(wire::Error::new(Refusal::Busy, message, "cancel it, or wait until it is done: sledctl jobs"));
        }
    };
    Err(wire::Error::new(code, format!("{name} is being {doing}"), "wait until it is done: sledctl jobs"))
}

/// The error that a region is asked for that is not on record.
pub fn not_on_record(config: &Configuration, name: &RegionName) -> wire::Error {
    let message = format!("no region {name} is on record");
    let dir = config.region_dir(name);
    let remedy =
        format!("sledctl storage lists those that are; if {} is one: sledctl region adopt {name}", dir.display());
    wire::Error::new(Refusal::RegionUnknown, message, remedy)
}

pub(super) fn unseen(config: &Configuration, name: &RegionName) -> wire::Error {
    let message = format!("it is not known yet what lies in {}", config.region_dir(name).display());
    wire::Error::new(Code::NotSeen, message, "ask again in a moment")
}

pub(super) fn ports_free(region: &Region, local: &LocalRegion) -> Result<(), wire::Error> {
    let sockets = region.sockets.iter().flat_map(|s| [(&s.data, local.port), (&s.repair, local.repair_port())]);
    for (holder, port) in sockets {
        if let Holder::Other(stranger) = holder {
            let who = stranger
                .pid
                .map_or_else(|| "an unseen process".into(), |pid| format!("process {pid} ({})", stranger.command));
            let message = format!("port {port} of {} is taken by {who}", local.name);
            return Err(wire::Error::new(Code::PortTaken, message, "end that process, then ask again"));
        }
    }
    Ok(())
}
