//! Places of an installation's files. Pure.

/// The directory of the volumes' configurations.
pub(super) use super::super::conf::PLACE as CONFIGURATIONS;
/// The directory of an operator's units.
pub(super) use super::super::mounts::UNITS;
use crate::names::VolumeName;
use std::path::{Path, PathBuf};

/// The path of the server.
pub(super) const SERVER: &str = "/usr/lib/crucible/crucible-nbd-server";
/// The file that makes the kernel load its module at each boot, if the package has not brought it.
pub(super) const MODULES: &str = "/etc/modules-load.d/crucible-attach.conf";
/// The directory of the records of what was attached.
pub(super) const STATE: &str = "/var/lib/crucible-attach";
/// The ending that is put behind the name of a unit that was made by hand: systemd takes it for no unit any more.
pub(super) const ASIDE: &str = ".before-crucible-attach";

/// The configuration of a volume.
pub(super) fn conf(volume: &VolumeName) -> PathBuf {
    Path::new(CONFIGURATIONS).join(format!("{volume}.conf"))
}
