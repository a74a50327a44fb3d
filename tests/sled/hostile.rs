//! Hostile disks: things on one that should not be there, and one that has no room. Each has its error, and nothing
//! is lost.

use crucible_sled::wire::State;
use support::layer::{Layer, SMALL};
use support::machine::{Machine, has};

/// Stops the region's downstairs, does something to its directory, and starts the supervisor
/// anew; the region must then say why it does not run.
fn refused_to_start(machine: &Machine, script: &str, code: &str, cause: &str) {
    machine.sh(&format!(
        "systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-0; cd /crucible/still-fawn-0; {script}; \
         systemctl start sledd.socket"
    ));
    let check = machine.wait_for_check("still-fawn", code);
    assert!(check.cause.contains(cause), "{check:#?}");
    let unit = machine.run(&["systemctl", "is-active", "-q", "crucible-downstairs@still-fawn-0"]);
    assert!(!unit.status.success(), "it runs all the same");
}

#[test]
fn files_that_a_downstairs_cannot_use_are_named_before_it_starts() {
    let machine = Layer::small().boot_and_create();
    let well = |machine: &Machine, script: &str| {
        machine.sh(&format!("cd /crucible/still-fawn-0; {script}"));
        machine.wait_for("still-fawn", |volume| volume.ready);
    };
    refused_to_start(
        &machine,
        "chown root 00/000/002",
        "REGION_DAMAGED",
        "00/000/002: it belongs to the user with id 0",
    );
    well(&machine, "chown crucible 00/000/002");
    refused_to_start(&machine, "mv 00/000/001 /root/", "REGION_DAMAGED", "00/000/001: No such file");
    well(&machine, "mv /root/001 00/000/");
    refused_to_start(&machine, "cp -a 00/000/003 /root/; truncate -s -1 00/000/003", "REGION_DAMAGED", "are right");
    well(&machine, "cp -a /root/003 00/000/003");
    refused_to_start(
        &machine,
        "cp -a region.json /root/; truncate -s 40 region.json",
        "REGION_IDENTITY",
        "cannot be read",
    );
    well(&machine, "cp -a /root/region.json .");
    refused_to_start(
        &machine,
        "sed -i 's/\"database_read_version\": *1/\"database_read_version\": 2/' region.json",
        "REGION_IDENTITY",
        "format 2, and only 1 is understood",
    );
    well(&machine, "cp -a /root/region.json .");
    // A field that this supervisor does not know is a newer program's, and no reason to stop.
    machine
        .sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-0; cd /crucible/still-fawn-0; \
         sed -i 's/\"encrypted\"/\"later\": 1, \"encrypted\"/' region.json; systemctl start sledd.socket");
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn a_region_mounted_read_only_is_told_and_neither_started_nor_moved() {
    let machine = Layer::small().boot_and_create();
    let mount = "mount --bind . . && mount -o remount,bind,ro /crucible/still-fawn-0";
    refused_to_start(&machine, mount, "REGION_DAMAGED", "mounted read-only");
    let refused = machine.run(&["sledctl", "region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("was not deleted") && said.contains("it is where it was"), "{said}");
    machine.sh("umount /crucible/still-fawn-0");
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn silly_names_are_refused_before_anything_is_asked() {
    let machine = Layer::small().boot();
    let long = "x".repeat(200) + "-0";
    for name in ["../x", "", long.as_str(), "übung-0", "still-fawn-7", "still-fawn", "-0"] {
        for words in [&["create"][..], &["adopt"], &["delete"], &["restore"]] {
            let refused = machine.run(&[&["sledctl", "region"], words, &["--", name]].concat());
            assert_eq!(refused.status.code(), Some(2), "{words:?} {name:?}: {refused:?}");
        }
    }
    assert_eq!(machine.sh("ls -A /crucible"), ".sled\n.trash\nlost+found\n");
}

/// The disk is full to the last blocks at each step: what is asked for is done or refused, the
/// region stays whole in exactly one place, and with room everything goes on.
#[test]
fn a_disk_that_is_full_at_any_step_loses_nothing() {
    let map = SMALL.replace("extent_count = 4", "extent_count = 2");
    let machine = Layer::small().with("etc/sled/port-map.toml", &map).with_disk("40M").boot();
    machine.sh("tune2fs -m 0 /dev/sled-data >/dev/null 2>&1");
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    let uuid = machine.region("still-fawn-0").uuid;
    let region = "still-fawn-0";
    for blocks in 0..24 {
        machine.sh(&format!(
            "cd /crucible; dd if=/dev/zero of=full bs=4k 2>/dev/null || true; sync -f .; \
             truncate -s -{} full; sync -f .",
            blocks * 4096
        ));
        machine.run(&["sledctl", "region", "delete", region, "--yes-destroy", region]);
        machine.run(&["sledctl", "region", "restore", region]);
        machine.run(&["sledctl", "region", "create", "still-fawn-1"]);
        machine.sh("rm /crucible/full");
        assert_eq!(machine.sh("ls -A /crucible/.incoming"), "", "{blocks} blocks: an attempt was left");
        let there = machine.run(&["test", "-d", "/crucible/still-fawn-0"]).status.success();
        if !there {
            machine.ok(&["sledctl", "region", "restore", region]);
        }
        machine.wait_for("still-fawn", |volume| volume.regions[0].state == Some(State::Serving));
        assert_eq!(machine.region(region).uuid, uuid, "{blocks} blocks");
        if machine.run(&["test", "-d", "/crucible/still-fawn-1"]).status.success() {
            machine.wait_for("still-fawn", |volume| volume.regions[1].state == Some(State::Serving));
            machine.ok(&["sledctl", "region", "delete", "still-fawn-1", "--yes-destroy", "still-fawn-1"]);
            machine.ok(&["sledctl", "region", "purge", "still-fawn-1", "--yes-destroy", "still-fawn-1"]);
        }
    }
    assert!(!has(&machine.volume("still-fawn"), "LEDGER_DAMAGED"));
}
