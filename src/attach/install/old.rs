//! Units that were made by hand for the same purpose, as far as they can be read: three of them, and what their
//! server is told to attach.

use super::super::failure::Failure;
use super::super::units::Units;
use super::super::{disk, users};
use super::facts::{Old, OldUnit};
use super::places;
use crate::attach::texts::{made_for, setting};
use procfs::process::all_processes;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The services, in the order in which they are stopped.
const SERVICES: [&str; 2] = ["crucible-nbd-connect.service", "crucible-nbd.service"];
/// The server that they run.
const SERVER: &str = "crucible-nbd-server";
/// The longest script that is looked into, in bytes.
const SCRIPT_LIMIT_BYTES: u64 = 64 * 1024;

/// Look for such units in a directory.
///
/// # Errors
/// If systemd does not say what runs.
pub(super) async fn look(dir: &Path, units: &Units) -> Result<Old, Failure> {
    let mut old = files(dir);
    for unit in &mut old.units {
        unit.active = units.is_active(&unit.name).await?;
    }
    if old.units.is_empty() {
        return Ok(old);
    }
    old.fstab = fs::read_to_string("/etc/fstab").ok().and_then(|text| in_fstab(&text));
    let texts = old.units.iter().filter_map(|unit| fs::read_to_string(&unit.file).ok());
    old.targets = texts.flat_map(|text| [targets(&text), scripts(&text)]).flatten().chain(running()).collect();
    let mounts = disk::all_mounts()?;
    let mounted = old.units.iter().filter(|unit| unit.active).filter_map(|unit| unit.mounts.as_ref());
    old.users = mounted.flat_map(|path| users::of_mount(path, &mounts)).collect();
    Ok(old)
}

/// Whether a unit mounts a network block device by its number, for Crucible.
fn is_by_hand(text: &str) -> bool {
    let device = setting(text, "What").and_then(|what| what.strip_prefix("/dev/nbd"));
    let numbered = device.is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()));
    numbered && text.contains("crucible") && made_for(text).is_none()
}

/// The units' files.
fn files(dir: &Path) -> Old {
    let mut old = Old::default();
    let mut names: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()) {
        let file = dir.join(name);
        let unit = |mounts: Option<PathBuf>| OldUnit { name: name.into(), file: file.clone(), mounts, active: false };
        let by_hand = || fs::read_to_string(&file).ok().filter(|text| is_by_hand(text));
        let path = |text: String| setting(&text, "Where").map(|path| path.replace("%%", "%").into());
        if name.ends_with(".mount") {
            old.units.extend(by_hand().map(|text| unit(path(text))));
        } else if name.strip_suffix(places::ASIDE).is_some_and(|name| name.ends_with(".mount")) {
            old.aside = by_hand().map(|text| unit(path(text))).or(old.aside);
        }
    }
    for name in SERVICES {
        let file = dir.join(name);
        if file.exists() {
            old.units.push(OldUnit { name: name.into(), file, mounts: None, active: false });
        }
    }
    old
}

/// The words behind `--target` in a text.
fn targets(text: &str) -> BTreeSet<SocketAddr> {
    let parting = |c: char| c.is_whitespace() || "\"'\\=".contains(c);
    let words: Vec<_> = text.split(parting).filter(|word| !word.is_empty()).collect();
    let pairs = words.windows(2).filter(|pair| ["--target", "-t"].contains(&pair[0]));
    pairs.filter_map(|pair| pair[1].parse().ok()).collect()
}

/// The same in the scripts that a unit runs.
fn scripts(unit: &str) -> BTreeSet<SocketAddr> {
    let script = |text: &str| {
        let path = text.split_whitespace().next()?.trim_start_matches(['-', '+', '!', '@', ':']);
        let short = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= SCRIPT_LIMIT_BYTES);
        short.then(|| fs::read_to_string(path).ok()).flatten()
    };
    setting(unit, "ExecStart").and_then(script).map(|text| targets(&text)).unwrap_or_default()
}

/// The same of the servers that run.
fn running() -> BTreeSet<SocketAddr> {
    let all = all_processes().into_iter().flatten().flatten();
    let words = all.filter_map(|process| process.cmdline().ok());
    let servers = words.filter(|words| words.first().is_some_and(|program| program.ends_with(SERVER)));
    servers.flat_map(|words| targets(&words.join(" "))).collect()
}

/// A line that mounts a network block device by its number.
fn in_fstab(text: &str) -> Option<String> {
    text.lines().map(str::trim).find(|line| line.starts_with("/dev/nbd")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT: &str =
        "[Unit]\nRequires=crucible-nbd-connect.service\n[Mount]\nWhat=/dev/nbd0\nWhere=/mnt/crucible-storage\n";

    #[test]
    fn what_was_made_by_hand_is_told_from_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert!(files(dir.path()).units.is_empty());
        write("mnt-crucible\\x2dstorage.mount", MOUNT);
        write("mnt-other.mount", "[Unit]\nDescription=somebody's\n[Mount]\nWhat=/dev/nbd1\nWhere=/mnt/other\n");
        write("mnt-own.mount", &super::super::texts::mount(&"v".parse().unwrap(), Path::new("/mnt/own")));
        write("crucible-nbd.service", "[Service]\n");
        write("crucible-nbd-connect.service", "[Service]\n");
        let names: Vec<_> = files(dir.path()).units.into_iter().map(|unit| unit.name).collect();
        assert_eq!(names, ["mnt-crucible\\x2dstorage.mount", "crucible-nbd-connect.service", "crucible-nbd.service"]);
        write(&format!("mnt-crucible\\x2dstorage.mount{}", places::ASIDE), MOUNT);
        let aside = files(dir.path()).aside.unwrap();
        assert_eq!(aside.mounts.as_deref(), Some(Path::new("/mnt/crucible-storage")));
    }

    #[test]
    fn what_a_server_is_told_is_read_from_its_unit_and_its_script() {
        let all: BTreeSet<_> = [3820, 3821, 3822].map(|port| SocketAddr::from(([192, 168, 4, 189], port))).into();
        let unit = "[Service]\nExecStart=/usr/local/bin/w --target 192.168.4.189:3820 --target=192.168.4.189:3821 \\\n -t \"192.168.4.189:3822\"\n";
        assert_eq!(targets(unit), all);
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("wrapper");
        fs::write(
            &script,
            "#!/bin/sh\nexec crucible-nbd-server --gen $(date +%s) --target $A --target 192.168.4.189:3820\n",
        )
        .unwrap();
        assert_eq!(scripts(&format!("[Service]\nExecStart=-{} a b\n", script.display())).len(), 1);
        assert_eq!(scripts("[Service]\nExecStart=/nowhere/wrapper\n"), BTreeSet::new());
        assert_eq!(in_fstab("# /dev/nbd0\n/dev/sda1 / ext4\n").as_deref(), None);
        assert!(in_fstab(" /dev/nbd0 /mnt ext4 defaults 0 0\n").is_some());
    }
}
