//! Layout of a storage root, beside the regions themselves.

use crate::names::RegionName;
use std::path::{Path, PathBuf};

/// The directory of the supervisor's own files.
pub const DIR: &str = ".sled";
/// The records of tickets, below [`DIR`].
pub const TICKETS: &str = "tickets";
/// The records of scrubs, below [`DIR`].
pub const SCRUBS: &str = "scrubs";
/// The directory in which attempts at regions are made.
pub const INCOMING: &str = ".incoming";
/// The directory of deleted regions.
pub const TRASH: &str = ".trash";

/// The directory in which the runbook puts a region: `vm-HOST-i` for replica i of the volume named like the host.
pub fn legacy_dir(root: &Path, name: &RegionName) -> PathBuf {
    root.join(format!("vm-{name}"))
}
