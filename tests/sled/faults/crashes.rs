//! A downstairs that ends with words that nobody knows: it is tried again, its words are kept, and
//! one that ends again and again is held.

use crucible_sled::wire::State;
use support::layer::Layer;
use support::machine::{Machine, cause, has, unit};

const REGION: &str = "still-fawn-1";
/// However often it ends, it is not held.
const PATIENT: &str = "[downstairs]\ncrashes = 1000\n";

/// Asks the stand-in for a fault, and kills it.
fn fail(machine: &Machine, fault: &str) {
    machine.sh(&format!("echo '{fault}' >/crucible/{REGION}/stand-in-fault"));
    machine.kill("KILL", REGION);
}

/// Without its fault it would serve; it must be released first.
fn release(machine: &Machine) {
    machine.sh(&format!("rm /crucible/{REGION}/stand-in-fault"));
    machine.wait_until_stopped(REGION);
    machine.ok(&["sledctl", "region", "release", REGION]);
    machine.wait_for("still-fawn", |volume| volume.ready);
}

#[test]
fn words_that_nobody_knows_are_logged_in_full() {
    let machine = Layer::small().with("etc/sled/sled.toml.d/60-x.toml", PATIENT).boot_and_create();
    let words = format!("Error: {} and that was all", "the flux is out of range, ".repeat(20));
    fail(&machine, &format!("exit {words}"));
    let shown = |cause: &str| cause.contains("exited with status 1 (\"the flux is out of range");
    machine.wait_for("still-fawn", |volume| cause(volume, "REGION_DOWN").is_some_and(shown));
    machine.sh(&format!("rm /crucible/{REGION}/stand-in-fault"));
    machine.wait_for("still-fawn", |volume| volume.ready);
    let journal = machine.ok(&["journalctl", "-b", "-u", "sledd", "-o", "cat"]);
    assert!(journal.contains(&words), "{journal}");
}

#[test]
fn a_panic_is_logged_with_its_words() {
    let machine = Layer::small().with("etc/sled/sled.toml.d/60-x.toml", PATIENT).boot_and_create();
    fail(&machine, "panic the flux is gone");
    let shown =
        |cause: &str| cause.contains("panicked or was aborted (signal 6)") && cause.contains("the flux is gone");
    machine.wait_for("still-fawn", |volume| cause(volume, "REGION_DOWN").is_some_and(shown));
    machine.sh(&format!("rm /crucible/{REGION}/stand-in-fault"));
    machine.wait_for("still-fawn", |volume| volume.ready);
    let journal = machine.ok(&["journalctl", "-b", "-u", "sledd", "-o", "cat"]);
    assert!(journal.contains("panicked at") && journal.contains("the flux is gone"), "{journal}");
}

/// Each end is counted, and no other: it is held at the fifth, not before and not after.
#[test]
fn a_crash_loop_is_held_until_it_is_released() {
    let mut machine = Layer::small().boot_and_create();
    fail(&machine, "exit no such luck");
    let check = machine.wait_for_check("still-fawn", "REGION_CRASH_LOOP");
    for words in ["ended 5 times within 2 min", "exited with status 1 (\"no such luck\")"] {
        assert!(check.cause.contains(words), "{words:?} is not in {check:#?}");
    }
    let volume = machine.wait_for("still-fawn", |volume| volume.regions[1].state == Some(State::Held));
    assert!(!volume.ready && !has(&volume, "REGION_DOWN"), "{volume:#?}");
    machine.wait_until_stopped(REGION);
    // The first end is that of the one that was killed. While the last words of the fifth are looked for,
    // systemd may start it once more.
    let crashes = machine.count(&unit(REGION), "no such luck");
    assert!((4..=5).contains(&crashes), "it crashed {crashes} times");
    assert_eq!(machine.hear(2, &unit(REGION), "Started|Scheduled restart"), "");
    machine.reboot();
    machine.wait_for_check("still-fawn", "REGION_CRASH_LOOP");
    assert_eq!(machine.count(&unit(REGION), "no such luck"), 0, "it was started all the same");
    release(&machine);
    // Ends from before it was released are not held against it.
    machine.kill("KILL", REGION);
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_DOWN"));
    machine.wait_for("still-fawn", |volume| volume.ready);
}

/// A crash loop that went on while no supervisor looked is found by the next one.
#[test]
fn a_crash_loop_goes_on_being_counted_after_the_supervisor_is_killed() {
    let machine = Layer::small().boot_and_create();
    fail(&machine, "exit no such luck");
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_DOWN"));
    machine.ok(&["systemctl", "kill", "--signal=KILL", "sledd.service"]);
    machine.wait_for_check("still-fawn", "REGION_CRASH_LOOP");
    release(&machine);
}

/// A port that cannot be had is no crash, however often it is tried.
#[test]
fn one_that_waits_for_something_is_not_held() {
    let machine = Layer::small().boot_and_create();
    fail(&machine, "exit Error: Address already in use (os error 98)");
    machine.sh(&format!(
        "until [ $(journalctl -b -u {} --grep 'Address already in use' -o cat | wc -l) -ge 7 ]; do sleep 0.1; done",
        unit(REGION)
    ));
    let volume = machine.volume("still-fawn");
    assert!(!has(&volume, "REGION_CRASH_LOOP") && volume.regions[1].state != Some(State::Held), "{volume:#?}");
    machine.sh(&format!("rm /crucible/{REGION}/stand-in-fault"));
    machine.wait_for("still-fawn", |volume| volume.ready);
}
