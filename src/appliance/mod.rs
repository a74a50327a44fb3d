//! Appliance: the image of a sled, beside the supervisor. It becomes one machine at its first boot, and sets its
//! network up at every boot. The root is read-only; what is this machine's own lies in `/var/etc`, and `/etc` leads
//! there.
//!
//! [`answers`] and [`network`] are pure: what a person answers as the files of a configuration, and
//! a configuration as the files of systemd-networkd. [`boot`] runs in the initrd, before anything
//! reads them: it takes over what the CONFIG partition or the machine's credentials say.
//!
//! Nothing here touches the data disk or a region.

pub mod answers;
pub mod boot;
pub mod network;

use std::path::{Path, PathBuf};

/// The directory of this machine's own part of `/etc`.
pub const OWN: &str = "/var/etc";
/// The configuration in it.
pub const CONFIG: &str = "sled";
/// The file of those who may log in as root, in it.
pub const KEYS: &str = "ssh/authorized_keys";
/// The record of the files that were brought, in it.
pub const TAKEN: &str = "taken.json";
/// The file that is there on a machine that runs the image.
const MARKER: &str = "/usr/lib/sled/image.json";

/// Whether this machine runs the image.
pub fn is_image() -> bool {
    Path::new(MARKER).exists()
}

/// Read what became of the files that were brought last, on the machine that runs.
pub fn taken() -> Option<boot::Taken> {
    let text = std::fs::read(PathBuf::from(OWN).join(TAKEN)).ok()?;
    serde_json::from_slice(&text).ok()
}
