//! What a sled says of its machine, where that is a machine: an adapter that is pulled again and again, an end without a
//! shutdown, a watchdog that resets it, a battery that is flat.

use crate::guest::{BOOT, Disk, Guest};
use crucible_sled::check::Code;

/// How often the adapter is pulled.
const PULLS: usize = 20;
/// A watchdog of QEMU's whose driver tells that it has reset the machine.
const WATCHDOG: [&str; 4] = ["-device", "i6300esb", "-action", "watchdog=reset"];
/// The driver of the chip set's, which does not tell.
const NO_OTHER: [&str; 2] = ["--append", "module_blacklist=iTCO_wdt"];
/// The times of a battery's clock that was flat: the first that there is, which has no century of its own, and one that has
/// yet to come.
const FLAT: [&str; 2] = ["1970-01-01", "2099-01-01"];

/// A controller of USB 1, and a hub on that of USB 3.
const PORTS: [&str; 4] = ["-device", "piix3-usb-uhci,id=old", "-device", "usb-hub,bus=usb.0,port=2,id=hub"];

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
fn an_adapter_in_another_port_is_told_by_where_it_is() {
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot_on(&PORTS);
    guest.until_ready("still-fawn");
    // QEMU's adapter is never faster than USB 1: it is told wherever it is, and by its place.
    let in_usb3 = until_told(&mut guest, Code::NicUsb2, true);
    let mut moved = |bus: &str, port: Option<&str>, word: &str, not: &str| {
        guest.forget_console();
        guest.unplug();
        guest.until("NIC_MISSING", BOOT, |guest| guest.console_shows("NIC_MISSING").then_some(()));
        guest.plug_into(bus, port);
        guest.until_ready("still-fawn");
        let cause = until_told(&mut guest, Code::NicUsb2, true);
        assert!(cause.contains(word) && !cause.contains(not), "{cause}");
        cause
    };
    let in_hub = moved("usb.0", Some("2.1"), "port 1 of the hub at", "USB bus");
    let in_usb1 = moved("old.0", None, "of USB bus", "hub at");
    assert!(in_hub != in_usb1 && in_usb1 != in_usb3, "{in_usb3}; {in_hub}; {in_usb1}");
    let hardware = guest.says("sledctl hardware");
    assert!(hardware.contains("12 Mbit/s"), "{hardware}");
}

#[test]
fn an_adapter_with_another_address_is_no_adapter_by_name_and_is_one_by_its_being_usb() {
    let another = ["--mac", "00:e0:4c:a8:99:99"];
    let disk = Disk::new().configured(true);
    let mut guest = disk.boot_with(&another);
    guest.until("NIC_MISSING", BOOT, |guest| guest.console_shows("NIC_MISSING").then_some(()));
    guest.cut();
    let disk = Disk::new().configured_by("usb", true);
    let mut guest = disk.boot_with(&another);
    guest.until_ready("still-fawn");
    until_told(&mut guest, Code::NicMissing, false);
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
    let mut guest = disk.start(&NO_OTHER, &WATCHDOG);
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
    for day in FLAT {
        let mut guest = disk.boot_on(&["-rtc", &format!("base={day}T00:00:00")]);
        guest.until_ready("still-fawn");
        let cause = until_told(&mut guest, Code::ClockRtcLost, true);
        assert!(cause.contains(&day[2..]), "{cause}");
        let year: u32 = guest.says("date +%Y").trim().parse().unwrap();
        assert!((2026..2099).contains(&year), "{year}");
        guest.switch_off();
    }
    let mut guest = disk.boot();
    guest.until_ready("still-fawn");
    until_told(&mut guest, Code::ClockRtcLost, false);
    // What was done while the clock was ahead is what it is behind of afterwards.
    guest.says(
        "date -s '2 days' && sledctl region hold still-fawn-0 --reason tried && sledctl region release still-fawn-0",
    );
    until_told(&mut guest, Code::ClockStepped, true);
    guest.says("sledctl region hold still-fawn-0 --reason tried && date -s '2 days ago'");
    let cause = until_told(&mut guest, Code::ClockBehind, true);
    assert!(cause.contains("still-fawn-0 was held"), "{cause}");
}
