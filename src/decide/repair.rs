//! Repair of a region that was away for a moment: whether it would be possible. Hosts that are connected to it write
//! on meanwhile, and copy each extent that it missed anew, beside the old file: without room for that its copy stays
//! out of date for good, and the volume has one replica less.

use super::facts::{Disk, Facts};
use super::storage::no_inodes;
use crate::check::Code;
use crate::config::Configuration;
use crate::port_map::LocalRegion;
use crate::size;
use crate::wire;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Find that a region may go away for a moment, as far as its repair is concerned: nobody is connected to it, or what
/// it misses can be made up for.
///
/// # Errors
/// The refusal, with who is connected, and the arithmetic.
pub fn may_go(
    config: &Configuration,
    disk: &Disk,
    local: &LocalRegion,
    hosts: &BTreeSet<IpAddr>,
) -> Result<(), wire::Error> {
    let (root, needs) = (config.sled.storage.root.display(), local.geometry.extent_file_bytes());
    let lack = if disk.free < needs {
        format!("{} is free at {root}, and a repair takes {}", size::spoken(disk.free), size::spoken(needs))
    } else if no_inodes(disk) {
        format!("{root} has no inodes left, and a repair makes files")
    } else {
        return Ok(());
    };
    if hosts.is_empty() {
        return Ok(());
    }
    let hosts = hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let message = format!(
        "{} stays as it is: {hosts} is connected to it, and could not repair its copy afterwards: {lack}",
        local.name
    );
    let remedy = "make room first (sledctl storage shows what takes it), or detach the volume on its host; with --force \
                  it is done all the same, and the copy stays out of date until there is room";
    Err(wire::Error::new(Code::RepairImpossible, message, remedy))
}

/// The same, as far as is known now.
///
/// # Errors
/// As [`may_go`].
pub fn may_go_now(config: &Configuration, facts: &Facts, local: &LocalRegion) -> Result<(), wire::Error> {
    let Some(disk) = &facts.disk else { return Ok(()) };
    let sockets = facts.regions.get(&local.name).and_then(|region| region.sockets.as_ref());
    let hosts = sockets.into_iter().flat_map(|sockets| &sockets.connected).map(|peer| peer.address).collect();
    may_go(config, disk, local, &hosts)
}
