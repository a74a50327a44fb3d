//! The kernel's device of a volume on this host, and where it is mounted, as sysfs and `/proc` show them. Looks, and
//! changes nothing.

use super::state::{DeviceState, Found, MountState};
use crate::device::sysfs::Sysfs;
use crate::names::VolumeName;
use procfs::process::{MountInfo, Process};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A device, and the numbers that it and its partitions go by (`MAJOR:MINOR`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) index: u32,
    pub(super) shown: DeviceState,
    pub(super) numbers: BTreeSet<String>,
}

impl Disk {
    /// Find the device of a volume, whichever identity it has; `None` if the kernel has none.
    ///
    /// # Errors
    /// If sysfs cannot be read.
    pub(super) fn of(volume: &VolumeName) -> std::io::Result<Option<Self>> {
        let sysfs = Sysfs::default();
        let Some((index, seen)) = sysfs.of(volume)? else { return Ok(None) };
        let shown = DeviceState {
            path: format!("/dev/nbd{index}"),
            size_bytes: seen.size,
            backend: seen.backend.unwrap_or_default(),
            max_sectors_kb: seen.max_sectors_kb,
        };
        Ok(Some(Self { index, shown, numbers: sysfs.numbers(index) }))
    }

    /// The mounts of the device and its partitions among these, in their order.
    pub(super) fn mounts<'a>(&self, mounts: &'a [MountInfo]) -> Vec<&'a MountInfo> {
        mounts.iter().filter(|mount| self.numbers.contains(&mount.majmin)).collect()
    }
}

/// List what is mounted, as this process sees it.
///
/// # Errors
/// If it cannot be read.
pub(super) fn all_mounts() -> std::io::Result<Vec<MountInfo>> {
    let mounts = Process::myself().and_then(|own| own.mountinfo());
    Ok(mounts.map_err(std::io::Error::other)?.0)
}

/// Look for the device of a volume and its mount; `None` of what could not be looked for.
pub(super) fn look(volume: &VolumeName) -> (Option<Found<DeviceState>>, Option<Found<MountState>>) {
    let Ok(disk) = Disk::of(volume) else { return (None, None) };
    let Some(disk) = disk else { return (Some(Found::None), Some(Found::None)) };
    let mounts = all_mounts().ok();
    let mounted = mounts.map(|mounts| mounted(&disk.mounts(&mounts)).into());
    (Some(Found::There(disk.shown)), mounted)
}

/// The first of these mounts, and where else.
fn mounted(mounts: &[&MountInfo]) -> Option<MountState> {
    let (first, others) = mounts.split_first()?;
    Some(MountState {
        path: place(first).display().to_string(),
        file_system: first.fs_type.clone(),
        read_only: is_read_only(first),
        also: others.iter().map(|mount| place(mount).display().to_string()).collect(),
    })
}

/// The path of a mount. The kernel writes blanks, and a backslash itself, by their numbers in base eight.
pub(super) fn place(mount: &MountInfo) -> PathBuf {
    let written = mount.mount_point.as_os_str().as_bytes();
    let (mut path, mut rest) = (Vec::with_capacity(written.len()), written);
    while let Some((first, behind)) = rest.split_first() {
        let number = behind.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        let (byte, behind) = match number {
            Some(byte) if *first == b'\\' => (byte, &behind[3..]),
            _ => (*first, behind),
        };
        path.push(byte);
        rest = behind;
    }
    OsString::from_vec(path).into()
}

/// Whether nothing can be written to a mount: by its own option, or the file system's, which it sets itself when it
/// has met an error (`emergency_ro` since Linux 6.15).
fn is_read_only(mount: &MountInfo) -> bool {
    mount.mount_options.contains_key("ro")
        || ["ro", "emergency_ro", "shutdown"].iter().any(|option| mount.super_options.contains_key(*option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::FromRead;
    use procfs::process::MountInfos;

    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 43:0 / /mnt/crucible\\040pool rw,relatime shared:2 - ext4 /dev/nbd0 rw
41 40 0:50 / /mnt/crucible\\040pool/inner rw - tmpfs tmpfs rw
42 22 43:0 /images /srv/images rw,relatime shared:2 - ext4 /dev/nbd0 rw
43 22 43:33 / /mnt/crucible rw,relatime - ext4 /dev/nbd1p1 ro
";

    fn disk(numbers: &[&str]) -> Disk {
        let shown = DeviceState { path: "/dev/nbd0".into(), size_bytes: 1, backend: "x".into(), max_sectors_kb: 64 };
        Disk { index: 0, shown, numbers: numbers.iter().map(|number| (*number).to_owned()).collect() }
    }

    #[test]
    fn a_device_is_mounted_where_its_number_says() {
        let mounts = MountInfos::from_read(MOUNTS.as_bytes()).unwrap().0;
        let found = mounted(&disk(&["43:0"]).mounts(&mounts)).unwrap();
        assert_eq!((found.path.as_str(), found.read_only), ("/mnt/crucible pool", false));
        assert_eq!(found.also, ["/srv/images"]);
        // A partition, whose file system has met an error.
        let found = mounted(&disk(&["43:32", "43:33"]).mounts(&mounts)).unwrap();
        assert_eq!((found.path.as_str(), found.read_only), ("/mnt/crucible", true));
        assert_eq!(mounted(&disk(&["43:64"]).mounts(&mounts)), None);
    }
}
