//! The names of the units that belong to a region or to the supervisor. Pure.

use crate::names::RegionName;

/// The template that serves a region.
pub const DOWNSTAIRS: &str = "crucible-downstairs";

/// The supervisor.
pub const SUPERVISOR: &str = "sledd.service";

/// The supervisor's sockets.
pub const SOCKET: &str = "sledd.socket";

/// The unit that opens sockets for the supervisor.
pub const BROKER: &str = "sled-sockets.service";

/// The unit that tries out the network of another configuration, with the image.
pub const NETWORK_TRIAL: &str = "sled-network.service";

/// The unit that puts the network adapter with this number into its bridge.
pub fn rejoin_unit(index: u32) -> String {
    format!("sled-network-rejoin@{index}.service")
}

/// The unit that serves a region.
pub fn unit(region: &RegionName) -> String {
    format!("{DOWNSTAIRS}@{region}.service")
}

/// The region in whose unit's control group, or in one below it, this one is; `None`: in no region's.
pub fn region_of_group(group: &str) -> Option<RegionName> {
    let of = |part: &str| part.strip_prefix(DOWNSTAIRS)?.strip_prefix('@')?.strip_suffix(".service")?.parse().ok();
    group.split('/').find_map(of)
}

/// The transient unit that creates a region.
pub fn create_unit(region: &RegionName) -> String {
    format!("crucible-create-{region}.service")
}

/// Every transient unit that creates a region, as a pattern.
pub const ANY_CREATE: &str = "crucible-create-*.service";

/// The transient unit that removes a deleted region; `dir` is its directory's name in the trash.
pub fn remove_unit(dir: &str) -> String {
    format!("crucible-remove-{dir}.service")
}
