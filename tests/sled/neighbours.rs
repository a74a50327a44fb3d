//! Neighbours of the supervisor: systemd, D-Bus and the journal. None of them takes it, or what it watches over,
//! along when it goes.

use crate::polls::Polls;
use support::layer::Layer;
use support::machine::Machine;

const REGION: &str = "still-fawn-1";

/// A downstairs that is killed now is noticed, and comes back.
fn is_watched(machine: &Machine) {
    let before = machine.region(REGION).pid;
    machine.kill("KILL", REGION);
    machine.wait_for("still-fawn", |volume| volume.ready && volume.regions[1].pid != before);
}

/// Does something to a neighbour under the eyes of hosts that poll: no poll fails, nothing is
/// restarted, and afterwards all is watched as before.
fn survives(machine: &Machine, script: &str) {
    let (before, started) = (machine.pids(), machine.sled().started);
    let polls = Polls::start(machine, 4);
    machine.sh(script);
    let (answered, cut, failed) = polls.end();
    assert_eq!((cut, failed), (0, Vec::<String>::new()), "{script}: of {answered} polls");
    assert!(answered > 0);
    assert_eq!(machine.sled().started, started, "{script}: the supervisor was restarted");
    assert_eq!(machine.pids(), before, "{script}");
    is_watched(machine);
}

#[test]
fn systemd_is_reloaded_and_executed_anew() {
    let machine = Layer::small().boot_and_create();
    survives(&machine, "for i in 1 2 3; do systemctl daemon-reload; done");
    survives(&machine, "systemctl daemon-reexec; until systemctl is-active -q sledd; do sleep 0.1; done");
}

#[test]
fn the_message_bus_is_killed_and_restarted() {
    let machine = Layer::small().boot_and_create();
    let back = "until busctl --quiet call org.freedesktop.DBus / org.freedesktop.DBus GetId; do sleep 0.1; done";
    survives(&machine, &format!("systemctl kill --signal=KILL dbus.service; {back}"));
    survives(&machine, &format!("systemctl kill dbus.service; {back}"));
    survives(&machine, &format!("systemctl restart dbus.service; {back}"));
}

/// Without the bus nobody tells of the units; what the kernel tells is told all the same.
#[test]
fn an_end_is_noticed_without_the_message_bus() {
    let machine = Layer::small().boot_and_create();
    let pid = machine.region(REGION).pid.unwrap().to_string();
    machine.sh("systemctl stop dbus.socket dbus.service");
    machine.wait_for_check("still-fawn", "SYSTEMD_UNREACHABLE");
    machine.ok(&["kill", "-KILL", &pid]);
    machine.wait_for("still-fawn", |volume| !volume.ready);
    machine.sh("systemctl start dbus.socket dbus.service");
    machine.wait_for("still-fawn", |volume| volume.ready && volume.checks.is_empty());
}

/// More than its socket takes; the supervisor's own watchdog would see a loop that waits for it.
#[test]
fn a_journal_that_is_stopped_stops_nothing() {
    let machine = Layer::small()
        .with("etc/systemd/system/sledd.service.d/test.conf", "[Service]\nWatchdogSec=2\n")
        .boot_and_create();
    let (before, started) = (machine.pids(), machine.sled().started);
    machine.ok(&["systemctl", "kill", "--signal=STOP", "systemd-journald.service"]);
    // Each round is two lines or more. In parts, each of which has its time.
    for _ in 0..12 {
        machine.sh("for i in $(seq 50); do sledctl maintenance on; sledctl maintenance off; done >/dev/null");
    }
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.sled().started, started, "the supervisor was restarted");
    machine.ok(&["systemctl", "kill", "--signal=CONT", "systemd-journald.service"]);
    machine.sh("until journalctl -b -u sledd -o cat | grep -q 'messages were lost'; do sledctl maintenance on; \
         sledctl maintenance off; done >/dev/null");
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), before);
    is_watched(&machine);
}

#[test]
fn a_journal_that_is_killed_takes_nobody_along() {
    let machine = Layer::small().boot_and_create();
    let back = "until systemctl is-active -q systemd-journald.service; do sleep 0.1; done";
    survives(&machine, &format!("systemctl kill --signal=KILL systemd-journald.service; {back}"));
    survives(&machine, &format!("systemctl kill --signal=KILL systemd-journald.service; {back}"));
    let heard = machine.count("sledd", "REGION_DOWN");
    is_watched(&machine);
    machine.sh(&format!(
        "until [ $(journalctl -b -u sledd -o cat --grep REGION_DOWN | wc -l) -gt {heard} ]; do sleep 0.1; done"
    ));
}
