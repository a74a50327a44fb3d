//! What a sled remembers, broken; a kernel that crashes; and disks that look like its own. None of it costs a region, and
//! each is told.

use crate::guest::{BOOT, Disk, Guest, run};
use crucible_sled::check::Code;
use std::process::Command;
use support::places::repository;

/// The words of a sled that may have been started from two disks.
const TWO_DISKS: &str = "one is a copy of the other";

#[test]
fn a_memory_that_cannot_be_read_is_made_anew_and_the_regions_are_the_sleds_again() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    let uuid = guest.until_ready("still-fawn").regions[0].uuid;
    crashes(&mut guest);
    fills(&mut guest);
    guest.switch_off();

    // All of it, with what e2fsck could mend it by.
    wipe(&disk, "sled-var");
    let other = another(&disk);
    let drive = format!("file={other},format=raw,if=virtio");
    let mut guest = disk.boot_on(&["-drive", &drive]);
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid, "{}", guest.console());
    let cause = told(&mut guest, Code::VarRenewed);
    assert!(cause.contains("made anew"), "{cause}");
    uses_its_own_disk(&guest);
    guest.says("mv /var/etc/renewed /var/tmp");
    guest.until("an end of VAR_RENEWED", BOOT, |guest| {
        guest.sled()?.checks.iter().all(|check| check.code != Code::VarRenewed).then_some(())
    });
    guest.switch_off();

    // A copy: which of the two is its own nobody can tell, and so neither is touched.
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(disk.path()).arg(&other));
    disk_forgets(&disk);
    let mut guest = disk.boot_on(&["-drive", &drive]);
    guest.until(TWO_DISKS, BOOT, |guest| guest.console_shows(TWO_DISKS).then_some(()));
    guest.cut();
    let mut guest = disk.boot();
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
}

fn disk_forgets(disk: &Disk) {
    std::fs::File::create(disk.file("console")).unwrap();
}

fn told(guest: &mut Guest<'_>, code: Code) -> String {
    guest.until(code.as_str(), BOOT, |guest| {
        guest.sled()?.checks.into_iter().find(|check| check.code == code).map(|check| check.cause)
    })
}

/// The kernel's last words outlive it.
fn crashes(guest: &mut Guest<'_>) {
    guest.reboots_after("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &");
    guest.until_ready("still-fawn");
    let cause = told(guest, Code::KernelCrashed);
    assert!(cause.contains("/var/lib/systemd/pstore/"), "{cause}");
    assert!(cause.contains("sysrq") || cause.contains("panic") || cause.contains("BUG"), "{cause}");
    let ended = told(guest, Code::SledUnclean);
    assert!(ended.contains("its kernel panicked"), "{ended}");
}

/// What fills /var is told before it is full.
fn fills(guest: &mut Guest<'_>) {
    guest.says("fallocate -l $(($(df --output=avail -B1 /var | tail -n 1) - 40000000)) /var/filler");
    let cause = told(guest, Code::VarLow);
    assert!(cause.contains("is free at /var"), "{cause}");
    guest.says("rm /var/filler");
}

/// Another disk has partitions with the same names, and none of them is used.
fn uses_its_own_disk(guest: &Guest<'_>) {
    assert_eq!(guest.says("lsblk -dno NAME,TYPE | grep -c '^vd'").trim(), "2");
    let own = guest.says("cat /run/sled-disk");
    for at in ["/var", "/crucible"] {
        let source = guest.says(&format!("findmnt -no SOURCE {at}"));
        assert!(source.starts_with(&format!("/dev/{}", own.trim())), "{at} is {source}");
    }
    let below = guest.says("lsblk -snro NAME,TYPE /dev/mapper/root | awk '$2 == \"disk\" { print $1 }' | sort -u");
    assert_eq!(below, own, "the root lies on another disk");
    assert_eq!(
        guest.says("sledctl --json status | grep -o '\"sled\": \"[^\"]*\"' | head -n 1").trim(),
        "\"sled\": \"proper-raptor\""
    );
}

/// Another sled's disk, flashed with the same version, which remembers another name.
fn another(disk: &Disk) -> String {
    let path = disk.file("other.img");
    run(Command::new("truncate").args(["-s", "6G"]).arg(&path));
    let device = crate::flash::Loop::over(path.clone());
    let flashed = device.flash(&["--yes"]);
    assert!(flashed.status.success(), "{}", crate::flash::said(&flashed));
    drop(device);
    run(Command::new(repository("image/configure")).arg(&path).args([
        "--name",
        "other-sled",
        "--address",
        "192.168.4.190/24",
        "--nic",
        "enx00e04ca81110",
    ]));
    path.display().to_string()
}

/// Makes a hole of a partition.
fn wipe(disk: &Disk, name: &str) {
    let table = run(Command::new(repository("image/tools")).args(["sfdisk", "--json"]).arg(disk.path()));
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let found = partitions.iter().find(|partition| partition["name"] == name).unwrap();
    let bytes = |key: &str| (found[key].as_u64().unwrap() * 512).to_string();
    let hole = ["--punch-hole", "--offset", &bytes("start"), "--length", &bytes("size")];
    run(Command::new("fallocate").args(hole).arg(disk.path()));
}
