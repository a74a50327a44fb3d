//! A sled is reset by its operator: what it remembers is forgotten and its regions are its own again; or everything is.
//! What fails on the way is not done later, when regions were made since.

use crate::flash::Loop;
use crate::guest::{BOOT, Disk, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use support::places::repository;
use tempfile::TempDir;

#[test]
fn a_sled_forgets_what_it_remembers_or_everything_as_is_said() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    let uuid = guest.until_ready("still-fawn").regions[0].uuid;
    guest.says("echo kept >/crucible/kept; echo kept >/var/kept; sync");
    let another = guest.root("sledctl --json reset --memory --yes another");
    let said = String::from_utf8_lossy(&another.stdout).into_owned();
    assert!(!another.status.success() && said.contains("NOT_CONFIRMED"), "{said}");
    let shown: Value = serde_json::from_str(&guest.says("sledctl --json reset --factory --dry-run")).unwrap();
    assert_eq!(shown["regions_lost"].as_array().map(Vec::len), Some(3), "{shown}");
    println!("{}", guest.says("sledctl reset --memory --dry-run"));

    // With another identity its bridge has another address, of which a network in QEMU never hears by itself: so it is
    // reached after another boot.
    guest.forget_console();
    _ = guest.root("sledctl reset --memory --yes proper-raptor");
    let forgets = "this sled forgets, as was asked: memory";
    guest.until(forgets, BOOT, |guest| guest.console_shows(forgets).then_some(()));
    guest.until("3 of 3", BOOT, |guest| guest.console_shows("3 of 3").then_some(()));
    guest.cut();
    let mut guest = disk.boot();
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("cat /crucible/kept; ls /var/kept /var/etc/forget 2>/dev/null; true"), "kept\n");

    guest.forget_console();
    _ = guest.root("sledctl reset --factory --yes proper-raptor");
    let bare = "This sled is not set up yet";
    guest.until(bare, BOOT, |guest| guest.console_shows(bare).then_some(()));
    guest.cut();
    // Another sled, with nothing of the one before.
    let disk = disk.configured(true);
    let mut guest = disk.boot();
    assert_ne!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("ls /crucible/kept /var/kept 2>/dev/null; true"), "");
}

/// The initrd's scripts.
const SCRIPTS: &str = "image/mkosi/mkosi.images/initrd/mkosi.extra/usr/lib/sled";

/// What a machine remembers and its data partition, as loop devices, and the programs that stand in for udev's.
struct Parts {
    dir: TempDir,
    var: Loop,
    data: Loop,
}

impl Parts {
    /// With something on both, and with the word for a reset.
    fn asked(word: &str) -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let device = |name: &str| {
            run(Command::new("truncate").args(["-s", "64M"]).arg(dir.path().join(name)));
            Loop::over(dir.path().join(name))
        };
        let (var, data) = (device("var"), device("data"));
        fs::create_dir(dir.path().join("disk")).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        symlink(data.path(), dir.path().join("disk/crucible")).unwrap();
        let parts = Self { dir, var, data };
        parts.stands_in("udevadm", "for last; do :; done; [ -e \"$last\" ]");
        for device in [&parts.var, &parts.data] {
            run(tools("mke2fs -q -t ext4 -E nodiscard \"$0\"").arg(device.path()));
            parts.on(device, &format!("mkdir etc; touch kept; echo {word} >etc/forget"));
        }
        parts
    }

    fn stands_in(&self, program: &str, script: &str) {
        let path = self.dir.path().join("bin").join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What a script says in the file system of a device.
    fn on(&self, device: &Loop, script: &str) -> String {
        let mounted = "mount \"$0\" /mnt && cd /mnt && eval \"$1\"; code=$?; cd /; umount /mnt; exit $code";
        run(tools(mounted).arg(device.path()).arg(script))
    }

    fn remembers(&self) -> String {
        self.on(&self.var, "ls kept etc/forget 2>/dev/null; cat etc/not-forgotten 2>/dev/null; true")
    }

    fn data(&self) -> String {
        self.on(&self.data, "ls kept 2>/dev/null; true")
    }

    /// What the initrd does at a boot.
    fn boots(&self) {
        self.boots_where("true");
    }

    /// What it does where that is so; `$1` is the directory.
    fn boots_where(&self, so: &str) {
        let script = format!("mount -t tmpfs tmpfs /run && {so} && PATH=\"$1/bin:$PATH\" sh \"$0\" \"$2\" \"$1/disk\"");
        run(tools(&script).arg(repository(SCRIPTS).join("check-var")).arg(self.dir.path()).arg(self.var.path()));
    }

    /// A partition CONFIG with the copy of a word, by this script. It is of type vfat, for which not every kernel has a
    /// driver.
    fn with_config(&self, script: &str) -> Loop {
        let file = self.dir.path().join("config");
        run(Command::new("truncate").args(["-s", "64M"]).arg(&file));
        let config = Loop::over(file);
        symlink(config.path(), self.dir.path().join("disk/CONFIG")).unwrap();
        run(tools("mke2fs -q -t ext4 -E nodiscard \"$0\"").arg(config.path()));
        self.on(&config, script);
        let its = format!("s/-t vfat/-t ext4/; s,/dev/sled/CONFIG,{},", config.path().display());
        self.stands_in("mount", &format!("set -- $(echo \"$@\" | sed '{its}'); exec /usr/bin/mount \"$@\""));
        config
    }
}

/// A loop device that was made read-only stays so for whoever has its number next.
impl Drop for Parts {
    fn drop(&mut self) {
        _ = Command::new("blockdev").arg("--setrw").arg(self.data.path()).status();
    }
}

fn tools(script: &str) -> Command {
    let mut command = Command::new(repository("image/tools"));
    command.args(["sh", "-c", script]);
    command
}

#[test]
fn what_is_forgotten_is_what_was_asked_for() {
    for (word, data) in [("memory", "kept\n"), ("factory", ""), ("something", "kept\n")] {
        let parts = Parts::asked(word);
        parts.boots();
        let remembers = if word == "something" { "etc/forget\nkept\n" } else { "" };
        assert_eq!((parts.remembers().as_str(), parts.data().as_str()), (remembers, data), "{word}");
    }
    // Also where the file system had to be mended first: else it would be forgotten some later time.
    let parts = Parts::asked("factory");
    parts.on(&parts.var, "mkdir lost");
    for request in ["unlink lost", "ssv state 0"] {
        run(tools("debugfs -w -R \"$1\" \"$0\"").arg(parts.var.path()).arg(request));
    }
    parts.boots();
    assert_eq!((parts.remembers(), parts.data()), (String::new(), String::new()));
}

/// The regions that are made after a reset has failed are nobody's to erase.
#[test]
fn a_reset_that_fails_is_told_and_never_done_later() {
    let config = Parts::asked("factory");
    symlink(config.dir.path().join("nothing"), config.dir.path().join("disk/CONFIG")).unwrap();
    fs::write(config.dir.path().join("nothing"), "no file system").unwrap();
    let read_only = Parts::asked("factory");
    run(Command::new("blockdev").arg("--setro").arg(read_only.data.path()));
    for (parts, reached) in [
        (
            config,
            "factory: the files on CONFIG could not be removed; the regions and what this sled remembers are as they",
        ),
        (read_only, "factory: the files on CONFIG are gone; the data partition could not be made anew"),
    ] {
        parts.boots();
        run(Command::new("blockdev").arg("--setrw").arg(parts.data.path()));
        let told = parts.remembers();
        assert!(told.starts_with("kept\n") && told.contains(reached) && !told.contains("etc/forget"), "{told}");
        assert_eq!(parts.data(), "kept\n", "{reached}");
        _ = fs::remove_file(parts.dir.path().join("disk/CONFIG"));
        parts.boots();
        assert_eq!((parts.data().as_str(), parts.remembers()), ("kept\n", told), "the next boot");
    }
}

/// Nothing is lost for a data partition that is not there yet.
#[test]
fn a_reset_whose_data_partition_does_not_appear_loses_nothing() {
    let parts = Parts::asked("factory");
    fs::remove_file(parts.dir.path().join("disk/crucible")).unwrap();
    parts.boots();
    let told = parts.remembers();
    assert!(
        told.starts_with("kept\n") && told.contains("factory: the data partition did not appear within 30 s"),
        "{told}"
    );
    assert_eq!(parts.data(), "kept\n");
}

/// Nobody knows then when it was asked for.
#[test]
fn a_reset_whose_word_went_with_the_memory_is_told_and_not_done() {
    // A version without the time has left the first.
    for (copy, told) in [
        ("factory", "(factory) was asked for, AND WAS NOT DONE"),
        ("factory 2026-12-01T04:00:00Z", "(factory) was asked for at 2026-12-01T04:00:00Z, AND WAS NOT DONE"),
        ("memory 2026-12-01T04:00:00Z", "(memory) was asked for at 2026-12-01T04:00:00Z, and is done by that"),
    ] {
        let parts = Parts::asked("factory");
        let config = parts.with_config(&format!("echo {copy} >reset.txt"));
        run(tools("dd if=/dev/zero of=\"$0\" bs=1M count=64 conv=notrunc,fsync status=none").arg(parts.var.path()));
        parts.boots();
        let renewed = parts.on(&parts.var, "cat etc/renewed");
        assert!(renewed.contains("made anew") && renewed.contains(told), "{renewed}");
        let left = parts.on(&config, "ls reset.txt 2>/dev/null; true");
        assert_eq!((parts.data().as_str(), left.as_str()), ("kept\n", ""));
    }
}

/// Somebody has removed the word, or it was never left: months later the copy would be told as a reset that was not done.
#[test]
fn a_copy_of_a_word_that_is_not_there_goes_at_the_next_boot() {
    for (word, mounted, left) in [("factory", true, "reset.txt\n"), ("", true, ""), ("", false, "reset.txt\n")] {
        let parts = Parts::asked(word);
        if word.is_empty() {
            parts.on(&parts.var, "rm etc/forget");
        }
        let config = parts.with_config("echo factory 2026-12-01T04:00:00Z >reset.txt; echo mine >sled.toml");
        let var = if mounted { "/usr/bin/mount \"$2\" /sysroot/var &&" } else { "" };
        let script = format!(
            "mount -t tmpfs tmpfs /run && touch /run/sled-stick && mkdir -p /sysroot/var && {var} \
             PATH=\"$1/bin:$PATH\" sh \"$0\" && ls /run/sled-config"
        );
        let config_partitions = repository(SCRIPTS).join("config-partitions");
        let seen = run(tools(&script).arg(config_partitions).arg(parts.dir.path()).arg(parts.var.path()));
        assert!(seen.contains("sled.toml\n"), "{seen}");
        let there = parts.on(&config, "ls reset.txt 2>/dev/null; true");
        assert_eq!((there.as_str(), parts.data().as_str()), (left, "kept\n"), "{word} {mounted}");
    }
}

/// The table says whether there are regions to forget; nothing is waited for, and nothing lost, where it names none.
#[test]
fn regions_are_forgotten_where_the_table_of_the_disk_has_their_partition() {
    let there = "echo vda >/run/sled-disk && mount --bind \"$1/sysfs\" /sys/class/block";
    for (name, data) in [("crucible", ""), ("crucible-old", "kept\n"), ("sled-var", "kept\n")] {
        let parts = Parts::asked("factory");
        for (part, name) in [("vda6", "CONFIG"), ("vda8", name)] {
            let dir = parts.dir.path().join("sysfs/vda").join(part);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("uevent"), format!("DEVTYPE=partition\nPARTN=8\nPARTNAME={name}\n")).unwrap();
        }
        parts.boots_where(there);
        assert_eq!((parts.remembers().as_str(), parts.data().as_str()), ("", data), "{name}");
    }
}

/// A stick takes the configuration of no sled that it is put into: it would carry it to the next.
#[test]
fn a_stick_looks_at_no_other_disk_for_a_configuration() {
    let parts = Parts::asked("nothing");
    let asked = parts.dir.path().join("asked");
    parts.stands_in("blkid", &format!("touch {}", asked.display()));
    parts.stands_in("sleep", "true");
    for (marker, looks) in [("", true), ("touch /run/sled-stick;", false)] {
        let script =
            format!("mount -t tmpfs tmpfs /run; echo sda >/run/sled-disk; {marker} PATH=\"$1/bin:$PATH\" sh \"$0\"");
        run(tools(&script).arg(repository(SCRIPTS).join("config-partitions")).arg(parts.dir.path()));
        assert_eq!(asked.exists(), looks, "{marker}");
        _ = fs::remove_file(&asked);
    }
}
