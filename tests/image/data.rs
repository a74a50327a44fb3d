//! A disk is flashed and becomes a sled by its machine's credentials, and its regions wait to be created;
//! flashed again it keeps its data; and a data partition that is gone is an alarm.

use crate::flash::{Loop, said};
use crate::guest::{BOOT, Disk, Guest, run};
use crucible_sled::check::Code;
use std::process::Command;
use support::places::repository;

#[test]
fn a_flashed_disk_is_a_sled_keeps_its_data_when_it_is_flashed_again_and_misses_it_when_it_is_gone() {
    let disk = Disk::empty();
    run(Command::new("truncate").args(["-s", "6G"]).arg(disk.path()));
    flashed(&disk);
    let mut guest = boots_with_credentials(&disk);
    let volume = guest.until_answer("still-fawn", 503);
    let waits = |code: Code| volume.checks.iter().any(|check| check.code == code);
    assert!(waits(Code::RegionMissing) || waits(Code::DataForeign) || waits(Code::DataNotMounted), "{volume:?}");
    guest.until_says("sledctl region create --all", BOOT, |said| said.contains("still-fawn-2"));
    let uuid = guest.until_ready("still-fawn").regions[0].uuid;
    guest.says("echo kept >/crucible/kept; echo kept >/var/kept; sync");
    guest.switch_off();

    // The system is written anew; what the machine is called, and its regions, are as they were.
    {
        let device = Loop::over(disk.path());
        let again = device.flash(&["--yes"]);
        assert!(again.status.success() && said(&again).contains("stay"), "{}", said(&again));
    }
    let mut guest = disk.boot();
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("cat /crucible/kept /var/kept"), "kept\nkept\n");
    guest.switch_off();

    // What it remembers is forgotten, and its regions are its own by the mark of its data.
    {
        let device = Loop::over(disk.path());
        let reset = device.flash(&["--yes", "--reset-memory"]);
        assert!(reset.status.success() && said(&reset).contains("FORGOTTEN"), "{}", said(&reset));
    }
    let mut guest = boots_with_credentials(&disk);
    assert_eq!(guest.until_ready("still-fawn").regions[0].uuid, uuid);
    assert_eq!(guest.says("cat /crucible/kept; ls /var/kept 2>/dev/null; true"), "kept\n");
    guest.switch_off();
    misses_its_data(&disk);
}

fn flashed(disk: &Disk) {
    let device = Loop::over(disk.path());
    let unasked = device.flash(&[]);
    assert!(!unasked.status.success() && said(&unasked).contains("nothing was written"), "{}", said(&unasked));
    let flashed = device.flash(&["--yes"]);
    assert!(flashed.status.success() && said(&flashed).contains("EVERYTHING"), "{}", said(&flashed));
    // By which its machine tells it from another sled's; but the root is found by its hash.
    let first = device.identities();
    assert!(device.flash(&["--yes", "--erase-data"]).status.success());
    for (first, second) in first.iter().zip(device.identities()) {
        assert_eq!(first.1 == second.1, first.0.starts_with("crucible-sled"), "{first:?} and {second:?}");
    }
}

/// Handed to it by its firmware.
fn boots_with_credentials(disk: &Disk) -> Guest<'_> {
    std::fs::write(disk.file("sled.toml"), std::fs::read_to_string(repository("etc/sled.toml")).unwrap()).unwrap();
    let credential = |name: &str, file: &str| format!("{name}={}", disk.file(file).display());
    let credentials = [
        credential("sled.toml", "sled.toml"),
        credential("sled.port-map.toml", "port-map.toml"),
        credential("ssh.authorized_keys.root", "key.pub"),
    ];
    let arguments: Vec<_> = credentials.iter().flat_map(|credential| ["--credential", credential]).collect();
    disk.boot_with(&arguments)
}

/// Somebody takes the data partition away; everything else is as it was.
fn misses_its_data(disk: &Disk) {
    let table = || run(Command::new(repository("image/tools")).args(["sfdisk", "--dump"]).arg(disk.path()));
    let index = table().lines().filter(|line| line.contains("start=")).position(|line| line.contains("\"crucible\""));
    let index = (index.expect("there is a data partition") + 1).to_string();
    run(Command::new(repository("image/tools")).args(["sfdisk", "--quiet", "--delete"]).arg(disk.path()).arg(index));
    let mut guest = disk.boot();
    let volume = guest.until("DATA_NOT_MOUNTED", BOOT, |guest| {
        let (code, body) = guest.ask("GET", "/v1/volumes/still-fawn", "")?;
        (code == 503 && body.contains("DATA_NOT_MOUNTED")).then_some(body)
    });
    assert!(volume.contains("remedy"), "{volume}");
    guest.until_says("systemctl show -P ActiveState sled-data-disk.service", BOOT, |state| state.trim() == "failed");
    guest.cut();
    assert!(!table().contains("\"crucible\""), "another partition was made in the place of the lost one");
}
