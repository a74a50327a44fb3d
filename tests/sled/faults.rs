//! Faults that only a stand-in has when it is told to.

mod crashes;
mod hung;

use crucible_sled::wire::State;
use std::time::{Duration, Instant};
use support::layer::Layer;

#[test]
fn a_silent_downstairs_is_hung_and_is_left_running() {
    let machine = Layer::small().boot_and_create();
    let before = machine.pids();
    machine.sh("echo hang >/crucible/still-fawn-1/stand-in-fault");
    let check = machine.wait_for_check("still-fawn", "REGION_HUNG");
    assert_eq!(check.subject, "region still-fawn-1");
    machine.sh("rm /crucible/still-fawn-1/stand-in-fault");
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.pids(), before);
}

#[test]
fn what_serves_another_region_is_not_believed() {
    let machine = Layer::small().boot_and_create();
    let fault = "wrong-uuid 00000000-0000-4000-8000-000000000000";
    machine.sh(&format!("echo {fault} >/crucible/still-fawn-1/stand-in-fault; systemctl restart sledd"));
    let check = machine.wait_for_check("still-fawn", "REGION_IDENTITY");
    assert!(check.cause.contains("00000000-0000-4000-8000-000000000000"), "{check:#?}");
    assert_eq!(machine.region("still-fawn-1").state, Some(State::Failed));
}

#[test]
fn a_slow_start_is_starting_and_then_serving() {
    let machine = Layer::small().boot_and_create();
    machine.sh("echo slow-start 1500 >/crucible/still-fawn-1/stand-in-fault; systemctl restart crucible-downstairs@still-fawn-1");
    let check = machine.wait_for_check("still-fawn", "REGION_STARTING");
    assert_eq!(check.subject, "region still-fawn-1");
    machine.wait_for("still-fawn", |volume| volume.ready);

    // Upstream binds its second port a moment after the first: that is not left to the slow look of
    // every fifteen seconds. Each restart but the first follows a look, so none could be quick by chance.
    machine.sh("echo bind-gap 30 >/crucible/still-fawn-1/stand-in-fault");
    let serves_again = || {
        let (before, began) = (machine.region("still-fawn-1").pid, Instant::now());
        machine.ok(&["systemctl", "restart", "crucible-downstairs@still-fawn-1"]);
        machine.wait_for("still-fawn", |volume| volume.ready && volume.regions[1].pid != before);
        began.elapsed()
    };
    serves_again();
    assert!((0..3).any(|_| serves_again() < Duration::from_secs(7)), "it is left to the slow look");
}
