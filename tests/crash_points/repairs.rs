//! The repair of a region, cut short: its extent is the rotten one or its sibling's, whole, and it serves.

use crate::operations::Operation;
use std::fs::read;
use support::extents::{extent, rot, write};
use support::machine::{Machine, has};

const REGION: &str = "still-fawn-0";
const SIBLING: &str = "still-fawn-1";

/// The repair of a region of which an extent is rotten.
pub const REPAIR: Operation = Operation {
    name: "repair",
    config: "",
    prepare: rotten,
    act: &["sledctl", "region", "repair", REGION],
    host: None,
    check: repaired_or_as_before,
};

fn rotten(machine: &Machine) {
    machine.run(&["sledctl", "region", "create", "--all"]);
    machine.wait_for("still-fawn", |volume| volume.ready);
    machine.sh("rm -rf /crucible/.trash/*");
    [REGION, SIBLING, "still-fawn-2"].iter().for_each(|region| write(machine, region));
    rot(machine, REGION);
    machine.run(&["sledctl", "region", "scrub", REGION]);
    machine.wait_for("still-fawn", |volume| volume.ready && has(volume, "REGION_BITROT"));
}

fn repaired_or_as_before(machine: &Machine) -> Result<(), String> {
    let want = |so: bool, what: &str| if so { Ok(()) } else { Err(what.to_owned()) };
    machine.wait_for("still-fawn", |volume| volume.ready);
    let [ours, theirs] = [REGION, SIBLING].map(|region| read(extent(machine, region)).unwrap());
    let differ = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
    want(ours.len() == theirs.len() && differ <= 1, "its extent is neither the one nor the other")?;
    let kept = machine.sh("find /crucible/.trash -path '*.extents.*' -type f | wc -l");
    want(differ == 1 || kept == "1\n", "what was there is not kept")?;
    // What was copied aside is swept away at the start.
    machine.until("! ls -A /crucible/.incoming 2>/dev/null | grep -q .");
    Ok(())
}
