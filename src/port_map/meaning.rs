//! Meaning of a port map, in one form whatever its file looks like, and the digest of that: by it hosts see whether
//! two sleds have the same map. Pure.
//!
//! The form is never changed for a map that could be written before: sleds of several versions compare it. A new
//! thing in the language of maps gets lines of its own, and only where it is used.

use super::PortMap;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// `sha256:` and the digest of a map's meaning.
pub(super) fn digest(map: &PortMap) -> String {
    let bytes = Sha256::digest(meaning(map).as_bytes());
    bytes.iter().fold("sha256:".into(), |text, byte| text + &format!("{byte:02x}"))
}

/// Write every sled, host and volume, a line each, by name. The regions of a volume have an order; the hosts that it
/// lets in have none, and are meant by address whether or not a name was written.
fn meaning(map: &PortMap) -> String {
    let mut text = String::new();
    for (name, sled) in &map.sleds {
        _ = writeln!(text, "sled {name} {}", sled.address);
    }
    for (name, address) in &map.hosts {
        _ = writeln!(text, "host {name} {address}");
    }
    for (name, volume) in &map.volumes {
        let geometry = volume.geometry;
        let (block, extent, count) = (geometry.block_size, geometry.extent_size, geometry.extent_count);
        let mut hosts = volume.hosts.clone();
        hosts.sort();
        let hosts = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let regions = volume.regions.iter().map(|region| format!("{}:{}", region.sled, region.port));
        let regions = regions.collect::<Vec<_>>().join(",");
        _ = writeln!(text, "volume {name} {block} {extent} {count} [{hosts}] [{regions}]");
    }
    text
}
