//! Sled without its supervisor: what `sledctl` shows, reports, backs up and puts back then.

use crucible_sled::wire::State;
use support::layer::Layer;
use support::machine::{Machine, has};

fn printed(machine: &Machine, words: &[&str], code: i32) -> String {
    let output = machine.run(&[&["sledctl"], words].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A part of a report that was written to /root/r.tar.gz.
fn part(machine: &Machine, name: &str) -> String {
    machine.sh(&format!("tar -xzOf /root/r.tar.gz --wildcards '*/{name}'"))
}

#[test]
fn without_a_supervisor_what_serves_is_told_and_what_is_lost_comes_back() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    printed(&machine, &["backup", "/root/b.tar.gz"], 0);
    let refused = machine.run(&["sledctl", "restore", "/root/b.tar.gz", "--yes"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the supervisor runs"), "{refused:?}");
    printed(&machine, &["report", "/root/r.tar.gz", "--yes"], 0);
    assert!(part(&machine, "supervisor/sled.json").contains("still-fawn"));
    for log in ["log/sledd.txt", "units/show.txt", "machine/sockets.txt", "log/still-fawn-0.txt"] {
        assert!(!part(&machine, log).is_empty(), "{log} is empty: {}", part(&machine, "parts.json"));
    }

    machine.ok(&["systemctl", "stop", "sledd.socket", "sledd.service"]);
    let said = printed(&machine, &["status"], 4);
    let of = |word: &str| said.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {said}"));
    assert!(of("sledd.service").contains("inactive"), "{said}");
    assert!(of("/crucible").contains("mounted"), "{said}");
    let region = of("still-fawn-0");
    assert!(region.contains("active (running)") && region.contains("yes"), "{said}");
    printed(&machine, &["region", "list"], 4);

    machine.sh("rm -f /crucible/.sled/ledger.json*");
    let said = printed(&machine, &["restore", "/root/b.tar.gz", "--yes"], 0);
    assert!(said.contains("disk/ledger.json"), "{said}");
    machine.ok(&["systemctl", "start", "sledd.socket", "sledd.service"]);
    // Tickets may have been granted since the backup was made: an operator says who may have the volume.
    machine.wait_for("still-fawn", |volume| has(volume, "TICKETS_UNREADABLE"));
    let serving = |machine: &Machine| {
        let regions = machine.volume("still-fawn").regions;
        regions.iter().all(|region| region.state == Some(State::Serving))
    };
    assert!(serving(&machine) && machine.pids() == before);
}
