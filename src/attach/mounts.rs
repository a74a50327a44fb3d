//! Mount units of a volume on this host, as an installation has written them. Reads, and changes nothing.

use super::texts::{device_unit, made_for, setting};
use crate::names::VolumeName;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The directory of the units that belong to this host alone.
pub(super) const UNITS: &str = "/etc/systemd/system";

/// A mount's unit that an installation has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) name: String,
    /// The path at which it mounts.
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// The unit mounts whenever the device is there.
    pub(super) enabled: bool,
}

/// List the units of a volume in a directory, by where they mount.
///
/// # Errors
/// If the units cannot be read.
pub(super) fn of(dir: &Path, volume: &VolumeName) -> io::Result<Vec<Mount>> {
    let wants = dir.join(format!("{}.wants", device_unit(volume)));
    let mut mounts = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let Some(name) = entry.file_name().to_str().filter(|name| name.ends_with(".mount")).map(str::to_owned) else {
            continue;
        };
        let text = match fs::read_to_string(entry.path()) {
            Ok(text) if made_for(&text).as_ref() == Some(volume) => text,
            // A unit of somebody else's, whatever it is; or a link to nothing.
            Ok(_) => continue,
            Err(why) if [ErrorKind::NotFound, ErrorKind::InvalidData].contains(&why.kind()) => continue,
            Err(why) => return Err(why),
        };
        let path = setting(&text, "Where").unwrap_or_default().replace("%%", "%").into();
        let enabled = fs::symlink_metadata(wants.join(&name)).is_ok();
        mounts.push(Mount { name, path, text, enabled });
    }
    mounts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::texts;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_units_of_a_volume_are_its_own_and_enabled_by_its_device() {
        let (dir, volume) = (tempfile::tempdir().unwrap(), "v".parse().unwrap());
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("mnt-b.mount", &texts::mount(&volume, Path::new("/mnt/b")));
        write("mnt-a.mount", &texts::mount(&volume, Path::new("/mnt/a%")));
        write("mnt-other.mount", &texts::mount(&"other".parse().unwrap(), Path::new("/mnt/other")));
        write("mnt-hand.mount", "[Mount]\nWhat=/dev/nbd0\nWhere=/mnt/hand\n");
        symlink("nowhere", dir.path().join("masked.mount")).unwrap();
        let wants = dir.path().join("dev-crucible-v.device.wants");
        fs::create_dir(&wants).unwrap();
        symlink("../mnt-b.mount", wants.join("mnt-b.mount")).unwrap();
        let found = of(dir.path(), &volume).unwrap();
        let found: Vec<_> = found.iter().map(|mount| (mount.path.to_str().unwrap(), mount.enabled)).collect();
        assert_eq!(found, [("/mnt/a%", false), ("/mnt/b", true)]);
    }
}
