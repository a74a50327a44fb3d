//! Deleting a region, having it back, and removing it for good.

use crucible_sled::wire::{State, StorageDetail};
use support::layer::Layer;
use support::machine::has;

fn storage(machine: &support::machine::Machine) -> StorageDetail {
    serde_json::from_slice(&machine.run(&["sledctl", "--json", "storage"]).stdout).unwrap()
}

fn delete(machine: &support::machine::Machine, region: &str) {
    machine.ok(&["sledctl", "region", "delete", region, "--yes-destroy", region]);
}

#[test]
fn a_deleted_region_can_be_had_back_as_it_was() {
    let machine = Layer::small().boot_and_create();
    let before = machine.region("still-fawn-1");
    machine.sh("echo precious >/crucible/still-fawn-1/note");
    let once = machine.run(&["sledctl", "region", "delete", "still-fawn-1"]);
    let said = String::from_utf8_lossy(&once.stderr);
    assert!(once.status.code() == Some(1) && said.contains("--yes-destroy still-fawn-1"), "{said}");
    assert_eq!(machine.region("still-fawn-1").state, Some(State::Serving));

    delete(&machine, "still-fawn-1");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_MISSING"));
    let check = volume.checks.iter().find(|check| check.code.as_str() == "REGION_MISSING").unwrap();
    assert!(check.remedy.contains("sledctl region restore still-fawn-1"), "{check:#?}");
    assert_eq!(machine.run(&["test", "-e", "/crucible/still-fawn-1"]).status.code(), Some(1));
    let trash = storage(&machine).trash;
    assert_eq!(trash.len(), 1);
    assert!(trash[0].used_bytes > 0 && !trash[0].removing);
    assert_eq!(trash[0].kept_until.duration_since(trash[0].deleted).as_hours(), 7 * 24);

    machine.ok(&["sledctl", "region", "restore", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.region("still-fawn-1").uuid, before.uuid);
    assert_eq!(machine.sh("cat /crucible/still-fawn-1/note; ls /crucible/.trash"), "precious\n");
}

/// A volume that began anew while a region of its earlier life lay in the trash: at the next activation that one, of a higher
/// generation, would be copied over what was written since.
#[test]
fn what_is_older_and_would_win_over_its_siblings_does_not_come_back() {
    let machine = Layer::small().boot_and_create();
    delete(&machine, "still-fawn-0");
    // Generation and flush lie in an extent's last bytes.
    let write =
        "ends() { at=$(($(stat -c %s $1) - 31)); printf $2 | dd of=$1 bs=1 seek=$at conv=notrunc status=none; }";
    let older = "old=$(echo /crucible/.trash/still-fawn-0.*/00/000/000); new=/crucible/still-fawn-1/00/000/000";
    let set = r"ends $old '\011\0\0\0\0\0\0\0\001'; ends $new '\003\0\0\0\0\0\0\0\001'; touch -d '1 hour ago' $old";
    machine.sh(&format!("{write}; {older}; {set}"));
    let refused = machine.run(&["sledctl", "region", "restore", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && said.contains("still-fawn-0 does not come back"), "{said}");
    assert!(said.contains("of extent 0 it has generation 9 and flush 1"), "{said}");
    assert!(said.contains("still-fawn-1 has 3 and 1, and was written later"), "{said}");
    assert!(said.contains("sledctl region create still-fawn-0"), "{said}");
    assert_eq!(storage(&machine).trash.len(), 1);

    machine.sh(&format!("{older}; touch -d '2 hours ago' $new"));
    machine.ok(&["sledctl", "region", "restore", "still-fawn-0"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// Deleted, created anew, and the old one asked for: nothing is put over another.
#[test]
fn a_new_region_takes_the_place_and_the_old_one_stays_in_the_trash_until_it_is_purged() {
    let machine = Layer::small().boot_and_create();
    let before = machine.region("still-fawn-0").uuid;
    delete(&machine, "still-fawn-0");
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_ne!(machine.region("still-fawn-0").uuid, before);
    let refused = machine.run(&["sledctl", "region", "restore", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("still-fawn-0 exists"), "{refused:?}");
    let once = machine.run(&["sledctl", "region", "purge", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&once.stderr).contains("--yes-destroy"), "{once:?}");
    machine.ok(&["sledctl", "region", "purge", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    assert_eq!(machine.sh("ls -A /crucible/.trash"), "");
    assert_eq!(storage(&machine).trash, []);
    assert!(machine.volume("still-fawn").ready);
    let unit = machine.ok(&["journalctl", "-o", "cat", "-u", "crucible-remove-*"]);
    assert!(unit.contains("Remove what was deleted"), "{unit}");
}

#[test]
fn what_was_kept_long_enough_goes_by_itself() {
    let machine = Layer::small().with("etc/sled/sled.toml.d/60-keep.toml", "[storage]\nkeep_deleted = \"0h\"\n");
    let machine = machine.boot_and_create();
    delete(&machine, "still-fawn-2");
    machine.until("! ls -A /crucible/.trash | grep -q .");
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_MISSING"));
    // It goes from the disk first, and then from the record.
    machine.until("! grep -q still-fawn-2 /crucible/.sled/ledger.json");
}

/// A host that is connected to any of the volume's regions is named, and keeps them all.
#[test]
fn no_region_is_taken_from_a_host_that_is_connected() {
    let machine = Layer::small().boot_and_create();
    let host = machine.in_outside(|| std::net::TcpStream::connect((support::hosts::SLED, 3832)).unwrap());
    machine.wait_for("still-fawn", |volume| !volume.regions[2].connected.is_empty());
    let refused = machine.run(&["sledctl", "region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("192.168.4.17 is connected to the volume still-fawn"), "{said}");
    assert_eq!(machine.region("still-fawn-0").state, Some(State::Serving));
    drop(host);
    machine.wait_for("still-fawn", |volume| volume.regions[2].connected.is_empty());
    delete(&machine, "still-fawn-0");
}

/// A region that is lost for good is taken off the record, and can be created anew.
#[test]
fn a_lost_region_is_taken_off_the_record() {
    let machine = Layer::small().boot_and_create();
    machine
        .sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-1; rm -r /crucible/still-fawn-1");
    machine.ok(&["systemctl", "start", "sledd.socket"]);
    machine.wait_for_check("still-fawn", "REGION_MISSING");
    delete(&machine, "still-fawn-1");
    machine.ok(&["sledctl", "region", "create", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// A region whose volume left the map has no row any more, and is deleted all the same.
#[test]
fn a_region_that_left_the_map_is_deleted_with_its_process() {
    let machine = Layer::small().boot_and_create();
    machine.sh("sed -i 's/volumes.still-fawn/volumes.renamed/' /etc/sled/port-map.toml; systemctl restart sledd");
    machine.wait_for_check("renamed", "REGION_UNMAPPED");
    machine.ok(&["sledctl", "region", "delete", "still-fawn-0"]);
    let state = machine.run(&["systemctl", "is-active", "crucible-downstairs@still-fawn-0"]);
    assert_ne!(state.status.code(), Some(0));
    assert_eq!(storage(&machine).trash.len(), 1);
}

/// Deleted twice, once by mistake: which of the two is meant is never guessed.
#[test]
fn of_two_deleted_regions_none_is_taken_for_the_other() {
    let machine = Layer::small().boot_and_create();
    let precious = machine.region("still-fawn-0").uuid.unwrap();
    delete(&machine, "still-fawn-0");
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    delete(&machine, "still-fawn-0");
    for words in [&["restore", "still-fawn-0"][..], &["purge", "still-fawn-0", "--yes-destroy", "still-fawn-0"]] {
        let refused = machine.run(&[&["sledctl", "region"], words].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("still-fawn-0 was deleted more than once: still-fawn-0."), "{said}");
    }
    let trash = storage(&machine).trash;
    let named = |one: &crucible_sled::wire::DeletedRegion| format!("{}.{}", one.region, one.deleted.as_second());
    let (old, new): (Vec<_>, Vec<_>) = trash.iter().partition(|one| one.uuid == precious);
    let new = named(new[0]);
    machine.ok(&["sledctl", "region", "purge", &new, "--yes-destroy", &new]);
    machine.ok(&["sledctl", "region", "restore", &named(old[0])]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.region("still-fawn-0").uuid, Some(precious));
}

/// A directory that a link leads to is not the supervisor's: it is never put in the trash, nor emptied.
#[test]
fn a_link_in_place_of_a_region_is_not_deleted() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-0; mkdir /root/other; \
         mv /crucible/still-fawn-0 /root/other/; ln -s /root/other/still-fawn-0 /crucible/still-fawn-0; \
         systemctl start sledd.socket");
    machine.wait_for_check("still-fawn", "REGION_IDENTITY");
    let refused = machine.run(&["sledctl", "region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not a directory"), "{refused:?}");
    assert_eq!(
        machine.sh("ls -A /crucible/.trash 2>/dev/null || true; ls /root/other/still-fawn-0/region.json"),
        "/root/other/still-fawn-0/region.json\n"
    );
}

/// A region that its downstairs still runs on, outside of its unit, stays where it is.
#[test]
fn a_region_that_a_stray_process_runs_on_is_not_deleted() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemd-run -q --unit=stray tail -f /crucible/still-fawn-0/region.json");
    let refused = machine.run(&["sledctl", "region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("of stray.service runs on /crucible/still-fawn-0: systemctl stop stray.service"), "{said}");
    machine.wait_for("still-fawn", |volume| volume.ready);
}
