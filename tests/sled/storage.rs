//! The data disk and what lies on it.

use crate::calm::Calm;
use crate::tickets::refused;
use crucible_sled::wire::State;
use std::net::TcpStream;
use std::time::Duration;
use support::layer::{Layer, SMALL};
use support::machine::has;

#[test]
fn another_uuid_in_region_json_starts_nothing() {
    let machine = Layer::small().boot_and_create();
    let uuid = machine.region("still-fawn-0").uuid.unwrap();
    machine.sh(
        "systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-0; cd /crucible/still-fawn-0; \
         cp -p region.json /root/; sed -i 's/\"uuid\": \"[0-9a-f]*/\"uuid\": \"deadbeef/' region.json; systemctl start sledd.socket",
    );
    let check = machine.wait_for_check("still-fawn", "REGION_IDENTITY");
    assert_eq!(check.subject, "region still-fawn-0");
    assert!(check.cause.contains("deadbeef") && check.cause.contains(&uuid.to_string()), "{check:#?}");
    assert_eq!(machine.region("still-fawn-0").state, Some(State::Failed));
    assert_eq!(
        machine.run(&["systemctl", "is-active", "--quiet", "crucible-downstairs@still-fawn-0"]).status.code(),
        Some(3)
    );
    machine.sh("cp -p /root/region.json /crucible/still-fawn-0/; systemctl restart sledd");
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn a_region_that_is_gone_is_an_alarm_and_is_not_made_again() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-0");
    machine.sh("mv /crucible/still-fawn-0 /crucible/elsewhere; systemctl start sledd.socket");
    let check = machine.wait_for_check("still-fawn", "REGION_MISSING");
    assert!(check.cause.contains("is gone"), "{check:#?}");
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-0"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is never created again"), "{refused:?}");
    assert_eq!(machine.run(&["test", "-e", "/crucible/still-fawn-0"]).status.code(), Some(1));
}

#[test]
fn without_the_data_disk_nothing_happens_loudly() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'; umount /crucible; systemctl start sledd.socket");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "DATA_NOT_MOUNTED"));
    assert!(!volume.ready && volume.regions.iter().all(|region| region.state == Some(State::Stopped)), "{volume:#?}");
    let refused = machine.run(&["sledctl", "region", "create", "--all"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no file system is mounted at /crucible"), "{refused:?}");
    assert_eq!(machine.sh("ls -A /crucible"), "", "something was made on the wrong disk");
    // Started by hand, the unit would mount the disk; if that cannot be, it refuses as well.
    machine.sh("mkdir -p /run/systemd/system/crucible.mount.d; cd /run/systemd/system/crucible.mount.d; \
         printf '[Mount]\\nWhat=/dev/gone\\n' >gone.conf; systemctl daemon-reload");
    let by_hand = machine.run(&["systemctl", "start", "crucible-downstairs@still-fawn-0"]);
    assert_ne!(by_hand.status.code(), Some(0), "the unit started without the disk");
    machine.sh("rm /run/systemd/system/crucible.mount.d/gone.conf; systemctl daemon-reload");
    // Mounted again, everything comes back without another word.
    machine.ok(&["systemctl", "start", "crucible.mount"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn one_copy_of_the_ledger_is_enough_and_makes_the_other_again() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    for (file, damage) in [("ledger.json", "truncate -s 100"), ("ledger.json.copy", "rm")] {
        machine.sh(&format!("systemctl stop sledd.service sledd.socket; {damage} /crucible/.sled/{file}"));
        machine.sh("systemctl start sledd.socket");
        machine.wait_for("still-fawn", |volume| volume.ready);
        machine.sh("cd /crucible/.sled; until cmp -s ledger.json ledger.json.copy; do sleep 0.05; done");
    }
    machine.sh("truncate -s 0 /crucible/.sled/ledger.json");
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    machine.sh("cd /crucible/.sled; until cmp -s ledger.json ledger.json.copy; do sleep 0.05; done");
    assert_eq!(machine.pids(), before);
}

/// Both copies are gone: nothing is done but by an operator, and the regions themselves tell
/// what the ledger said.
#[test]
fn a_lost_ledger_stops_everything_but_what_runs_and_is_rebuilt_from_the_regions() {
    let machine = Layer::small().boot_and_create();
    let (before, regions) = (machine.pids(), machine.volume("still-fawn").regions);
    machine.ok(&["sledctl", "region", "delete", "still-fawn-2", "--yes-destroy", "still-fawn-2"]);
    machine
        .sh("echo '{' >/crucible/.sled/ledger.json; echo >/crucible/.sled/ledger.json.copy; sledctl region create still-fawn-0 || true");
    let check = machine.wait_for_check("still-fawn", "LEDGER_UNREADABLE");
    assert!(check.remedy.contains("sledctl region adopt --all"), "{check:#?}");
    assert_eq!(machine.pids()[..2], before[..2]);
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-2"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    let proposed = machine.ok(&["sledctl", "region", "adopt", "--all", "--dry-run"]);
    assert_eq!(proposed.matches("would be adopted").count(), 2, "{proposed}");
    machine.ok(&["sledctl", "region", "adopt", "--all"]);
    assert_eq!(machine.pids()[..2], before[..2], "what serves is put on record as it is");
    // A deleted region is found in the trash, and can be had back.
    machine.ok(&["sledctl", "region", "restore", "still-fawn-2"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    let uuids = |regions: &[crucible_sled::wire::Region]| regions.iter().map(|r| r.uuid).collect::<Vec<_>>();
    assert_eq!(uuids(&machine.volume("still-fawn").regions), uuids(&regions));
    assert_eq!(machine.sh("ls /crucible/.sled | grep -c unreadable"), "2\n");

    // Lost once more, and a directory with it: whether that region ever was is not known any more.
    machine.sh("systemctl stop sledd.service sledd.socket crucible-downstairs@still-fawn-1; \
         mv /crucible/still-fawn-1 /root/; cd /crucible/.sled; echo '{' >ledger.json; echo >ledger.json.copy; \
         systemctl start sledd.socket");
    machine.wait_for_check("still-fawn", "LEDGER_UNREADABLE");
    machine.ok(&["sledctl", "region", "adopt", "--all"]);
    let check = machine.wait_for_check("still-fawn", "REGION_MISSING");
    assert!(check.cause.contains("the ledger was lost"), "{check:#?}");
    for words in [&["--all"][..], &["still-fawn-1"]] {
        let refused = machine.run(&[&["sledctl", "region", "create"], words].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && said.contains("--never-existed still-fawn-1"), "{said}");
    }
    // Things that an older supervisor cannot read are in the ledger for as long as there is a doubt, and no longer.
    let ledger = || machine.sh("cat /crucible/.sled/ledger.json");
    assert!(ledger().contains("\"version\": 5") && ledger().contains("doubted"), "{}", ledger());
    machine.ok(&["sledctl", "region", "create", "still-fawn-1", "--never-existed", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert!(!ledger().contains("\"version\": 5") && !ledger().contains("doubted"), "{}", ledger());
}

#[test]
fn thick_regions_take_their_blocks_or_are_refused_with_the_arithmetic() {
    // 64 extents of 1 MiB and a bit; three such regions do not fit into 160 MB.
    let map = SMALL.replace("extent_size = 64", "extent_size = 2048").replace("extent_count = 4", "extent_count = 64");
    let machine = Layer::small()
        .with("etc/sled/port-map.toml", &map)
        .with("etc/sled/sled.toml.d/60-thick.toml", "[storage]\nprovisioning = \"thick\"\n")
        .with_disk("200M")
        .boot();
    machine.ok(&["sledctl", "region", "create", "still-fawn-0"]);
    let blocks: u64 = machine.sh("du -s --block-size=1 /crucible/still-fawn-0 | cut -f1").trim().parse().unwrap();
    assert!(blocks >= 64 << 20, "only {blocks} bytes are taken");
    assert_eq!(machine.sh("stat -c %s /crucible/still-fawn-0/00/000/03F"), "1245472\n");
    // Together they are refused once, before the first; one alone with its own arithmetic.
    let refused = machine.run(&["sledctl", "region", "create", "--all"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("2 regions do not fit on /crucible: together they take 152"), "{said}");
    machine.ok(&["sledctl", "region", "create", "still-fawn-1"]);
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-2"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    for part in ["does not fit: it takes 76 MiB, ", " is kept in reserve (5%, and at least 1.1 MiB to repair a region)"]
    {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "");
}

#[test]
fn a_disk_that_became_read_only_blocks_its_volumes() {
    let machine = Layer::small().boot_and_create();
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'; mount -o remount,ro /crucible");
    machine.ok(&["systemctl", "start", "sledd.socket"]);
    let check = machine.wait_for_check("still-fawn", "DATA_READ_ONLY");
    assert_eq!(check.subject, "disk /crucible");
    assert!(machine.volume("still-fawn").regions.iter().all(|region| region.state == Some(State::Stopped)));
    machine.sh("mount -o remount,rw /crucible; systemctl restart sledd");
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// The region's directory belongs to the service user; what it puts there must not hold up or
/// lead astray a supervisor that runs as root.
#[test]
fn a_pipe_or_a_link_in_place_of_region_json_is_told_and_holds_up_nothing() {
    let machine = Layer::small().boot_and_create();
    machine.sh("cd /crucible/still-fawn-0; mv region.json /root/; mkfifo region.json; systemctl restart sledd");
    let check = machine.wait_for_check("still-fawn", "REGION_IDENTITY");
    assert!(check.cause.contains("not a regular file"), "{check:#?}");
    machine.sh("cd /crucible/still-fawn-0; rm region.json; ln -s /etc/shadow region.json; systemctl restart sledd");
    let link = machine.wait_for("still-fawn", |volume| {
        volume
            .checks
            .iter()
            .any(|check| check.code.as_str() == "REGION_IDENTITY" && check.cause.contains("symbolic links"))
    });
    assert!(!link.ready);
    machine.sh("cd /crucible/still-fawn-0; rm region.json; mv /root/region.json .; systemctl restart sledd");
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// Questions are answered by what is on the disk now, not by an earlier look.
#[test]
fn a_region_that_was_just_moved_away_is_not_said_to_be_there() {
    let machine = Layer::small().boot_and_create();
    machine.sh("mv /crucible/still-fawn-1 /crucible/elsewhere");
    let refused = machine.run(&["sledctl", "region", "create", "still-fawn-1"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let volume = machine.wait_for("still-fawn", |volume| has(volume, "REGION_MISSING"));
    assert!(!volume.ready);
}

#[test]
fn a_full_disk_blocks_thin_regions_until_there_is_room() {
    let map = SMALL.replace("extent_size = 64", "extent_size = 2048").replace("extent_count = 4", "extent_count = 64");
    let machine = Layer::small().with("etc/sled/port-map.toml", &map).with_disk("200M").boot_and_create();
    // Bytes taken of what was promised are as new as what was promised.
    machine.ok(&["sledctl", "region", "delete", "still-fawn-2", "--yes-destroy", "still-fawn-2"]);
    machine.sh("cd /crucible/still-fawn-0/00/000; for one in 0*; do fallocate -n -l 1M $one; done");
    machine.ok(&["sledctl", "region", "create", "still-fawn-2"]);
    let check = machine.wait_for_check("still-fawn", "DISK_OVERCOMMITTED");
    let taken = check.cause.split_once("of which ").and_then(|(_, rest)| rest.split_once(" MiB is taken"));
    let taken: f64 = taken.unwrap_or_else(|| panic!("{check:#?}")).0.parse().unwrap();
    assert!((64.0..76.0).contains(&taken), "{check:#?}");

    machine.wait_for("still-fawn", |volume| volume.ready);
    let before = machine.pids();
    // More than once: a look that comes now and then may come in time by chance.
    for _ in 0..3 {
        machine.sh("dd if=/dev/zero of=/crucible/full bs=1M 2>/dev/null || true");
        // A look that came while it was being filled has told of what was left then.
        machine.wait_for("still-fawn", |volume| {
            volume.checks.iter().any(|check| check.code.as_str() == "DISK_FULL" && check.cause.contains("0 B of "))
        });
        machine.sh("rm /crucible/full");
        let since = Calm::begin();
        machine.wait_for("still-fawn", |volume| volume.ready);
        assert!(since.elapsed() < Duration::from_secs(3), "it was told after {:?}", since.elapsed());
    }
    assert_eq!(machine.pids(), before, "a full disk is not cured by a restart");
}

/// Thick regions on a disk that something else has filled: they go on, and a host that is attached too. But
/// what one of them misses while it is away could not be repaired.
#[test]
fn what_could_not_be_repaired_stays_with_its_host_and_no_other_attaches() {
    let machine = Layer::small()
        .with("etc/sled/sled.toml.d/60-thick.toml", "[storage]\nprovisioning = \"thick\"\n")
        .with_disk("200M")
        .boot_and_create();
    let before = machine.pids();
    let connect = |ports: [u16; 3]| {
        machine.in_outside(move || ports.map(|port| TcpStream::connect((support::hosts::SLED, port)).unwrap()))
    };
    let connected = |count: usize| {
        machine.wait_for("still-fawn", |volume| {
            volume.regions.iter().filter(|region| !region.connected.is_empty()).count() == count
        })
    };
    let host = connect([3830, 3831, 3832]);
    connected(3);
    machine.sh("dd if=/dev/zero of=/crucible/full bs=1M 2>/dev/null || true");
    machine.wait_for_check("still-fawn", "REPAIR_IMPOSSIBLE");
    assert!(!machine.volume("still-fawn").ready);
    let why = refused(&machine.host("192.168.4.17"), "", 503, "NOT_READY").error;
    assert!(why.message.contains("REPAIR_IMPOSSIBLE") && why.remedy.contains("make room"), "{why:#?}");
    for words in
        [&["region", "restart", "still-fawn-0"][..], &["region", "hold", "still-fawn-0"], &["downstairs", "upgrade"]]
    {
        let asked = machine.run(&[&["sledctl"], words].concat());
        let said = String::from_utf8_lossy(&asked.stderr);
        assert_eq!(asked.status.code(), Some(1), "{words:?}: {said}");
        for part in ["192.168.4.17 is connected to it, and could not repair", "a repair takes", "--force"] {
            assert!(said.contains(part), "{words:?}: {part:?} is not in {said}");
        }
    }
    // Nor does a region go to another port.
    machine.sh("sed -i 's/:3830\", \"proper-raptor:3831/:3840\", \"proper-raptor:3831/' /etc/sled/port-map.toml; \
         sledctl reload --yes; until journalctl -u sledd -o cat | grep 'is not moved to where the port map has it' | \
         grep -q 'could not repair'; do sleep 0.1; done");
    assert_eq!(machine.pids(), before);
    // Once nobody is connected nobody misses anything.
    drop(host);
    let moved = machine.wait_for("still-fawn", |volume| volume.regions[0].state == Some(State::Serving));
    assert_eq!(moved.regions[0].port, 3840);
    assert!(!moved.ready && has(&moved, "REPAIR_IMPOSSIBLE"));
    machine.ok(&["sledctl", "region", "restart", "still-fawn-1"]);
    machine.sh("rm /crucible/full");
    let host = connect([3840, 3831, 3832]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    drop(host);
}

/// Without inodes nothing can be made; but a region is held and released, deleted, had back and removed for
/// good all the same: that is how there are inodes again.
#[test]
fn without_inodes_a_region_is_held_and_deleted_all_the_same() {
    let machine = Layer::small().with_disk("200M").boot_and_create();
    machine.sh(
        "mkdir /crucible/many; cd /crucible/many; seq 100000 | xargs touch 2>/dev/null || true;          ! touch another 2>/dev/null; df --output=iavail . | grep -qx ' *0'",
    );
    let check = machine.wait_for_check("still-fawn", "DISK_FULL");
    assert!(check.cause.contains("inodes"), "{check:#?}");
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1"]);
    machine.ok(&["sledctl", "region", "release", "still-fawn-1"]);
    let serves = |name: usize| {
        machine.wait_for("still-fawn", move |volume| volume.regions[name].state == Some(State::Serving));
    };
    serves(1);
    let delete = ["sledctl", "region", "delete", "still-fawn-2", "--yes-destroy", "still-fawn-2"];
    machine.ok(&delete);
    let created = machine.run(&["sledctl", "region", "create", "still-fawn-2"]);
    let said = String::from_utf8_lossy(&created.stderr);
    assert!(created.status.code() == Some(1) && said.contains("inodes left"), "{said}");
    machine.ok(&["sledctl", "region", "restore", "still-fawn-2"]);
    serves(2);
    machine.ok(&delete);
    machine.ok(&["sledctl", "region", "purge", "still-fawn-2", "--yes-destroy", "still-fawn-2"]);
    let free: u64 = machine.sh("df --output=iavail /crucible | tail -1").trim().parse().unwrap();
    assert!(free > 0, "{free}");
    machine.sh("rm -r /crucible/many");
    machine.ok(&["sledctl", "region", "create", "still-fawn-2"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}
