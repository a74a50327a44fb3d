//! A volume of which regions rot, as a scrub finds it, and words of an operator who does something about it.

use support::extents::{rot, write};
use support::machine::{Machine, has};

/// Runs a command that ends with this code, and returns what it said.
pub fn said(machine: &Machine, words: &[&str], code: i32) -> String {
    let output = machine.run(words);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    said
}

/// Writes a block to each region, of which that of one region rots, and does what else is to be done while nothing runs;
/// then has it serve and that region scrubbed.
pub fn rots(machine: &Machine, region: &str, beside: impl FnOnce()) {
    // Nothing runs while its files are written to by others.
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'");
    (0..3).for_each(|index| write(machine, &format!("still-fawn-{index}")));
    rot(machine, region);
    beside();
    machine.ok(&["systemctl", "start", "sledd.socket"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine.run(&["sledctl", "region", "scrub", region]);
}

/// Waits until it is told that one rots.
pub fn is_told(machine: &Machine) {
    machine.wait_for("still-fawn", |volume| has(volume, "REGION_BITROT"));
}
