//! The port map: the fleet's sleds, its volumes, and which sled serves which region on which
//! port. The same file on every sled; its digest shows when two disagree. Pure.

mod collisions;
mod fence;
mod keys;
mod meaning;
mod read;

pub use fence::{Fence, Prefix};
pub use keys::KEYS;
pub use read::read;

use crate::names::{HostName, RegionName, SledName, VolumeName};
use crate::region::Geometry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The repair port is the data port plus this; upstream has no flag for it.
pub const REPAIR_OFFSET: u16 = 4000;
/// The data ports that leave room for the repair port: upstream adds in 16 bits, so that
/// 62000 would wrap to 464.
pub const DATA_PORTS: RangeInclusive<u16> = 1024..=61535;

/// The port of a sled's HTTP endpoint where nothing else is configured.
pub const HTTP_PORT: u16 = 3800;

/// The port map, without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMap {
    /// The sleds by name.
    pub sleds: BTreeMap<SledName, Sled>,
    /// The hosts that have a name.
    pub hosts: BTreeMap<HostName, IpAddr>,
    /// The volumes by name.
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// `sha256:` and the digest of the map's meaning, in hexadecimal: two files that say the same in another order,
    /// or with other comments or line ends, have the same one.
    pub digest: String,
}

/// A sled of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sled {
    /// The address that its downstairs listen on.
    pub address: IpAddr,
}

/// A volume of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The hosts that may attach it; empty: anyone may.
    pub hosts: Vec<IpAddr>,
    /// The geometry of its three regions.
    pub geometry: Geometry,
    /// The placements of regions 0, 1 and 2; exactly three in a map without faults.
    pub regions: Vec<Placement>,
}

/// The place where a region is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The sled.
    pub sled: SledName,
    /// The data port on it.
    pub port: u16,
}

/// A region that the map puts on a certain sled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRegion {
    /// The region's name, `VOLUME-INDEX`.
    pub name: RegionName,
    /// The data port; the repair port is [`LocalRegion::repair_port`].
    pub port: u16,
    /// The volume's geometry.
    pub geometry: Geometry,
}

impl LocalRegion {
    /// The port of the repair HTTP server: always 4000 above the data port.
    pub fn repair_port(&self) -> u16 {
        self.port + REPAIR_OFFSET
    }
}

/// The limits that a map is checked against beside itself.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The ports that the kernel hands out to outgoing connections.
    pub ephemeral: RangeInclusive<u16>,
    /// The sled whose HTTP ports are known; others are taken to use 3800.
    pub this_sled: Option<SledName>,
    /// The HTTP ports of that sled.
    pub http_ports: Vec<u16>,
    /// The length of the prefix of that sled's network, if it is said.
    pub prefix: Option<u8>,
}

impl PortMap {
    /// The name of the host or sled with this address, if the map has one.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        let host = self.hosts.iter().find(|(_, at)| **at == address).map(|(name, _)| name.as_str());
        host.or_else(|| Some(self.sleds.iter().find(|(_, sled)| sled.address == address)?.0.as_str()))
    }

    /// The regions that the map puts on a sled.
    pub fn regions_on<'a>(&'a self, sled: &'a SledName) -> impl Iterator<Item = LocalRegion> + 'a {
        self.volumes.iter().flat_map(move |(name, volume)| {
            volume.regions.iter().enumerate().filter_map(move |(index, placement)| {
                (placement.sled == *sled).then_some(LocalRegion {
                    name: RegionName::new(name.clone(), index)?,
                    port: placement.port,
                    geometry: volume.geometry,
                })
            })
        })
    }
}

impl Volume {
    /// The number of sleds that may die, whichever they are, without losing data.
    ///
    /// A flush is acknowledged when two of the three regions have it, so data survives as
    /// long as at most one region is lost: one sled may die if each region has a sled of its
    /// own, none if two regions share one.
    pub fn fault_tolerance(&self) -> usize {
        let sleds: BTreeSet<_> = self.regions.iter().map(|r| &r.sled).collect();
        usize::from(sleds.len() == 3)
    }
}
