//! Regions that no sibling's extent fits, made anew and filled by their host.

use crate::rotting::{is_told, rots, said};
use std::process::Stdio;
use support::extents::extent;
use support::layer::Layer;
use support::machine::{Machine, has};

const REGION: &str = "still-fawn-0";
const REBUILD: &[&str] = &["sledctl", "region", "rebuild", REGION];
/// The extents of a region, filled as the host's reconciliation does it: those of a sibling, byte by byte.
const FILL: &str = "cp /crucible/still-fawn-1/00/000/000 /crucible/still-fawn-0/00/000/000";

/// A machine on which the first region rots, and is of another flush than its siblings: these have flushed since.
fn beyond_repair() -> Machine {
    let machine = Layer::small().boot_and_create();
    // The flush, in the trailer, of the siblings: 4.
    let flushed = || {
        machine.sh("for i in 1 2; do f=/crucible/still-fawn-$i/00/000/000; \
             printf '\\004' | dd of=$f bs=1 seek=$(($(stat -c %s $f) - 23)) conv=notrunc status=none; done");
    };
    rots(&machine, REGION, flushed);
    is_told(&machine);
    machine
}

#[test]
fn a_region_that_no_sibling_fits_is_made_anew_and_watched_until_its_host_has_filled_it() {
    let machine = beyond_repair();
    let before = machine.region(REGION);
    let left = said(&machine, &["sledctl", "region", "repair", REGION], 1);
    assert!(
        left.contains("of generation 7 and flush 4") && left.contains("sledctl region rebuild still-fawn-0"),
        "{left}"
    );
    // Nothing is known of its siblings yet.
    let refused = said(&machine, REBUILD, 1);
    assert!(refused.contains("still-fawn-1 was never scrubbed to its end"), "{refused}");
    let nothing = said(&machine, &["sledctl", "region", "rebuild", "still-fawn-1"], 1);
    assert!(nothing.contains("nothing is known to be wrong with it"), "{nothing}");
    machine.ok(&["sledctl", "region", "scrub", "still-fawn-1", "still-fawn-2"]);
    let told = said(&machine, &["sledctl", "region", "rebuild", REGION, "--dry-run"], 0);
    assert!(told.contains("still-fawn-2 serves, and its scrub") && told.contains("would go to the trash"), "{told}");
    assert_eq!(machine.region(REGION).pid, before.pid);

    let mut asked = machine.enter(REBUILD).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    machine.until("sledctl jobs | grep -q 'rebuild.*still-fawn-0.*waiting to be filled.*crucible-attach@still-fawn'");
    let anew = machine.region(REGION);
    assert_ne!(anew.uuid, before.uuid, "an upstairs that is attached would take it for the old one");
    machine.wait_for("still-fawn", |volume| volume.ready && !has(volume, "REGION_BITROT"));
    let kept = machine.sh("cat /crucible/.trash/still-fawn-0.*/region.json");
    assert!(kept.contains(&before.uuid.unwrap().to_string()), "{kept}");
    assert_eq!(machine.sh("ls -A /crucible/.incoming"), "");

    // The supervisor ends: what is there goes on, and so does the watching when it is asked for.
    machine.ok(&["systemctl", "kill", "-s", "KILL", "sledd.service"]);
    assert!(!asked.wait().unwrap().success());
    machine.wait_for("still-fawn", |volume| volume.ready);
    assert_eq!(machine.region(REGION).pid, anew.pid);
    let far = said(&machine, &["sledctl", "region", "rebuild", REGION, "--dry-run"], 0);
    assert!(far.contains("0 of 1 extents are filled, by what still-fawn-1 and still-fawn-2 had"), "{far}");
    let mut asked = machine.enter(REBUILD).stdout(Stdio::piped()).spawn().unwrap();
    machine.until("sledctl jobs | grep -q 'rebuild.*still-fawn-0.*waiting to be filled'");
    machine.sh(FILL);
    assert!(asked.wait().unwrap().success());
    let jobs = machine.ok(&["sledctl", "jobs"]);
    assert!(jobs.contains("1 of 1 extents have what still-fawn-1 and still-fawn-2 had"), "{jobs}");
    assert_eq!(machine.region(REGION).uuid, anew.uuid);
    let of = |region: &str| std::fs::read(extent(&machine, region)).unwrap();
    assert!(of(REGION) == of("still-fawn-1"));
}
