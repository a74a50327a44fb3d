//! Attachment of a volume: who may have a ticket, and who is in the way of it.

use super::facts::Facts;
use crate::check::Severity;
use crate::config::Configuration;
use crate::names::{RegionName, VolumeName};
use crate::port_map::{LocalRegion, PortMap};
use crate::region::Grant;
use crate::wire::{self, Attached, Refusal};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// The time for which an upstairs may be away and come back: for that long a downstairs keeps an idle connection, and
/// it itself tries again every ten seconds.
pub const RETURN_LIMIT: Duration = Duration::from_secs(45);

/// The obstacle to a ticket: who is in the way of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InTheWay {
    /// Nobody.
    Nobody,
    /// Other hosts are connected, to these regions.
    Connected(BTreeMap<IpAddr, BTreeSet<RegionName>>),
    /// The host that holds the last ticket, since then, and may come back.
    Holder(IpAddr, Timestamp),
}

/// Find who is in the way of a ticket for a host: others that are connected; and who holds the last one, until it
/// lets go, is cut off, is taken out of the map, or has been away for longer than an upstairs would be, for as long
/// as the volume could be reached (`away`).
pub fn in_the_way(
    map: &PortMap,
    volume: &VolumeName,
    grant: &Grant,
    asks: IpAddr,
    others: BTreeMap<IpAddr, BTreeSet<RegionName>>,
    away: Option<Duration>,
) -> InTheWay {
    if !others.is_empty() {
        return InTheWay::Connected(others);
    }
    match keeper(map, volume, grant, away).filter(|(holder, _)| *holder != asks) {
        Some((holder, since)) => InTheWay::Holder(holder, since),
        None => InTheWay::Nobody,
    }
}

/// Find who keeps the last ticket of a volume from other hosts, connected or not, and since when it was granted.
pub fn keeper(
    map: &PortMap,
    volume: &VolumeName,
    grant: &Grant,
    away: Option<Duration>,
) -> Option<(IpAddr, Timestamp)> {
    let hosts = map.volumes.get(volume).map(|volume| volume.hosts.as_slice()).unwrap_or_default();
    let may = |host: &IpAddr| hosts.is_empty() || hosts.contains(host);
    let back = away.is_none_or(|away| away <= RETURN_LIMIT);
    grant.in_hand().filter(|(holder, _)| may(holder) && back)
}

/// Find that a host may have a ticket for a volume, as far as can be told without looking who is connected: the
/// volume's regions on this sled. `ready` says whether it may be attached now, and if not, which conditions were
/// shown as the reason.
///
/// # Errors
/// No such volume here, the map does not name the host, or the volume is not ready.
pub fn may_attach(
    config: &Configuration,
    ready: Result<(), &[wire::Check]>,
    volume: &VolumeName,
    host: IpAddr,
) -> Result<Vec<LocalRegion>, wire::Error> {
    let regions = regions(config, volume)?;
    if is_fleet(config, host) {
        // The sleds that connect from there are let in for repair, and are never seen as hosts.
        let message = format!("{host} is a sled, or this machine itself, and a sled attaches no volume");
        return Err(wire::Error::new(Refusal::HostNotAllowed, message, "attach it on a machine that is no sled"));
    }
    let hosts = &config.map.volumes[volume].hosts;
    if !hosts.is_empty() && !hosts.contains(&host) {
        let message = format!("the port map does not let {host} attach {volume}");
        let remedy = format!("add it to hosts of [volumes.{volume}] in port-map.toml, then: sledctl reload");
        return Err(wire::Error::new(Refusal::HostNotAllowed, message, remedy));
    }
    match ready {
        Ok(()) => Ok(regions),
        Err(reasons) => Err(not_ready(volume, reasons)),
    }
}

/// Refuse a volume that is not ready: the first of the conditions that block it says why, and what to do.
fn not_ready(volume: &VolumeName, reasons: &[wire::Check]) -> wire::Error {
    let mut blocking = reasons.iter().filter(|check| check.severity == Severity::Blocking);
    let all = format!("GET /v1/volumes/{volume}?wait=30");
    let Some(first) = blocking.next() else {
        let message = format!("{volume} may not be attached now");
        return wire::Error::new(Refusal::NotReady, message, format!("see why: {all}"));
    };
    let more = match blocking.count() {
        0 => String::new(),
        more => format!(" (and {more} more: {all})"),
    };
    let message = format!("{volume} may not be attached now: {}: {}: {}{more}", first.code, first.subject, first.cause);
    wire::Error::new(Refusal::NotReady, message, first.remedy.clone())
}

/// Find that an operator may allow a host to talk to a volume, or cut it off.
///
/// # Errors
/// No such volume here, or the map has the last word: it does not name the host.
pub fn may_permit(
    config: &Configuration,
    volume: &VolumeName,
    host: IpAddr,
    allow: bool,
) -> Result<Vec<LocalRegion>, wire::Error> {
    let regions = regions(config, volume)?;
    let hosts = &config.map.volumes[volume].hosts;
    if allow && !hosts.is_empty() && !hosts.contains(&host) {
        let message = format!("the port map does not name {host} for {volume}, and it has the last word");
        let remedy = format!("add it to hosts of [volumes.{volume}] in port-map.toml, then: sledctl reload");
        return Err(wire::Error::new(Refusal::HostNotAllowed, message, remedy));
    }
    if is_fleet(config, host) {
        let message = format!("{host} is a sled, or this machine itself: it is always let in, for repair");
        return Err(wire::Error::new(Refusal::HostNotAllowed, message, "name a host"));
    }
    Ok(regions)
}

/// Find that a host may let go of what it holds of a volume. That it holds it is for the attempt to see.
///
/// # Errors
/// No such volume here.
pub fn may_let_go(config: &Configuration, volume: &VolumeName) -> Result<Vec<LocalRegion>, wire::Error> {
    regions(config, volume)
}

/// Find that a volume may be drained by this sled.
///
/// # Errors
/// No such volume here.
pub fn may_drain(config: &Configuration, volume: &VolumeName) -> Result<(), wire::Error> {
    regions(config, volume).map(drop)
}

/// The regions of a volume on this sled, of which there is at least one.
fn regions(config: &Configuration, volume: &VolumeName) -> Result<Vec<LocalRegion>, wire::Error> {
    let Some(wanted) = config.map.volumes.get(volume) else {
        let message = format!("the port map has no volume {volume}");
        return Err(wire::Error::new(Refusal::VolumeUnknown, message, "see GET /v1/volumes"));
    };
    let regions: Vec<_> = config.local_regions().into_iter().filter(|local| local.name.volume() == volume).collect();
    if regions.is_empty() {
        let sleds: BTreeSet<_> = wanted.regions.iter().map(|region| region.sled.as_str()).collect();
        let sleds = sleds.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("no region of {volume} is on this sled");
        return Err(wire::Error::new(Refusal::VolumeElsewhere, message, format!("ask {sleds}")));
    }
    Ok(regions)
}

/// Whether an address is this machine's or another sled's: not a host's.
pub fn is_fleet(config: &Configuration, address: IpAddr) -> bool {
    address.is_loopback() || config.map.sleds.values().any(|sled| sled.address == address)
}

/// The hosts of those that are connected, by address and region; one of them, who asks, left out.
pub fn others(
    config: &Configuration,
    connected: &[(IpAddr, RegionName)],
    asks: Option<IpAddr>,
) -> BTreeMap<IpAddr, BTreeSet<RegionName>> {
    let mut hosts: BTreeMap<IpAddr, BTreeSet<RegionName>> = BTreeMap::new();
    for (address, region) in connected {
        if Some(*address) != asks && !is_fleet(config, *address) {
            hosts.entry(*address).or_default().insert(region.clone());
        }
    }
    hosts
}

/// The hosts that are connected, as they are shown.
pub fn attached(
    config: &Configuration,
    hosts: &BTreeMap<IpAddr, BTreeSet<RegionName>>,
    since: impl Fn(IpAddr) -> Timestamp,
) -> Vec<Attached> {
    let one = |(address, regions): (&IpAddr, &BTreeSet<RegionName>)| Attached {
        address: *address,
        host: config.map.name_of(*address).map(str::to_owned),
        since: since(*address),
        regions: regions.iter().cloned().collect(),
    };
    hosts.iter().map(one).collect()
}

/// Refuse a ticket while others are connected.
pub fn elsewhere(volume: &VolumeName, attached: &[Attached]) -> wire::Error {
    let who = attached.iter().map(|one| {
        let name = one.host.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        format!("{}{name}, since {}", one.address, one.since)
    });
    let message = format!("{volume} is attached elsewhere: {}", who.collect::<Vec<_>>().join("; "));
    let remedy = "detach it there; if that host is dead or must not have it any more, ask with takeover";
    wire::Error::new(Refusal::VolumeAttachedElsewhere, message, remedy)
}

/// Refuse a ticket while another host that is not connected holds the last one, and has been away for so long, if it
/// could be connected.
pub fn held(volume: &VolumeName, holder: &str, since: Timestamp, away: Option<Duration>) -> wire::Error {
    let limit = RETURN_LIMIT.as_secs();
    let away = match away {
        Some(away) => format!("it has been away for {} s of {limit}", away.as_secs()),
        None => format!("whether it comes back within {limit} s is seen once all regions serve"),
    };
    let message = format!("{volume} is held elsewhere: by {holder}, since {since}, which is not connected; {away}");
    let remedy = format!(
        "wait until it comes back, lets go (crucible-attach release {volume}, on it) or stays away; if it is dead or \
         must not have it any more, ask with takeover"
    );
    wire::Error::new(Refusal::VolumeHeldElsewhere, message, remedy)
}

impl Facts {
    /// The hosts that are connected to a volume, as far as was seen, and to which of its regions.
    pub fn visitors(&self, config: &Configuration, volume: &VolumeName) -> BTreeMap<IpAddr, BTreeSet<RegionName>> {
        let here = self.regions.iter().filter(|(name, _)| name.volume() == volume);
        let peers = here.flat_map(|(name, region)| {
            let connected = region.sockets.iter().flat_map(|sockets| &sockets.connected);
            connected.map(move |peer| (peer.address, name.clone()))
        });
        others(config, &peers.collect::<Vec<_>>(), None)
    }

    /// The times since when each host that is connected to a volume has been seen.
    pub fn seen_at(&self, volume: &VolumeName) -> BTreeMap<IpAddr, Timestamp> {
        let here = self.seen_since.iter().filter(|((at, _), _)| at == volume);
        here.map(|((_, address), since)| (*address, *since)).collect()
    }

    /// The grant that is known of a volume: the record of it, raised to what the ledger knows.
    pub fn granted(&self, volume: &VolumeName) -> Grant {
        let record = self.grants.as_ref().and_then(|grants| grants.get(volume)).cloned().unwrap_or_default();
        let ledger = self.disk.as_ref().and_then(|disk| disk.ledger.as_ref().ok());
        let known = ledger.and_then(|ledger| ledger.generations.get(volume).copied()).unwrap_or_default();
        Grant { generation: record.generation.max(known), ..record }
    }
}
