//! What to do next, from what is wanted and what was seen.
//!
//! A region that may run and does not is started, and one that is well again is forgiven its
//! restarts; that is all there is to do unasked. A region is created only when somebody asks
//! ([`may_create`]), and nothing is ever restarted or stopped from here.

use super::facts::{Active, Bus, Facts, Holder, Region, Start};
use super::region::{Identity, identity};
use crate::config::Configuration;
use crate::names::RegionName;
use crate::port_map::LocalRegion;
use crate::wire;
use uuid::Uuid;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask systemd to start the region's unit.
    Start(RegionName),
    /// Ask systemd to forget how often it restarted the region's unit, so that the next
    /// restart comes at once again.
    Forgive(RegionName),
}

/// What to do now.
pub fn plan(config: &Configuration, facts: &Facts) -> Vec<Action> {
    let next = |local: &LocalRegion| {
        let region = facts.regions.get(&local.name)?;
        let restarts = region.unit.as_ref().map_or(0, |unit| unit.restarts);
        match () {
            () if may_start(config, local, facts, region) => Some(Action::Start(local.name.clone())),
            () if region.steady && restarts > 0 => Some(Action::Forgive(local.name.clone())),
            () => None,
        }
    };
    config.local_regions().iter().filter_map(next).collect()
}

/// Identity before life: the disk, the record, the address and both ports are right, and
/// systemd has not given up on the unit.
fn may_start(config: &Configuration, local: &LocalRegion, facts: &Facts, region: &Region) -> bool {
    let idle = region.unit.as_ref().is_some_and(|unit| unit.active == Active::Inactive);
    let unasked = region.start == Start::Idle && !region.creating;
    let known = matches!(identity(config, local, facts), Identity::Known(_));
    let fresh = facts.disk.as_ref().is_some_and(|disk| disk.serial >= region.needs_look && !disk.read_only);
    let free = region.sockets.as_ref().is_some_and(|s| s.data == Holder::Nobody && s.repair == Holder::Nobody);
    idle && unasked && known && fresh && free && facts.bus == Some(Bus::Connected) && has_address(config, facts)
}

fn has_address(config: &Configuration, facts: &Facts) -> bool {
    let bridge = facts.network.as_ref().and_then(|network| network.bridge.as_ref());
    bridge.is_some_and(|bridge| bridge.up && bridge.addresses.contains(&config.address))
}

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
    let local =
        config.local_regions().into_iter().find(|local| local.name == *name).ok_or_else(|| not_here(config, name))?;
    let region = facts.regions.get(name).cloned().unwrap_or_default();
    if region.creating {
        return Err(wire::Error::new("REGION_CREATING", format!("{name} is being created"), "wait until it is done"));
    }
    let disk = facts.disk.as_ref().filter(|disk| disk.mounted).ok_or_else(|| {
        let root = config.sled.storage.root.display();
        let message = format!("nothing is created: no file system is mounted at {root}");
        wire::Error::new("DATA_NOT_MOUNTED", message, format!("mount the data disk at {root}"))
    })?;
    let ledger = disk.ledger.as_ref().map_err(|why| {
        let message = format!("nothing is created: the ledger cannot be read: {why}");
        wire::Error::new("LEDGER_UNREADABLE", message, "see sledctl checks")
    })?;
    match identity(config, &local, facts) {
        Identity::Known(record) => Ok(Creation::AlreadyThere(record.uuid)),
        Identity::NeverCreated if disk.read_only => {
            let message = format!(
                "nothing is created: the file system at {} cannot be written to",
                config.sled.storage.root.display()
            );
            Err(wire::Error::new("DATA_READ_ONLY", message, "see dmesg; check the disk and mount it again"))
        }
        Identity::NeverCreated => ports_free(&region, &local).map(|()| Creation::Go(local)),
        Identity::Wrong(_, finding) if ledger.regions.contains_key(name) => {
            let message = format!("{name} is on record and is never created again: {}", finding.cause);
            Err(wire::Error::new("REGION_EXISTS", message, finding.remedy))
        }
        Identity::Wrong(_, finding) => {
            let message = format!("nothing is destroyed to create: {}", finding.cause);
            Err(wire::Error::new(finding.code.as_str(), message, finding.remedy))
        }
        Identity::Unavailable => {
            let message = format!("it is not known yet what lies in {}", config.region_dir(name).display());
            Err(wire::Error::new("NOT_SEEN", message, "ask again in a moment"))
        }
    }
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
