//! `port-map.toml`, read into a [`PortMap`] with every fault that it has.

use super::collisions::{self, Claim};
use super::{DATA_PORTS, Limits, Placement, PortMap, Prefix, Sled, Volume, meaning};
use crate::names::{HostName, SledName, VolumeName};
use crate::region::Geometry;
use crate::source::{Document, Faults, Origin, Section, nearest};
use std::collections::BTreeMap;
use std::net::IpAddr;

const NAME_REMEDY: &str = "rename it, for example \"still-fawn\"";

/// Read a port map from its document.
///
/// The part that could be read is returned even when there are faults, so that other checks can go on; the caller
/// decides by the faults.
pub fn read(document: &Document, limits: &Limits, faults: &mut Faults) -> PortMap {
    let mut top = Section::top(document);
    let section = top.section("sleds", faults);
    // A sled whose address is wrong is still a sled: its regions are no faults of theirs.
    let named: Vec<_> = section.keys().into_iter().filter_map(|key| key.parse().ok()).collect();
    let sleds = sleds(section, limits, faults);
    let network = limits.this_sled.as_ref().and_then(|name| network(sleds.get(name)?.address, limits));
    let hosts = named_hosts(top.section("hosts", faults), &sleds, network, faults);
    let mut section = top.section("defaults", faults);
    let defaults = geometry_keys(&mut section, RUNBOOK, faults);
    section.finish(faults);
    let known = Known { named: &named, sleds: &sleds, hosts: &hosts, network };
    let (volumes, claims) = volumes(top.section("volumes", faults), &known, defaults, faults);
    top.finish(faults);
    collisions::check(&claims, limits, faults);
    let mut map = PortMap { sleds, hosts, volumes, digest: String::new() };
    map.digest = meaning::digest(&map);
    map
}

/// The geometry where neither the volume nor `[defaults]` states one: 12.5 GiB.
const RUNBOOK: Geometry = Geometry { block_size: 4096, extent_size: 32768, extent_count: 100 };

/// The network of an address, if it is said how long its prefix is, and may be.
fn network(address: IpAddr, limits: &Limits) -> Option<Prefix> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    limits.prefix.filter(|length| *length <= most).map(|length| Prefix { address, length })
}

fn sleds(mut section: Section<'_>, limits: &Limits, faults: &mut Faults) -> BTreeMap<SledName, Sled> {
    let mut sleds = BTreeMap::<SledName, Sled>::new();
    // Sleds whose names are wrong count, too: their addresses can be right.
    let mut taken = BTreeMap::<IpAddr, &str>::new();
    if section.keys().is_empty() {
        section.missing("NAME", "add [sleds.NAME] with address = \"…\" for every sled", faults);
    }
    for key in section.keys() {
        let mut entry = section.section(key, faults);
        let name = legal_name::<SledName>(key, &entry, "a sled", faults);
        let given = entry.keys().contains(&"address");
        let remedy = "write the address that its downstairs listen on, for example \"192.168.4.189\"";
        let address = address(&mut entry, remedy, faults);
        if !given {
            entry.missing("address", remedy, faults);
        }
        if let Some((address, origin)) = address {
            let network = network(address, limits).filter(|_| name.is_some() && name == limits.this_sled);
            check_sled_address(&taken, address, network, (&origin, &entry.path("address")), faults);
            taken.entry(address).or_insert(key);
            sleds.extend(name.map(|name| (name, Sled { address })));
        }
        entry.finish(faults);
    }
    sleds
}

/// An address, always in the shorter of its forms: the kernel tells an IPv4 address as one.
fn address(entry: &mut Section<'_>, remedy: &str, faults: &mut Faults) -> Option<(IpAddr, Origin)> {
    let (address, origin) = entry.parsed::<IpAddr>("address", remedy, faults)?;
    Some((address.to_canonical(), origin))
}

/// The names that volumes may refer to.
struct Known<'a> {
    /// The names of all sleds.
    named: &'a [SledName],
    /// The sleds without a fault.
    sleds: &'a BTreeMap<SledName, Sled>,
    hosts: &'a BTreeMap<HostName, IpAddr>,
    /// The network of this sled, if it is known.
    network: Option<Prefix>,
}

fn named_hosts(
    mut section: Section<'_>,
    sleds: &BTreeMap<SledName, Sled>,
    network: Option<Prefix>,
    faults: &mut Faults,
) -> BTreeMap<HostName, IpAddr> {
    let mut hosts = BTreeMap::<HostName, IpAddr>::new();
    let mut taken = BTreeMap::<IpAddr, &str>::new();
    for key in section.keys() {
        let mut entry = section.section(key, faults);
        let name = legal_name::<HostName>(key, &entry, "a host", faults);
        let remedy = "write the address from which it attaches, for example \"192.168.4.17\"";
        if !entry.keys().contains(&"address") {
            entry.missing("address", remedy, faults);
        }
        if let Some((address, origin)) = address(&mut entry, remedy, faults) {
            let path = entry.path("address");
            if let Some((problem, remedy)) = no_host(address, sleds, network, remedy) {
                faults.push(&origin, path, problem, remedy);
            } else if let Some(other) = taken.get(&address) {
                let problem = format!("{address} is the address of {other} too");
                faults.push(&origin, path, problem, "give each host its own address");
            }
            taken.entry(address).or_insert(key);
            hosts.extend(name.map(|name| (name, address)));
        }
        entry.finish(faults);
    }
    section.finish(faults);
    hosts
}

fn check_sled_address(
    taken: &BTreeMap<IpAddr, &str>,
    address: IpAddr,
    network: Option<Prefix>,
    (at, key): (&Origin, &str),
    faults: &mut Faults,
) {
    let own = "write the sled's own address: a downstairs would tell its peers";
    if let Some(what) = nobodys(address, network) {
        faults.push(
            at,
            key,
            format!("{what}: no address that a host can reach"),
            format!("{own} {address} for repair"),
        );
    }
    if let Some(other) = taken.get(&address) {
        faults.push(at, key, format!("{address} is the address of {other} too"), "give each sled its own address");
    }
}

fn legal_name<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    entry: &Section<'_>,
    what: &str,
    faults: &mut Faults,
) -> Option<T> {
    key.parse()
        .map_err(|why| {
            let problem = format!("{key:?} is no name for {what}: {why}");
            faults.push(entry.origin(), "", problem, NAME_REMEDY);
        })
        .ok()
}

fn geometry_keys(section: &mut Section<'_>, default: Geometry, faults: &mut Faults) -> Geometry {
    let mut places = BTreeMap::new();
    let mut number = |key: &'static str, default: u64, most: u64, faults: &mut Faults| {
        section.integer(key, 0..=most, faults).map_or(default, |(value, origin)| {
            places.insert(key, origin);
            value
        })
    };
    let count = number("extent_count", default.extent_count.into(), u32::MAX.into(), faults);
    let geometry = Geometry {
        block_size: number("block_size", default.block_size, u32::MAX.into(), faults),
        extent_size: number("extent_size", default.extent_size, u32::MAX.into(), faults),
        extent_count: u32::try_from(count).unwrap_or(u32::MAX),
    };
    for fault in geometry.faults() {
        // The extent can be too large because the block is: then the block's line is shown.
        if let Some(origin) = places.get(fault.key).or_else(|| places.values().next()) {
            faults.push(origin, section.path(fault.key), fault.problem, fault.remedy);
        }
    }
    geometry
}

fn volumes(
    mut section: Section<'_>,
    known: &Known<'_>,
    defaults: Geometry,
    faults: &mut Faults,
) -> (BTreeMap<VolumeName, Volume>, Vec<Claim>) {
    let mut volumes = BTreeMap::new();
    let mut claims = Vec::new();
    for key in section.keys() {
        let mut entry = section.section(key, faults);
        let name = legal_name::<VolumeName>(key, &entry, "a volume", faults);
        let geometry = geometry_keys(&mut entry, defaults, faults);
        let hosts = hosts(&mut entry, known, faults);
        let placed = placements(&mut entry, known.named, faults);
        entry.finish(faults);
        // A volume whose name is wrong wants ports as well, and so does a fourth region.
        for (index, (placement, origin)) in placed.iter().enumerate() {
            let (volume, placement, origin) = (key.to_owned(), placement.clone(), origin.clone());
            claims.push(Claim { volume, index, placement, origin });
        }
        let regions = placed.into_iter().map(|(placement, _)| placement).collect();
        volumes.extend(name.map(|name| (name, Volume { hosts, geometry, regions })));
    }
    section.finish(faults);
    (volumes, claims)
}

/// The hosts of a volume: addresses, or names of the map.
fn hosts(entry: &mut Section<'_>, known: &Known<'_>, faults: &mut Faults) -> Vec<IpAddr> {
    let mut hosts = Vec::new();
    for (text, origin) in entry.texts("hosts", faults).map_or_else(Vec::new, |(texts, _)| texts) {
        let key = entry.path("hosts");
        match host(text, known) {
            Ok(address) if hosts.contains(&address) => {
                faults.push(&origin, key, format!("{text} is listed twice"), "remove one of the two");
            }
            Ok(address) => hosts.push(address),
            Err((problem, remedy)) => faults.push(&origin, key, problem, remedy),
        }
    }
    hosts
}

/// Read an address, from its text or from the name of a host. A fault in that of a name is told where the name is.
fn host(text: &str, known: &Known<'_>) -> Result<IpAddr, (String, String)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let (address, remedy) =
            (address.to_canonical(), "write the host's own address; leave hosts empty to allow any");
        return no_host(address, known.sleds, known.network, remedy).map_or(Ok(address), Err);
    }
    let address = text.parse().ok().and_then(|name: HostName| known.hosts.get(&name).copied());
    address.ok_or_else(|| match nearest(text, known.hosts.keys().map(HostName::as_str)) {
        Some(near) => (format!("the map has no host \"{text}\""), format!("write \"{near}\", or an address")),
        None => {
            let problem = format!("{text:?} is no IP address, and the map has no host of that name");
            (problem, "write the host's address, for example \"192.168.4.17\"".into())
        }
    })
}

/// Find why no host can have this address, if none can: nobody has it, or whoever has it is let in everywhere.
fn no_host(
    address: IpAddr,
    sleds: &BTreeMap<SledName, Sled>,
    network: Option<Prefix>,
    remedy: &str,
) -> Option<(String, String)> {
    if let Some((sled, _)) = sleds.iter().find(|(_, sled)| sled.address == address) {
        let remedy = "write a host's address: a sled is always let in, for repair, and cannot be a host";
        return Some((format!("{address} is the address of the sled {sled}"), remedy.into()));
    }
    nobodys(address, network).map(|what| (format!("{what}: no address of a host"), remedy.into()))
}

/// Find why an address is nobody's, if it is; an interface's own `network`, where that is known, has two of these.
fn nobodys(address: IpAddr, network: Option<Prefix>) -> Option<String> {
    // Without a zone nobody knows where to send to; in the map there is none.
    let zoneless = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    let broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    let of_network = network.and_then(|network| network.reserved(address));
    let what = match address {
        _ if address.is_unspecified() => "stands for every address there is",
        _ if address.is_multicast() => "is a multicast address",
        _ if address.is_loopback() => "is every machine's own",
        _ if broadcast => "is the broadcast address",
        _ if zoneless => "is good on one link only (fe80::/10), and it cannot be said on which",
        _ => return of_network.map(|what| format!("{address} is {what}")),
    };
    Some(format!("{address} {what}"))
}

/// Read the regions of a volume, as far as they can be read, each with its place in the file.
fn placements(entry: &mut Section<'_>, sleds: &[SledName], faults: &mut Faults) -> Vec<(Placement, Origin)> {
    const REMEDY: &str = "write regions = [\"SLED:PORT\", \"SLED:PORT\", \"SLED:PORT\"]";
    let key = entry.path("regions");
    let given = entry.keys().contains(&"regions");
    let Some((texts, origin)) = entry.texts("regions", faults) else {
        if !given {
            entry.missing("regions", REMEDY, faults);
        }
        return Vec::new();
    };
    if texts.len() != 3 {
        let problem = format!("has {} regions; a volume has exactly three", texts.len());
        faults.push(&origin, key.clone(), problem, REMEDY);
    }
    let read = texts.into_iter().filter_map(|(text, origin)| {
        placement(text, sleds)
            .map_err(|(problem, remedy)| faults.push(&origin, key.clone(), problem, remedy))
            .ok()
            .map(|placement| (placement, origin))
    });
    read.collect()
}

fn placement(text: &str, sleds: &[SledName]) -> Result<Placement, (String, String)> {
    let wrong = || {
        let problem = format!("{text:?} is not SLED:PORT");
        (problem, "write a sled of this map and a port, for example \"proper-raptor:3830\"".to_owned())
    };
    let (sled, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u64 = port.parse().map_err(|_| wrong())?;
    let sled: SledName = sled.parse().map_err(|_| wrong())?;
    if !sleds.contains(&sled) {
        let known = sleds.iter().map(SledName::as_str).collect::<Vec<_>>().join(", ");
        let remedy = match known.as_str() {
            "" => format!("add [sleds.{sled}]"),
            known => format!("write one of {known}, or add [sleds.{sled}]"),
        };
        return Err((format!("the map has no sled \"{sled}\""), remedy));
    }
    match u16::try_from(port).ok().filter(|port| DATA_PORTS.contains(port)) {
        Some(port) => Ok(Placement { sled, port }),
        None => Err((
            format!("port {port} is not from 1024 to 61535"),
            "write a port that leaves room for the repair port, 4000 above it: for example 3830".to_owned(),
        )),
    }
}
