//! Stick: a disk that can be taken out, with the image and without a sled's data. A machine that was started from one
//! serves no region and makes no data partition: it is there to install the image on another disk. The initrd sees it
//! (`own-disk`) and leaves word; here that is read, and what other disks of the machine have the image.

use crate::clean;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file with the name of the stick that the machine was started from; gone with the boot.
const STICK: &str = "/run/sled-stick";
/// The file with the name of the disk that the machine was started from; gone with the boot.
const OWN_DISK: &str = "/run/sled-disk";
/// The file that tells on which disk the image was installed since the boot.
const INSTALLED: &str = "/run/sled-installed";
/// The kernel's block devices.
const BLOCK: &str = "/sys/class/block";
/// The beginning of the name of a slot with a version of the image.
const SLOT: &str = "crucible-sled_";

/// Another disk of the machine that has the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// The kernel's name of it.
    pub disk: String,
    /// The serial number that it tells.
    pub serial: Option<String>,
    /// Whether it can be taken out, and has no data partition: another stick.
    pub stick: bool,
}

impl Other {
    /// Say which disk it is.
    pub fn said(&self) -> String {
        let serial = self.serial.as_ref().map(|serial| format!(" (serial {serial})")).unwrap_or_default();
        format!("/dev/{}{serial}", self.disk)
    }
}

/// Read the name of the stick that the machine was started from; `None` if it was started from a disk of its own.
pub fn started_from() -> Option<String> {
    let name = fs::read_to_string(STICK).ok()?;
    Some(clean::line(name.trim()).into_owned())
}

/// Read on which disk the image was installed since the machine was started.
pub fn installed() -> Option<String> {
    let disk = fs::read_to_string(INSTALLED).ok()?;
    Some(clean::line(disk.trim()).into_owned())
}

/// Leave word that the image was installed on a disk.
///
/// # Errors
/// The file cannot be written.
pub fn has_installed(disk: &str) -> io::Result<()> {
    fs::write(INSTALLED, format!("{disk}\n"))
}

/// List the other disks of the machine that have the image; none where it is not known from which it was started.
pub fn others() -> Vec<Other> {
    let own = fs::read_to_string(OWN_DISK).unwrap_or_default();
    if own.trim().is_empty() { Vec::new() } else { others_of(Path::new(BLOCK), own.trim()) }
}

fn others_of(block: &Path, own: &str) -> Vec<Other> {
    let names = fs::read_dir(block).into_iter().flatten().flatten();
    let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let other = |disk: String| {
        let dir = block.join(&disk);
        if disk == own || dir.join("partition").exists() {
            return None;
        }
        let parts = names_of_parts(&dir);
        parts.iter().any(|part| part.starts_with(SLOT)).then(|| {
            let removable = read(&dir.join("removable")).is_some_and(|word| word == "1");
            let stick = removable && !parts.iter().any(|part| part == "crucible");
            Other { serial: serial(&dir), disk, stick }
        })
    };
    names.into_iter().filter_map(other).collect()
}

/// The names of a disk's partitions.
fn names_of_parts(disk: &Path) -> Vec<String> {
    let parts = fs::read_dir(disk).into_iter().flatten().flatten().map(|entry| entry.path().join("uevent"));
    let name = |uevent: PathBuf| {
        let told = fs::read_to_string(uevent).ok()?;
        told.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(str::to_owned)
    };
    parts.filter_map(name).collect()
}

/// The serial number that a disk tells: as a file of its own, or as a page of SCSI's, which begins with four bytes.
fn serial(disk: &Path) -> Option<String> {
    let plain = ["serial", "device/serial"].into_iter().find_map(|file| read(&disk.join(file)));
    plain.or_else(|| {
        let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
        let text = String::from_utf8_lossy(page.get(4..)?).trim_matches(['\0', ' ']).to_owned();
        (!text.is_empty()).then(|| clean::line(&text).into_owned())
    })
}

fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text = clean::line(text.trim()).into_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_disks_with_the_image_are_found_and_told_from_sticks() {
        let dir = tempfile::tempdir().unwrap();
        let disk = |name: &str, removable: &str, parts: &[&str]| {
            let at = dir.path().join(name);
            for (index, part) in parts.iter().enumerate() {
                let part_dir = at.join(format!("{name}{index}"));
                fs::create_dir_all(&part_dir).unwrap();
                fs::write(part_dir.join("uevent"), format!("DEVTYPE=partition\nPARTNAME={part}\n")).unwrap();
            }
            fs::create_dir_all(at.join("device")).unwrap();
            fs::write(at.join("removable"), format!("{removable}\n")).unwrap();
        };
        disk("sda", "1", &["esp", "crucible-sled_1.0"]);
        disk("sdb", "1", &["esp", "crucible-sled_1.0"]);
        disk("sdc", "0", &["esp", "crucible-sled_0.9", "crucible"]);
        disk("sdd", "0", &["EFI System"]);
        fs::write(dir.path().join("sdc/device/vpd_pg80"), b"\0\x80\0\x04S6P1\0").unwrap();
        let other = |disk: &str, serial: Option<&str>, stick| Other {
            disk: disk.into(),
            serial: serial.map(str::to_owned),
            stick,
        };
        let found = others_of(dir.path(), "sda");
        assert_eq!(found, [other("sdb", None, true), other("sdc", Some("S6P1"), false)]);
        assert_eq!(found[1].said(), "/dev/sdc (serial S6P1)");
    }
}
