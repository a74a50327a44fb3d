//! Users of a file system or a block device, so that they can be named to whoever would take it away: processes, and
//! what the kernel has made of it. Reads only, and only as well as procfs tells.

use super::disk::place;
use procfs::process::{MountInfo, Process, all_processes};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The most users of something that are named.
const NAMED_LIMIT: usize = 8;

/// Name users in a sentence.
pub(super) fn named(users: &[String]) -> String {
    let more = users.len().checked_sub(NAMED_LIMIT).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    users.iter().take(NAMED_LIMIT).cloned().chain(more).collect::<Vec<_>>().join(", ")
}

/// Name a mount, as one that uses something.
pub(super) fn mount_at(path: &Path) -> String {
    format!("a mount at {}", path.display())
}

/// The mount at a path that is on top of whatever else is.
pub(super) fn mounted_at<'a>(mounts: &'a [MountInfo], path: &Path) -> Option<&'a MountInfo> {
    mounts.iter().rev().find(|mount| place(mount) == path)
}

/// Find the users of what is mounted at a path.
pub(super) fn of_mount(path: &Path, mounts: &[MountInfo]) -> Vec<String> {
    let Some(own) = mounted_at(mounts, path) else { return Vec::new() };
    let mut users = within(path, mounts);
    let Some(device) = number(&own.majmin) else { return users };
    users.extend(processes(&|file: &fs::Metadata| file.dev() == device, Some(&own.majmin), None));
    users
}

/// The kernel's own uses of a mount: other mounts in it, files that are disks, files that are swapped to.
fn within(path: &Path, mounts: &[MountInfo]) -> Vec<String> {
    let below = |other: &Path| other != path && other.starts_with(path);
    let mut users: Vec<_> =
        mounts.iter().filter(|mount| below(&place(mount))).map(|mount| mount_at(&place(mount))).collect();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if below(Path::new(file.trim())) {
            users.push(format!("/dev/{} ({})", entry.file_name().display(), file.trim()));
        }
    }
    users.extend(swaps().into_iter().filter(|swap| below(swap)).map(|swap| format!("swap ({})", swap.display())));
    users
}

fn swaps() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/swaps").unwrap_or_default();
    text.lines().skip(1).filter_map(|line| Some(line.split_whitespace().next()?.into())).collect()
}

/// Find the users of a network block device, but for the mount at a path and a process.
pub(super) fn of_device(index: u32, but: &Path, process: Option<u32>, mounts: &[MountInfo]) -> Vec<String> {
    let disks = disks(index);
    let numbers: BTreeSet<_> = disks.iter().filter_map(|disk| number(&majmin(disk)?)).collect();
    let of_it = |majmin: &str| number(majmin).is_some_and(|number| numbers.contains(&number));
    let mut users: Vec<_> = mounts
        .iter()
        .filter(|mount| of_it(&mount.majmin) && place(mount) != but)
        .map(|mount| mount_at(&place(mount)))
        .collect();
    for disk in &disks {
        for holder in fs::read_dir(disk.join("holders")).into_iter().flatten().flatten() {
            let name = fs::read_to_string(holder.path().join("dm/name")).unwrap_or_default();
            let name = if name.is_empty() { String::new() } else { format!(" ({})", name.trim()) };
            users.push(format!("/dev/{}{name}", holder.file_name().display()));
        }
    }
    let names: BTreeSet<_> = disks.iter().filter_map(|disk| Some(Path::new("/dev").join(disk.file_name()?))).collect();
    users.extend(
        swaps().into_iter().filter(|swap| names.contains(swap)).map(|swap| format!("swap ({})", swap.display())),
    );
    let opened = |file: &fs::Metadata| file.file_type().is_block_device() && numbers.contains(&file.rdev());
    users.extend(processes(&opened, None, process));
    users
}

/// A device and its partitions, in sysfs.
fn disks(index: u32) -> Vec<PathBuf> {
    let disk = PathBuf::from(format!("/sys/block/nbd{index}"));
    let parts = fs::read_dir(&disk).into_iter().flatten().flatten().map(|entry| entry.path());
    let parts: Vec<_> = parts.filter(|path| path.join("partition").exists()).collect();
    [vec![disk], parts].concat()
}

/// `MAJOR:MINOR` of a device in sysfs.
pub(super) fn majmin(disk: &Path) -> Option<String> {
    fs::read_to_string(disk.join("dev")).ok().map(|text| text.trim().to_owned())
}

/// The device number that is written `MAJOR:MINOR`.
fn number(majmin: &str) -> Option<u64> {
    let (major, minor) = majmin.split_once(':')?;
    Some(nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// The processes that have such a file open, run it, or are there, or have mapped something of a device.
fn processes(used: &dyn Fn(&fs::Metadata) -> bool, mapped: Option<&str>, but: Option<u32>) -> Vec<String> {
    let mapped = mapped.and_then(|majmin| {
        let (major, minor) = majmin.split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let own = std::process::id();
    let uses = |process: &Process| {
        let links = ["cwd", "root", "exe"].map(|name| PathBuf::from(format!("/proc/{}/{name}", process.pid())));
        let open = fs::read_dir(format!("/proc/{}/fd", process.pid())).into_iter().flatten().flatten();
        let mut files = links.into_iter().chain(open.map(|entry| entry.path()));
        files.any(|file| fs::metadata(file).is_ok_and(|file| used(&file)))
            || mapped.is_some_and(|device| {
                process.maps().is_ok_and(|maps| maps.iter().any(|map| map.inode != 0 && map.dev == device))
            })
    };
    // A process that ends meanwhile uses nothing.
    let all = all_processes().into_iter().flatten().flatten();
    let others = all.filter(|process| u32::try_from(process.pid()).is_ok_and(|pid| pid != own && Some(pid) != but));
    let name = |process: &Process| process.stat().map(|stat| stat.comm).unwrap_or_default();
    others.filter(uses).map(|process| format!("process {} ({})", process.pid(), name(&process))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn who_has_a_file_open_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("open");
        fs::write(&file, "x").unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        let mut child =
            Command::new("sleep").arg("1000").stdin(Stdio::from(fs::File::open(&file).unwrap())).spawn().unwrap();
        let named = processes(&|file: &fs::Metadata| file.ino() == inode, None, None);
        let but = processes(&|file: &fs::Metadata| file.ino() == inode, None, Some(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(named.iter().any(|user| user.starts_with(&format!("process {} (", child.id()))), "{named:?}");
        assert_eq!(but, Vec::<String>::new());
    }

    #[test]
    fn not_all_of_many_are_named() {
        let users: Vec<_> = (0..10).map(|number| format!("process {number}")).collect();
        assert!(named(&users).ends_with("process 7, and 2 more"));
        assert_eq!(named(&users[..2]), "process 0, process 1");
        assert!(named(&users[..8]).ends_with("process 6, process 7"));
    }

    #[test]
    fn what_is_mounted_is_seen() {
        let mounts = super::super::disk::all_mounts().unwrap();
        assert!(mounted_at(&mounts, Path::new("/proc")).is_some());
        assert!(mounted_at(&mounts, Path::new("/proc/none")).is_none());
        assert_eq!(number("43:16"), Some(nix::sys::stat::makedev(43, 16)));
        assert_eq!(number("43"), None);
    }
}
