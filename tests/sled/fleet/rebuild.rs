//! A region whose siblings are on other sleds: made anew only from what these have, and under no host that is connected
//! there alone.

use crate::rotting::said;
use crate::sleds::{ADDRESSES, Sleds};
use crucible_sled::wire::State;
use std::process::Stdio;
use support::extents::{rot, write};
use support::hosts::{Host, hang_up, is_well};
use support::machine::{Machine, has};

const VOLUME: &str = "still-fawn";
const REBUILD: &[&str] = &["sledctl", "region", "rebuild", "still-fawn-0"];
/// Fills the region as its host's reconciliation does it, from what it was: its siblings are elsewhere.
const FILL: &str = "cp /crucible/.trash/still-fawn-0.*/00/000/000 /crucible/still-fawn-0/00/000/000";

/// Keeps the region from being stopped until somebody says so.
const STOPS_LATE: &str =
    "[Service]\nExecStop=/bin/sh -c 'until test -e /run/go; do sleep 0.05; done'\nTimeoutStopSec=60\n";
const LATE: &str = "/run/systemd/system/crucible-downstairs@still-fawn-0.service.d/99-late.conf";

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
    one_that_was_stopped_for_nothing_runs_again(sleds, &host);

    let asked = own.enter(REBUILD).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    own.until("sledctl jobs | grep -q 'rebuild.*still-fawn-0.*waiting to be filled'");
    assert_ne!(own.region("still-fawn-0").uuid, before.uuid);
    own.sh(FILL);
    let asked = asked.wait_with_output().unwrap();
    assert!(asked.status.success(), "{asked:?}");
    own.wait_for(VOLUME, |volume| volume.ready && !has(volume, "REGION_BITROT"));
}

/// While it is being stopped a host comes to a sibling, to which nobody was connected when that was asked: it would lose its
/// disk. Nothing is made anew, and what was stopped for it runs again by itself.
fn one_that_was_stopped_for_nothing_runs_again(sleds: &Sleds, host: &Host) {
    let own = sleds.sled(0);
    let before = own.region("still-fawn-0");
    own.sh(&format!("mkdir -p $(dirname {LATE}); cat >{LATE} <<'E'\n{STOPS_LATE}E\nsystemctl daemon-reload"));
    let asked = own.enter(REBUILD).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    own.until("test \"$(systemctl is-active crucible-downstairs@still-fawn-0)\" = deactivating");
    let mut line = host.connect_to(ADDRESSES[1], 3830).unwrap();
    assert!(is_well(&mut line));
    own.sh("touch /run/go");
    let asked = asked.wait_with_output().unwrap();
    let refused = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(asked.status.code(), Some(1), "{refused}");
    assert!(refused.contains("192.168.4.17 is connected to the volume still-fawn"), "{refused}");
    assert!(refused.contains("it was stopped for that, and is released: all is as it was"), "{refused}");
    own.wait_for(VOLUME, |volume| volume.regions[0].state == Some(State::Serving));
    let after = own.region("still-fawn-0");
    assert_eq!(after.uuid, before.uuid);
    assert_ne!(after.pid, before.pid);
    own.sh(&format!("rm {LATE}; systemctl daemon-reload"));
    own.until("test -z \"$(ls -A /crucible/.trash /crucible/.incoming | grep still)\"");
    hang_up(&mut line);
}
