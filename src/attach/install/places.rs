//! Where an installation puts things. Pure.

/// Where the configurations of volumes lie.
pub(super) use super::super::conf::PLACE as CONFIGURATIONS;
/// Where an operator's units lie.
pub(super) use super::super::mounts::UNITS;
use crate::names::VolumeName;
use std::path::{Path, PathBuf};

/// Where the server lies.
pub(super) const SERVER: &str = "/usr/lib/crucible/crucible-nbd-server";
/// What makes the kernel load its module at each boot, if the package has not brought it.
pub(super) const MODULES: &str = "/etc/modules-load.d/crucible-attach.conf";
/// Where it is on record what was attached.
pub(super) const STATE: &str = "/var/lib/crucible-attach";
/// What is put behind the name of a unit that was made by hand: systemd takes it for no unit any more.
pub(super) const ASIDE: &str = ".before-crucible-attach";

/// The configuration of a volume.
pub(super) fn conf(volume: &VolumeName) -> PathBuf {
    Path::new(CONFIGURATIONS).join(format!("{volume}.conf"))
}
