//! What a sled says of its machine, where that is a machine: an adapter that is pulled again and again, an end without a
//! shutdown, a watchdog that resets it, a battery that is flat.

use crate::guest::{BOOT, Disk, Guest};
use crucible_sled::check::Code;

/// How often the adapter is pulled.
const PULLS: usize = 20;
/// A watchdog of QEMU's whose driver tells that it has reset the machine.
const WATCHDOG: [&str; 4] = ["-device", "i6300esb", "-action", "watchdog=reset"];
/// The time of a battery's clock that was flat.
const FLAT: [&str; 2] = ["-rtc", "base=2001-01-01T00:00:00"];

/// Waits until a condition of the sled is there, or is not, and returns its cause.
fn until_told(guest: &mut Guest<'_>, code: Code, there: bool) -> String {
    let what = format!("{code} {}", if there { "there" } else { "over" });
    guest.until(&what, BOOT, |guest| {
        let found = guest.sled()?.checks.into_iter().find(|check| check.code == code);
        (found.is_some() == there).then(|| found.map(|check| check.cause).unwrap_or_default())
    })
}

#[test]
fn an_adapter_that_is_pulled_twenty_times_is_back_in_its_bridge_each_time() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    for pull in 0..PULLS {
        guest.forget_console();
        guest.unplug();
        guest.until("NIC_MISSING", BOOT, |guest| guest.console_shows("NIC_MISSING").then_some(()));
        guest.plug();
        let volume = guest.until_ready("still-fawn");
        assert!(volume.checks.iter().all(|check| check.code != Code::BridgePortMissing), "pull {pull}: {volume:#?}");
        let master = guest.says("basename $(readlink /sys/class/net/enx00e04ca81110/master)");
        assert_eq!(master.trim(), "br0", "pull {pull}");
    }
}

#[test]
fn an_end_without_a_shutdown_is_told_until_there_was_one() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    until_told(&mut guest, Code::SledUnclean, false);
    guest.cut();
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    let cause = until_told(&mut guest, Code::SledUnclean, true);
    assert!(!cause.contains("watchdog"), "{cause}");
    guest.reboot();
    until_told(&mut guest, Code::SledUnclean, false);
}

#[test]
fn a_watchdog_that_has_reset_the_machine_is_named() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot_on(&WATCHDOG);
    guest.until_ready("still-fawn");
    until_told(&mut guest, Code::WatchdogUnarmed, false);
    // systemd, frozen, feeds it no more.
    guest.reboots_after("systemd-run --quiet sh -c 'sleep 1; echo 1 >/sys/fs/cgroup/init.scope/cgroup.freeze'");
    guest.until_ready("still-fawn");
    let cause = until_told(&mut guest, Code::SledUnclean, true);
    assert!(cause.contains("watchdog"), "{cause}");
}

#[test]
fn a_battery_that_was_flat_is_told_and_hosts_attach_all_the_same() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot_on(&FLAT);
    guest.until_ready("still-fawn");
    let cause = until_told(&mut guest, Code::ClockRtcLost, true);
    assert!(cause.contains("2001"), "{cause}");
}
