//! The configuration of one sled: `sled.toml` with its fragments, and the fleet's
//! `port-map.toml`, read from texts that others fetched. Pure.
//!
//! Everything is read before anything is refused, so that one look shows every fault:
//! [`read`] gives either a [`Configuration`] without a fault or the complete list.

mod appliance;
mod events;
mod history;
mod keys;
mod listen;
mod network;
mod nic;
mod notify;
mod scrub;
mod sled;
mod texts;
mod tls;
mod update;
mod values;
mod vlan;
mod window;

pub use appliance::{Appliance, Serial, UpdateSource, usual_prefix};
pub use events::Events;
pub use history::{History, Kept};
pub use keys::KEYS;
pub use network::{Addressing, BOND, Network};
pub use nic::{By, Nic, USB};
pub use notify::{Notify, Url};
pub use scrub::{Schedule, Scrub};
pub use sled::{Downstairs, Provisioning, SledConfig, Storage, VerifyAfterCrash};
pub use texts::{FRAGMENTS, PORT_MAP, SLED, Texts};
pub use tls::Tls;
pub use update::{Apply, Update};
pub use values::{Reserve, hidden};
pub use vlan::Vlan;
pub use window::Window;

use crate::names::{RegionName, SledName};
use crate::port_map::{self, HTTP_PORT, LocalRegion, PortMap};
use crate::source::{Document, Fault, Faults, Origin, Source, nearest};

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// The sources that [`read`] needs.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `sled.toml`, then its fragments in the order in which they override it.
    pub sled: Vec<Source>,
    /// `port-map.toml`.
    pub port_map: Source,
    /// The ports that the kernel hands out to outgoing connections, which no region may use.
    pub ephemeral: RangeInclusive<u16>,
}

/// One sled's configuration, complete and without a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// The content of `sled.toml`.
    pub sled: SledConfig,
    /// The content of `port-map.toml`.
    pub map: PortMap,
    /// This sled's address in the map.
    pub address: IpAddr,
    /// The addresses on which the HTTP endpoint listens.
    pub listen: Vec<SocketAddr>,
    /// Names in small letters by which the sled may be asked over HTTP, beside its address and names that
    /// are private to a network.
    pub names: Vec<String>,
}

impl Configuration {
    /// The regions that the map puts on this sled, by name.
    pub fn local_regions(&self) -> Vec<LocalRegion> {
        let name = &self.sled.name;
        let mut regions: Vec<_> = self.map.regions_on(name).collect();
        regions.sort_by(|a, b| a.name.cmp(&b.name));
        regions
    }

    /// The directory of a region.
    pub fn region_dir(&self, region: &RegionName) -> PathBuf {
        self.sled.storage.root.join(region.to_string())
    }
}

/// Read the configuration.
///
/// # Errors
/// Every fault of every file, in the order of files and lines; never an empty list.
pub fn read(sources: &Sources) -> Result<Configuration, Vec<Fault>> {
    let mut faults = Faults::default();
    let config = read_all(sources, &mut faults);
    match (faults.sorted(sources.sled.iter().map(|source| source.file.as_str())), config) {
        (found, Some(config)) if found.is_empty() => Ok(config),
        (found, _) => Err(found),
    }
}

/// Read all that can be read, if it is all that is needed, whatever else is wrong.
fn read_all(sources: &Sources, faults: &mut Faults) -> Option<Configuration> {
    let sled_files = Document::merged(&sources.sled, faults);
    let sled = sled::read(&sled_files, faults);
    let map_file = Document::merged(std::slice::from_ref(&sources.port_map), faults);
    let http_ports = sled.listen.iter().map(SocketAddr::port).collect::<Vec<_>>();
    let limits = port_map::Limits {
        ephemeral: sources.ephemeral.clone(),
        this_sled: sled.name.as_ref().map(|(name, _)| name.clone()),
        http_ports: if http_ports.is_empty() { vec![HTTP_PORT] } else { http_ports },
        prefix: sled.appliance.network.prefix.as_ref().map(|(bits, _)| *bits),
    };
    let map = port_map::read(&map_file, &limits, faults);
    let address = own_address(&sled.name, &map, faults);
    // An address that is a fault itself has no network.
    if let Some(address) = address.filter(|ip| !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback())) {
        sled.network.check(address, faults);
        sled.appliance.network.check(address, sled.network.dhcp.is_some(), faults);
    }
    let (address, config) = (address?, sled.complete()?);
    let listen = match sled.listen.as_slice() {
        [] => vec![SocketAddr::new(address, HTTP_PORT)],
        some => some.to_vec(),
    };
    Some(Configuration { sled: config, map, address, listen, names: sled.names })
}

/// Read a configuration that was in force once. It had no fault then; if a later version of the program finds some in
/// it by a rule of its own, that is no reason to serve nobody: the part that can be read was in force. `None` if that
/// is not all that is needed.
pub fn read_kept(sources: &Sources) -> Option<Configuration> {
    read_all(sources, &mut Faults::default())
}

/// Find this sled's entry in the map; a name that the map lacks is a fault of `sled.toml`.
fn own_address(name: &Option<(SledName, Origin)>, map: &PortMap, faults: &mut Faults) -> Option<IpAddr> {
    let (name, origin) = name.as_ref()?;
    let entry = map.sleds.get(name);
    if entry.is_none() && !map.sleds.is_empty() {
        let known = map.sleds.keys().map(ToString::to_string).collect::<Vec<_>>();
        let nearest = nearest(name.as_str(), known.iter().map(String::as_str));
        faults.push(
            origin,
            "sled.name",
            format!("the port map has no sled \"{name}\""),
            match nearest {
                Some(near) => format!("write \"{near}\", or add [sleds.{name}] to port-map.toml"),
                None => format!("write one of {}, or add [sleds.{name}] to port-map.toml", known.join(", ")),
            },
        );
    }
    entry.map(|sled| sled.address)
}

/// The configuration as it is shipped, with `more` of `sled.toml`.
#[cfg(test)]
pub(crate) fn shipped(more: &str) -> Configuration {
    let source = |text: &str| crate::source::Source { file: "f".into(), text: Ok(text.into()) };
    let sources = Sources {
        sled: vec![source(include_str!("../../etc/sled.toml")), source(more)],
        port_map: source(include_str!("../../etc/port-map.toml")),
        ephemeral: 32768..=60999,
    };
    read(&sources).unwrap()
}

#[cfg(test)]
mod tests;
