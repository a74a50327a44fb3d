//! The configuration from the machine's credentials; regions that wait to be created; and a data
//! partition that is gone.

use crate::guest::{BOOT, Disk, repository, run};
use crucible_sled::check::Code;
use std::process::Command;

#[test]
fn credentials_make_a_sled_and_a_lost_data_partition_is_an_alarm() {
    let disk = Disk::new();
    std::fs::write(disk.file("sled.toml"), std::fs::read_to_string(repository("etc/sled.toml")).unwrap()).unwrap();
    let credential = |name: &str, file: &str| format!("{name}={}", disk.file(file).display());
    let credentials = [
        credential("sled.toml", "sled.toml"),
        credential("sled.port-map.toml", "port-map.toml"),
        credential("ssh.authorized_keys.root", "key.pub"),
    ];
    let arguments: Vec<_> = credentials.iter().flat_map(|credential| ["--credential", credential]).collect();
    let mut guest = disk.boot_with(&arguments);
    let volume = guest.until_answer("pve", 503);
    let waits = |code: Code| volume.checks.iter().any(|check| check.code == code);
    assert!(waits(Code::RegionMissing) || waits(Code::DataForeign) || waits(Code::DataNotMounted), "{volume:?}");
    guest.until_says("sledctl region create --all", BOOT, |said| said.contains("pve-2"));
    guest.until_ready("pve");
    guest.switch_off();

    // Somebody takes the data partition away; everything else is as it was.
    let table = || run(Command::new(repository("image/tools")).args(["sfdisk", "--dump"]).arg(disk.path()));
    let index = table().lines().filter(|line| line.contains("start=")).position(|line| line.contains("\"crucible\""));
    let index = (index.expect("there is a data partition") + 1).to_string();
    run(Command::new(repository("image/tools")).args(["sfdisk", "--quiet", "--delete"]).arg(disk.path()).arg(index));
    let mut guest = disk.boot();
    let volume = guest.until("DATA_NOT_MOUNTED", BOOT, |guest| {
        let (code, body) = guest.ask("GET", "/v1/volumes/pve", "")?;
        (code == 503 && body.contains("DATA_NOT_MOUNTED")).then_some(body)
    });
    assert!(volume.contains("remedy"), "{volume}");
    guest.until_says("systemctl show -P ActiveState sled-data-disk.service", BOOT, |state| state.trim() == "failed");
    guest.switch_off();
    assert!(!table().contains("\"crucible\""), "another partition was made in the place of the lost one");
}
