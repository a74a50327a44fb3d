//! What lies where below a storage root, beside the regions themselves.

use crate::names::RegionName;
use std::path::{Path, PathBuf};

/// The directory of the supervisor's own files.
pub const DIR: &str = ".sled";
/// The records of tickets, below [`DIR`].
pub const TICKETS: &str = "tickets";
/// Where attempts at regions are made.
pub const INCOMING: &str = ".incoming";
/// Where deleted regions are kept.
pub const TRASH: &str = ".trash";

/// Where the runbook puts a region: `vm-HOST-i` for replica i of the volume named like the host.
pub fn legacy_dir(root: &Path, name: &RegionName) -> PathBuf {
    root.join(format!("vm-{name}"))
}
