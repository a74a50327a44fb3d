//! Repairs of a region, cut short: its extent is the rotten one or its sibling's, whole, and it serves; and its rebuild, of
//! which every part is there, and which goes on when it is asked for again.

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

/// The rebuild of a region that rots, and that is filled as soon as it was made anew.
pub const REBUILD: Operation = Operation {
    name: "rebuild",
    config: "",
    prepare: rotten_among_whole,
    act: &["sh", "-c", REBUILT],
    host: None,
    check: rebuilt_in_the_end,
};

/// Asks for the rebuild, and fills what is put in the region's place, as its host would, until it is over: no extent is ever
/// cut off for that, as a downstairs that starts meanwhile would find it broken.
/// Which region lies there is told without opening anything of it: a process at it would be in the way.
const REBUILT: &str = "sledctl region rebuild still-fawn-0 & asked=$!; cd /crucible
    while kill -0 $asked 2>/dev/null; do
        if [ -e still-fawn-0/region.json ] && ! [ still-fawn-0/region.json -ef lost+found/before ]; then
            dd if=still-fawn-1/00/000/000 of=still-fawn-0/00/000/000 bs=1M conv=notrunc,nocreat status=none
        fi
        sleep 0.05
    done; wait $asked";

fn rotten_among_whole(machine: &Machine) {
    rotten(machine);
    machine.ok(&["sledctl", "region", "scrub", SIBLING, "still-fawn-2"]);
    machine.sh(
        "cd /crucible && cp still-fawn-0/region.json /run/before && ln -f still-fawn-0/region.json lost+found/before",
    );
}

/// What is left is the old region in its place, the old one in the trash and nothing in its place, or the new one; and
/// asked for again it comes to its end.
fn rebuilt_in_the_end(machine: &Machine) -> Result<(), String> {
    let want = |so: bool, what: &str| if so { Ok(()) } else { Err(what.to_owned()) };
    machine.until("! ls -A /crucible/.incoming 2>/dev/null | grep -q .");
    let (place, trash) = ("cat /crucible/still-fawn-0/region.json", "cat /crucible/.trash/still-fawn-0.*/region.json");
    let [old, place, trash] =
        ["cat /run/before", place, trash].map(|cat| machine.sh(&format!("{cat} 2>/dev/null || true")));
    want(place == old || trash == old, "the old region is neither in its place nor in the trash")?;
    want(place != old || trash.is_empty(), "it is in both")?;
    let again = machine.run(&["sh", "-c", REBUILT]);
    want(again.status.success(), &format!("it does not go on: {}", String::from_utf8_lossy(&again.stderr)))?;
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    let [ours, theirs] = [REGION, SIBLING].map(|region| read(extent(machine, region)).unwrap());
    want(ours == theirs, "it is not what its sibling has")?;
    want(
        machine.sh("cmp -s /crucible/still-fawn-0/region.json /run/before || echo anew") == "anew\n",
        "it was not made anew",
    )
}
