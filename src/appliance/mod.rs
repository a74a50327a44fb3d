//! Appliance: the image of a sled, beside the supervisor. It becomes one machine at its first boot, and sets its
//! network up at every boot. The root is read-only; what is this machine's own lies in `/var/etc`, and `/etc` leads
//! there.
//!
//! [`answers`], [`keys`], [`network`] and [`serial`] are pure: what a person answers as the files of a configuration,
//! which keys let somebody in, and a configuration as the files of systemd-networkd and of systemd. [`trial`] keeps what a network on trial is taken back to. [`boot`] runs in the initrd, before anything
//! reads them: it takes over what the CONFIG partition or the machine's credentials say ([`brought`], [`fragments`]). From a [`stick`]
//! the image is put on a disk of the machine ([`install`]); a [`reset`] has a sled forget. What is lost with a data
//! partition is said before ([`data`]).
//!
//! Nothing here touches the data disk or a region, but for an installation that gives a disk up on which some lie, and a
//! reset to what the sled was at first.

pub mod answers;
pub mod boot;
pub mod brought;
pub mod data;
pub mod fragments;
pub mod install;
pub mod keys;
pub mod network;
pub mod reset;
pub mod serial;
pub mod stick;
pub mod trial;

use crate::clean;
use std::path::{Path, PathBuf};

/// The directory of this machine's own part of `/etc`.
pub const OWN: &str = "/var/etc";
/// The configuration in it.
pub const CONFIG: &str = "sled";
/// The file of those who may log in as root, in it.
pub const KEYS: &str = "ssh/authorized_keys";
/// The record of the files that were brought, in it.
pub const TAKEN: &str = "taken.json";
/// The file that says what became of `/var` when that could not be read, in it; whoever has read it removes it.
const RENEWED: &str = "renewed";
/// The file that is there on a machine that runs the image.
const MARKER: &str = "/usr/lib/sled/image.json";

/// Whether this machine runs the image.
pub fn is_image() -> bool {
    Path::new(MARKER).exists()
}

/// List the files of the machine that runs whose place at boot others have taken that were brought.
pub fn replaced() -> Vec<PathBuf> {
    boot::replaced(Path::new(OWN))
}

/// Read what became of `/var` when that could not be read at boot.
pub fn renewed() -> Option<String> {
    let text = std::fs::read_to_string(Path::new(OWN).join(RENEWED)).ok()?;
    Some(clean::line(text.trim()).into_owned())
}

/// Read what became of the files that were brought last, on the machine that runs.
pub fn taken() -> Option<boot::Taken> {
    taken_in(Path::new(OWN))
}

/// Read what became of the files that were brought last, as a machine's own part of `/etc` has it.
pub fn taken_in(own: &Path) -> Option<boot::Taken> {
    let text = std::fs::read(own.join(TAKEN)).ok()?;
    serde_json::from_slice(&text).ok()
}
