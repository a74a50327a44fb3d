//! Block devices below a file system: what is mounted at a directory, by init's word, and on which disks that lies, be
//! it by partitions, device mapper, RAID or loop devices. Reads only; nothing of it waits for a disk.

use crate::clean;
use crate::kernel::attributes;
use procfs::process::MountInfo;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The process whose mounts are the machine's: another one may have had some remounted for itself.
const INIT: i32 = 1;
/// The place of the mount point among a line's words (proc_pid_mountinfo(5)).
const MOUNT_POINT: usize = 4;
/// The most devices that lie on one another: more is a circle.
const DEPTH_LIMIT: usize = 8;

/// Seconds between two commits of a journal from which on the time of a file is late.
const COMMIT_LIMIT: u64 = 30;

/// File system that is mounted at a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The number of its device, `MAJOR:MINOR`.
    pub number: String,
    /// The kind of file system, for example `ext4`.
    pub kind: String,
    /// Whether it is mounted with `discard`: what is freed is told to the disk at once.
    pub discard: bool,
    /// Whether the kernel has made it read-only after an error, though it was mounted to be written to.
    pub frozen: bool,
    /// Whether the time of a file may be written down more than half a minute after its data.
    pub late_times: bool,
    /// The kernel's line of it, with its number among the mounts and its options: another line is another mount, or one that
    /// was mounted anew otherwise.
    pub line: String,
}

/// Devices that a file system lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The name of its own device, for example `sda1`.
    pub device: String,
    /// The whole disks at the bottom, each as its directory in sysfs, which has its name.
    pub disks: Vec<PathBuf>,
}

/// Find what is mounted at a directory, or at the nearest above it.
pub fn mount_at(dir: &Path) -> Option<Mount> {
    let mounts = fs::read(format!("/proc/{INIT}/mountinfo")).or_else(|_| fs::read("/proc/self/mountinfo")).ok()?;
    nearest(&String::from_utf8_lossy(&mounts), dir)
}

/// Find it in the kernel's table, of which only the line that counts is taken apart: this is asked for again and again.
fn nearest(table: &str, dir: &Path) -> Option<Mount> {
    let above = table.lines().filter_map(|line| Some((Path::new(line.split(' ').nth(MOUNT_POINT)?), line)));
    let above = above.filter(|(place, _)| dir.starts_with(place));
    // Of two at one place the later one is on top.
    let (_, line) = above.max_by_key(|(place, _)| place.components().count())?;
    let mount = MountInfo::from_line(line).ok()?;
    let has = |name: &str| mount.super_options.contains_key(name);
    let commit = mount.super_options.get("commit").and_then(|seconds| seconds.as_ref()?.parse::<u64>().ok());
    Some(Mount {
        discard: has("discard"),
        // Since Linux 6.15 ext4 has a word of its own for it, and statvfs(3) does not tell. Before, the file system was
        // read-only and its mount was not.
        frozen: has("emergency_ro") || has("ro") && !mount.mount_options.contains_key("ro"),
        late_times: has("lazytime") || commit.is_some_and(|seconds| seconds > COMMIT_LIMIT),
        number: mount.majmin,
        kind: clean::line(&mount.fs_type).into_owned(),
        line: line.to_owned(),
    })
}

/// Find the devices below the one that has this number. `None` if it is none of the kernel's block devices.
pub fn stack(sysfs: &Path, number: &str) -> Option<Stack> {
    let own = device(sysfs, number)?;
    let mut disks = Vec::new();
    descend(sysfs, &own, DEPTH_LIMIT, &mut disks);
    Some(Stack { device: name(&own)?, disks })
}

/// Name a device by its directory in sysfs.
pub fn name(dir: &Path) -> Option<String> {
    // Of `cciss/c0d0` sysfs makes `cciss!c0d0`.
    Some(clean::line(dir.file_name()?.to_str()?).replace('!', "/"))
}

/// Identify a disk among all that have had its name: by the number that the kernel has given it when it was found
/// (`diskseq`, since Linux 5.15), or by what the disk calls itself. `None`: it cannot be told from another.
pub fn identity(dir: &Path) -> Option<String> {
    let word = |name: &str| Some(format!("{name} {}", attributes::text(&dir.join(name))?));
    ["diskseq", "wwid", "device/wwid", "device/serial"].into_iter().find_map(word)
}

fn device(sysfs: &Path, number: &str) -> Option<PathBuf> {
    fs::canonicalize(sysfs.join("dev/block").join(number)).ok()
}

fn descend(sysfs: &Path, device: &Path, depth: usize, disks: &mut Vec<PathBuf>) {
    let below = if depth == 0 { Vec::new() } else { below(sysfs, device) };
    for lower in &below {
        descend(sysfs, lower, depth - 1, disks);
    }
    if below.is_empty() && !disks.iter().any(|known| known == device) {
        disks.push(device.to_owned());
    }
}

/// The devices that one lies on; none if it is a disk of its own.
fn below(sysfs: &Path, dir: &Path) -> Vec<PathBuf> {
    if dir.join("partition").exists() {
        return dir.parent().map(Path::to_owned).into_iter().collect();
    }
    let slaves = dir.join("slaves");
    let mut lower: Vec<_> =
        attributes::names(&slaves).iter().filter_map(|name| fs::canonicalize(slaves.join(name)).ok()).collect();
    // A file that was removed, or lies in another mount namespace, is not found.
    let backing = attributes::text(&dir.join("loop/backing_file")).and_then(|file| fs::metadata(file).ok());
    let number = |dev| format!("{}:{}", nix::sys::stat::major(dev), nix::sys::stat::minor(dev));
    lower.extend(backing.and_then(|file| device(sysfs, &number(file.dev()))));
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mounted(lines: &str) -> Option<Mount> {
        nearest(lines, Path::new("/crucible"))
    }

    #[test]
    fn what_is_mounted_last_at_the_nearest_place_counts() {
        let root = "1 0 8:2 / / rw,relatime - ext4 /dev/sda2 rw\n";
        let other = "2 1 8:3 / /crucible2 rw - ext4 /dev/sda3 rw,emergency_ro\n";
        let own = "3 1 8:17 / /crucible rw,noatime shared:4 - ext4 /dev/sdb1 rw,discard\n";
        let over = "4 3 0:44 / /crucible rw - tmpfs other rw\n";
        let number = |lines: &[&str]| mounted(&lines.concat()).map(|mount| mount.number);
        assert_eq!(number(&[root, other]).as_deref(), Some("8:2"));
        assert_eq!(number(&[root, other, own]).as_deref(), Some("8:17"));
        assert_eq!(number(&[root, other, own, over]).as_deref(), Some("0:44"));
        let seen = mounted(own).unwrap();
        assert!(seen.kind == "ext4" && seen.discard && !seen.frozen);
        assert_eq!(mounted(""), None);
    }

    /// Whoever mounts it read-only has the mount so as well; the kernel has not.
    #[test]
    fn the_kernel_that_gave_up_is_told_from_an_operator_who_mounts_read_only() {
        let of = |mount: &str, own: &str| {
            mounted(&format!("3 1 8:17 / /crucible {mount} - ext4 /dev/sdb1 {own}\n")).unwrap().frozen
        };
        assert!(of("rw,noatime", "ro,errors=remount-ro") && of("rw", "rw,errors=remount-ro,emergency_ro"));
        assert!(!of("ro,noatime", "ro") && !of("ro", "rw") && !of("rw", "rw,errors=remount-ro"));
    }

    #[test]
    fn a_mount_that_writes_times_down_late_is_told() {
        let late =
            |own: &str| mounted(&format!("3 1 8:17 / /crucible rw - ext4 /dev/sdb1 {own}\n")).unwrap().late_times;
        assert!(late("rw,lazytime") && late("rw,commit=60") && !late("rw,discard") && !late("rw,commit=30"));
    }

    #[test]
    fn a_disk_is_told_from_another_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let say = |file: &str, word: &str| {
            fs::create_dir_all(dir.path().join("device")).unwrap();
            fs::write(dir.path().join(file), format!("{word}\n")).unwrap();
            identity(dir.path())
        };
        assert_eq!(identity(dir.path()), None);
        assert_eq!(say("device/serial", "S6P").as_deref(), Some("device/serial S6P"));
        assert_eq!(say("diskseq", "7").as_deref(), Some("diskseq 7"));
        assert_ne!(say("diskseq", "8"), say("diskseq", "9"));
    }

    #[test]
    fn disks_are_found_below_partitions_and_mappers_and_circles_end() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["devices/sda/sda1", "devices/nvme0n1/nvme0n1p2", "devices/dm-0/slaves", "devices/dm-1/slaves"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::create_dir_all(at("dev/block")).unwrap();
        for partition in ["devices/sda/sda1", "devices/nvme0n1/nvme0n1p2"] {
            fs::write(at(partition).join("partition"), "1\n").unwrap();
        }
        let link = |number: &str, dir: &str| symlink(at(dir), at("dev/block").join(number)).unwrap();
        link("8:1", "devices/sda/sda1");
        link("253:0", "devices/dm-0");
        link("253:1", "devices/dm-1");
        symlink(at("devices/sda/sda1"), at("devices/dm-0/slaves/sda1")).unwrap();
        symlink(at("devices/nvme0n1/nvme0n1p2"), at("devices/dm-0/slaves/nvme0n1p2")).unwrap();
        symlink(at("devices/dm-1"), at("devices/dm-1/slaves/dm-1")).unwrap();
        let disks = |number: &str| {
            let stack = stack(root.path(), number)?;
            let disks: Vec<_> = stack.disks.iter().filter_map(|disk| name(disk)).collect();
            Some(format!("{}: {}", stack.device, disks.join(" ")))
        };
        assert_eq!(disks("8:1").as_deref(), Some("sda1: sda"));
        assert_eq!(disks("253:0").as_deref(), Some("dm-0: nvme0n1 sda"));
        assert_eq!(disks("253:1").as_deref(), Some("dm-1: dm-1"));
        assert_eq!(disks("0:44"), None);
    }
}
