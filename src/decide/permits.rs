//! What a request comes to: whether it may be done now and, if not, why and what to do.
//!
//! Nothing here is done by itself: [`plan`](super::plan::plan) is what the supervisor does
//! unasked.

use super::facts::{Busy, Facts, Holder, OnDisk, Region};
use super::region::{Identity, identity};
use super::storage::{readable, usable};
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::region::{Ledger, Record, Tombstone};
use crate::wire;
use std::collections::BTreeSet;
use std::net::IpAddr;
use uuid::Uuid;

/// What a request to create a region comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Creation {
    /// It exists, as it was asked for.
    AlreadyThere(Uuid),
    /// It may be created.
    Go(LocalRegion),
}

/// Whether a region may be created.
///
/// # Errors
/// Why not, with a remedy: no such region here, no disk, something in its place, a port that
/// is taken, a job that is at it already.
pub fn may_create(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<Creation, wire::Error> {
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
            Err(wire::Error::new("REGION_EXISTS", message, finding.remedy))
        }
        Identity::Wrong(_, finding) => {
            let message = format!("nothing is destroyed to create: {}", finding.cause);
            Err(wire::Error::new(finding.code.as_str(), message, finding.remedy))
        }
        Identity::Unavailable => Err(unseen(config, name)),
    }
}

/// What a request to delete a region comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// Its unit is stopped, and its directory goes to the trash.
    Bury(Record),
    /// Its directory is gone; the record of it is dropped.
    Forget(Record),
}

/// Whether a region may be deleted. `yes` is the name that the operator repeated.
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
        return Err(wire::Error::new("YES_DESTROY", message, remedy));
    }
    let there = facts.disk.as_ref().and_then(|disk| disk.regions.get(name));
    Ok(match there {
        Some(OnDisk::Absent) => Deletion::Forget(record.clone()),
        _ => Deletion::Bury(record.clone()),
    })
}

/// Who is connected to any region of the volume on this sled.
fn connected(facts: &Facts, name: &RegionName) -> BTreeSet<IpAddr> {
    let regions = facts.regions.iter().filter(|(other, _)| other.volume() == name.volume());
    let sockets = regions.filter_map(|(_, region)| region.sockets.as_ref());
    sockets.flat_map(|sockets| sockets.connected.iter().map(|peer| peer.address)).collect()
}

/// The refusal to take a region away from hosts that are connected.
pub fn in_use<'a>(name: &RegionName, hosts: impl IntoIterator<Item = &'a IpAddr>) -> wire::Error {
    let hosts = hosts.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!("{hosts} is connected to the volume {}: {name} is not taken away", name.volume());
    wire::Error::new("IN_USE", message, "detach the volume there first, then ask again")
}

/// Whether a deleted region may be had back.
///
/// # Errors
/// Why not: there is none in the trash, its place is taken, a job is at it.
pub fn may_restore(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<Tombstone, wire::Error> {
    idle(facts, name)?;
    let ledger = usable(config, facts)?;
    if ledger.regions.contains_key(name) {
        let message = format!("{name} exists: what was deleted is not put over it");
        return Err(wire::Error::new("REGION_EXISTS", message, "sledctl storage lists what lies in the trash"));
    }
    ledger.restorable(name).cloned().ok_or_else(|| {
        let message = format!("no deleted region {name} is kept");
        wire::Error::new("REGION_UNKNOWN", message, "sledctl storage lists what lies in the trash")
    })
}

/// Whether the deleted regions of a name may be removed for good, before their time.
///
/// # Errors
/// Why not: there are none, the name was not repeated, a job is at it.
pub fn may_purge(
    config: &Configuration,
    facts: &Facts,
    name: &RegionName,
    yes: Option<&str>,
) -> Result<Vec<Tombstone>, wire::Error> {
    idle(facts, name)?;
    let stones: Vec<_> = usable(config, facts)?.tombstones.iter().filter(|s| s.region == *name).cloned().collect();
    if stones.is_empty() {
        let message = format!("no deleted region {name} is kept");
        return Err(wire::Error::new("REGION_UNKNOWN", message, "sledctl storage lists what lies in the trash"));
    }
    if yes != Some(name.to_string().as_str()) {
        let message = format!("what was deleted of {name} is removed for good only if that is said twice");
        let remedy = format!("sledctl region purge {name} --yes-destroy {name}");
        return Err(wire::Error::new("YES_DESTROY", message, remedy));
    }
    Ok(stones)
}

/// Whether a region may be adopted, as far as the facts tell; what lies in its directory and
/// what serves it is looked at by the adoption itself.
///
/// # Errors
/// Why not: no such region here, no disk, on record already, a job is at it.
pub fn may_adopt(config: &Configuration, facts: &Facts, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    let local = local(config, name)?;
    idle(facts, name)?;
    let ledger = match readable(config, facts) {
        Err(why) if why.code == "LEDGER_UNREADABLE" => return Ok(local),
        ledger => ledger?,
    };
    usable(config, facts)?;
    not_yet_on_record(ledger, name)?;
    Ok(local)
}

fn not_yet_on_record(ledger: &Ledger, name: &RegionName) -> Result<(), wire::Error> {
    match ledger.regions.get(name) {
        None => Ok(()),
        Some(record) => {
            let message = format!("{name} is on record already, as {} ({})", record.uuid, record.by);
            Err(wire::Error::new("REGION_EXISTS", message, format!("see sledctl region show {name}")))
        }
    }
}

/// The region as the map puts it on this sled.
fn local(config: &Configuration, name: &RegionName) -> Result<LocalRegion, wire::Error> {
    config.local_regions().into_iter().find(|local| local.name == *name).ok_or_else(|| not_here(config, name))
}

fn not_here(config: &Configuration, name: &RegionName) -> wire::Error {
    let volume = config.map.volumes.get(name.volume());
    let placement = volume.and_then(|volume| volume.regions.get(usize::from(name.index())));
    match placement {
        Some(placement) => {
            let message = format!("{name} belongs on {}, and this is {}", placement.sled, config.sled.name);
            wire::Error::new("REGION_ELSEWHERE", message, format!("ask {}", placement.sled))
        }
        None => {
            let message = format!("the port map has no region {name}");
            wire::Error::new("REGION_UNKNOWN", message, "see sledctl region list for those it has")
        }
    }
}

/// What is known of a region that no job is at.
fn idle(facts: &Facts, name: &RegionName) -> Result<Region, wire::Error> {
    let region = facts.regions.get(name).cloned().unwrap_or_default();
    let (code, doing) = match region.busy {
        None => return Ok(region),
        Some(Busy::Creating) => ("REGION_CREATING", "created"),
        Some(Busy::Adopting) => ("REGION_ADOPTING", "adopted"),
        Some(Busy::Deleting) => ("REGION_DELETING", "deleted or restored"),
    };
    Err(wire::Error::new(code, format!("{name} is being {doing}"), "wait until it is done: sledctl jobs"))
}

fn not_on_record(config: &Configuration, name: &RegionName) -> wire::Error {
    let message = format!("no region {name} is on record");
    let dir = config.region_dir(name);
    let remedy =
        format!("sledctl storage lists those that are; if {} is one: sledctl region adopt {name}", dir.display());
    wire::Error::new("REGION_UNKNOWN", message, remedy)
}

fn unseen(config: &Configuration, name: &RegionName) -> wire::Error {
    let message = format!("it is not known yet what lies in {}", config.region_dir(name).display());
    wire::Error::new("NOT_SEEN", message, "ask again in a moment")
}

fn ports_free(region: &Region, local: &LocalRegion) -> Result<(), wire::Error> {
    let sockets = region.sockets.iter().flat_map(|s| [(&s.data, local.port), (&s.repair, local.repair_port())]);
    for (holder, port) in sockets {
        if let Holder::Other(stranger) = holder {
            let who = stranger
                .pid
                .map_or_else(|| "an unseen process".into(), |pid| format!("process {pid} ({})", stranger.command));
            let message = format!("port {port} of {} is taken by {who}", local.name);
            return Err(wire::Error::new("PORT_TAKEN", message, "end that process, then ask again"));
        }
    }
    Ok(())
}
