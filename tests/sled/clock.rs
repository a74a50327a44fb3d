//! A clock that is wrong, and is set: what is kept for a while is kept for so long, and what ends by
//! itself ends after so long.

use crucible_sled::wire::{DeletedRegion, Hardware, StorageDetail};
use jiff::{SignedDuration, Timestamp};
use std::process::Command;
use std::time::Instant;
use support::hosts::EVENT_LIMIT;
use support::layer::Layer;
use support::machine::{Machine, has};

const DAY: i64 = 86_400;

/// A machine of which the supervisor's clock, and no other, is set by what stands in /run/shift.
fn layer() -> Layer {
    // A machine that is no container looks after its clock.
    let layer = Layer::small().as_a_machine().with(
        "etc/systemd/system/sledd.service.d/shift.conf",
        "[Service]\nEnvironment=LD_PRELOAD=/usr/lib/crucible/shift.so\n",
    );
    let source = support::places::repository("tests/machine/shift.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(layer.path().join("usr/lib/crucible/shift.so"))
        .arg(source)
        .status()
        .unwrap();
    assert!(made.success(), "cc failed");
    layer
}

/// Sets the supervisor's clock so far off.
fn shift(machine: &Machine, seconds: i64) {
    machine.sh(&format!("echo {seconds} >/run/shift.new; mv /run/shift.new /run/shift"));
}

/// Waits until the hardware is shown so. The looks at the machine are a minute apart.
fn hardware(machine: &Machine, so: impl Fn(&Hardware) -> bool) -> Hardware {
    let began = Instant::now();
    loop {
        let output = machine.run(&["sledctl", "--json", "hardware"]);
        let shown: Hardware = serde_json::from_slice(&output.stdout).unwrap();
        if so(&shown) {
            return shown;
        }
        assert!(began.elapsed() < 2 * EVENT_LIMIT, "waited in vain; the last was {shown:#?}");
    }
}

/// Waits until what is wrong with the clock is told, or is not, and tells why.
fn clock_check(machine: &Machine, code: &str, wanted: bool) -> String {
    let told = |shown: &Hardware| {
        let told = shown.checks.iter().find(|check| check.code.as_str() == code);
        told.map(|check| check.cause.clone())
    };
    told(&hardware(machine, |shown| told(shown).is_some() == wanted)).unwrap_or_default()
}

/// Waits until the supervisor has looked at what it keeps with its clock so far off, and returns that.
fn kept(machine: &Machine, seconds: i64) -> DeletedRegion {
    let began = Instant::now();
    loop {
        let output = machine.run(&["sledctl", "--json", "storage"]);
        let detail: StorageDetail = serde_json::from_slice(&output.stdout).unwrap();
        let [kept] = &detail.trash[..] else { panic!("not kept any more: {detail:#?}") };
        let expected = Timestamp::now().as_second() + seconds + kept.kept_for_seconds.cast_signed();
        if kept.kept_until.as_second().abs_diff(expected) < 120 {
            assert!(!kept.removing, "{kept:#?}");
            return kept.clone();
        }
        assert!(began.elapsed() < EVENT_LIMIT, "waited in vain; the last was {kept:#?}");
    }
}

/// Waits until the end of maintenance is told by the supervisor's clock, which is so far off: two hours
/// from now.
fn ends_in_two_hours(machine: &Machine, seconds: i64) {
    let began = Instant::now();
    loop {
        let Some(maintenance) = machine.sled().maintenance else { panic!("maintenance has ended") };
        let left = maintenance.until.unwrap().as_second() - Timestamp::now().as_second() - seconds;
        if (7000..=7300).contains(&left) {
            return;
        }
        assert!(began.elapsed() < EVENT_LIMIT, "waited in vain; the last was {left} seconds");
    }
}

#[test]
fn nothing_is_removed_and_nothing_ends_because_a_clock_was_set() {
    let mut machine = layer().boot_and_create();
    let in_1970 = -Timestamp::now().as_second() + DAY;
    shift(&machine, in_1970);
    machine.ok(&["sledctl", "region", "delete", "still-fawn-1", "--yes-destroy", "still-fawn-1"]);
    let deleted = kept(&machine, in_1970);
    assert!(deleted.deleted < Timestamp::UNIX_EPOCH + SignedDuration::from_hours(48), "{deleted:#?}");
    machine.ok(&["sledctl", "maintenance", "on", "--for", "2h"]);
    ends_in_two_hours(&machine, in_1970);
    let behind = clock_check(&machine, "CLOCK_BEHIND", true);
    assert!(behind.contains("at which the disk was marked") || behind.contains("was put on record"), "{behind}");
    let stepped = clock_check(&machine, "CLOCK_STEPPED", true);
    assert!(stepped.contains(" to 1970-01-02T"), "{stepped}");

    // Set right; eight days ahead for a while; and back.
    for seconds in [0, 8 * DAY, 0, in_1970] {
        shift(&machine, seconds);
        let now = kept(&machine, seconds);
        let week = u64::try_from(7 * DAY).unwrap();
        assert!((week - 600..=week).contains(&now.kept_for_seconds), "{now:#?}");
        ends_in_two_hours(&machine, seconds);
    }

    shift(&machine, 0);
    clock_check(&machine, "CLOCK_BEHIND", false);

    // A supervisor that starts with a clock that is wrong goes on where the one before it was.
    shift(&machine, 8 * DAY);
    let before = kept(&machine, 8 * DAY).kept_for_seconds;
    // Meanwhile somebody keeps the clock in step, and has not done so yet: of a machine that has just started that is told
    // later.
    let early = |machine: &Machine| machine.sh("cut -d. -f1 /proc/uptime").trim().parse::<u64>().unwrap() < 15 * 60;
    machine.sh("mkdir -p /run/systemd/timesync");
    let was_early = early(&machine);
    machine.ok(&["systemctl", "restart", "sledd.service"]);
    assert!(kept(&machine, 8 * DAY).kept_for_seconds <= before);
    let shown = hardware(&machine, |shown| shown.taint.is_some());
    let told = shown.checks.iter().any(|check| check.code.as_str() == "CLOCK_UNSYNCHRONISED");
    let of = |early: bool| if early { (None, false) } else { (Some(false), true) };
    let wanted = [of(was_early), of(early(&machine))];
    assert!(wanted.contains(&(shown.clock_synchronised, told)), "{shown:#?}");
    machine.sh("touch /run/systemd/timesync/synchronized");
    let shown = hardware(&machine, |shown| shown.clock_synchronised == Some(true));
    assert!(shown.checks.iter().all(|check| check.code.as_str() != "CLOCK_UNSYNCHRONISED"), "{shown:#?}");
    ends_in_two_hours(&machine, 8 * DAY);

    // Asked for while the clock was ahead, it ends after its time.
    machine.ok(&["sledctl", "maintenance", "on", "--for", "3s"]);
    machine.sh("rm /run/shift");
    machine.wait_for("still-fawn", |volume| !has(volume, "MAINTENANCE"));
    // It has ended before the disk knows.
    machine.until("test ! -e /var/lib/sled/maintenance.json");

    machine.reboot();
    let rebooted = kept(&machine, 0).kept_for_seconds;
    assert!(rebooted <= before + 300, "{rebooted} after {before}");
    machine.ok(&["sledctl", "region", "restore", "still-fawn-1"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// Of what is told to programs no time is finer than a millisecond, and no time that people read finer
/// than a second.
#[test]
fn times_are_told_in_milliseconds_and_to_people_in_seconds() {
    let machine = Layer::small().boot_and_create();
    machine.ok(&["sledctl", "region", "hold", "still-fawn-1", "--reason", "a test"]);
    machine.ok(&["sledctl", "maintenance", "on", "--for", "2h"]);
    let lines = |words: &[&str]| {
        let told = machine.run(&[&["sledctl"], words].concat());
        String::from_utf8_lossy(&told.stdout).into_owned()
    };
    let digits = |text: &str| -> Vec<usize> {
        // The text that follows the seconds of a time of day.
        let times = text.match_indices("20").filter(|(at, _)| text[*at..].chars().nth(10) == Some('T'));
        let rest = times.filter_map(|(at, _)| text[at..].get(19..));
        rest.map(|rest| rest.trim_start_matches('.').chars().take_while(char::is_ascii_digit).count()).collect()
    };
    for words in [&["--json", "status"][..], &["--json", "jobs"], &["--json", "storage"]] {
        let told = digits(&lines(words));
        assert!(!told.is_empty() && told.iter().all(|digits| *digits <= 3), "{words:?}: {told:?}");
    }
    for words in [&["status"][..], &["checks"], &["region", "show", "still-fawn-0"], &["maintenance", "show"]] {
        assert!(digits(&lines(words)).iter().all(|digits| *digits == 0), "{}", lines(words));
    }
    let none = machine.run(&["sledctl", "maintenance", "on", "--for", "0s"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
}
