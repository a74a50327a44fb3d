//! Whose the data disk is: the mark, the machine's memory of it, and what is not done on another.

use crucible_sled::wire::StorageDetail;
use support::layer::Layer;
use support::machine::{Machine, has};

fn storage(machine: &Machine) -> StorageDetail {
    serde_json::from_slice(&machine.run(&["sledctl", "--json", "storage"]).stdout).unwrap()
}

/// Another file system at the root, made of a file in memory.
fn other_disk(machine: &Machine) {
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'; umount /crucible; \
         mount -t tmpfs -o mode=0755 other /crucible; systemctl start sledd.socket");
}

fn own_disk(machine: &Machine) {
    machine.sh("umount /crucible; systemctl start crucible.mount");
}

#[test]
fn at_first_boot_the_disk_is_marked_and_remembered() {
    let machine = Layer::small().boot();
    let detail = storage(&machine);
    assert_eq!(detail.belongs_to.unwrap().as_str(), "proper-raptor");
    let (mark, memory) = (machine.sh("cat /crucible/.sled/disk.json"), machine.sh("cat /var/lib/sled/disk.json"));
    assert_eq!(mark, memory);
    assert!(mark.contains(&detail.disk.unwrap().to_string()));
    // Once more changes nothing.
    machine.ok(&["sledctl", "storage", "init"]);
    assert_eq!(machine.sh("cat /crucible/.sled/disk.json"), mark);
}

#[test]
fn on_another_disk_nothing_is_done() {
    let machine = Layer::small().boot_and_create();
    other_disk(&machine);
    let check = machine.wait_for_check("still-fawn", "DATA_FOREIGN");
    assert!(check.cause.contains("has no mark, and this sled's is"), "{check:#?}");
    for words in [
        &["region", "create", "--all"][..],
        &["region", "adopt", "still-fawn-0"],
        &["region", "delete", "still-fawn-0", "--yes-destroy", "still-fawn-0"],
        &["storage", "init"],
    ] {
        let refused = machine.run(&[&["sledctl"], words].concat());
        assert_eq!(refused.status.code(), Some(1), "{words:?}: {refused:?}");
    }
    assert_eq!(machine.sh("ls -A /crucible"), "", "something was done on another disk");
    own_disk(&machine);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// The old disk is lost: the new one is taken into use by the word of an operator, who names it.
#[test]
fn a_lost_disk_is_replaced_by_its_name_only() {
    let machine = Layer::small().boot_and_create();
    let old = storage(&machine).disk.unwrap().to_string();
    other_disk(&machine);
    let check = machine.wait_for_check("still-fawn", "DATA_FOREIGN");
    assert!(check.remedy.contains(&format!("sledctl storage init --replace {old}")), "{check:#?}");
    machine.ok(&["sledctl", "storage", "init", "--replace", &old]);
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_MISSING") && !has(volume, "DATA_FOREIGN"));
    machine.ok(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    // And now the old one is a stranger.
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'; umount /crucible; systemctl start crucible.mount sledd.socket");
    machine.wait_for_check("still-fawn", "DATA_FOREIGN");
}

#[test]
fn a_disk_of_another_sled_is_refused() {
    let machine = Layer::small().boot();
    machine
        .sh("systemctl stop sledd; sed -i 's/proper-raptor/other/' /crucible/.sled/disk.json; systemctl start sledd");
    let check = machine.wait_for_check("still-fawn", "DATA_FOREIGN");
    assert!(check.cause.contains("belongs to the sled other"), "{check:#?}");
    let refused = machine.run(&["sledctl", "storage", "init"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("belongs to the sled other"), "{refused:?}");
}

/// The disk is taken away while a creation waits for its turn: what is granted for one disk is
/// not done on another.
#[test]
fn a_creation_is_not_carried_out_on_another_disk() {
    let script = "#!/bin/sh\nif [ \"$1\" = create ]; then touch /run/at-work; \
                  while [ ! -e /run/go-on ]; do sleep 0.05; done; fi\nexec /usr/lib/crucible/real \"$@\"\n";
    let layer = Layer::small().with_script("usr/lib/crucible/wrapper", script);
    let machine = layer.boot();
    machine.sh("mv /usr/lib/crucible/crucible-downstairs /usr/lib/crucible/real; \
         mv /usr/lib/crucible/wrapper /usr/lib/crucible/crucible-downstairs; \
         systemd-run -q --unit=asked sledctl region create still-fawn-0");
    // Mounted over: the old one stays below, in use.
    machine.sh("while ! ls -d /crucible/.incoming/still-fawn-0.* >/dev/null 2>&1; do sleep 0.02; done; \
                mount -t tmpfs -o mode=0755 other /crucible");
    machine.wait_for_check("still-fawn", "DATA_FOREIGN");
    machine.sh("touch /run/go-on; while systemctl -q is-active asked; do sleep 0.02; done");
    assert_eq!(machine.sh("ls -A /crucible"), "", "something was done on another disk");
    let jobs = machine.ok(&["sledctl", "jobs"]);
    assert!(jobs.contains("failed"), "{jobs}");
}
