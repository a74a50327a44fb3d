//! A region whose siblings are on other sleds: made anew only from what these have, and under no host that is connected
//! there alone.

use crate::rotting::said;
use crate::sleds::{ADDRESSES, Sleds};
use std::process::Stdio;
use support::extents::{rot, write};
use support::hosts::{hang_up, is_well};
use support::machine::{Machine, has};

const VOLUME: &str = "still-fawn";
const REBUILD: &[&str] = &["sledctl", "region", "rebuild", "still-fawn-0"];
/// Fills the region as its host's reconciliation does it, from what it was: its siblings are elsewhere.
const FILL: &str = "cp /crucible/.trash/still-fawn-0.*/00/000/000 /crucible/still-fawn-0/00/000/000";

/// Changes the region of a sled while it is stopped, and has it scrubbed.
fn change(sleds: &Sleds, n: usize, what: impl Fn(&Machine, &str)) {
    let (machine, region) = (sleds.sled(n), format!("still-fawn-{n}"));
    machine.sh("systemctl stop sledd.service sledd.socket 'crucible-downstairs@*'");
    what(machine, &region);
    machine.ok(&["systemctl", "start", "sledd.socket"]);
    machine.wait_for(VOLUME, |volume| volume.ready);
    machine.run(&["sledctl", "region", "scrub", &region]);
}

pub fn a_region_is_made_anew_only_from_what_the_other_sleds_have(sleds: &Sleds) {
    let own = sleds.sled(0);
    change(sleds, 0, |machine, region| {
        write(machine, region);
        rot(machine, region);
    });
    own.wait_for(VOLUME, |volume| has(volume, "REGION_BITROT"));
    change(sleds, 1, write);
    // As empty as one that was made anew, of which a scrub finds nothing wrong.
    change(sleds, 2, |_, _| ());
    let before = own.region("still-fawn-0");
    let refused = said(own, REBUILD, 1);
    assert!(refused.contains("still-fawn-2 on sly-badger has not flushed what it is to have"), "{refused}");

    change(sleds, 2, write);
    let host = sleds.host("192.168.4.17");
    let mut line = host.connect_to(ADDRESSES[1], 3830).unwrap();
    assert!(is_well(&mut line));
    let refused = said(own, REBUILD, 1);
    assert!(refused.contains("192.168.4.17 is connected to the volume still-fawn"), "{refused}");
    assert!(refused.contains("--attached"), "{refused}");
    assert_eq!(own.region("still-fawn-0").pid, before.pid);
    hang_up(&mut line);

    let asked = own.enter(REBUILD).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    own.until("sledctl jobs | grep -q 'rebuild.*still-fawn-0.*waiting to be filled'");
    assert_ne!(own.region("still-fawn-0").uuid, before.uuid);
    own.sh(FILL);
    let asked = asked.wait_with_output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    own.wait_for(VOLUME, |volume| volume.ready && !has(volume, "REGION_BITROT"));
}
