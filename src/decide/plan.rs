//! What to do next, from what is wanted and what was seen.
//!
//! A region that may run and does not is started, and one that is well again is forgiven its
//! restarts; that is all there is to do unasked. A region is created only when somebody asks
//! ([`may_create`]), and nothing is ever restarted or stopped from here.

use super::facts::{Active, Bus, Facts, Holder, OnDisk, Region, Start};
use super::region::{Identity, identity};
use crate::config::{Configuration, LocalRegion};
use crate::names::RegionName;
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
    let free = region.sockets.as_ref().is_some_and(|s| s.data == Holder::Nobody && s.repair == Holder::Nobody);
    idle && unasked && known && free && facts.bus == Some(Bus::Connected) && has_address(config, facts)
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
        wire::Error::new("LEDGER_UNREADABLE", message, "restore it from its copy beside it")
    })?;
    match (ledger.regions.get(name), disk.regions.get(name)) {
        (Some(record), Some(OnDisk::Present(_))) if record.geometry == local.geometry => {
            Ok(Creation::AlreadyThere(record.uuid))
        }
        (Some(record), _) => Err(wire::Error::new(
            "REGION_EXISTS",
            format!(
                "{name} is on record since {} as {}, and is not what the map asks for now",
                record.created, record.uuid
            ),
            format!("see why: sledctl region show {name}; a region that existed is never created again"),
        )),
        (None, Some(OnDisk::Absent)) => ports_free(&region, &local).map(|()| Creation::Go(local)),
        (None, _) => {
            let dir = config.region_dir(name).display().to_string();
            let message = format!("{dir} exists, and the ledger does not know it; nothing is destroyed to create");
            Err(wire::Error::new("REGION_UNRECORDED", message, format!("move {dir} away, if nothing in it is needed")))
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
