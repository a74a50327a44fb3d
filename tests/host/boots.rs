//! A host is switched off and on, and its volume with it: while its sled is there, while it is not, and both at once.

use crate::machine::{Host, Machine};
use crate::mounted::{AT, IsHost};
use crate::network::{IsSled, VOLUME};
use crate::pair::Pair;
use std::fs;

#[test]
fn a_volume_is_mounted_after_each_boot_and_in_nobodys_way() {
    let pair = Pair::new(|host| host);
    let (away, home) = (&pair.sled, &pair.host);
    let (sled, host, mut steps) = pair.boot();
    host.loads();
    host.ends_load();
    steps.took("the load");
    let host = reboots(home, host, &sled);
    steps.took("a reboot");
    ends_alone(home, host, sled);
    steps.took("its end without the sled");
    let host = boots_alone(home);
    steps.took("its boot without the sled");
    let sled = away.boot();
    comes_back(&host, &sled);
    steps.took("the sled's boot");
    host.loads();
    // Flushes that the load has noted so far last on the host's own disk.
    host.says("sync -f /root");
    drop((sled, host));
    let (sled, host) = (away.boot(), home.boot());
    comes_back(&host, &sled);
    host.until_booted();
    steps.took("the loss of power");
}

/// The host is there again, and all that was flushed.
fn comes_back(host: &Machine<'_>, sled: &Machine<'_>) {
    sled.until_ready();
    host.until_mounted();
    host.verifies();
    host.is_in_order();
    host.has_no_errors();
}

/// Whether the sled knows that nobody has the volume any more.
fn released(sled: &Machine<'_>) -> bool {
    sled.says(&format!("sledctl --json volume show {VOLUME}")).contains("\"released\": true")
}

/// Reboot: the host lets go of the volume, and has it again.
fn reboots<'a>(home: &'a Host, host: Machine<'_>, sled: &Machine<'_>) -> Machine<'a> {
    assert!(!released(sled));
    host.switch_off();
    assert!(released(sled));
    let host = home.boot();
    host.until_mounted();
    host.until_booted();
    host.verifies();
    host.has_no_errors();
    host
}

/// Writes of the last moment can go nowhere: the host goes down all the same, and by itself.
fn ends_alone(home: &Host, host: Machine<'_>, sled: Machine<'_>) {
    host.says(&format!("head -c 1M /dev/urandom >{AT}/last"));
    drop(sled);
    host.switch_off();
    // Nothing was left over that systemd's very last program had to wait for.
    let console = String::from_utf8_lossy(&fs::read(home.file("console")).unwrap()).into_owned();
    assert!(!console.contains("Waiting for process") && !console.contains("issuing SIGKILL"), "{console}");
}

/// As if nothing were amiss; and it knows how it ended.
fn boots_alone(home: &Host) -> Machine<'_> {
    let host = home.boot();
    host.until_says("systemctl is-active multi-user.target", |state| state.trim() == "active");
    host.until("its login", || host.console().contains("login:").then_some(()));
    // Nobody waits for the sled but the relay, which has not given up either.
    host.until_says("systemctl list-jobs --no-legend", |jobs| jobs.lines().all(|job| job.contains("crucible-attach@")));
    assert_eq!(host.relay("ActiveState"), "activating");
    assert_eq!(host.run(&format!("findmnt {AT}")).printed, "");
    assert_eq!(host.run("journalctl -q -b -o cat --grep 'timed out'").printed, "");
    let said = host.says("journalctl -q -b -1 -o cat");
    let mut rest = said.as_str();
    for next in [
        "the machine goes down, and no sled has answered for 60 s",
        "may be lost: no sled has taken it in time",
        "/dev/nbd0 is disconnected",
        "go with this machine",
        "Unmounted mnt-volume.mount",
        "Reached target poweroff.target",
    ] {
        let at = rest.find(next).unwrap_or_else(|| panic!("{next} is not said: {rest}"));
        rest = &rest[at..];
    }
    host
}
